"""Dead letters as they lie in Kafka: found by place or time, taken apart into the record as read and why it was refused."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.dead_letter import (
    ABOUT,
    PUBLISHED_AT,
    REPLAYED_BY,
    REPLAYED_FROM,
    ConsumedRecord,
    Headers,
)
from pipeline_messaging.history import consumed, record_at

_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a dead letter lies; for ever its own, and so its name."""

    topic: str
    """The dead letter topic."""
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError with the form that is expected."""
        topic, _, rest = text.strip().partition("/")
        partition, _, offset = rest.partition("/")
        # Not isdigit: that holds for digits of other scripts, which int may refuse.
        if not (topic and _is_number(partition) and _is_number(offset)):
            raise ValueError(
                f"{text!r} names no dead letter: give topic/partition/offset,"
                " such as pipeline.invoices.v1.dlq/0/17"
            )
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Refused:
    """What the consumer noted about the record it set aside."""

    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    published_at: datetime | None = None
    """When the record was published; None in letters of releases that did not note it."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One record of a dead letter topic.

    Attributes:
        place: where it lies.
        at: when it was set aside.
        refused: what the consumer noted; None for a record that no consumer of ours put there.
        key, value, headers: the record as it was read, without what was added since.
        replayed_from: the place of the dead letter that was replayed and came back as this one.
    """

    place: Place
    at: datetime
    refused: Refused | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    replayed_from: str | None = None

    @classmethod
    def of(cls, record: ConsumedRecord) -> Self:
        """Take a record of a dead letter topic apart. Raises nothing, whatever the bytes."""
        refused, headers = _refused(tuple(record.headers))
        replayed_from, headers = _replayed_from(headers) if refused else (None, headers)
        return cls(
            Place(record.topic, record.partition, record.offset),
            _moment(record.timestamp) or _LONG_AGO,
            refused,
            record.key,
            record.value,
            headers,
            replayed_from,
        )

    @property
    def original(self) -> ConsumedRecord:
        """The record as it was read, where it was read."""
        at = self.refused or Refused(
            self.place.topic, self.place.partition, self.place.offset, "", ""
        )
        return _Read(
            at.topic,
            at.partition,
            at.offset,
            int(self.at.timestamp() * 1000),
            self.key,
            self.value,
            self.headers,
        )

    @property
    def key_text(self) -> str | None:
        """The key for people."""
        return None if self.key is None else self.key.decode("utf-8", "backslashreplace")

    @property
    def account_id(self) -> str | None:
        """The account, where the body says so in any way."""
        found = _json_object(self.value).get("account_id")
        return found if isinstance(found, str) else None

    def header(self, name: str) -> str | None:
        """A header of the record as read, for people."""
        for found, value in self.headers:
            if found.lower() == name and value is not None:
                return value.decode("utf-8", "backslashreplace")
        return None

    def replayed(self, by: str) -> Record:
        """The very record for the topic it came from, marked with what it is a copy of and who sent it.

        Only for a letter with `refused`. Consumers ignore headers they do not know.
        """
        assert self.refused is not None  # noqa: S101 - the caller asked `objections` first
        marks = ((REPLAYED_FROM, str(self.place)), (REPLAYED_BY, by))
        added = tuple((name, text.encode("utf-8", "replace")) for name, text in marks)
        return Record(self.refused.topic, self.key, self.value, (*self.headers, *added))


@dataclass(slots=True)
class _Read:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


async def stored_letters(
    kafka: KafkaSettings, origin: Topic, *, since: datetime | None = None
) -> AsyncIterator[StoredLetter]:
    """What was set aside of the topic `origin` until now, from `since` on.

    Raises:
        KafkaError: The broker cannot be reached, or the topic does not exist.
    """
    queue = Topic(origin.dead_letters, "as read", partitions=origin.partitions)
    async for record in consumed(kafka, queue, since=since):
        yield StoredLetter.of(record)


async def stored_letter(kafka: KafkaSettings, place: Place) -> StoredLetter | None:
    """The dead letter at a place; None where there is none, or none any more.

    Raises:
        KafkaError: As `stored_letters`.
    """
    record = await record_at(kafka, place.topic, place.partition, place.offset)
    return None if record is None else StoredLetter.of(record)


def _refused(headers: Headers) -> tuple[Refused | None, Headers]:
    """The consumer's headers are the last ones; whatever looks like them before was sent so."""
    own, added = headers[: -len(ABOUT)], headers[-len(ABOUT) :]
    texts = [(value or b"").decode("utf-8", "replace") for _, value in added]
    if tuple(name for name, _ in added) != ABOUT:
        return None, headers
    topic, partition, offset, code, reason = texts
    if not (_is_number(partition) and _is_number(offset)):
        return None, headers
    published_at, own = _published_at(own)
    return Refused(topic, int(partition), int(offset), code, reason, published_at), own


def _published_at(headers: Headers) -> tuple[datetime | None, Headers]:
    if not headers or headers[-1][0] != PUBLISHED_AT:
        return None, headers
    text = (headers[-1][1] or b"").decode("utf-8", "replace")
    at = _moment(text)
    return (None, headers) if at is None else (at, headers[:-1])


def _moment(milliseconds: int | str) -> datetime | None:
    """The time of a record by its own word, which may be any number; None where that is none."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _replayed_from(headers: Headers) -> tuple[str | None, Headers]:
    own, added = headers[:-2], headers[-2:]
    if tuple(name for name, _ in added) != (REPLAYED_FROM, REPLAYED_BY):
        return None, headers
    return (added[0][1] or b"").decode("utf-8", "replace"), own


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19  # noqa: PLR2004 - fits Kafka's 64 bits


def _json_object(value: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(value or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
