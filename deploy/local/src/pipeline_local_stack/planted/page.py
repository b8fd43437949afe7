"""The record of a hunt as a page: what was planted, and by what it was found."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_local_stack.planted.bugs import Bug

_HEAD = """# Planted bugs

A judge that finds nothing proves nothing until it has found something. So known bugs are planted, one at a time, into a copy of the
services; two replicas of each service run from that copy on real Kafka, Postgres and Xero's simulator, invoices are published and
paid, and what provokes the bug strikes: `make planted-bugs` (one bug: `make planted-bugs ONLY=key_reused`). A bug counts as found only
if the judge of `make chaos` names one of the promises that this bug must break, within {seeds} seeds. Each bug is a file in
`deploy/local/src/pipeline_local_stack/planted/bugs`: exact text of the source and what stands there instead. Where that text changes, the
bug no longer applies, and a test says so.

`make planted-bugs RECORD=1` writes this page and the same as JSON. The promises are numbered as in
[`invariants.py`](../../deploy/local/src/pipeline_local_stack/invariants.py) and `chaos/verdict.py`. Seconds are those of the whole
search, the start of the stack included.
"""


def page(bugs: Sequence[Bug], record: Mapping[str, Mapping[str, Any]], seeds: int) -> str:
    """The page of a record, by bug; a bug that nobody looked for yet is said to be so."""
    found = sum(record.get(bug.name, {}).get("seed") is not None for bug in bugs)
    rows = [_row(bug, record.get(bug.name)) for bug in bugs]
    where = sorted({each["where"] for each in record.values() if each["where"]})
    return "\n".join(
        (
            _HEAD.format(seeds=seeds),
            f"**{found} of {len(bugs)} found.**\n",
            "| bug | must break | found at seed | broken in that run | seconds | the judge's words |",
            "|---|---|--:|---|--:|---|",
            *rows,
            "\nRun on:\n",
            *(f"- {each}" for each in where),
            "",
        )
    )


def _row(bug: Bug, found: Mapping[str, Any] | None) -> str:
    name = f"`{bug.name}`: {bug.about}"
    must = _numbers(sorted(bug.invariants))
    if found is None:
        return f"| {name} | {must} | not looked for | | | |"
    seed = "not found" if found["seed"] is None else found["seed"]
    words = found["words"].replace("|", "\\|")
    broken = _numbers(found["invariants"])
    return f"| {name} | {must} | {seed} | {broken} | {found['seconds']:.0f} | {words} |"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
