"""Make the declared topics on a Kafka, and say where those that are there differ. What is there is never changed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.unreachable import why_unreachable

_MIN_IN_SYNC = "min.insync.replicas"
_SEEN_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.2


class TopicTrouble(Exception):  # noqa: N818 - what it is, for a person
    """Kafka does not make or show the topics; the message says why and what comes next."""


class KafkaNotEntered(TopicTrouble):
    """Kafka is not there or lets us not in; the message names the setting."""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as a cluster has it."""

    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting of a topic that is not as declared."""

    topic: str
    setting: str
    declared: str
    found: str


@dataclass(frozen=True, slots=True)
class Made:
    """What was done, and what a person should look at."""

    created: Sequence[str]
    differences: Sequence[Difference]


def settings_of(topic: Topic, replication_factor: int) -> dict[str, str]:
    """What a topic is created with.

    Producers wait for all replicas in sync (`acks=all`): with three or more, two must have a record before it counts;
    with fewer, one broker that is away would stop all publishing.
    """
    in_sync = 2 if replication_factor > 2 else 1  # noqa: PLR2004 - see above
    return topic.config | {_MIN_IN_SYNC: str(in_sync)}


def differences(topic: Topic, found: Found, replication_factor: int) -> list[Difference]:
    """Where a topic is not as declared; more replicas than were asked for are no difference."""
    declared = settings_of(topic, replication_factor)
    least = {"replicas": (replication_factor, found.replicas)}
    if (in_sync := found.config.get(_MIN_IN_SYNC, "")).isdecimal():
        least[_MIN_IN_SYNC] = (int(declared.pop(_MIN_IN_SYNC)), int(in_sync))
    exact = {"partitions": (str(topic.partitions), str(found.partitions))} | {
        setting: (value, found.config.get(setting, "not told"))
        for setting, value in declared.items()
    }
    return [
        *(Difference(topic.name, each, a, b) for each, (a, b) in exact.items() if a != b),
        *(
            Difference(topic.name, each, f"at least {a}", str(b))
            for each, (a, b) in least.items()
            if b < a
        ),
    ]


async def make_topics(
    kafka: KafkaSettings, topics: Sequence[Topic], replication_factor: int
) -> Made:
    """Create the topics that are missing and compare the others; twice, or two at once, is as good as once.

    Raises:
        KafkaNotEntered: Nothing was done.
        TopicTrouble: Kafka does not make or show a topic. Those made before stay.
        KafkaError: It broke off.
    """
    async with _admin(kafka) as admin:
        created = await create_missing(admin, topics, replication_factor)
        others = [topic for topic in topics if topic.name not in created]
        found = await _found(admin, others)
    return Made(
        created,
        [
            each
            for topic in others
            for each in differences(topic, found[topic.name], replication_factor)
        ],
    )


async def create_missing(
    admin: AIOKafkaAdminClient, topics: Iterable[Topic], replication_factor: int
) -> list[str]:
    """Create the topics that are not there; the names of those made. One that somebody else just made is as good.

    Raises:
        TopicTrouble: Kafka refuses one; it may have made others.
        KafkaError: Kafka does not answer.
    """
    there = set(await admin.list_topics())
    missing = [
        NewTopic(
            topic.name,
            topic.partitions,
            replication_factor,
            topic_configs=settings_of(topic, replication_factor),
        )
        for topic in topics
        if topic.name not in there
    ]
    if not missing:
        return []
    answer = await admin.create_topics(missing)
    outcomes = {name: (for_code(code), *words) for name, code, *words in answer.topic_errors}
    refused = [
        _refusal(name, error, words[0] if words else None, replication_factor)
        for name, (error, *words) in outcomes.items()
        if error not in {NoError, TopicAlreadyExistsError}
    ]
    if refused:
        # Mostly the same for all: each reason once.
        raise TopicTrouble("; ".join(dict.fromkeys(refused)))
    return [name for name, (error, *_) in outcomes.items() if error is NoError]


def _refusal(name: str, error: type[KafkaError], words: str | None, replication_factor: int) -> str:
    if error is InvalidReplicationFactorError:
        return (
            f"Kafka has no place for {replication_factor} replicas: see that so many brokers run, or give the number"
            " there is as the replication factor"
        )
    if error in {TopicAuthorizationFailedError, ClusterAuthorizationFailedError}:
        return (
            "this principal may not create topics: it needs Create on the cluster or on each topic"
        )
    return f"Kafka does not make {name}: {words or error.__name__}"


async def _found(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, Found]:
    """The topics as the cluster has them. One that was just made may take a moment until every broker knows it."""
    names = [topic.name for topic in topics]
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        # All there are: to ask for one by name could make it, on a cluster that makes what is asked for.
        listed = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
        configs = await _configs(admin, [name for name in names if name in listed])
        unseen = [name for name in names if not listed.get(name) or name not in configs]
        if not unseen:
            break
        if time.monotonic() > deadline:
            raise TopicTrouble(
                f"{', '.join(unseen)} cannot be seen though there: this principal needs Describe and DescribeConfigs on it"
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return {
        name: Found(
            len(listed[name]),
            min(len(partition["replicas"]) for partition in listed[name]),
            configs[name],
        )
        for name in names
    }


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """Settings by topic, without those that were not told."""
    if not names:
        return {}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _words, _kind, name, entries in answer.resources
        if for_code(code) is NoError
    }


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "ssl_context": kafka.ssl_context(),
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password,
    }
    admin = AIOKafkaAdminClient(**options)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as error:
            raise KafkaNotEntered(
                f"Kafka cannot be entered: {await why_unreachable(kafka) or error}"
            ) from error
        yield admin
    finally:
        await admin.close()
