import json

import pytest

from pipeline_operator.access import find_access
from pipeline_operator.failure import Failure

URLS = {
    "PIPELINE_XERO_CONNECTOR_URL": "https://c.example/",
    "PIPELINE_XERO_INVOICE_SYNC_URL": "https://s.example",
    "PIPELINE_XERO_PAYMENT_INGEST_URL": "https://p.example",
}
STACK = {
    "urls": {"connector": "http://l:1", "invoice-sync": "http://l:2", "payment-ingest": "http://l:3"},
    "account_id": "demo",
    "service_tokens": {"connector": "t1", "invoice-sync": "t2", "payment-ingest": "t3"},
    "kafka_bootstrap_servers": "l:9092",
    "kafka_supports_idempotence": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)


@pytest.fixture
def stack(tmp_path):
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.json").write_text(json.dumps(STACK))
    (tmp_path / "deeper").mkdir()
    return tmp_path / "deeper"


def test_a_running_local_stack_is_found_from_any_folder_within(stack, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "production:9092")
    access = find_access(None, environment={}, folder=stack)
    assert access.url("invoice-sync") == "http://l:2"
    assert access.token("invoice-sync").get_secret_value() == "t2"
    assert access.account == "demo"
    assert access.kafka().bootstrap_servers == "l:9092"
    assert access.kafka().enable_idempotence is False


def test_one_source_is_taken_never_a_mixture(stack):
    """The local stack's credentials must not go to addresses that somebody named, nor fill in for one that is missing."""
    named = {"PIPELINE_XERO_CONNECTOR_URL": "https://c.example/"}
    access = find_access(None, environment=named, folder=stack)
    assert access.url("connector") == "https://c.example"
    with pytest.raises(Failure, match="address of invoice-sync is missing"):
        access.url("invoice-sync")
    with pytest.raises(Failure, match="no credentials for connector"):
        access.token("connector")
    with pytest.raises(Failure, match="KAFKA_BOOTSTRAP_SERVERS"):
        access.kafka()


def test_a_profile_goes_before_both_and_the_environment_fills_in_secrets(
    stack, tmp_path, monkeypatch
):
    config = tmp_path / "config.toml"
    config.write_text(
        '[prod]\nconnector_url = "https://prod.example"\nkafka_bootstrap_servers = "k:1"\n'
        f'token_file = "{tmp_path}/token"\nkafka_security_protocol = "SASL_SSL"\n'
        'kafka_sasl_mechanism = "SCRAM-SHA-512"\nkafka_sasl_username = "ann"\n'
    )
    (tmp_path / "token").write_text("abc\n")
    environment = {**URLS, "PIPELINE_XERO_CONFIG": str(config)}
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "secret")
    access = find_access("prod", environment=environment, folder=stack)
    assert access.url("connector") == "https://prod.example"
    assert access.token("connector").get_secret_value() == "abc"
    assert access.kafka().sasl_username == "ann"
    assert access.kafka().sasl_password == "secret"
    with pytest.raises(Failure, match="no profile 'test'"):
        find_access("test", environment=environment)


def test_the_environments_kafka_does_not_stand_in_for_the_profiles(tmp_path, monkeypatch):
    """A dead letter of one installation must not be sent back in another."""
    config = tmp_path / "config.toml"
    config.write_text('[prod]\nconnector_url = "https://prod.example"\n')
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "elsewhere:9092")
    access = find_access("prod", environment={"PIPELINE_XERO_CONFIG": str(config)})
    assert access.url("connector") == "https://prod.example"
    with pytest.raises(Failure, match="profile prod does not name its Kafka"):
        access.kafka()


def test_kafka_alone_is_enough_for_dead_letters(tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "k:9092"}
    access = find_access(None, environment=environment, folder=tmp_path)
    assert access.kafka().bootstrap_servers == "k:9092"
    with pytest.raises(Failure, match="address of connector is missing"):
        access.url("connector")


def test_nothing_at_all_is_said_with_the_three_ways(tmp_path):
    with pytest.raises(Failure, match="Nothing says where the services are") as told:
        find_access(None, environment={}, folder=tmp_path)
    assert "make up" in told.value.hint


@pytest.mark.parametrize(
    "token", ["", " ", "two words", "{", '{"connector": ""}', "tök", '{"other": "x"}']
)
def test_what_is_no_token_is_not_sent(token):
    access = find_access(None, environment={**URLS, "PIPELINE_XERO_TOKEN": token})
    with pytest.raises(Failure) as told:
        access.token("connector")
    assert token.strip() == "" or token not in told.value.message


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "connector", "http://", "https://user:pass@c.example"]
)
def test_what_is_no_address_is_named(url):
    environment = {**URLS, "PIPELINE_XERO_CONNECTOR_URL": url}
    with pytest.raises(Failure, match=r"address of connector|Nothing says"):
        find_access(None, environment=environment).url("connector")


def test_secrets_do_not_show_when_printed(stack):
    assert "t2" not in repr(find_access(None, environment={}, folder=stack))
    access = find_access(None, environment={**URLS, "PIPELINE_XERO_TOKEN": "secret-token"})
    assert "secret-token" not in repr(access)
    assert "secret-token" not in repr(access.token("connector"))
