"""`make planted-bugs` as a person runs it: bugs that somebody could have made, on real processes, and the judge finds each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOUND_BY = {"post_instead_of_put": 2, "token_of_a_stranger_believed": 10}
SEEDS = 2


@pytest.mark.timeout(420)
def test_the_judge_finds_what_was_planted(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable, "-m", "pipeline_local_stack", "planted-bugs",
            f"--seeds={SEEDS}", "--only", *FOUND_BY,
        ],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    record = json.loads((tmp_path / "planted-bugs.json").read_text())
    assert set(record) == set(FOUND_BY)
    for name, number in FOUND_BY.items():
        assert number in record[name]["invariants"], record[name]
        assert record[name]["words"].startswith(f"invariant {number}: ")


def test_a_bug_that_does_not_exist_is_no_success(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack", "planted-bugs", "--only", "no_such_bug"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PIPELINE_XERO_LOCAL": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 1
    assert "There is no planted bug no_such_bug" in ran.stderr
