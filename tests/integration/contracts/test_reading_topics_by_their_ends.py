"""Reading a topic ends where it ended when the reading began, whatever is written meanwhile."""

import secrets

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline_contracts.kafka_tools import read_topic


@pytest.fixture
async def topic(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    name = f"test.{secrets.token_hex(6)}"
    await admin.create_topics([NewTopic(name, 2, 1)])
    try:
        yield name
    finally:
        await admin.delete_topics([name])
        await admin.close()


async def test_what_comes_while_it_reads_is_left_out(kafka, topic, monkeypatch):
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(3):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 2)
        asked = AIOKafkaConsumer.end_offsets

        async def then_more_comes(self, places):
            ends = await asked(self, places)
            for partition in (0, 1, 0):
                await producer.send_and_wait(topic, b"late", partition=partition)
            await self.seek_to_beginning()  # nothing stays of what was fetched before they came
            return ends

        monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", then_more_comes)
        found = {place: record.value async for place, record in read_topic(kafka, topic)}
    assert found == {f"{topic}/0/0": b"0", f"{topic}/0/1": b"2", f"{topic}/1/0": b"1"}
