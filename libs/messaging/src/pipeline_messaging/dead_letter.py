"""What could not be read or handled goes, byte for byte, to `<topic>.dlq`, with where it stood and why."""

from dataclasses import dataclass
from typing import Protocol

from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import dead_letter_topic
from pipeline_messaging.inbox import EventId

HANDLER_FAILED = "HANDLER_FAILED"
ABOUT = ("x-dlq-topic", "x-dlq-partition", "x-dlq-offset", "x-dlq-code", "x-dlq-reason")
"""The headers that end a record that is set aside, in their order, after all of its own."""
PUBLISHED_AT = "x-dlq-timestamp"
"""The header before those: the record's own time, in milliseconds. Letters of earlier releases lack it."""
REPLAYED_FROM = "x-dlq-replay-of"
"""Header of a record that was replayed: the dead letter it is a copy of, as topic/partition/offset."""
REPLAYED_BY = "x-dlq-replay-by"
"""Header of a record that was replayed: who had that done."""
Headers = tuple[tuple[str, bytes | None], ...]
_REASON_LIMIT = 1_000


class ConsumedRecord(Protocol):
    """The part of aiokafka's ConsumerRecord this library reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be used, with the code and the sentence that say why."""

    record: ConsumedRecord
    code: str
    reason: str

    @property
    def inbox_id(self) -> EventId:
        """What makes this record one: its place, and its time in case the topic is deleted and made anew."""
        record = self.record
        place = f"{record.partition}/{record.offset}/{record.timestamp}"
        return (f"kafka:{record.topic}", place)

    def to_record(self) -> Record:
        """The record for the dead letter topic: raw key, value and headers, then the `x-dlq-*` headers.

        A record with neither key nor value gets an empty value: aiokafka cannot send "nothing at all".
        """
        record = self.record
        about = (
            record.topic,
            str(record.partition),
            str(record.offset),
            self.code,
            self.reason[:_REASON_LIMIT],
        )
        texts = ((PUBLISHED_AT, str(record.timestamp)), *zip(ABOUT, about, strict=True))
        added = tuple((name, text.encode("utf-8", "replace")) for name, text in texts)
        nothing_at_all = record.key is None and record.value is None
        value = b"" if nothing_at_all else record.value
        return Record(dead_letter_topic(record.topic), record.key, value, (*record.headers, *added))
