"""The consumer that other teams get, on a real broker: at least once, in order, nothing unreadable in the way."""

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline_contracts import InvoiceCreated, encode, topics
from pipeline_contracts.consumer import (
    ConsumerStartError,
    EventConsumer,
    Unreadable,
    to_dead_letters,
)
from pipeline_contracts.producer import EventPublisher

_PATIENCE = 60


class Ledger:
    """What a subscriber stores: each batch in one piece, with the identities of its events."""

    def __init__(self):
        self.batches, self.unreadable, self.fails = [], [], []

    @property
    def events(self):
        return [(each.event.invoice_id, each.event.version) for b in self.batches for each in b]

    @property
    def identities(self):
        return {each.identity for batch in self.batches for each in batch}

    async def handle(self, events):
        if self.fails:
            raise self.fails.pop()
        self.batches.append(list(events))

    async def set_aside(self, unreadable: Unreadable):
        self.unreadable.append(unreadable)

    async def already_handled(self, identities):
        return self.identities & set(identities)


@pytest.fixture
async def topic(kafka):
    name = f"consumed-{secrets.token_hex(6)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(each, 3, 1, topic_configs={"max.message.bytes": most})
            for each, most in ((name, "3000000"), (f"{name}.dlq", "3500000"))
        ]
    )
    yield topics.Topic(name, "invoice_id", partitions=3)
    await admin.delete_topics([name, f"{name}.dlq"])
    await admin.close()


def event(number=1, version=1):
    example = InvoiceCreated.model_config["json_schema_extra"]["examples"][0]
    return InvoiceCreated(**{**example, "invoice_id": f"inv-{number}", "version": version})


async def send(kafka, topic, *records):
    """(key, value, headers) as they are, however broken."""
    async with producing(kafka) as producer:
        for key, value, headers in records:
            await producer.send_and_wait(topic.name, value, key=key, headers=list(headers))


@asynccontextmanager
async def producing(kafka, **options):
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def record(told, **headers):
    made = encode(told, id=f"{told.invoice_id}/{told.version}", source="test", time=NOW)
    changed = {**dict(made.headers), **{name: raw.encode() for name, raw in headers.items()}}
    return made.key, made.value, tuple(changed.items())


NOW = datetime(2026, 3, 1, tzinfo=UTC)


@asynccontextmanager
async def consuming(kafka, topic, ledger, group="ledger", **options):
    consumer = EventConsumer(
        kafka,
        group_id=f"{group}-{topic.name}",
        topics=[topic],
        **{"handle": ledger.handle, "on_unreadable": ledger.set_aside, **options},
    )
    running = asyncio.create_task(consumer.run())
    try:
        yield running
        consumer.stop()
        async with asyncio.timeout(_PATIENCE):
            await running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until(condition, running):
    async with asyncio.timeout(_PATIENCE):
        while not condition():
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)


async def committed(kafka, topic, group="ledger"):
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=f"{group}-{topic.name}")
    await consumer.start()
    try:
        places = [TopicPartition(topic.name, number) for number in range(3)]
        return sum([await consumer.committed(place) or 0 for place in places])
    finally:
        await consumer.stop()


async def test_it_hands_on_each_event_once_in_order_and_commits_what_was_handled(kafka, topic):
    ledger = Ledger()
    told = [event(number, version) for version in range(1, 21) for number in (1, 2, 3)]
    copies = [record(each) for each in told for _ in range(2)]
    await send(kafka, topic, *copies)
    async with consuming(
        kafka, topic, ledger, max_records=7, already_handled=ledger.already_handled
    ) as running:
        await until(lambda: len(ledger.events) == 60, running)
        await send(kafka, topic, record(event(9)))
        await until(lambda: ("inv-9", 1) in ledger.events, running)
    assert len(ledger.events) == 61
    for number in (1, 2, 3):
        assert [v for i, v in ledger.events if i == f"inv-{number}"] == list(range(1, 21))
    assert max(len(batch) for batch in ledger.batches) <= 7
    assert await committed(kafka, topic) == 121


