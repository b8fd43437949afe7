import io
from pathlib import Path

import pytest

from payment_ingest.__main__ import main
from payment_ingest.settings import Settings
from pipeline_service_defaults.settings import load


@pytest.fixture
def environment(monkeypatch, tmp_path: Path):
    key, issuers = tmp_path / "key.pem", tmp_path / "issuers.json"
    key.write_text("k")
    issuers.write_text("{}")
    for name, value in {
        "DATABASE_URL": "postgresql://u:p@h/d",
        "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
        "HTTP_PORT": "8003",
        "AUTH_ISSUERS_FILE": str(issuers),
        "SERVICE_KEY_FILE": str(key),
        "CONNECTOR_URL": "http://localhost:8001",
        "XERO_WEBHOOK_KEYS": "one-secret, two-secret,",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_keys_are_split_at_commas(environment):
    settings = load(Settings)
    assert settings.webhook_keys == (b"one-secret", b"two-secret")
    assert "one-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("XERO_WEBHOOK_KEYS", " , "),
        ("CONNECTOR_URL", "localhost:8001"),
        ("SERVICE_KEY_FILE", "/nowhere/key.pem"),
        ("SWEEP_INTERVAL_SECONDS", "0"),
        ("SWEEP_OVERLAP_SECONDS", "-1"),
        # The default pool has ten: a rebuild of the ledger would leave none for the webhooks' doorbells.
        ("ACCOUNT_CONCURRENCY", "9"),
        ("DATABASE_POOL_SIZE", "9"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_shown(environment, name, value):
    environment.setenv(name, value)
    said = io.StringIO()
    with pytest.raises(SystemExit):
        load(Settings, stream=said)
    assert name in said.getvalue()
    assert "one-secret" not in said.getvalue()


def test_no_key_at_all_stops_the_start(environment):
    environment.delenv("XERO_WEBHOOK_KEYS")
    said = io.StringIO()
    with pytest.raises(SystemExit):
        load(Settings, stream=said)
    assert "XERO_WEBHOOK_KEYS: not set" in said.getvalue()


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("reconcile", {"DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"}),
        ("rebuild-ledger", {"DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"}),
        ("deep-sweep", {"DATABASE_URL"}),
    ],
)
def test_a_command_asks_for_the_settings_it_uses_and_no_others(
    monkeypatch, capsys, command, needed
):
    for name in (*needed, "HTTP_PORT", "AUTH_ISSUERS_FILE", "CONNECTOR_URL", "XERO_WEBHOOK_KEYS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert {line.split(":")[0].strip() for line in said.splitlines() if "not set" in line} == needed
