"""Records put where a consumer puts what it cannot use."""

import time
from types import SimpleNamespace

from aiokafka import AIOKafkaProducer

from pipeline_contracts.envelope import Record
from pipeline_contracts.topics import Topic
from pipeline_messaging.dead_letter import DeadLetter
from pipeline_messaging.stored_letters import Place


async def set_aside(
    producer: AIOKafkaProducer, record: Record, origin: Topic, code: str = "HANDLER_FAILED"
) -> Place:
    """Set a record aside, as if it had been read from `origin`."""
    read = SimpleNamespace(
        topic=origin.name, partition=0, offset=7, timestamp=int(time.time() * 1000),
        key=record.key, value=record.value, headers=record.headers,
    )  # fmt: skip
    letter = DeadLetter(read, code, "it broke").to_record()
    sent = await producer.send_and_wait(
        letter.topic, letter.value, key=letter.key, headers=list(letter.headers)
    )
    return Place(sent.topic, sent.partition, sent.offset)
