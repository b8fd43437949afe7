"""Apache Kafka in a container, for machines whose Docker engine answers: the same settings as the local stack's broker.

testcontainers' own KafkaContainer is for Confluent's images: its start script lives in their folders.
"""

from pathlib import Path

from pipeline_local_stack.kafka import Protection, broker_properties, kafka_version

_CONTROLLER_PORT = 29093
# The port is the same inside and outside, so that the broker can be told its address before it starts.
_LISTENERS = "PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:{controller_port}"


def broker_environment(port: int) -> dict[str, str]:
    """The settings as the image reads them: `KAFKA_`, upper case, `_` for each dot."""
    text = broker_properties(
        port,
        _CONTROLLER_PORT,
        Path("/var/lib/kafka/data"),
        Protection({"listeners": _LISTENERS}),
    )
    settings = dict(line.split("=", 1) for line in text.splitlines())
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}


def kafka_container(port: int):
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    return (
        DockerContainer(f"apache/kafka:{kafka_version()}", env=broker_environment(port))
        .with_bind_ports(port, port)
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
