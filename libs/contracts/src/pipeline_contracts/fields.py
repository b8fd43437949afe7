"""The kinds of field events are made of: ids, texts, dates, times, and words from a known list.

Structural limits only. What Xero or a bookkeeper would refuse (a reference of 300 characters, a currency
`XXQ`) is read without complaint here, so that the invoice can say in a sentence what is wrong with it.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

WRITING: Final = "writing"
"""Validation context of a writer. Without it a reader is at work, who tolerates new words."""

MAX_ID = 255
MAX_INT = 2**31 - 1

Id = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=MAX_ID,
        # Ids become Kafka keys, log fields and URL segments: printable, no space at either end.
        pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$",
    ),
]
"""An opaque identifier."""

# PostgreSQL cannot store U+0000 in text, and no person ever typed one.
_NO_NUL = r"^[^\x00]*$"


def _text(limit: int) -> StringConstraints:
    return StringConstraints(max_length=limit, pattern=_NO_NUL)


Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_NUL)]
"""A code or status: short, not empty."""

Code = Annotated[str, _text(255)]
"""A code written by Pipeline. Empty or unheard of, it is for its reader to explain, not to be unreadable."""

ShortText = Annotated[str, _text(1_000)]
"""A name, a number or a reference."""

LongText = Annotated[str, _text(20_000)]
"""A description or a message."""

Version = Annotated[int, Field(strict=True, ge=1, le=MAX_INT)]
"""1, 2, 3, … per aggregate."""

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INT)]
"""0 or more."""

Flag = Annotated[bool, Field(strict=True)]
"""true or false, never 0 or "yes"."""

_DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DATE: Final = re.compile(_DATE_PATTERN)
_TIMESTAMP_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
_TIMESTAMP: Final = re.compile(_TIMESTAMP_PATTERN)
_UTC_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z$"


def _read_date(value: object) -> object:
    # Numbers would be taken for Unix times, which name no calendar day without a time zone.
    if isinstance(value, str):
        if _DATE.fullmatch(value):
            return value
    elif isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError('not a date; send the calendar day as "YYYY-MM-DD"')


def _read_timestamp(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _TIMESTAMP.fullmatch(value)):
        return value
    raise ValueError('not a time; send RFC 3339 in UTC such as "2026-03-01T09:30:00Z"')


def _to_utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError('no time zone; send RFC 3339 in UTC such as "2026-03-01T09:30:00Z"')
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of bounds: no such moment in UTC") from None


def rfc3339(moment: datetime) -> str:
    """Spell an aware `moment` in UTC, e.g. `2026-03-01T09:30:00Z`, with microseconds only if it has any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


Day = Annotated[
    date,
    BeforeValidator(_read_date),
    WithJsonSchema({"type": "string", "format": "date", "pattern": _DATE_PATTERN}),
]
"""A calendar day without a time zone."""

Timestamp = Annotated[
    datetime,
    BeforeValidator(_read_timestamp),
    AfterValidator(_to_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": _TIMESTAMP_PATTERN}, mode="validation"
    ),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": _UTC_PATTERN}, mode="serialization"
    ),
]
"""A moment, always in UTC once read."""


class Known:
    """Annotation of a `Word` from a list that may grow.

    A writer may only use the `words`; a reader takes any word, so that a new one does not stop old
    readers. The writer's JSON Schema lists the words, the reader's does not.
    """

    __slots__ = ("words",)

    def __init__(self, *words: str) -> None:
        self.words = words

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if handler.mode == "serialization":
            return {"type": "string", "enum": list(self.words)}
        return {**handler(schema), "examples": list(self.words)}

    def _check(self, value: str, info: ValidationInfo) -> str:
        if info.context == WRITING and value not in self.words:
            raise ValueError(f"not one of {', '.join(self.words)}")
        return value
