"""One batch, one transaction: inbox rows, the service's effect and dead letters commit together or not at all."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import asyncpg
import structlog

from pipeline_contracts.envelope import Envelope, decode
from pipeline_contracts.errors import UndecodableRecord
from pipeline_messaging import inbox, metrics, outbox, traces
from pipeline_messaging.connection import Connection
from pipeline_messaging.dead_letter import HANDLER_FAILED, ConsumedRecord, DeadLetter
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.faults import is_infrastructure
from pipeline_messaging.inbox import EventId

log = structlog.get_logger(__name__)

Handle = Callable[[asyncpg.Connection, list[Envelope]], Awaitable[None]]

_ACQUIRE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A readable record and what it says."""

    record: ConsumedRecord
    envelope: Envelope

    @property
    def inbox_id(self) -> EventId:
        """CloudEvents' identity of the event."""
        return (self.envelope.source, self.envelope.id)


@dataclass(frozen=True, slots=True)
class Stored:
    """What one committed batch came to."""

    accepted: int
    duplicates: int
    dead_letters: tuple[DeadLetter, ...]

    def count(self, topic: str) -> None:
        """Add to the metrics: after the commit, so that a batch tried three times counts once."""
        metrics.inbox_accepted_total.labels(topic).inc(self.accepted)
        metrics.inbox_duplicates_total.labels(topic).inc(self.duplicates)
        for code, number in Counter(letter.code for letter in self.dead_letters).items():
            metrics.dead_letters_total.labels(topic, code).inc(number)
        for letter in self.dead_letters:
            log.error(
                "dead_letter",
                topic=topic,
                partition=letter.record.partition,
                offset=letter.record.offset,
                code=letter.code,
                reason=letter.reason,
            )


class HandlerError(Exception):
    """The service's handler failed on this batch, and not for the infrastructure's sake."""


async def store_batch(
    pool: asyncpg.Pool, records: Sequence[ConsumedRecord], handle: Handle
) -> Stored:
    """Store a batch in one transaction.

    Raises what the infrastructure raises; nothing is stored then.
    """
    readable, unreadable = _read(records)
    async with pool.acquire(timeout=_ACQUIRE_SECONDS) as conn:
        try:
            async with conn.transaction():
                return await _store(conn, readable, unreadable, handle)
        except HandlerError:
            async with conn.transaction():
                return await _store(conn, readable, unreadable, handle, one_by_one=True)


def _read(records: Sequence[ConsumedRecord]) -> tuple[list[Decoded], list[DeadLetter]]:
    readable: list[Decoded] = []
    unreadable: list[DeadLetter] = []
    for record in records:
        match read(record):
            case Decoded() as decoded:
                readable.append(decoded)
            case DeadLetter() as letter:
                unreadable.append(letter)
    return readable, unreadable


def read(record: ConsumedRecord) -> Decoded | DeadLetter:
    """What a record says, or why it cannot be used. Raises nothing, whatever the bytes."""
    try:
        envelope = decode(key=record.key, value=record.value, headers=record.headers)
        _storable(envelope.source)
        _storable(envelope.id)
    except UndecodableRecord as error:
        return DeadLetter(record, error.code, str(error))
    except Exception as error:  # a record that breaks the decoder must not stop its partition
        log.exception("decoder_failed", topic=record.topic, offset=record.offset)
        return DeadLetter(record, "DECODER_FAILED", type(error).__name__)
    return Decoded(record, envelope)


def _storable(text: str) -> None:
    """Postgres keeps no NUL and no lone surrogate in text; an id with one would stop the partition."""
    if "\0" in text:
        raise ValueError("an id holds a NUL character")
    text.encode()


async def _store(
    conn: Connection,
    readable: Sequence[Decoded],
    unreadable: Sequence[DeadLetter],
    handle: Handle,
    *,
    one_by_one: bool = False,
) -> Stored:
    if one_by_one:
        accepted, guilty = await _handle_one_by_one(conn, readable, handle)
    else:
        accepted, guilty = await _handle_together(conn, readable, handle), []
    failpoint("consume:after_handle")
    letters = (*unreadable, *guilty)
    new = await inbox.accept(conn, [letter.inbox_id for letter in letters])
    letters = tuple(letter for letter in letters if letter.inbox_id in new)
    await outbox.add(conn, *(letter.to_record() for letter in letters))
    failpoint("consume:before_commit")
    return Stored(accepted, len(readable) - accepted - len(guilty), letters)


async def _handle_together(conn: Connection, readable: Sequence[Decoded], handle: Handle) -> int:
    new = await inbox.accept(conn, [event.inbox_id for event in readable])
    failpoint("consume:after_inbox")
    envelopes = []
    for event in readable:
        if event.inbox_id in new:
            new.remove(event.inbox_id)  # a second copy in this batch is one too many
            envelopes.append(event.envelope)
    if envelopes:
        with traces.taking_in(envelopes) as traced:
            await _call(handle, conn, traced)
    return len(envelopes)


async def take_in(conn: Connection, event: Decoded, handle: Handle) -> bool:
    """Take in one event within the caller's transaction; whether it was new.

    Raises:
        HandlerError: the handler failed on it; to be rolled back.
    """
    return await _handle_together(conn, [event], handle) == 1


async def _handle_one_by_one(
    conn: Connection, readable: Sequence[Decoded], handle: Handle
) -> tuple[int, list[DeadLetter]]:
    """Each event in a savepoint, so that only the guilty ones are set aside.

    A guilty event leaves no inbox row under its own id: replaying its dead letter must be able to succeed.
    """
    accepted = 0
    guilty: list[DeadLetter] = []
    for event in readable:
        try:
            async with conn.transaction():
                accepted += await _handle_together(conn, [event], handle)
        except HandlerError as failure:
            cause = failure.__cause__
            log.exception("handler_failed", event_type=event.envelope.type, exc_info=cause)
            reason = f"the handler failed with {type(cause).__name__}: see the service's log"
            guilty.append(DeadLetter(event.record, HANDLER_FAILED, reason))
    return accepted, guilty


async def _call(handle: Handle, conn: Connection, envelopes: list[Envelope]) -> None:
    try:
        # A pooled connection is a Connection in all but its declared type.
        await handle(cast("asyncpg.Connection", conn), envelopes)
    except Exception as error:
        if conn.is_closed() or is_infrastructure(error):
            raise
        raise HandlerError from error
