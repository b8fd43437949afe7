"""What testcontainers would ask a Docker engine for; here is none, so whether the images start was not seen."""

import pytest
from kafka_container import broker_environment, kafka_container
from postgres_container import postgres_container

from pipeline_local_stack.kafka import broker_properties, kafka_version


class Asked(Exception):  # noqa: N818 - ends the start there
    pass


class Engine:
    """Takes the first request and ends there."""

    def create(self, image, **options):
        raise Asked(image, options)

    def client(self):
        return None


@pytest.fixture
def engine(monkeypatch):
    from testcontainers.core import container

    monkeypatch.setattr(container, "DockerClient", Engine)
    monkeypatch.setattr(container.c, "ryuk_disabled", True)


def asked_for(container):
    with pytest.raises(Asked) as request:
        container.start()
    return request.value.args


def test_a_container_gets_every_setting_of_the_local_broker_and_listens_outside(tmp_path):
    environment = broker_environment(19092)
    local = broker_properties(19092, 1, tmp_path)
    names = {line.split("=")[0].replace(".", "_").upper() for line in local.splitlines()}
    assert environment.keys() == {f"KAFKA_{name}" for name in names}
    assert environment["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:19092,CONTROLLER://")
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:19092"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_kafkas_container_is_asked_for_with_its_settings_and_its_port(engine):
    image, options = asked_for(kafka_container(19092))
    assert image == f"apache/kafka:{kafka_version()}"
    assert options["environment"] == broker_environment(19092)
    assert options["ports"] == {"19092": 19092}


def test_postgres_container_is_asked_for_as_the_local_server_is_set_up(engine):
    container = postgres_container()
    image, options = asked_for(container)
    assert image.startswith("postgres:18")
    environment = options["environment"]
    assert environment["POSTGRES_INITDB_ARGS"] == "--encoding=UTF8 --locale=C"
    assert environment.keys() >= {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}
    assert options["command"] == "-c max_connections=300"
    # asyncpg wants an address without a driver.
    assert container.driver == ""
