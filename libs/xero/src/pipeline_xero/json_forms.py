"""Xero's JSON: exact numbers, both date forms, and the plain facts of a reply.

Every function here is pure. Reading raises ``UnexpectedAnswer`` and nothing else, whatever the bytes are.
Facts about the format: Xero's "Requests and responses" page, its published OpenAPI document, recorded replies.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from pipeline_xero.errors import UnexpectedAnswer

ZERO_GUID = "00000000-0000-0000-0000-000000000000"

# Far outside any amount of money, far inside what Decimal arithmetic does exactly: a reply with
# 1e999999 in it must fail here, by name, and not in some later `quantize`.
_MAX_INTEGER_DIGITS = 18
_MAX_FRACTION_DIGITS = 18

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_DATE = re.compile(r"^/Date\((-?\d{1,16})(?:[+-]\d{4})?\)/$", re.ASCII)
_ISO_DATE = re.compile(
    r"^(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?)?$",
    re.ASCII,
)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(body: bytes) -> Any:
    """Decode a JSON body with every number exact (int or Decimal, never float).

    Raises:
        UnexpectedAnswer: The bytes are not JSON (or not UTF-8, or nested beyond reason).
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_reject_constant
        )
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise UnexpectedAnswer(f"the body is not JSON: {error}") from None


def dumps(value: Any) -> bytes:
    """Encode to compact JSON with Decimals as exact plain numbers and dates in ISO form.

    The same value gives the same bytes, so they can be stored with their Idempotency-Key and sent again.

    Raises:
        ValueError: A number is NaN or infinite, or a type has no JSON form.
    """
    return _encode(value).encode()


# What json.dumps comes to for a text, without choosing an encoder anew for each of a batch's thousands.
_quoted = json.encoder.encode_basestring_ascii


def _encode(value: Any) -> str:  # noqa: PLR0911 - one return per JSON form
    match value:
        case str():
            return _quoted(value)
        case None | bool():
            return json.dumps(value)
        case int():
            return str(value)
        case Decimal():
            return format_decimal(value)
        case datetime():
            return _quoted(format_datetime(value))
        case date():
            return _quoted(format_date(value))
        case Mapping():
            members = [f"{_quoted(str(key))}:{_encode(item)}" for key, item in value.items()]
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(_encode(item) for item in value) + "]"
        case _:
            # float has no case on purpose: money must not pass through binary fractions.
            raise ValueError(f"{type(value).__name__} has no exact JSON form")


def format_decimal(value: Decimal) -> str:
    """Write a number the way Xero reads it: plain digits, no exponent, no negative zero.

    Raises:
        ValueError: The number is NaN or infinite.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a number Xero can read")
    return format(value or abs(value), "f")


def format_date(value: date) -> str:
    """Write a document date (no zone, as the organisation reads it)."""
    return value.isoformat()[:10]


def format_datetime(value: datetime) -> str:
    """Write an instant as Xero reads it in If-Modified-Since and filters: UTC, whole seconds, no zone.

    Raises:
        ValueError: The instant has no time zone, so its UTC value would be a guess.
    """
    if value.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_instant(value: Any, field: str = "date") -> datetime:
    """Read ``/Date(1550793549392+0000)/`` or ISO with up to nine fraction digits, with or without zone.

    The offset inside ``/Date()/`` is decoration: the milliseconds already count from the UTC epoch.
    ISO without a zone is UTC (Xero's ``…DateUtc`` fields carry seven fraction digits and no ``Z``).

    Raises:
        UnexpectedAnswer: Neither form, or a date outside the calendar.
    """
    if isinstance(value, str):
        try:
            if found := _MS_DATE.fullmatch(value):
                return _EPOCH + timedelta(milliseconds=int(found[1]))
            if found := _ISO_DATE.fullmatch(value):
                return _from_iso(found)
        except (ValueError, OverflowError):
            pass
    raise UnexpectedAnswer(f"{field} is not a date: {_shown(value)}")


def _from_iso(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micros = int((fraction or "0").ljust(6, "0")[:6])
    moment = datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        micros,
        UTC,
    )
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment = moment - offset if zone[0] == "+" else moment + offset
    return moment


def parse_date(value: Any, field: str = "date") -> date:
    """Read a document date in either form, as a calendar day.

    Raises:
        UnexpectedAnswer: Not a date.
    """
    return parse_instant(value, field).date()


def parse_decimal(value: Any, field: str = "amount") -> Decimal:
    """Read an exact number: a JSON number, or the digits as a string.

    Raises:
        UnexpectedAnswer: Not a finite number of sane size.
    """
    number: Decimal | None = None
    if isinstance(value, bool):
        pass
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, int):
        number = Decimal(value)
    elif isinstance(value, str):
        with contextlib.suppress(InvalidOperation):
            number = Decimal(value.strip())
    if number is None or not _is_sane(number):
        raise UnexpectedAnswer(f"{field} is not a number: {_shown(value)}")
    return number


def _is_sane(number: Decimal) -> bool:
    if not number.is_finite():
        return False
    written = str(number)
    if len(written) <= _MAX_FRACTION_DIGITS and "E" not in written:
        return True  # as every amount of money: taking it apart costs five times as much
    exponent = number.as_tuple().exponent
    return (
        isinstance(exponent, int)
        and exponent >= -_MAX_FRACTION_DIGITS
        and number.adjusted() < _MAX_INTEGER_DIGITS
    )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return repr(text[:60])


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """The value as a JSON object.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"{field} is not an object but {type(value).__name__}")
    return value


