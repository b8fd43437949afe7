"""ConnectionStatusChanged on the real broker, through the real relay."""

import asyncio
import secrets

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from pipeline_contracts.envelope import decode
from pipeline_contracts.topics import CONNECTIONS
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.relay import Relay


async def test_changes_arrive_in_order_and_once(stack, kafka, monkeypatch):
    account = f"acc-{secrets.token_hex(6)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(CONNECTIONS.name, 6, 1, topic_configs={"cleanup.policy": "compact"})]
        )
    except TopicAlreadyExistsError:
        pass
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(
        CONNECTIONS.name, bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    found = []
    try:
        await stack.connect(account)
        async with stack.browser(account) as browser:
            await browser.press("disconnect")
        await stack.connect(account)
        async with Relay(stack.dsn, KafkaSettings(kafka)):
            async with asyncio.timeout(60):
                async for record in consumer:
                    if record.key == account.encode():
                        found.append(
                            decode(key=record.key, value=record.value, headers=record.headers)
                        )
                    if len(found) == 3:
                        break
    finally:
        await consumer.stop()
    assert [e.event.sequence for e in found] == [1, 2, 3]
    assert [e.event.status for e in found] == ["CONNECTED", "DISCONNECTED", "CONNECTED"]
    assert len({e.id for e in found}) == 3
    assert {e.source for e in found} == {"connector"}
    assert await stack.db.fetchval("SELECT count(*) FROM outbox") == 0
