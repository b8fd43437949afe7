"""`make demo` as a person runs it, and again with each service killed in the middle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_local_stack.demo import PAID, PAID_UNHEARD, SALES


@pytest.mark.timeout(420)
@pytest.mark.parametrize("killed", [None, "connector", "invoice-sync", "payment-ingest"])
def test_the_demo_adds_up_whatever_is_killed_in_the_middle(
    killed: str | None, tmp_path: Path
) -> None:
    arguments = ["--kill", killed] if killed else []
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "140", "PIPELINE_XERO_LOCAL": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["published"] == report["in_xero"] == SALES
    assert report["payments_made"] == report["payments_recorded"] == PAID + PAID_UNHEARD
    assert report["found_by_sweep"] >= PAID_UNHEARD
    assert (report["payments_reversed"], report["credits_recorded"]) == (1, 1)
    told = " ".join(ran.stdout.split())
    for story in (
        "invoice-sync made and linked a contact for each by itself",
        "every webhook about them was lost. The sweep found all 5",
        "was deleted in Xero: PaymentReversed",
        "was written in Xero: PaymentRecorded as credit_note",
    ):
        assert story in told
    assert (report["lost"], report["doubled"], report["waiting"]) == (0, 0, 0)
    assert report["killed"] == killed
