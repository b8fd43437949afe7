"""Dead letters sent back on real Kafka and Postgres: the very bytes, once, into consumers that know what they had."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from pipeline_contracts import topics
from pipeline_contracts.topics import Topic
from pipeline_messaging import replay as replaying
from pipeline_messaging.broker import consuming, make_broker
from pipeline_messaging.dead_letter import DeadLetter
from pipeline_messaging.history import held, history, lag_of
from pipeline_messaging.relay import Relay
from pipeline_messaging.replay import (
    ReplayUnconfirmed,
    Why,
    newest_offsets,
    objections,
    past_replays,
    replay,
)
from pipeline_messaging.stored_letters import Place, stored_letter, stored_letters
from pipeline_messaging.subscriber import subscribe


@pytest.fixture(autouse=True)
async def _topic_of_replays(broker_tools):
    """The one topic whose name is fixed: shared by whatever runs on this broker."""
    wanted = topics.REPLAYS
    new = NewTopic(wanted.name, wanted.partitions, 1, topic_configs=wanted.config)
    with suppress(TopicAlreadyExistsError):
        await broker_tools.admin.create_topics([new])


class Handler:
    """Stores one row per event; fails on those of `guilty`, as a bug would until it is mended."""

    def __init__(self) -> None:
        self.guilty: set[str] = set()

    async def __call__(self, conn, envelopes) -> None:
        for envelope in envelopes:
            if envelope.subject in self.guilty:
                raise RuntimeError("a bug")
            await conn.execute(
                "INSERT INTO effects (event_id, subject) VALUES ($1, $2)",
                envelope.id,
                envelope.subject,
            )


@pytest.fixture
async def handler(pool: asyncpg.Pool) -> Handler:
    await pool.execute("CREATE TABLE effects (event_id text NOT NULL, subject text NOT NULL)")
    return Handler()


@pytest.fixture
async def origin(broker_tools) -> Topic:
    return Topic(await broker_tools.topic(partitions=1), "customer_id", partitions=1)


@pytest.fixture
def consumer(settings, pool, dsn, origin, handler):
    """A consumer of the topic, at work for as long as the block lasts."""
    group = f"test-{secrets.token_hex(4)}"

    @asynccontextmanager
    async def at_work() -> AsyncIterator[None]:
        broker = make_broker(settings)
        subscribe(broker, origin.name, group_id=group, pool=pool, handle=handler)
        async with Relay(dsn, settings), consuming(broker):
            yield

    at_work.group = group
    return at_work


@pytest.fixture
def letters(settings, origin):
    async def listed(since=None):
        return [letter async for letter in stored_letters(settings, origin, since=since)]

    return listed


@pytest.fixture
def effects(pool):
    async def stored():
        return sorted(row["subject"] for row in await pool.fetch("SELECT subject FROM effects"))

    return stored


async def _one_by_one(letters):
    for letter in letters:
        yield letter


async def _sent(settings, letters, by="ann", **more):
    return [done async for done in replay(settings, _one_by_one(letters), by=by, **more)]


async def test_mended_letters_are_taken_once_however_often_they_are_replayed(
    broker_tools, settings, origin, customer, handler, consumer, letters, effects, until
):
    handler.guilty = {"c-2", "c-3"}
    bad = replace(customer(origin.name, "c-4"), value=b"\xffnot json")
    good = [customer(origin.name, f"c-{number}") for number in (1, 2, 3)]
    before = datetime.now(UTC)
    async with consumer():
        await broker_tools.send([*good, bad])

        async def three():
            found = await letters()
            return found if len(found) == 3 else None

        set_aside = await until(three)
        assert await effects() == ["c-1"]
        handler.guilty = set()
        mended = [one for one in set_aside if one.refused.code == "HANDLER_FAILED"]

        first = await _sent(settings, mended)
        await _sent(settings, mended)  # forced, or by two operators at once

        async def all_three():
            return len(await effects()) >= 3

        await until(all_three)

        # A record behind them all: when it is there, so is whatever the copies could have done.
        await broker_tools.send([customer(origin.name, "c-5")])

        async def the_last():
            return "c-5" in await effects()

        await until(the_last)
        assert await effects() == ["c-1", "c-2", "c-3", "c-5"]
        assert len(await letters()) == 3

    records = {(r.partition, r.offset): r for r in await broker_tools.read(origin.name)}
    for letter, done in zip(mended, first, strict=True):
        _, partition, offset = done.published_to.rsplit("/", 2)
        copy = records[int(partition), int(offset)]
        original = records[letter.refused.partition, letter.refused.offset]
        assert (copy.key, copy.value) == (original.key, original.value)
        assert copy.headers == (
            *original.headers,
            ("x-dlq-replay-of", str(letter.place).encode()),
            ("x-dlq-replay-by", b"ann"),
        )
    past = await past_replays(settings)
    assert [done.step for done in past[mended[0].place]] == ["begun", "published"] * 2
    (objection,) = objections(
        mended[0],
        origin=origin,
        past=past[mended[0].place],
        newest={},
        now=datetime.now(UTC),
    )
    assert objection.why == Why.REPLAYED_ALREADY
    assert objection.sentence.startswith("ann replayed it at ")
    assert set_aside[0].at >= before - timedelta(seconds=1)
    assert await letters(since=before) == set_aside
    assert await letters(since=datetime.now(UTC)) == []


async def test_what_is_still_no_good_comes_back_once_and_stays_there(
    broker_tools, settings, origin, customer, consumer, letters, until
):
    async with consumer():
        await broker_tools.send([replace(customer(origin.name, "c-1"), value=b"\xff")])

        async def many(number):
            found = await letters()
            return found if len(found) == number else None

        (first,) = await until(lambda: many(1))
        await _sent(settings, [first], forced={first.place: [Why.WOULD_BE_REFUSED]})
        _, second = await until(lambda: many(2))
        await _sent(settings, [second], forced={second.place: [Why.WOULD_BE_REFUSED]})
        await until(lambda: many(3))
        await broker_tools.send([customer(origin.name, "c-2")])
        found = await letters()
    assert [one.replayed_from for one in found] == [None, str(first.place), str(second.place)]
    assert {one.headers for one in found} == {first.headers}
    assert {one.value for one in found} == {b"\xff"}
    assert len(await broker_tools.read(origin.name)) == 4
    past = await past_replays(settings)
    assert [done.forced for done in past[second.place]] == [(Why.WOULD_BE_REFUSED,)] * 2


@pytest.mark.parametrize("step", ["replay:after_begun", "replay:after_sent"])
async def test_killed_in_the_middle_the_next_run_does_the_rest(
    broker_tools, settings, origin, customer, handler, consumer, letters, effects, until, step
):
    script = Path(__file__).parent / "replaying_child.py"
    env = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "TOPIC": origin.name,
    }
    subjects = [f"c-{number}" for number in range(4)]
    handler.guilty = set(subjects)
    async with consumer():
        await broker_tools.send([customer(origin.name, subject) for subject in subjects])

        async def all_set_aside():
            return len(await letters()) == 4

        await until(all_set_aside)
        handler.guilty = set()
        statuses = []
        for extra in ({"FAILPOINT": f"{step}@2"}, {}, {}):
            child = await asyncio.create_subprocess_exec(
                sys.executable, script, env=env | extra, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await child.communicate()
            statuses.append((child.returncode, len(out.splitlines())))
        assert statuses == [(-signal.SIGKILL, 1), (0, 3), (0, 0)]

        async def everything():
            return len(await effects()) >= 4

        await until(everything)
        await broker_tools.send([customer(origin.name, "last")])

        async def the_last():
            return "last" in await effects()

        await until(the_last)
    assert await effects() == [*subjects, "last"]
    copies = 4 + (step == "replay:after_sent")
    assert len(await broker_tools.read(origin.name)) == 4 + copies + 1


async def test_of_a_compacted_topic_only_the_newest_state_goes_back(
    broker_tools, settings, customer
):
    name = await broker_tools.topic(partitions=1)
    origin = Topic(name, "account_id", compacted=True, partitions=1)
    old, other, new = (
        customer(name, "c-1"),
        customer(name, "c-2"),
        customer(name, "c-1", version=2),
    )
    await broker_tools.send([old, other, new])
    await broker_tools.send(
        DeadLetter(record, "HANDLER_FAILED", "a bug").to_record()
        for record in await broker_tools.read(name)
    )
    newest = await newest_offsets(settings, origin)
    assert newest == {b"c-1": 2, b"c-2": 1}
    assert await newest_offsets(settings, replace(origin, compacted=False)) == {}
    found = {
        letter.refused.offset: [
            one.why
            for one in objections(
                letter, origin=origin, past=(), newest=newest, now=datetime.now(UTC)
            )
        ]
        async for letter in stored_letters(settings, origin)
    }
    assert found == {0: [Why.SUPERSEDED], 1: [], 2: []}


async def test_a_letter_is_found_by_its_place_and_only_there(
    broker_tools, settings, origin, customer
):
    await broker_tools.send([customer(origin.dead_letters, "c-1")])
    found = await stored_letter(settings, Place(origin.dead_letters, 0, 0))
    assert found.refused is None
    assert found.account_id == "acc-1"
    assert await stored_letter(settings, Place(origin.dead_letters, 0, 1)) is None


async def test_a_silent_broker_is_told_and_nothing_is_sent_late(
    broker_tools, settings, origin, customer, proxy, monkeypatch
):
    await broker_tools.send([customer(origin.name, "c-1"), customer(origin.name, "c-2")])
    await broker_tools.send(
        DeadLetter(record, "HANDLER_FAILED", "a bug").to_record()
        for record in await broker_tools.read(origin.name)
    )
    letters = [letter async for letter in stored_letters(settings, origin)]
    proxy.route()
    monkeypatch.setattr(replaying, "_CONFIRM_SECONDS", 2.0)
    done = []

    async def until_silent():
        async for one in replay(settings, _one_by_one(letters), by="ann"):
            done.append(one.place)
            proxy.set("blackhole")

    with pytest.raises(ReplayUnconfirmed):
        await until_silent()
    proxy.set("pass")
    proxy.bypass()
    assert done == [letters[0].place]
    past = await past_replays(settings)
    assert [one.step for one in past[letters[0].place]] == ["begun", "published"]
    assert letters[1].place not in past or [one.step for one in past[letters[1].place]] == ["begun"]
    await _sent(settings, letters[1:])
    assert [r.key for r in await broker_tools.read(origin.name)] == [b"c-1", b"c-2"] * 2


async def test_no_broker_and_no_topic_are_errors_of_kafka(settings, origin):
    with pytest.raises(KafkaError):
        await past_replays(replace(settings, bootstrap_servers="127.0.0.1:1"))
    gone = Topic(f"{origin.name}.never", "any", partitions=1)
    with pytest.raises((KafkaError, UnknownTopicOrPartitionError)):
        _ = [one async for one in stored_letters(settings, gone)]


async def test_a_groups_lag_is_what_it_has_not_committed(
    broker_tools, settings, origin, customer, handler, consumer, effects, until
):
    await broker_tools.send([customer(origin.name, f"c-{number}") for number in range(5)])
    assert await held(settings, origin) == 5
    assert await lag_of(settings, origin, consumer.group) == 5
    async with consumer():

        async def all_taken():
            return len(await effects()) == 5

        await until(all_taken)

        async def no_lag():
            return await lag_of(settings, origin, consumer.group) == 0

        await until(no_lag)
    await broker_tools.send([customer(origin.name, "c-6")])
    assert await lag_of(settings, origin, consumer.group) == 1


@pytest.mark.parametrize("named", [1, 6])
async def test_history_is_that_of_every_partition_there_is(broker_tools, settings, customer, named):
    """An operator added some, or made fewer: what is rebuilt from a part would silently lack the rest."""
    topic = Topic(await broker_tools.topic(partitions=3), "customer_id", partitions=named)
    sent = {f"c-{number}" for number in range(20)}
    await broker_tools.send([customer(topic.name, each) for each in sorted(sent)])
    assert {record.key.decode() async for record in history(settings, topic)} == sent
    assert await held(settings, topic) == 20
