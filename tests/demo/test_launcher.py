"""`make up` leaves nothing running, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest


@pytest.fixture
def up(tmp_path: Path):
    started = []

    def start():
        with (tmp_path / "up.out").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline_local_stack", "up"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
            )
        started.append(process)
        deadline = time.monotonic() + 120
        while not (tmp_path / "stack.json").exists():
            assert process.poll() is None, (tmp_path / "up.out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return process, json.loads((tmp_path / "stack.json").read_text())

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def down(tmp_path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack", "down"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
    ).stdout


def processes_of(tmp_path: Path) -> list[psutil.Process]:
    pids = [json.loads(f.read_text())["pid"] for f in (tmp_path / "run").glob("*.json")]
    return [psutil.Process(pid) for pid in pids]


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=40)
    assert [p.cmdline() for p in alive] == []


@pytest.mark.timeout(400)
def test_ctrl_c_and_down_and_a_crash_leave_no_process(up, tmp_path: Path):
    launcher, described = up()
    everything = processes_of(tmp_path)
    assert len(everything) >= 7
    for service in ("connector", "invoice-sync", "payment-ingest"):
        assert httpx.get(f"{described['urls'][service]}/health/ready").status_code == 200
    errors = [
        line
        for log in (tmp_path / "logs").glob("*.log")
        for line in log.read_text(errors="replace").splitlines()
        if '"level": "error"' in line
    ]
    assert errors == [], "a healthy start logs no error"
    tried = subprocess.run(
        [
            sys.executable,
            "-m",
            "payment_ingest",
            "webhook-keys",
            described["urls"]["payment-ingest"],
        ],
        env={"PATH": os.environ["PATH"], "XERO_WEBHOOK_KEYS": described["webhook_key"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Xero's check would pass." in tried.stdout, tried.stdout + tried.stderr
    memory = sum(p.memory_info().rss for p in everything)
    assert memory < 3 * 1024**3, "the whole stack fits in 3 GB"
    for process in everything:
        addresses = {c.laddr.ip for c in process.net_connections("tcp") if c.status == "LISTEN"}
        assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}, process.cmdline()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(60) == 0
    wait_gone(everything)
    assert not (tmp_path / "stack.json").exists()
    said = (tmp_path / "up.out").read_text()
    assert "Publish an invoice by hand" in said
    for service in ("connector", "invoice-sync", "payment-ingest"):
        assert f"API of {service}:" in said

    launcher, _ = up()
    everything = processes_of(tmp_path)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    notes = [json.loads(f.read_text()) for f in (tmp_path / "run").glob("*.json")]
    down(tmp_path)
    wait_gone(everything)
    assert not [n["scratch"] for n in notes if n["scratch"] and Path(n["scratch"]).exists()]
    assert down(tmp_path).strip() == "Nothing was running."
