"""The suite stands on the real thing: a look-alike broker or database would prove nothing."""

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType


async def test_the_broker_is_apache_kafka(kafka: str):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        broker = str(cluster["brokers"][0]["node_id"])
        (answer,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.BROKER, broker)]
        )
    finally:
        await admin.close()
    (resource,) = answer.resources
    names = {setting[0] for setting in resource[4]}
    # Look-alikes answer with a handful of settings, or none; these belong to Kafka's own controller and coordinator.
    assert {"process.roles", "controller.quorum.voters", "group.coordinator.threads"} <= names


async def test_the_database_is_postgres_and_keeps_what_it_confirms(postgres_dsn: str):
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert (await connection.fetchval("SELECT version()")).startswith("PostgreSQL ")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await connection.close()
