import base64
import json
import os
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from connector.handlers.browser import form_targets
from connector.settings import Settings
from pipeline_service_defaults.keys import new_private_key, public_jwk

KEY = "v1:" + base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def given(tmp_path, monkeypatch):
    monkeypatch.delenv("TOKEN_KEYS", raising=False)
    issuers = tmp_path / "issuers.json"
    issuers.write_text(
        json.dumps({"pipeline": {"kind": "person", "keys": [public_jwk(new_private_key())]}})
    )
    return {
        "database_url": "postgresql://u:p@localhost/connector",
        "kafka_bootstrap_servers": "localhost:9092",
        "http_port": 8001,
        "auth_issuers_file": issuers,
        "public_url": "https://xero.example.com/",
        "xero_client_id": "client",
        "xero_client_secret": "the-client-secret",
        "token_keys": KEY,
    }


def test_the_redirect_uri_is_a_constant(given):
    settings = Settings(**given)
    assert settings.redirect_uri == "https://xero.example.com/oauth/xero/callback"
    assert settings.secure


def test_keys_may_come_from_a_file(given, tmp_path):
    path = tmp_path / "keys"
    path.write_text(KEY + "\n")
    del given["token_keys"]
    assert Settings(**given, token_keys_file=path).key_ring().current == "v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "http://127.0.0.1:8001"),
        ("public_url", "http://xero.example.com"),
        ("public_url", "https://xero.example.com/path"),
        ("public_url", "ftp://x"),
        ("public_url", "https://user@xero.example.com"),
        ("xero_api_url", "http://api.xero.com"),
        ("xero_client_secret", ""),
        ("token_keys", "v1:short"),
        ("token_keys", None),
        ("frame_ancestors", "*"),
        ("frame_ancestors", "'none'; script-src *"),
        ("xero_concurrent_limit", 6),
        ("gateway_total_seconds", 0),
    ],
)
def test_wrong_settings_are_refused_without_showing_secrets(given, name, value):
    with pytest.raises(ValidationError) as caught:
        Settings(**(given | {name: value}))
    assert "the-client-secret" not in " ".join(e["msg"] for e in caught.value.errors())


def test_secrets_do_not_show_in_a_print(given):
    shown = repr(Settings(**given))
    assert "the-client-secret" not in shown
    assert KEY not in shown


def test_forms_may_lead_through_every_host_of_xeros_sign_in():
    # Browsers hold form-action against each redirect that follows, and Xero's login hands over to hosts of its own.
    xero = SimpleNamespace(xero_login_url="https://login.xero.com")
    assert form_targets(xero) == "'self' https://login.xero.com https://*.xero.com"
    for other in ("http://localhost:8080/path", "https://login.xero.com.evil.example"):
        assert "*" not in form_targets(SimpleNamespace(xero_login_url=other))


def test_asking_invoice_sync_needs_a_key_of_ones_own(given, tmp_path):
    key = tmp_path / "own.pem"
    key.write_text(new_private_key())
    assert Settings(**given).invoice_sync_url is None
    asked = Settings(**given, invoice_sync_url="http://invoice-sync:8002/", service_key_file=key)
    assert asked.invoice_sync_url == "http://invoice-sync:8002"
    with pytest.raises(ValidationError, match="SERVICE_KEY_FILE is needed"):
        Settings(**given, invoice_sync_url="http://invoice-sync:8002")
    key.write_text("hush-hush")
    with pytest.raises(ValidationError, match="SERVICE_KEY_FILE") as told:
        Settings(**given, invoice_sync_url="http://invoice-sync:8002", service_key_file=key)
    assert "hush-hush" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    ["", "invoice-sync", "ftp://invoice-sync", "http://u:p@invoice-sync", "http://invoice-sync?x"],
)
def test_an_address_of_invoice_sync_that_cannot_be_one_is_refused(given, tmp_path, address):
    key = tmp_path / "own.pem"
    key.write_text(new_private_key())
    with pytest.raises(ValidationError, match="not an address"):
        Settings(**given, invoice_sync_url=address, service_key_file=key)
