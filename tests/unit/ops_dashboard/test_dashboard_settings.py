import pytest

from ops_dashboard.__main__ import main
from ops_dashboard.settings import Settings
from pipeline_service_defaults.settings import load

GOOD = {
    "DATABASE_URL": "postgresql://u:hidden@h/d",
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "HTTP_PORT": "8004",
    "INVOICE_SYNC_URL": "http://localhost:8002",
    "PIPELINE_WEB_URL": "http://localhost:8000",
}


@pytest.fixture
def environment(monkeypatch, tmp_path):
    issuers = tmp_path / "issuers.json"
    issuers.write_text("{}")
    for name, value in (GOOD | {"AUTH_ISSUERS_FILE": str(issuers)}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_nobody_is_staff_unless_it_is_said(environment):
    settings = load(Settings)
    assert settings.staff_account_id is None
    assert settings.secure is True
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INVOICE_SYNC_URL", "localhost:8002"),
        ("PIPELINE_WEB_URL", "javascript:alert(1)"),
        ("MOST_STREAMS", "0"),
        ("HISTORY_DAYS", "89"),
        ("SECURE", "perhaps"),
        ("DATABASE_URL", "hidden"),
    ],
)
def test_a_wrong_setting_stops_with_its_name(environment, capsys, name, value):
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        main(["serve"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert name in said
    assert "hidden" not in said
