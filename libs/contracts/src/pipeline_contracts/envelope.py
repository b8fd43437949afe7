"""Events to Kafka records and back: CloudEvents 1.0, binary mode.

Source of the header names: the CloudEvents specification 1.0, its Kafka protocol binding (§3.2, binary
content mode) and its distributed tracing extension.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from pipeline_contracts import connection, customer, invoice, observed, payment, reconciled, sync
from pipeline_contracts.errors import (
    HeaderInvalid,
    HeaderMissing,
    KeyMismatch,
    NotEncodable,
    PayloadInvalid,
    RecordTooLarge,
    Tombstone,
    UnknownEventType,
)
from pipeline_contracts.event import EVENT_TYPES, Event
from pipeline_contracts.fields import WRITING, rfc3339

MAX_EVENT_BYTES: Final = 1_000_000
"""Largest body of an event."""

MAX_ATTRIBUTE: Final = 255
"""Longest `ce_id`, `ce_source`, `ce_type` or `ce_time`, in characters."""

# The modules define the events; naming them here keeps `decode` complete whoever imports it first.
_DEFINED_BY: Final = (connection, customer, invoice, observed, payment, reconciled, sync)

_SPEC_VERSION: Final = "1.0"
_JSON: Final = "application/json"
_STRUCTURED_JSON: Final = "application/cloudevents"
_ATTRIBUTE: Final = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_ATTRIBUTE}}}")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_READ: Final = frozenset(
    {
        "ce_specversion",
        "ce_type",
        "ce_source",
        "ce_id",
        "ce_subject",
        "ce_time",
        "ce_datacontenttype",
        "content-type",
        "ce_traceparent",
        "traceparent",
    }
)
_SHOWN_ERRORS: Final = 3
_STABLE_IDS: Final = uuid.UUID("4f6f4a0e-6f0d-5a52-9a4b-6f3f0f6b7d11")


@dataclass(frozen=True, slots=True)
class Record:
    """What goes into Kafka: the bytes, and the topic they belong to."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event as it was read, with its CloudEvents attributes."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    traceparent: str | None
    event: Event

    @property
    def identity(self) -> tuple[str, str]:
        """What makes the event one, however often it is delivered: consumers deduplicate on it."""
        return (self.source, self.id)


def stable_id(event: Event) -> str:
    """The same id for the same event however often it is published: from type, account, subject and revision.

    Raises:
        NotEncodable: nothing in this kind of event tells one from the next; give each an id of its own.
    """
    if event.revision is None:
        raise NotEncodable(
            f"{type(event).__name__} has no version or sequence to derive an id from; pass an id"
        )
    # A JSON array keeps ("a", "b-1") and ("a-b", "1") apart, which joining by a character would not.
    name = json.dumps([event.TYPE, event.account_id, event.subject, event.revision])
    return str(uuid.uuid5(_STABLE_IDS, name))


def encode(
    event: Event,
    *,
    id: str,  # noqa: A002 - CloudEvents' word
    source: str,
    time: datetime,
    traceparent: str | None = None,
) -> Record:
    """Turn an event into the record to publish, keyed by its subject.

    The body is read back by the writer's rules before it leaves, because copies of a model
    (`model_copy`, `model_construct`) are never validated and a dead letter elsewhere helps nobody here.

    Args:
        event: the event.
        id: unique per `source`, and the same whenever the same event is published again.
        source: the service that speaks.
        time: when it happened; aware.
        traceparent: W3C trace context, if there is one.

    Raises:
        NotEncodable: the event or an attribute breaks the contract, or the body exceeds MAX_EVENT_BYTES.
    """
    if not hasattr(type(event), "TYPE"):
        raise NotEncodable(f"{type(event).__name__} is a body shared by events, not an event")
    for name, text in (("id", id), ("source", source)):
        if _ATTRIBUTE.fullmatch(text) is None:
            raise NotEncodable(
                f"{name}: 1 to {MAX_ATTRIBUTE} characters without control characters are needed"
            )
    if time.utcoffset() is None:
        raise NotEncodable("time: it needs a time zone")
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is None:
        raise NotEncodable("traceparent: not a W3C trace context")
    value = _body(event)
    headers = [
        ("ce_specversion", _SPEC_VERSION),
        ("ce_type", event.TYPE),
        ("ce_source", source),
        ("ce_id", id),
        ("ce_subject", event.subject),
        ("ce_time", rfc3339(time)),
        ("content-type", _JSON),
    ]
    if traceparent is not None:
        headers += [("ce_traceparent", traceparent), ("traceparent", traceparent)]
    try:
        raw = tuple((name, text.encode()) for name, text in headers)
    except UnicodeEncodeError:
        raise NotEncodable("id and source: not valid Unicode") from None
    return Record(topic=event.TOPIC, key=event.subject.encode(), value=value, headers=raw)


def _body(event: Event) -> bytes:
    try:
        value = event.__pydantic_serializer__.to_json(event, exclude_none=True, warnings="error")
    except (PydanticSerializationError, AttributeError, ValueError, TypeError) as error:
        raise NotEncodable(f"{type(event).__name__}: {error}") from error
    if len(value) > MAX_EVENT_BYTES:
        raise NotEncodable(
            f"{type(event).__name__}: {len(value)} bytes, more than {MAX_EVENT_BYTES}; shorten its texts"
        )
    try:
        event.__pydantic_validator__.validate_json(value, context=WRITING)
    except ValidationError as error:
        raise NotEncodable(f"{type(event).__name__}: {_explain(error)[0]}") from error
    return value


