"""Runs each planted bug until the judge finds it, and keeps a record of which seed it took."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline_local_stack.bench.machine import describe_machine, load_now
from pipeline_local_stack.chaos.campaign import Campaign, Run
from pipeline_local_stack.chaos.schedule import Fault, Step
from pipeline_local_stack.chaos.struck_stack import struck_stack
from pipeline_local_stack.paths import LOCAL, ROOT, StackError
from pipeline_local_stack.planted.bugs import Bug, plant, read_bugs
from pipeline_local_stack.planted.page import page
from pipeline_local_stack.releases import THIS, Release
from pipeline_local_stack.stack import supervised

SEEDS = 50
"""Within which every bug must be found."""
SECONDS = 6.0
"""For which each run is struck."""
QUIET_SECONDS = 60
PATIENCE_SECONDS = 20
"""What has not moved for so long is broken for good: longer than a sweep's interval and any first retries."""
RECORD = ROOT / "docs" / "reliability" / "planted-bugs.json"
PAGE = RECORD.with_suffix(".md")
REPORT_FILE = LOCAL / "planted-bugs.json"
_JITTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Catch:
    """What became of the search for one bug."""

    name: str
    expected: Sequence[int]
    seed: int | None
    """Of the run in which it was found; None if in no run."""
    invariants: Sequence[int] = field(default=())
    """All that were broken in that run."""
    words: str = ""
    """The first promise broken by which it was to be found."""
    seconds: float = 0
    """Of the whole search, the starting of the stack included."""
    where: str = ""
    """When, at which commit and with which servers it was looked for."""


def hunt(
    only: Sequence[str] = (), seeds: int = SEEDS, *, sound: bool = False, record: bool = False
) -> int:
    """Look for planted bugs; 0 only if each is found by an invariant that it must break.

    Leaves what was found in `.local/planted-bugs.json`, one entry for each bug, newer ones in place of older ones.

    Args:
        only: the names of the bugs; none are all of them.
        seeds: how many runs of each bug at the most.
        sound: the same runs without the bugs, in which nothing may be found: a judge that always finds something would
            find every bug, too.
        record: whether to keep what was found in the documentation, too.

    Raises:
        StackError: There is no such bug, or one no longer applies.
    """
    # Our own client tells of every fault that it meets, and that is what faults are for.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    bugs = [bug for bug in read_bugs() if not only or bug.name in only]
    if unknown := set(only) - {bug.name for bug in bugs}:
        known = ", ".join(bug.name for bug in read_bugs())
        raise StackError(
            f"There is no planted bug {', '.join(sorted(unknown))}; there are {known}."
        )
    if sound:
        return _without_bugs(bugs, seeds)
    catches = []
    for bug in bugs:
        found = search(bug, plant(bug), seeds)
        catches.append(found)
        keep(found, REPORT_FILE)
        if record:
            PAGE.write_text(page(read_bugs(), keep(found, RECORD), SEEDS))
        print(told(bug, found))
    caught = sum(each.seed is not None for each in catches)
    print(f"{caught} of {len(catches)} planted bugs found.")
    return 0 if caught == len(catches) else 1


def _without_bugs(bugs: Sequence[Bug], seeds: int) -> int:
    wrong = 0
    for bug in bugs:
        found = search(replace(bug, invariants=frozenset(range(1, 17))), THIS, seeds)
        words = found.words or "nothing is broken"
        print(f"{bug.name} not planted: {words} ({found.seconds:.0f} s)")
        wrong += found.seed is not None
    return 1 if wrong else 0


def told(bug: Bug, found: Catch) -> str:
    """What became of it, in a line or two."""
    if found.seed is None:
        return f"{bug.name}: NOT FOUND in {found.seconds:.0f} s. {bug.about}"
    return f"{bug.name}: found by seed {found.seed} in {found.seconds:.0f} s.\n  {found.words}"


def search(bug: Bug, release: Release, seeds: int) -> Catch:
    """Run after run, until one breaks an invariant that the bug must break."""
    started = time.monotonic()
    with struck_stack(lambda _: None, release) as (stack, links, direct_kafka):
        campaign = Campaign(
            stack, links, direct_kafka, SECONDS, lambda seed: steps_of(bug, seed),
            invoices=bug.invoices, readers=bug.readers, quiet=QUIET_SECONDS, patience=PATIENCE_SECONDS,
        )  # fmt: skip
        where, run = asyncio.run(_runs(bug, campaign, seeds))
    seconds = round(time.monotonic() - started, 1)
    expected = sorted(bug.invariants)
    if run is None:
        words = f"Seeds tried: {seeds}."
        return Catch(bug.name, expected, None, (), words, seconds, where)
    wanted = tuple(f"invariant {number}:" for number in expected)
    words = next(each for each in run.broken if each.startswith(wanted))
    return Catch(bug.name, expected, run.seed, run.numbers, words, seconds, where)


async def _runs(bug: Bug, campaign: Campaign, seeds: int) -> tuple[str, Run | None]:
    machine = await describe_machine(campaign.stack, load_now())
    where = (
        f"{machine.measured_at}, commit {machine.commit}, {machine.kafka}, Postgres {machine.postgres},"
        f" Python {machine.python}"
    )
    async with supervised(campaign.stack, lambda _: None):
        for seed in range(seeds):
            outcome = await campaign.run(seed)
            if bug.invariants & set(outcome.numbers):
                return where, outcome
    return where, None


def steps_of(bug: Bug, seed: int) -> list[Step]:
    """What provokes the bug in one run: a pure function of the seed."""
    chance = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
    return sorted(
        Step(
            at=round(strike.at + chance.uniform(0, _JITTER_SECONDS), 2),
            fault=Fault(strike.kind, strike.target),
            lasts=strike.lasts,
            amount=strike.amount,
            chance=chance.random() if strike.chance is None else strike.chance,
        )
        for strike in bug.strikes
    )


def keep(found: Catch, file: Path) -> dict[str, Any]:
    """Write one entry into the record, in place of an older one; the record as it then is."""
    record = json.loads(file.read_text()) if file.exists() else {}
    record = dict(sorted((record | {found.name: asdict(found)}).items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=2) + "\n")
    return record
