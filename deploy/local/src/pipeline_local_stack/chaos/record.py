"""What was run of chaos, kept in the documentation: seeds, servers, figures, and what broke."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_local_stack.paths import ROOT

RECORD_FILE = ROOT / "docs" / "reliability" / "chaos.json"

_HEAD = """# Chaos

`make chaos SEED=0 RUNS=4` starts two replicas of every service on real Apache Kafka and Postgres, with Xero's simulator behind them,
and links between all of them that can fail. In each run, for {seconds:.0f} seconds, invoices are published, booked, paid, edited and
taken back while faults strike: processes killed, frozen past their lease and restarted, servers restarted, links slow, silent, half
open or cut, Xero failing in each way that it has, webhooks lost, doubled, late and out of order. Then all faults are healed, and
within 120 s the [judge](promises.md#the-judge) must find that every promise holds. Which fault strikes when is drawn from the seed;
the order in which processes get their turn is not, so that a seed repeats its faults and not each step of a run.

`make chaos RECORD=1` writes this page and the same as JSON: a line for each stack that was started, twenty runs at the most. A run
that breaks a promise ends its campaign and stays in the record.
"""
_KEPT = ("seed", "published", "paid", "quiet_seconds", "undecided", "broken")
_COLUMNS = "| run | seeds | records | payments | faults met | at rest after | undecided | promises broken | minutes |\n"
_COLUMNS += "|---|---|--:|--:|--:|--:|--:|--:|--:|"


def keep(report: dict[str, Any], file: Path = RECORD_FILE) -> None:
    """Add one stack's runs to the record, and write the page anew.

    Of a run, what its seed does not say already.
    """
    entries = json.loads(file.read_text("utf-8")) if file.exists() else []
    runs = [{name: run[name] for name in _KEPT} for run in report["runs"]]
    entries.append(report | {"runs": runs})
    file.write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
    file.with_suffix(".md").write_text(page(entries), "utf-8")


def page(entries: Sequence[dict[str, Any]]) -> str:
    """The page of a record."""
    runs = sum(len(entry["runs"]) for entry in entries)
    published = sum(run["published"] for entry in entries for run in entry["runs"])
    paid = sum(run["paid"] for entry in entries for run in entry["runs"])
    broken = [(entry, run) for entry in entries for run in entry["runs"] if run["broken"]]
    return "\n".join(
        (
            _HEAD.format(seconds=entries[-1]["seconds"]),
            f"**{runs} runs, {published:,} records, {paid:,} payments; runs that broke a promise: {len(broken)}.**\n",
            _COLUMNS,
            *map(_row, entries),
            *_broken(broken),
            "",
        )
    )


def _row(entry: dict[str, Any]) -> str:
    runs = entry["runs"]
    waits = [run["quiet_seconds"] for run in runs]
    missed = f", missed: {', '.join(entry['missed'])}" if entry["missed"] else ""
    cells = (
        f"{entry['measured_at']}, commit {entry['commit']}, {entry['servers']}",
        f"{runs[0]['seed']} to {runs[-1]['seed']}",
        f"{sum(run['published'] for run in runs):,}",
        f"{sum(run['paid'] for run in runs):,}, {min(run['paid'] for run in runs)} or more a run",
        f"{entry['faults_met']} of {entry['faults']}{missed}",
        f"{min(waits)} to {max(waits)} s",
        f"{sum(run['undecided'] for run in runs)}",
        f"{sum(bool(run['broken']) for run in runs)}",
        f"{entry['minutes']}",
    )
    return f"| {' | '.join(cells)} |"


def _broken(runs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    told = [
        f"- seed {run['seed']} at commit {entry['commit']}: {run['broken'][0]}"
        for entry, run in runs
    ]
    return (
        ["", "The first words of the judge on each run that broke a promise:", "", *told]
        if told
        else []
    )
