"""A wrong or missing setting stops the program and says how to put it right."""

import io
from typing import Annotated

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import NoDecode

from pipeline_service_defaults.settings import ServiceSettings, is_secret, load


class Settings(ServiceSettings):
    xero_webhook_keys: Annotated[list[SecretStr], NoDecode] | None = Field(
        None, description="comma-separated webhook keys"
    )
    tags: list[str] = Field(default_factory=list, description="a JSON list of words")
    connector_url: str = Field("http://localhost", pattern="^https?://", description="http address")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    issuers = tmp_path / "issuers.json"
    issuers.write_text("{}")
    values = {
        "DATABASE_URL": "postgresql://u:hush-hush@localhost:5432/connector",
        "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092, [::1]:9093",
        "HTTP_PORT": "8001",
        "AUTH_ISSUERS_FILE": str(issuers),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal(settings_class=Settings) -> str:
    stream = io.StringIO()
    with pytest.raises(SystemExit) as stopped:
        load(settings_class, stream=stream)
    assert stopped.value.code == 2
    return stream.getvalue()


def test_defaults_and_given_values(environment):
    settings = load(Settings)
    assert settings.kafka_bootstrap_servers == "localhost:9092,[::1]:9093"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8001)
    assert settings.kafka_enable_idempotence
    assert settings.kafka_security_protocol == "PLAINTEXT"
    assert settings.auth_max_service_token_seconds == 600
    assert settings.service_key_file is None
    assert "hush-hush" not in repr(settings)


def test_settings_cannot_change_later(environment):
    settings = load(Settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 1


def test_one_line_for_each_mistake(environment):
    environment.delenv("DATABASE_URL")
    environment.setenv("HTTP_PORT", "eighty")
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost")
    environment.setenv("LOG_LEVEL", "LOUD")
    lines = refusal().splitlines()
    assert lines[0] == "Cannot start, these settings are wrong:"
    found = {line.strip().split(":")[0]: line for line in lines[1:]}
    assert set(found) == {"DATABASE_URL", "HTTP_PORT", "KAFKA_BOOTSTRAP_SERVERS", "LOG_LEVEL"}
    assert "not set" in found["DATABASE_URL"]
    assert "expected PostgreSQL address such as" in found["DATABASE_URL"]
    assert "'eighty'" in found["HTTP_PORT"]
    assert "expected TCP port" in found["HTTP_PORT"]
    assert "'localhost'" in found["KAFKA_BOOTSTRAP_SERVERS"]
    assert "'LOUD'" in found["LOG_LEVEL"]


@pytest.mark.parametrize(
    "value",
    [
        "mysql://u:hush-hush@h/db",
        "postgresql://u:hush-hush@h",
        "hush-hush",
        # The password's own characters break the address, and the parser's error would quote it.
        "postgresql://u:hush-hush＠x@h/db",  # noqa: RUF001 - a character that normalises to @
        "postgresql://u:hush-hush/x@h:5432/db",
        "postgresql://u:[hush-hush@h/db",
    ],
)
def test_a_secret_is_never_shown(environment, value):
    environment.setenv("DATABASE_URL", value)
    shown = refusal()
    assert "DATABASE_URL: given, not shown" in shown
    assert "hush" not in shown


def test_a_secret_inside_a_list_is_not_shown_either(environment):
    environment.setenv("XERO_WEBHOOK_KEYS", "hush-hush")
    shown = refusal()
    assert "XERO_WEBHOOK_KEYS: given, not shown" in shown
    assert "hush" not in shown


def test_credentials_in_another_address_are_masked(environment):
    environment.setenv("CONNECTOR_URL", "ftp://user:hush-hush@host/")
    shown = refusal()
    assert "'ftp://***@host/'" in shown
    assert "hush" not in shown


def test_a_long_value_is_cut(environment):
    environment.setenv("CONNECTOR_URL", "x" * 500)
    assert "x" * 81 not in refusal()


def test_a_value_that_should_be_json(environment):
    environment.setenv("TAGS", "[hush-hush")
    shown = refusal()
    assert "TAGS: cannot be read; expected a JSON list of words" in shown
    assert "hush" not in shown


def test_a_missing_file_is_named(environment):
    environment.setenv("AUTH_ISSUERS_FILE", "/nowhere/issuers.json")
    shown = refusal()
    assert "AUTH_ISSUERS_FILE: '/nowhere/issuers.json' (there is no such file)" in shown


def test_sasl_needs_its_three_settings(environment):
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    environment.setenv("KAFKA_SASL_PASSWORD", "hush-hush")
    shown = refusal()
    assert "KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME are needed too" in shown
    assert "hush" not in shown
    environment.setenv("KAFKA_SASL_MECHANISM", "PLAIN")
    environment.setenv("KAFKA_SASL_USERNAME", "connector")
    assert load(Settings).kafka_sasl_username == "connector"


@pytest.mark.parametrize("servers", ["", "h:0", "h:70000", "h:9092,,", ":9092", "h:port"])
def test_broker_addresses(environment, servers):
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    assert "KAFKA_BOOTSTRAP_SERVERS: " in refusal()


def test_what_counts_as_secret():
    assert is_secret("xero_client_secret", None)
    assert is_secret("database_url", None)
    assert is_secret("xero_webhook_keys", Settings.model_fields["xero_webhook_keys"])
    assert not is_secret("http_port", Settings.model_fields["http_port"])
