"""Topics on a real Kafka: made once however often and by however many, compared, never changed."""

import asyncio
import dataclasses
import json
import os
import secrets
import sys
from pathlib import Path

import pytest

from pipeline_contracts.topics import ALL, Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.topics import KafkaNotEntered, TopicTrouble, make_topics


@pytest.fixture
async def declared(broker_tools):
    """Two topics nobody else has; removed at the end."""
    word = secrets.token_hex(6)
    wanted = [
        Topic(f"test.{word}.a", "id", partitions=3),
        Topic(f"test.{word}.b", "id", compacted=True, retention_ms=-1),
    ]
    yield wanted
    there = set(await broker_tools.admin.list_topics())
    await broker_tools.admin.delete_topics([each.name for each in wanted if each.name in there])


async def test_the_second_time_nothing_is_made(settings, declared):
    first, second = [await make_topics(settings, declared, 1) for _ in range(2)]
    assert sorted(first.created) == [each.name for each in declared]
    assert (second.created, second.differences) == ([], [])


async def test_several_at_once_make_each_topic_once(settings, declared):
    made = await asyncio.gather(*(make_topics(settings, declared, 1) for _ in range(4)))
    created = sorted(name for each in made for name in each.created)
    assert created == [each.name for each in declared]
    assert [each.differences for each in made] == [[], [], [], []]


async def test_what_is_missing_is_made_and_what_differs_is_told_and_left(settings, declared):
    first, second = declared
    await make_topics(settings, [first], 1)
    other = dataclasses.replace(first, partitions=6, retention_ms=1000)
    for created in ([second.name], []):
        made = await make_topics(settings, [other, second], 1)
        assert made.created == created
        assert [(d.topic, d.setting, d.declared, d.found) for d in made.differences] == [
            (first.name, "partitions", "6", "3"),
            (first.name, "retention.ms", "1000", str(first.retention_ms)),
        ]
    assert (await make_topics(settings, [first], 1)).differences == []


async def test_more_replicas_than_brokers_are_refused_in_words(settings, declared):
    with pytest.raises(TopicTrouble, match="no place for 3 replicas"):
        await make_topics(settings, declared, 3)


async def test_a_kafka_that_is_not_there_is_named():
    with pytest.raises(KafkaNotEntered, match=r"127\.0\.0\.1:1 refuses connections"):
        await make_topics(KafkaSettings("127.0.0.1:1"), ALL, 1)


async def test_the_command_tells_programs_what_it_did(kafka, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for servers, status in ((kafka, 0), ("127.0.0.1:1", 4)):
        done = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "pipeline-xero",
            "topics", "create", "--replication-factor", "1", "--json",
            env=environment | {"KAFKA_BOOTSTRAP_SERVERS": servers}, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await done.communicate()
        assert done.returncode == status, err
        if status == 0:
            assert json.loads(out)["differences"] == []
        else:
            assert "refuses connections" in json.loads(err)["error"]["message"]
