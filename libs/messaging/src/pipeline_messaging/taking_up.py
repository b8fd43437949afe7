"""Take a dead letter up in the service that set it aside, as if the record had just been read.

For people at a page, where `replay` is for the operator at Kafka: nothing is written to the topic of origin, so the
service needs no right to speak for that topic's producers. The event's effect, its row in the inbox and the note for the
topic of replays commit together: pressed twice, by two people at once or killed anywhere, it is done once or not at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from pipeline_contracts.topics import Topic
from pipeline_messaging import outbox
from pipeline_messaging.batch import Decoded, Handle, read, take_in
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.replay import (
    TAKEN_UP,
    Objection,
    Replay,
    line_of,
    newest_offsets,
    objections,
    past_replays,
)
from pipeline_messaging.stored_letters import Place, StoredLetter, stored_letter


@dataclass(frozen=True, slots=True)
class Judged:
    """A dead letter, what speaks against taking it up, and what was done to it before."""

    letter: StoredLetter
    against: tuple[Objection, ...]
    past: tuple[Replay, ...]


@dataclass(frozen=True, slots=True)
class OwnLetters:
    """What a service takes up again: the dead letters that it alone writes.

    Attributes:
        kafka: how to reach Kafka, with rights to read those topics of dead letters and the topic of replays.
        pool: the service's database.
        handlers: what takes in the events of each topic. Only topics that no other service reads and sets aside from:
            a letter does not say whose it is.
        on_taken_up: called once something was taken in: wakes who goes on with it.
    """

    kafka: KafkaSettings
    pool: asyncpg.Pool
    handlers: Mapping[Topic, Handle]
    on_taken_up: Callable[[], None]

    async def find(self, account_id: str, place: Place, now: datetime) -> Judged | None:
        """What would come of taking up a dead letter; None unless it is one of these that names this account.

        Raises:
            KafkaError: Kafka does not answer.
        """
        origin = self._origin(place)
        letter = None if origin is None else await find(self.kafka, origin, place)
        if origin is None or letter is None or letter.account_id != account_id:
            return None
        return await judge(self.kafka, letter, origin, now)

    async def take_up(self, found: Judged, by: str, now: datetime) -> bool:
        """Take it in, noted under the name of who asked; False where its event was had already, and nothing changed.

        Raises:
            HandlerError: it failed again; nothing changed.
        """
        origin = self._origin(found.letter.place)
        assert origin is not None  # noqa: S101 - `find` gave it
        handle = self.handlers[origin]
        is_new = await take_up(self.pool, found.letter, handle, by=by, now=now)
        self.on_taken_up()
        return is_new

    def _origin(self, place: Place) -> Topic | None:
        return next((each for each in self.handlers if each.dead_letters == place.topic), None)


async def judge(kafka: KafkaSettings, letter: StoredLetter, origin: Topic, now: datetime) -> Judged:
    """Ask everything that `objections` wants to know.

    Raises:
        KafkaError: The broker cannot be reached, or the topic of replays does not exist.
    """
    past = tuple((await past_replays(kafka)).get(letter.place, ()))
    newest = await newest_offsets(kafka, origin)
    against = objections(letter, origin=origin, past=past, newest=newest, now=now)
    return Judged(letter, tuple(against), past)


async def find(kafka: KafkaSettings, origin: Topic, place: Place) -> StoredLetter | None:
    """The dead letter of `origin` at a place; None where there is none, or where none of that topic can be.

    Raises:
        KafkaError: As `judge`.
    """
    if place.topic != origin.dead_letters or place.partition >= origin.partitions:
        return None
    return await stored_letter(kafka, place)


async def take_up(
    pool: asyncpg.Pool, letter: StoredLetter, handle: Handle, *, by: str, now: datetime
) -> bool:
    """Take a letter in; whether its event was new. For letters that nothing speaks against.

    Raises:
        HandlerError: the handler failed again; nothing was stored.
    """
    event = read(letter.original)
    assert isinstance(event, Decoded)  # noqa: S101 - whoever calls has asked `judge`
    async with pool.acquire() as conn, conn.transaction():
        if not await take_in(conn, event, handle):
            return False
        failpoint("take_up:after_handle")
        await outbox.add(conn, line_of(Replay(letter.place, TAKEN_UP, by, now)))
        failpoint("take_up:before_commit")
    return True
