"""The record of chaos: every run counts, a broken one stands there with its words, nothing is written over."""

import json
from pathlib import Path
from typing import Any

from pipeline_local_stack.chaos.record import keep


def run(seed: int, *broken: str) -> dict[str, Any]:
    return {
        "seed": seed, "published": 700, "paid": 500 + seed, "quiet_seconds": 4.5 + seed, "undecided": 0,
        "broken": list(broken), "faults": ["kill of connector"], "timeline": ["10:00 it was killed"],
    }  # fmt: skip


def report(*runs: dict[str, Any], **differently: Any) -> dict[str, Any]:
    usual = {
        "measured_at": "2026-11-23 14:00 UTC", "commit": "abc123", "servers": "Apache Kafka 4.3.1", "seconds": 20.0,
        "minutes": 8.1, "faults": 52, "faults_met": 52, "missed": [], "runs": list(runs),
    }  # fmt: skip
    return usual | differently


def test_runs_are_added_up_and_a_broken_one_stays_with_its_words(tmp_path: Path) -> None:
    file = tmp_path / "chaos.json"
    keep(report(run(0), run(1)), file)
    keep(report(run(2), run(3, "invariant 2: inv-1 is in Xero twice"), commit="def456"), file)

    page = (tmp_path / "chaos.md").read_text()
    assert "**4 runs, 2,800 records, 2,006 payments; runs that broke a promise: 1.**" in page
    first, second = [line for line in page.splitlines() if line.startswith("| 2026")]
    assert (
        "| 0 to 1 | 1,400 | 1,001, 500 or more a run | 52 of 52 | 4.5 to 5.5 s | 0 | 0 |" in first
    )
    assert "def456" in second
    assert "| 2 to 3 |" in second
    assert "| 0 | 1 |" in second
    assert "- seed 3 at commit def456: invariant 2: inv-1 is in Xero twice" in page
    assert "timeline" not in json.dumps(json.loads(file.read_text()))


def test_a_campaign_that_missed_a_fault_says_which(tmp_path: Path) -> None:
    file = tmp_path / "chaos.json"
    keep(report(run(0), faults_met=51, missed=["clock of xero"]), file)
    assert "51 of 52, missed: clock of xero" in (tmp_path / "chaos.md").read_text()