def members(value: Any, field: str) -> Sequence[Mapping[str, Any]]:
    """The value as a list of JSON objects; an absent or null list is empty.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UnexpectedAnswer(f"{field} is not a list but {type(value).__name__}")
    for position, item in enumerate(value):
        if not isinstance(item, dict):
            # Worded here: a name made for each of a reply's thousands, to be thrown away, costs more than the check.
            raise UnexpectedAnswer(
                f"{field}[{position}] is not an object but {type(item).__name__}"
            )
    return value


def elements(reply: Any, collection: str) -> Sequence[Mapping[str, Any]]:
    """The elements of a reply, such as ``elements(reply.json(), "Invoices")``; none when the key is absent.

    Raises:
        UnexpectedAnswer: The reply is not an object, or the collection not a list of objects.
    """
    return members(mapping(reply, "reply").get(collection), collection)


def text(source: Mapping[str, Any], key: str) -> str | None:
    """A text member; None when absent, null or empty (Xero writes all three for "not set").

    Raises:
        UnexpectedAnswer: The member is not text.
    """
    value = source.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and "\x00" not in value:
        return value  # nearly all of them; nothing below would change it
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnexpectedAnswer(f"{key} is not text but {type(value).__name__}")
    # NUL and lone surrogates are legal in JSON, and neither Postgres nor UTF-8 can hold them.
    return str(value).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def required_text(source: Mapping[str, Any], key: str) -> str:
    """A text member that must be there.

    Raises:
        UnexpectedAnswer: It is absent, empty or not text.
    """
    value = text(source, key)
    if value is None:
        raise UnexpectedAnswer(f"{key} is missing")
    return value


def number(source: Mapping[str, Any], key: str) -> Decimal | None:
    """A numeric member; None when absent, null or an empty string.

    Raises:
        UnexpectedAnswer: Present and not a number.
    """
    value = source.get(key)
    return None if value is None or value == "" else parse_decimal(value, key)


def flag(source: Mapping[str, Any], key: str) -> bool | None:
    """A boolean member; None when absent or not a boolean (Xero's flags are advice, never proof)."""
    value = source.get(key)
    return value if isinstance(value, bool) else None


def day(source: Mapping[str, Any], key: str) -> date | None:
    """A document date: ``<key>String`` where Xero sends it (it has no zone to misread), else ``key``.

    Raises:
        UnexpectedAnswer: Present and not a date.
    """
    for name in (f"{key}String", key):
        value = source.get(name)
        if value:
            return parse_date(value, name)
    return None


def instant(source: Mapping[str, Any], key: str) -> datetime | None:
    """A point in time; None when absent.

    Raises:
        UnexpectedAnswer: Present and not a date.
    """
    value = source.get(key)
    return parse_instant(value, key) if value else None


def entity_id(source: Mapping[str, Any], key: str) -> str | None:
    """An id in lower case; None when absent or Xero's zero GUID (its way to say "was not created").

    Raises:
        UnexpectedAnswer: The member is not text.
    """
    value = text(source, key)
    return None if value is None or value == ZERO_GUID else value.lower()
