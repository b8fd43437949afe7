"""Lists: If-Modified-Since, where, order and paging, the same for every resource."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from xero_simulator.idempotency import Answer
from xero_simulator.routes.request import TEXT, ApiError, ApiRequest, query_malformed
from xero_simulator.where import Getter, QueryMalformed, Where, parse_order, parse_where

Row = TypeVar("Row")
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_UNPAGED = 100_000


def condition(request: ApiRequest, fields: Mapping[str, Getter]) -> Where:
    """The request's `where`.

    Raises:
        ApiError: 400 QueryParseException.
    """
    text = request.parameter("where")
    if not text:
        return Where(lambda _row: True, {})
    try:
        return parse_where(text, fields)
    except QueryMalformed as error:
        raise ApiError(query_malformed(str(error))) from error


def modified_since(request: ApiRequest) -> Callable[[datetime], bool]:
    """The test If-Modified-Since asks for; UTC, to the second.

    Raises:
        ApiError: 412 for a header that is no date.
    """
    text = request.headers.get("if-modified-since", "")
    if not text:
        return lambda _updated: True
    try:
        since = _moment(text)
    except ValueError as error:
        raise ApiError(Answer(412, (TEXT,), b"If-Modified-Since is not a date")) from error
    if request.world.switches.if_modified_since_inclusive:
        return lambda updated: updated >= since
    return lambda updated: updated > since


def arrange(
    request: ApiRequest, rows: Iterable[Row], fields: Mapping[str, Getter]
) -> tuple[Sequence[Row], tuple[int, int, int] | None]:
    """Sorts and pages.

    Returns:
        The rows to show, and (page, size, count) when a page was asked for.

    Raises:
        ApiError: 400 for a bad order or page, or for more rows than Xero lists unpaged.
    """
    ordered = _sorted(request, list(rows), fields)
    page_text, size_text = request.parameter("page"), request.parameter("pageSize")
    if not page_text and not size_text:
        if len(ordered) > MAX_UNPAGED:
            raise ApiError(query_malformed("Too many records; use paging"))
        return ordered, None
    page = max(1, _integer(page_text, 1))
    size = min(MAX_PAGE_SIZE, max(1, _integer(size_text, DEFAULT_PAGE_SIZE)))
    start = (page - 1) * size
    return ordered[start : start + size], (page, size, len(ordered))


def names(request: ApiRequest, parameter: str) -> set[str] | None:
    """A comma-separated parameter in lower case, or None when absent."""
    text = request.parameter(parameter)
    if not text:
        return None
    return {part.strip().lower() for part in text.split(",") if part.strip()}


def _sorted(request: ApiRequest, rows: list[Any], fields: Mapping[str, Getter]) -> list[Any]:
    try:
        keys = parse_order(request.parameter("order") or "UpdatedDateUTC ASC", fields)
    except QueryMalformed as error:
        raise ApiError(query_malformed(str(error))) from error
    for getter, descending in reversed(keys):
        rows.sort(key=_sort_key(getter), reverse=descending)
    return rows


def _sort_key(getter: Getter) -> Callable[[Any], Any]:
    def key(row: Any) -> Any:
        value = getter(row)
        return (value is not None, value.lower() if isinstance(value, str) else value)

    return key


def _integer(text: str, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError as error:
        raise ApiError(query_malformed(f"'{text}' is not a page")) from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # An HTTP date; this raises ValueError itself when the text is neither.
        moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
