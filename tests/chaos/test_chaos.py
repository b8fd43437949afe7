"""`make chaos` as a person runs it: one run of faults on real processes, and nothing lost, doubled or out of order."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_local_stack.chaos.schedule import dealt

SEED, SECONDS = 0, 20
PAID = 500


@pytest.mark.timeout(420)
def test_nothing_is_lost_doubled_or_misordered_whatever_strikes(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable, "-m", "pipeline_local_stack", "chaos",
            f"--seed={SEED}", "--runs=1", f"--seconds={SECONDS}",
        ],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    report = json.loads((tmp_path / "chaos.json").read_text())
    (run,) = report["runs"]
    assert run["seed"] == SEED
    assert run["faults"] == sorted(map(str, dealt(SEED)))
    assert run["broken"] == []
    assert run["paid"] >= PAID