def decode(
    *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> Envelope:
    """Read a record of any topic of events; unknown headers, fields and words are ignored.

    Args:
        key: the record's key as read.
        value: its value as read; None and empty are both a tombstone.
        headers: its headers as read, undecoded.

    Raises:
        UndecodableRecord: always one of its leaves, and nothing else whatever the bytes.
    """
    if not value:
        raise Tombstone(
            "value: the record has no body; publish an event such as InvoiceVoided instead"
        )
    if len(value) > MAX_EVENT_BYTES:
        raise RecordTooLarge(
            f"value: {len(value)} bytes, the limit is {MAX_EVENT_BYTES}; shorten texts or split the invoice"
        )
    found = _headers(headers)
    version = _recurring(found, "ce_specversion")
    if version != _SPEC_VERSION:
        raise HeaderInvalid(
            f'ce_specversion: {_quoted(version)}; send "{_SPEC_VERSION}"', field="ce_specversion"
        )
    _check_content_type(found)
    type_ = _recurring(found, "ce_type")
    event_id = _required(found, "ce_id")
    source = _recurring(found, "ce_source")
    time = _time(_required(found, "ce_time"))
    model = EVENT_TYPES.get(type_)
    if model is None:
        raise UnknownEventType(
            f"ce_type: {_quoted(type_)} is no event of these contracts; check the spelling, or upgrade the reader",
            field="ce_type",
        )
    try:
        event = model.__pydantic_validator__.validate_json(value)
    except ValidationError as error:
        message, field = _explain(error)
        raise PayloadInvalid(message, field=field) from error
    subject = event.subject
    _check_key(key, found.get("ce_subject"), subject)
    return Envelope(event_id, source, type_, subject, time, _traceparent(found), event)


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name not in _READ or value is None:
            continue
        # A hop may add a trace of its own; which of two is shown matters to nobody's invoice.
        if found.setdefault(name, value) != value and not name.endswith("traceparent"):
            raise HeaderInvalid(
                f"{name}: given twice with different values; send it once", field=name
            )
    return found


def _required(found: dict[str, bytes], name: str) -> str:
    return _attribute(_present(found, name), name)


def _recurring(found: dict[str, bytes], name: str) -> str:
    """As `_required`, for what is the same in thousands of records: read once, remembered."""
    return _known_attribute(_present(found, name), name)


def _present(found: dict[str, bytes], name: str) -> bytes:
    raw = found.get(name)
    if raw is None:
        raise HeaderMissing(
            f"{name}: missing; send it as CloudEvents 1.0 binary mode asks", field=name
        )
    return raw


def _attribute(raw: bytes, name: str) -> str:
    text = _text(raw, name)
    if _ATTRIBUTE.fullmatch(text) is None:
        raise HeaderInvalid(
            f"{name}: 1 to {MAX_ATTRIBUTE} characters without control characters are needed",
            field=name,
        )
    return text


_known_attribute = lru_cache(maxsize=256)(_attribute)


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise HeaderInvalid(f"{name}: not UTF-8; send text", field=name) from None


def _check_content_type(found: dict[str, bytes]) -> None:
    for name in ("content-type", "ce_datacontenttype"):
        raw = found.get(name)
        if raw is None or raw == b"application/json":
            continue
        media = _text(raw, name).partition(";")[0].strip().lower()
        if media.startswith(_STRUCTURED_JSON):
            raise HeaderInvalid(
                f"{name}: structured CloudEvents are not read; send binary mode, attributes as ce_* headers",
                field=name,
            )
        if media != _JSON and not (media.startswith("application/") and media.endswith("+json")):
            raise HeaderInvalid(f"{name}: {_quoted(media)}; send {_JSON}", field=name)


def _time(text: str) -> datetime:
    moment = _moment(text)
    if moment is None:
        raise HeaderInvalid(
            f'ce_time: {_quoted(text)} is no time; send RFC 3339 in UTC such as "2026-03-01T09:30:00Z"',
            field="ce_time",
        )
    return moment


def _moment(text: str) -> datetime | None:
    if _TIME.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _traceparent(found: dict[str, bytes]) -> str | None:
    # A broken trace loses a line in a diagram; it must not lose an invoice.
    for name in ("traceparent", "ce_traceparent"):
        if (raw := found.get(name)) is None:
            continue
        text = raw.decode(errors="replace")
        if _TRACEPARENT.fullmatch(text):
            return text
    return None


def _check_key(key: bytes | None, ce_subject: bytes | None, subject: str) -> None:
    expected = subject.encode()
    if key is None:
        raise KeyMismatch(
            f"key: missing; send the id of the aggregate, {_quoted(subject)}", field="key"
        )
    if key != expected:
        raise KeyMismatch(
            f"key: {_quoted(key.decode(errors='replace'))}, but the event is about {_quoted(subject)}; "
            "send that id as the key",
            field="key",
        )
    if ce_subject is not None and ce_subject != expected:
        raise KeyMismatch(
            f"ce_subject: {_quoted(ce_subject.decode(errors='replace'))}, but the event is about "
            f"{_quoted(subject)}; send that id as the subject",
            field="ce_subject",
        )


def _explain(error: ValidationError) -> tuple[str, str | None]:
    """The first few faults of a body in words, and the field of the first."""
    # Without the input: bodies hold people's data, and this text goes into headers and logs.
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [".".join(str(part)[:64] for part in fault["loc"]) for fault in faults[:_SHOWN_ERRORS]]
    told = [
        f"{field or 'value'}: {fault['msg'].removeprefix('Value error, ')}"
        for field, fault in zip(fields, faults, strict=False)
    ]
    more = len(faults) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more > 0 else ""), fields[0] or None


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= MAX_ATTRIBUTE else text[:MAX_ATTRIBUTE] + "…")
