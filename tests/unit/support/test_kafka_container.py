from kafka_container import broker_environment

from pipeline_local_stack.kafka import broker_properties


def test_a_container_gets_every_setting_of_the_local_broker_and_listens_outside(tmp_path):
    environment = broker_environment(19092)
    local = broker_properties(19092, 1, tmp_path)
    names = {line.split("=")[0].replace(".", "_").upper() for line in local.splitlines()}
    assert environment.keys() == {f"KAFKA_{name}" for name in names}
    assert environment["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:19092,CONTROLLER://")
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:19092"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
