"""Xero's JSON: exact numbers, both date forms, the envelope with its paging."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

Json = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSOFT = re.compile(r"^/Date\((-?\d+)(?:[+-]\d{4})?\)/$")
_ISO_DAY = re.compile(r"^(\d{4})-(\d{2})-(\d{2})")


class Unreadable(ValueError):  # noqa: N818 -- named after the condition Xero reports
    """The body is not JSON that Xero could read."""


def loads(body: bytes) -> Any:
    """Parses JSON with every number exact.

    Raises:
        Unreadable: The bytes are not JSON (NaN and Infinity included).
    """
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def dumps(value: object) -> bytes:
    """Serialises; a Decimal of money size survives the way through a double unchanged."""
    return json.dumps(value, default=_plain, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse(token: str) -> Any:
    raise Unreadable(f"{token} is not JSON")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def stamp(moment: datetime) -> str:
    """A moment as `/Date(ms+0000)/`."""
    return f"/Date({milliseconds(moment)}+0000)/"


def stamp_string(moment: datetime) -> str:
    """A moment as the UpdatedDateUTCString recorded in 2026: seconds and a Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def day_stamp(day: date) -> str:
    """A calendar day as `/Date(ms+0000)/`, at midnight."""
    return stamp(datetime.combine(day, time(), UTC))


def day_string(day: date) -> str:
    """A calendar day as DateString: ISO without a zone."""
    return f"{day.isoformat()}T00:00:00"


def parse_day(value: object) -> date | None:
    """Reads a day in either form.

    Returns:
        The day, or None for an absent one.

    Raises:
        ValueError: The text is in neither form.
    """
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else ""
    if found := _MICROSOFT.match(text):
        return (_EPOCH + timedelta(milliseconds=int(found[1]))).date()
    if found := _ISO_DAY.match(text):
        return date(int(found[1]), int(found[2]), int(found[3]))
    raise ValueError(f"not a date: {value!r}")


def parse_flag(value: str | None, *, default: bool = False) -> bool:
    """Reads a boolean query parameter in any case ("True" is what Xero's own libraries send)."""
    return default if value is None else value.strip().lower() == "true"


def envelope(
    request_id: str,
    provider: str,
    now: datetime,
    members: Mapping[str, object],
    *,
    paging: tuple[int, int, int] | None = None,
) -> Json:
    """Wraps a resource list the way every reply of the Accounting API is wrapped.

    Args:
        request_id: A fresh GUID.
        provider: The name of the app.
        now: The moment of the reply.
        members: The resource list under its plural name.
        paging: (page, page size, number of items) for a paged list.
    """
    body: Json = {
        "Id": request_id,
        "Status": "OK",
        "ProviderName": provider,
        "DateTimeUTC": f"/Date({milliseconds(now)})/",
    }
    if paging is not None:
        page, size, count = paging
        body["pagination"] = {
            "page": page,
            "pageSize": size,
            "pageCount": -(-count // size),
            "itemCount": count,
        }
    return body | dict(members)
