"""`make chaos` as a person runs it: four runs of faults on real processes, every fault once, and nothing lost, doubled or out of order."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_local_stack.chaos.schedule import FAULTS, dealt

SEED, RUNS, SECONDS = 0, 4, 20
PAID = 500


@pytest.mark.timeout(1200)
def test_nothing_is_lost_doubled_or_misordered_whatever_strikes(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable, "-m", "pipeline_local_stack", "chaos",
            f"--seed={SEED}", f"--runs={RUNS}", f"--seconds={SECONDS}",
        ],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    report = json.loads((tmp_path / "chaos.json").read_text())
    assert report["faults_met"] == len(FAULTS)
    assert [run["seed"] for run in report["runs"]] == list(range(SEED, SEED + RUNS))
    for run in report["runs"]:
        assert run["faults"] == sorted(map(str, dealt(run["seed"])))
        assert run["broken"] == []
        assert run["paid"] >= PAID
