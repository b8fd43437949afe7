"""The conformance kit on a real Kafka: a subscriber is put to every trouble, and a stream is checked where it lies."""

import asyncio
import secrets

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline_contracts import topics
from pipeline_contracts.check import main as check
from pipeline_contracts.consumer import EventConsumer
from pipeline_contracts.envelope import decode
from pipeline_contracts.replay import main as replay
from pipeline_contracts.replay import scenario, scenarios
from pipeline_contracts.variations import VARIATIONS

_PATIENCE = 60


@pytest.fixture
async def prefix(kafka):
    """What keeps this test's topics apart."""
    made = f"try-{secrets.token_hex(4)}-"
    yield made
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([t for t in await admin.list_topics() if t.startswith(made)])
    await admin.close()


def expected():
    """The newest state of each aggregate, by what the plain scenarios say."""
    state = {}
    for name in scenarios():
        for each in scenario(name):
            told = decode(key=each.key, value=each.value, headers=each.headers)
            keep(state, told)
    return state


def keep(state, told):
    event = told.event
    key = (event.TOPIC, told.subject, event.TYPE if event.revision is None else "")
    if event.revision is None or int(event.revision) > int(state[key].revision if key in state else 0):  # fmt: skip
        state[key] = event


async def replayed(*arguments):
    return await asyncio.to_thread(replay, [*arguments])


async def checked(*arguments):
    return await asyncio.to_thread(check, [*arguments])


async def test_a_subscriber_survives_every_variation_at_once(kafka, prefix, capsys):
    vary = ("--topic-prefix", prefix, "--vary", "all")
    assert await replayed("--to", kafka, *vary) == 2
    assert "create it, or say --create-topics" in capsys.readouterr().err
    wrong = ("connect", "--to", kafka, "--topic-prefix", "no/name/", "--create-topics")
    assert await replayed(*wrong) == 2
    assert "topic no/name/pipeline.xero.connections.v1 cannot be created" in capsys.readouterr().err
    assert await replayed("--to", kafka, *vary, "--create-topics") == 0

    state, unreadable, handled = {}, [], set()

    async def handle(events):
        for told in events:
            assert told.identity not in handled
            handled.add(told.identity)
            keep(state, told)

    async def already_handled(identities):
        return handled & set(identities)

    async def set_aside(record):
        unreadable.append(record.code)

    consumer = EventConsumer(
        kafka,
        group_id=prefix,
        topics=[topics.Topic(prefix + topic.name, topic.key) for topic in topics.EVENT_TOPICS],
        handle=handle,
        already_handled=already_handled,
        on_unreadable=set_aside,
        max_records=20,
    )
    running = asyncio.create_task(consumer.run())
    wanted = expected()
    async with asyncio.timeout(_PATIENCE):
        while state != wanted:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.05)
        consumer.stop()
        await running
    assert {"PAYLOAD_INVALID", "KEY_MISMATCH", "HEADER_MISSING", "HEADER_INVALID", "TOMBSTONE"} <= set(unreadable)  # fmt: skip
    assert set(VARIATIONS) == {"duplicates", "reordered", "unknown-type", "unknown-fields", "unreadable"}  # fmt: skip


async def test_a_stream_is_checked_where_it_lies(kafka, prefix, capsys):
    made = ("--to", kafka, "--topic-prefix", prefix, "--create-topics")
    assert await replayed("fail", *made) == 0
    topic = prefix + topics.INVOICES.name
    capsys.readouterr()
    assert await checked("--from", kafka, "--topic", topic, "--source", "billing") == 1
    told = capsys.readouterr().out
    # It lies in a topic of another name, and its first version does not add up.
    assert f"{topic}/" in told
    assert "total: is 120.00, but the lines come to 115.00" in told
    assert await checked("--from", kafka, "--topic", "no.such.topic") == 2
    assert "no topic no.such.topic" in capsys.readouterr().err