async def test_a_batch_that_failed_comes_again_and_nothing_of_it_was_committed(kafka, topic):
    ledger = Ledger()
    ledger.fails = [RuntimeError("the database is away"), ValueError("still")]
    await send(kafka, topic, *(record(event(number)) for number in range(20)))
    async with consuming(kafka, topic, ledger) as running:
        await until(lambda: not ledger.fails, running)
        await until(lambda: len(ledger.identities) == 20, running)
    assert len(ledger.events) == 20
    assert await committed(kafka, topic) == 20


async def test_stopped_while_it_fails_it_leaves_everything_for_the_next(kafka, topic):
    first, second = Ledger(), Ledger()
    first.fails = [RuntimeError("for ever")] * 1_000
    await send(kafka, topic, record(event()))
    async with consuming(kafka, topic, first) as running:
        await until(lambda: len(first.fails) < 1_000, running)
    assert await committed(kafka, topic) == 0
    async with consuming(kafka, topic, second) as running:
        await until(lambda: second.events == [("inv-1", 1)], running)


async def test_killed_between_handling_and_commit_the_events_come_again_and_are_known(kafka, topic):
    ledger = Ledger()
    killed = asyncio.Event()

    async def handle_and_die(events):
        await ledger.handle(events)
        killed.set()
        await asyncio.Event().wait()

    await send(kafka, topic, record(event()))
    dying = EventConsumer(
        kafka,
        group_id=f"ledger-{topic.name}",
        topics=[topic],
        handle=handle_and_die,
        on_unreadable=ledger.set_aside,
    )
    running = asyncio.create_task(dying.run())
    await until(killed.is_set, running)
    running.cancel()
    await asyncio.wait([running])
    assert await committed(kafka, topic) == 0
    async with consuming(kafka, topic, ledger, already_handled=ledger.already_handled) as running:
        await send(kafka, topic, record(event(2)))
        await until(lambda: ("inv-2", 1) in ledger.events, running)
    assert sorted(ledger.events) == [("inv-1", 1), ("inv-2", 1)]


