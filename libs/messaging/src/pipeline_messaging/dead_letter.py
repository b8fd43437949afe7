"""What could not be read or handled goes, byte for byte, to `<topic>.dlq`, with where it stood and why."""

from dataclasses import dataclass
from typing import Protocol

from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import dead_letter_topic
from pipeline_messaging.inbox import EventId

HANDLER_FAILED = "HANDLER_FAILED"
_REASON_LIMIT = 1_000


class ConsumedRecord(Protocol):
    """The part of aiokafka's ConsumerRecord this library reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


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
        about = {
            "x-dlq-topic": record.topic,
            "x-dlq-partition": str(record.partition),
            "x-dlq-offset": str(record.offset),
            "x-dlq-code": self.code,
            "x-dlq-reason": self.reason[:_REASON_LIMIT],
        }
        added = tuple((name, text.encode("utf-8", "replace")) for name, text in about.items())
        nothing_at_all = record.key is None and record.value is None
        value = b"" if nothing_at_all else record.value
        return Record(dead_letter_topic(record.topic), record.key, value, (*record.headers, *added))
