"""Send dead letters to the topic they came from, once each, for whoever mended the cause.

Each letter is three records, each confirmed by the brokers before the next is sent: "begun" in the topic of replays, the
very bytes in the topic of origin, "published" in the topic of replays. Killed anywhere, it may be done again: a letter
that was begun and not published is sent (again), and consumers know events that they have had. A record that is still
no good comes back as a new dead letter that names the old one; nothing sends it round again.
"""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from aiokafka import AIOKafkaProducer

from pipeline_contracts import topics
from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import Topic
from pipeline_messaging import inbox
from pipeline_messaging.batch import read
from pipeline_messaging.broker import KafkaSettings, make_producer
from pipeline_messaging.dead_letter import DeadLetter
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.history import consumed
from pipeline_messaging.publishing import discard
from pipeline_messaging.stored_letters import Place, StoredLetter

SAFE_AGE = inbox.KEEP - timedelta(days=5)
"""Up to this age every consumer that took the event still knows it."""
TAKEN_UP = "taken_up"
_DONE = frozenset({"published", TAKEN_UP})
_CONFIRM_SECONDS = 20.0


class Why(StrEnum):
    """Why a dead letter is not replayed."""

    NOT_OURS = "NOT_OURS"
    """No consumer of ours put it there, so nothing says where it belongs."""
    SUPERSEDED = "SUPERSEDED"
    """A compacted topic holds a newer state of the same key, which this one would replace for newcomers."""
    WOULD_BE_REFUSED = "WOULD_BE_REFUSED"
    REPLAYED_ALREADY = "REPLAYED_ALREADY"
    TOO_OLD = "TOO_OLD"

    @property
    def can_be_forced(self) -> bool:
        """Whether a person may decide otherwise."""
        return self not in {Why.NOT_OURS, Why.SUPERSEDED}


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason against a replay, in a sentence for the operator."""

    why: Why
    sentence: str


@dataclass(frozen=True, slots=True)
class Replay:
    """One line of the topic of replays: what was done to which dead letter, by whom.

    `step` is "begun" before the record is sent, and "published" once the brokers confirmed it; "taken_up" where the
    service that had set it aside took it in itself (`taking_up`), and nothing was sent.
    """

    place: Place
    step: str
    by: str
    at: datetime
    forced: tuple[Why, ...] = ()
    published_to: str | None = None


class ReplayUnconfirmed(Exception):  # noqa: N818 - a state of knowledge, as PublishUnconfirmed
    """Kafka did not confirm in time: the record may have been sent. Safe to do again."""


def objections(
    letter: StoredLetter,
    *,
    origin: Topic,
    past: Iterable[Replay],
    newest: Mapping[bytes, int],
    now: datetime,
) -> list[Objection]:
    """What speaks against replaying a letter to `origin` now; empty when nothing does.

    Args:
        letter: the dead letter.
        origin: the topic whose dead letters these are.
        past: what was done to this letter before.
        newest: for a compacted topic the offset of each key's newest record.
        now: the time.
    """
    refused = letter.refused
    if (
        refused is None
        or refused.topic != origin.name
        or refused.partition >= origin.partitions
        or letter.place.topic != origin.dead_letters
    ):
        told = f"it does not say that it was set aside from a partition of {origin.name}"
        return [Objection(Why.NOT_OURS, told)]
    found = []
    if letter.key is not None and newest.get(letter.key, -1) > refused.offset:
        found.append(
            Objection(Why.SUPERSEDED, f"{origin.name} holds a newer record of {letter.key_text}")
        )
    for done in past:
        if done.step in _DONE:
            found.append(
                Objection(
                    Why.REPLAYED_ALREADY,
                    f"{done.by} replayed it at {done.at:%Y-%m-%d %H:%M:%S} UTC",
                )
            )
            break
    verdict = read(letter.original)
    if isinstance(verdict, DeadLetter):
        found.append(
            Objection(
                Why.WOULD_BE_REFUSED,
                f"it would be refused again: {verdict.code}: {verdict.reason}",
            )
        )
    elif now - (refused.published_at or letter.at) > SAFE_AGE:
        # By the time of the record, for a consumer may be weeks behind another that took it at once. What nobody can
        # read nobody has taken.
        found.append(
            Objection(
                Why.TOO_OLD,
                f"it is older than {SAFE_AGE.days} days, and a consumer that took it may have forgotten that",
            )
        )
    return found


def line_of(replay: Replay) -> Record:
    """The record that notes a replay."""
    value = {
        "dead_letter": str(replay.place),
        "step": replay.step,
        "by": replay.by,
        "at": replay.at.isoformat(),
        "forced": list(replay.forced),
        "published_to": replay.published_to,
    }
    return Record(topics.REPLAYS.name, str(replay.place).encode(), json.dumps(value).encode(), ())


async def past_replays(kafka: KafkaSettings) -> dict[Place, list[Replay]]:
    """All that was ever done, by dead letter, in its order.

    Raises:
        KafkaError: The broker cannot be reached, or the topic of replays does not exist.
    """
    found: dict[Place, list[Replay]] = {}
    async for record in consumed(kafka, topics.REPLAYS):
        replay = _replay(record.value)
        if replay is not None:
            found.setdefault(replay.place, []).append(replay)
    return found


async def newest_offsets(kafka: KafkaSettings, origin: Topic) -> dict[bytes, int]:
    """For a compacted topic the offset of each key's newest record; nothing for others, where order decides nothing.

    Consumers compare versions, whatever the order. But of a compacted topic only the newest record stays, and who
    reads it later has nothing to compare an old state with.

    Raises:
        KafkaError: As `past_replays`.
    """
    if not origin.compacted:
        return {}
    return {
        record.key: record.offset
        async for record in consumed(kafka, origin)
        if record.key is not None
    }


async def replay(
    kafka: KafkaSettings,
    letters: AsyncIterable[StoredLetter],
    *,
    by: str,
    forced: Mapping[Place, Sequence[Why]] | None = None,
) -> AsyncIterator[Replay]:
    """Send letters to their topics, in the order given, to the partition they were read from; tell of each once done.

    Only for letters with `refused`; whoever calls has asked `objections` and settled them.

    Args:
        kafka: how to reach Kafka, with rights to write to the topics of origin and to the topic of replays.
        letters: what to send, asked for one by one: a flood is never held.
        by: who wants it so; goes into the record's headers and the topic of replays.
        forced: the objections that were overruled, for the topic of replays.

    Raises:
        ReplayUnconfirmed: Kafka did not confirm in time; everything told of before is done.
        KafkaError: Kafka cannot be reached, or refuses a record.
    """
    async with _producer(kafka) as producer:
        async for letter in letters:
            overruled = tuple((forced or {}).get(letter.place, ()))
            now = datetime.now(UTC)
            await _note(producer, Replay(letter.place, "begun", by, now, overruled))
            failpoint("replay:after_begun")
            to = await _send_back(producer, letter, by)
            failpoint("replay:after_sent")
            done = Replay(letter.place, "published", by, datetime.now(UTC), overruled, to)
            await _note(producer, done)
            yield done


async def _send_back(producer: AIOKafkaProducer, letter: StoredLetter, by: str) -> str:
    assert letter.refused is not None  # noqa: S101 - see `StoredLetter.replayed`
    record = letter.replayed(by)
    sent = await _confirmed(
        producer,
        record.topic,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
        # Where its key's other records are: not every producer shares keys out as ours does.
        partition=letter.refused.partition,
    )
    return f"{sent.topic}/{sent.partition}/{sent.offset}"


async def _note(producer: AIOKafkaProducer, replay: Replay) -> None:
    line = line_of(replay)
    await _confirmed(producer, line.topic, key=line.key, value=line.value)


async def _confirmed(producer: AIOKafkaProducer, topic: str, **record: Any) -> Any:
    try:
        # An idempotent batch never expires by itself, so the wait must.
        async with asyncio.timeout(_CONFIRM_SECONDS):
            return await producer.send_and_wait(topic, **record)
    except TimeoutError as error:
        raise ReplayUnconfirmed(
            f"Kafka did not confirm a record for {topic} within {_CONFIRM_SECONDS:.0f} s"
        ) from error


@asynccontextmanager
async def _producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that is thrown away after a failure, without sending late what nobody waits for any more."""
    producer = make_producer(kafka)
    try:
        async with asyncio.timeout(_CONFIRM_SECONDS):
            await producer.start()
        yield producer
        await producer.stop()
    except TimeoutError as error:
        await discard(producer)
        raise ReplayUnconfirmed(
            f"Kafka at {kafka.bootstrap_servers} did not answer within {_CONFIRM_SECONDS:.0f} s"
        ) from error
    except BaseException:
        await discard(producer)
        raise


def _replay(value: bytes | None) -> Replay | None:
    """A line of the topic of replays; None for anything else that somebody wrote there."""
    try:
        found = json.loads(value or b"")
        return Replay(
            Place.parse(found["dead_letter"]),
            str(found["step"]),
            str(found["by"]),
            datetime.fromisoformat(found["at"]).astimezone(UTC),
            tuple(Why(one) for one in found["forced"]),
            found["published_to"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