async def test_what_cannot_be_read_is_kept_byte_for_byte_and_holds_nobody_up(kafka, topic):
    ledger = Ledger()
    key, value, headers = record(event(1))
    broken = {
        "PAYLOAD_INVALID": (key, b"\xff not json", headers),
        "KEY_MISMATCH": (b"another", value, headers),
        "HEADER_MISSING": (key, value, headers[1:]),
        "HEADER_INVALID": (key, value, ((*headers, ("ce_time", b"noon")))),
        "TOMBSTONE": (key, None, headers),
    }
    unknown = record(event(1), ce_type="pipeline.invoice.archived.v1")
    await send(kafka, topic, *broken.values(), unknown, record(event(2)))
    dead_letters = f"{topic.name}.dlq"
    async with (
        EventPublisher(kafka, source="test") as publisher,
        consuming(
            kafka, topic, ledger, on_unreadable=to_dead_letters(publisher, dead_letters)
        ) as running,
    ):
        await until(lambda: ledger.events == [("inv-2", 1)], running)
    found = {}
    consumer = AIOKafkaConsumer(dead_letters, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(_PATIENCE):
            while len(found) < len(broken):
                letter = await consumer.getone()
                found[dict(letter.headers)["x-dlq-code"].decode()] = letter
    finally:
        await consumer.stop()
    assert found.keys() == broken.keys()
    for code, (key, value, headers) in broken.items():
        letter, about = found[code], dict(found[code].headers)
        assert (letter.key, letter.value or None) == (key, value)
        assert tuple(letter.headers[: len(headers)]) == tuple(headers)
        assert about["x-dlq-topic"].decode() == topic.name
        assert about["x-dlq-reason"]
    assert await committed(kafka, topic) == len(broken) + 2


async def test_the_largest_record_there_can_be_holds_nobody_up_either(kafka, topic):
    ledger = Ledger()
    key, _, headers = record(event(2))
    async with producing(kafka, max_request_size=4_000_000) as producer:
        await producer.send_and_wait(topic.name, b"x" * 2_990_000, key=key, headers=list(headers))
    await send(kafka, topic, record(event(2)))
    async with (
        EventPublisher(kafka, source="test") as publisher,
        consuming(
            kafka,
            topic,
            ledger,
            on_unreadable=to_dead_letters(publisher, f"{topic.name}.dlq"),
        ) as running,
    ):
        await until(lambda: ledger.events == [("inv-2", 1)], running)


async def test_when_a_dead_letter_cannot_be_kept_its_record_is_not_passed_over(kafka, topic):
    ledger, refused = Ledger(), []

    async def keep(unreadable):
        if len(refused) < 2:
            refused.append(unreadable)
            raise ConnectionError("the dead letter store is away")
        await ledger.set_aside(unreadable)

    await send(kafka, topic, (b"k", b"rubbish", ()))
    async with consuming(kafka, topic, ledger, on_unreadable=keep) as running:
        await until(lambda: ledger.unreadable, running)
    assert [each.code for each in ledger.unreadable] == ["HEADER_MISSING"]


async def test_what_is_kept_is_kept_once_however_often_its_batch_fails(kafka, topic):
    ledger = Ledger()
    ledger.fails = [ConnectionError("the database is away")] * 3
    key, _, headers = record(event(2))
    # One partition, so that all three are of one batch.
    await send(kafka, topic, (key, b"rubbish", headers), record(event(2)), (key, b"[]", headers))
    async with consuming(kafka, topic, ledger) as running:
        await until(lambda: ledger.events == [("inv-2", 1)], running)
    assert len(ledger.unreadable) == 2


async def settled_on_two(admin, group, seconds):
    """Whether the group settles on two members within the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                (answer,) = await admin.describe_consumer_groups([group])
                ((_, _, state, _, _, members, *_),) = answer.groups
                if state == "Stable" and len(members) == 2:
                    return True
                await asyncio.sleep(0.02)
    return False


async def test_a_replica_that_joins_shares_the_work_and_repeats_none_of_it(kafka, topic):
    one, other = Ledger(), Ledger()
    going, joining, around_it = asyncio.Event(), asyncio.Event(), []
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    group = f"ledger-{topic.name}"

    async def slowly(events):
        going.set()
        await joining.wait()
        if not around_it:
            # The batch at hand is in the way of the rebalance: the group must not settle around it.
            around_it.append(await settled_on_two(admin, group, 2))
        await one.handle(events)

    await send(kafka, topic, *(record(event(number)) for number in range(60)))
    # A member hears of a rebalance with its next heartbeat.
    soon = {"heartbeat_interval_ms": 200}
    async with consuming(kafka, topic, one, handle=slowly, max_records=50, **soon) as first:
        await until(going.is_set, first)
        async with consuming(kafka, topic, other, **soon) as second:
            joining.set()
            await until(lambda: len(one.identities | other.identities) == 60, second)
            assert await settled_on_two(admin, group, _PATIENCE)
            await send(kafka, topic, *(record(event(number)) for number in range(60, 90)))
            await until(lambda: len(one.identities | other.identities) == 90, second)
    await admin.close()
    assert around_it == [False]
    assert not one.identities & other.identities
    assert other.events


async def test_what_keeps_it_from_starting_is_said_in_words(kafka, topic):
    missing = topics.Topic("no.such.topic.v1", "invoice_id")
    with pytest.raises(ConsumerStartError, match=r"shows no topic no\.such\.topic\.v1; check"):
        await EventConsumer(
            kafka, group_id="g", topics=[missing], handle=None, on_unreadable=None
        ).run()
    with pytest.raises(ConsumerStartError, match=r"127\.0\.0\.1:1 cannot be read"):
        await EventConsumer(
            "127.0.0.1:1", group_id="g", topics=[topic], handle=None, on_unreadable=None
        ).run()
    with pytest.raises(ValueError, match="group_id: name"):
        EventConsumer(kafka, group_id=" ", topics=[topic], handle=None, on_unreadable=None)
    with pytest.raises(ValueError, match="topics: name at least one"):
        EventConsumer(kafka, group_id="g", topics=[], handle=None, on_unreadable=None)
