"""Runs `pipeline-xero` in this process, against services that a test makes up."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx
import pytest

from pipeline_operator import session
from pipeline_operator.__main__ import main
from pipeline_operator.services import Services

TOKEN = "eyJ.secret-of-the-operator.sig"


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> dict[str, str]:
    """Only what a test gives: neither this machine's stack nor anybody's settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("PIPELINE_XERO_LOCAL", "KAFKA_BOOTSTRAP_SERVERS", "PIPELINE_XERO_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    given = {
        "PIPELINE_XERO_CONNECTOR_URL": "http://connector.test",
        "PIPELINE_XERO_INVOICE_SYNC_URL": "http://invoice-sync.test",
        "PIPELINE_XERO_PAYMENT_INGEST_URL": "http://payment-ingest.test",
        "PIPELINE_XERO_TOKEN": TOKEN,
        "HOME": str(tmp_path),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
def run(environment, monkeypatch: pytest.MonkeyPatch, capsys) -> Callable[..., Ran]:
    """`run(answer, *arguments)`: `answer(request)` stands for all services."""

    def run(answer, *arguments: str, slept: list[float] | None = None) -> Ran:
        faked = partial(
            Services,
            transport=httpx.MockTransport(answer),
            sleep=([] if slept is None else slept).append,
        )
        monkeypatch.setattr(session, "Services", faked)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return run
