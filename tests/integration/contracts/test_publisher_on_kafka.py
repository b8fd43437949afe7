"""The publisher on a real broker, read back without our code and held against the published schema."""

import json
import secrets
import textwrap
from pathlib import Path

import jsonschema
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline_contracts import EVENT_TYPES, InvoiceCreated, decode
from pipeline_contracts.producer import EventPublisher, PublishUnconfirmed
from pipeline_contracts.schemas import DIRECTORY


def event(model=InvoiceCreated, **changes):
    return model(**model.model_config["json_schema_extra"]["examples"][0] | changes)


@pytest.fixture
async def topic(kafka, monkeypatch):
    """A topic of this test's own that every event goes to."""
    name = f"contracts-{secrets.token_hex(6)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    for model in EVENT_TYPES.values():
        monkeypatch.setattr(model, "TOPIC", name)
    yield name
    await admin.delete_topics([name])
    await admin.close()


async def everything(kafka, topic):
    """All records of the topic, by a consumer that knows nothing of the contracts."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(3)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found = []
        while len(found) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=1_000)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


async def test_every_event_is_published_as_its_schema_says_and_read_back(kafka, topic):
    async with EventPublisher(kafka, source="contracts-test") as publisher:
        for model in EVENT_TYPES.values():
            told = event(model)
            await publisher.publish(told, id=None if told.revision else "given")
    records = await everything(kafka, topic)
    assert {dict(record.headers)["ce_type"].decode() for record in records} == set(EVENT_TYPES)
    for record in records:
        headers = dict(record.headers)
        schema = json.loads((DIRECTORY / f"{headers['ce_type'].decode()}.json").read_text("utf-8"))
        jsonschema.Draft202012Validator(schema).validate(json.loads(record.value))
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_subject"] == record.key
        envelope = decode(key=record.key, value=record.value, headers=record.headers)
        assert envelope.event == event(type(envelope.event))
        assert envelope.source == "contracts-test"
    assert len(records) == len(EVENT_TYPES)


async def test_the_five_lines_of_the_readme_do_what_they_say(kafka, topic):
    readme = Path(__file__).parents[3] / "libs" / "contracts" / "README.md"
    lines = readme.read_text("utf-8").split("```python\n")[1].split("```")[0]
    program = "async def run():\n" + textwrap.indent(lines.replace("kafka:9092", kafka), "    ")
    space = {}
    exec(program, space)  # noqa: S102 - the text is our own README
    await space["run"]()
    (record,) = await everything(kafka, topic)
    sent = decode(key=record.key, value=record.value, headers=record.headers).event
    assert (sent.invoice_id, str(sent.total)) == ("inv-1001", "200.00")


async def test_versions_of_one_invoice_stay_in_order_on_one_partition(kafka, topic):
    async with EventPublisher(kafka, source="contracts-test") as publisher:
        for version in range(1, 31):
            await publisher.publish(event(version=version))
    records = await everything(kafka, topic)
    assert [json.loads(record.value)["version"] for record in records] == list(range(1, 31))
    assert len({record.partition for record in records}) == 1


async def test_after_a_broker_that_fell_silent_the_same_event_gets_through_with_the_same_id(
    kafka, topic, caplog
):
    async with EventPublisher(kafka, source="contracts-test", timeout=10) as publisher:
        first = await publisher.publish(event())
        silent = publisher._producer
        for connection in silent.client._conns.values():
            # What is sent from now on goes nowhere, as through a network that drops packets.
            connection._writer.write = lambda _: None
        publisher._timeout = 0.3
        with pytest.raises(PublishUnconfirmed, match="publish the same event again"):
            await publisher.publish(event(version=2))
        publisher._timeout = 10
        again = await publisher.publish(event(version=2))
        assert publisher._producer is not silent
        last = await publisher.publish(event(version=3))
    records = await everything(kafka, topic)
    assert [record.value for record in records] == [first.value, again.value, last.value]
    # Nothing of the abandoned producer is left that could still deliver, late, behind version 3.
    assert silent._sender.sender_task.done()
    assert not any(connection.connected() for connection in silent.client._conns.values())
    assert "did not stop" not in caplog.text


async def test_a_missing_topic_is_reported_and_never_created(kafka, monkeypatch):
    missing = f"contracts-missing-{secrets.token_hex(6)}"
    monkeypatch.setattr(InvoiceCreated, "TOPIC", missing)
    async with EventPublisher(kafka, source="contracts-test", timeout=2) as publisher:
        with pytest.raises(PublishUnconfirmed):
            await publisher.publish(event())
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        assert missing not in await admin.list_topics()
    finally:
        await admin.close()


async def test_no_broker_at_all_is_said_within_the_timeout():
    with pytest.raises(PublishUnconfirmed, match=r"127\.0\.0\.1:1 cannot be reached"):
        async with EventPublisher("127.0.0.1:1", source="contracts-test", timeout=2):
            pytest.fail("there is no broker")
