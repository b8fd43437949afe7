"""The composed system runs: every process with the command, settings, secrets and files of `deploy/compose.yaml`."""

import json
import socket
import subprocess
import sys

from composing import host_of, model_with_secrets

from pipeline_local_stack.kafka_jars import fetch_kafka_jars
from pipeline_local_stack.paths import ROOT


def test_it_starts_in_order_and_takes_an_invoice_to_xero_and_its_payment_back(
    prometheus, own_network, tmp_path
):
    model = model_with_secrets(tmp_path / "secrets")
    fetch_kafka_jars(print)  # in there is no network to fetch them from
    (tmp_path / "model.json").write_text(json.dumps(model))
    names = {name for service in model["services"] for name in host_of(model, service)}
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {' '.join(['localhost', socket.gethostname(), *sorted(names)])}\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ran = subprocess.run(
        [
            *own_network, "--bind", tmp_path, tmp_path, "--ro-bind", hosts, "/etc/hosts", "--",
            sys.executable, ROOT / "tests" / "support" / "composed_system.py", tmp_path / "model.json", scratch,
        ],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "PIPELINE_XERO_LOCAL": str(scratch / "local")},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert "State: synced" in seen["published"]
    (payment,) = seen["payments"]
    assert payment["amount"] == "115.00"
    assert "C-1" in seen["dashboard"]
    assert seen["targets"] == dict.fromkeys(
        ("connector", "invoice-sync", "payment-ingest", "ops-dashboard"), "up"
    )
    assert {rule["health"] for group in seen["rules"] for rule in group["rules"]} <= {
        "ok",
        "unknown",
    }
