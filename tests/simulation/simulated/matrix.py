"""Every named step of invoice-sync killed once, and every pair of them: one after the other in the same day."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context

from simulated.campaign import Live, postgres, run
from simulated.named_failpoints import named_in
from simulated.script import Script

ELSEWHERE = {
    "reconcile:after_asking": "tests/integration/invoice_sync/test_killed_at_every_step.py",
    "replay:after_begun": "tests/integration/messaging/test_replaying_dead_letters.py",
    "replay:after_sent": "tests/integration/messaging/test_replaying_dead_letters.py",
    "take_up:after_handle": "tests/integration/invoice_sync/test_taking_up_dead_letters.py",
    "take_up:before_commit": "tests/integration/invoice_sync/test_taking_up_dead_letters.py",
}
"""What no day here passes: a person's command, or an invoice that vanished from Xero; and the tests that kill there."""
STEPS = tuple(
    step
    for step in named_in("invoice_sync") + named_in("pipeline_messaging")
    if step not in ELSEWHERE
)
DAY: Script = [
    ("publish", 0, "create"),
    ("publish", 1, "create"),
    ("go", 300, 1),
    ("pass", 31),
    ("go", 300, 2),
    ("customer",),
    ("go", 300, 13),
    # Xero says to wait; the import is asked for meanwhile, and goes first.
    ("xero", "rate_limit_minute"),
    ("publish", 0, "update"),
    ("go", 300, 3),
    ("publish", 2, "create"),
    ("go", 300, 4),
    ("ask", "a", "import"),
    ("go", 300, 5),
    ("pass", 61),
    ("go", 300, 6),
    ("pass", 31),
    ("go", 300, 7),
    # Xero does it and nobody hears; when its key is too old to be sent again, it is looked up.
    ("customer",),
    ("publish", 0, "update"),
    ("xero", "commit_then_timeout", "POST"),
    ("go", 300, 8),
    ("pass", 700),
    ("go", 300, 9),
    ("publish", 1, "void"),
    ("edit", 2),
    ("ask", "b", "reconciliation"),
    ("kafka", "unconfirmed"),
    ("go", 300, 10),
    ("pass", 700),
    ("go", 300, 11),
    ("again", 1),
    ("go", 300, 12),
]
"""Passes all but the matching of contacts, by whose policy no contact is created."""


def script_of(*deaths: str) -> Script:
    """The day on which whoever passes each of these steps dies there, in this order."""
    matching: Script = [("match",)] if any(step.startswith("match:") for step in deaths) else []
    return [*matching, ("die_in_turn", *deaths), *DAY]


@dataclass(slots=True)
class Killed:
    """What became of many days of deaths."""

    days: int = 0
    with_every_death: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Killed") -> None:
        """Take over what others lived."""
        self.days += other.days
        self.with_every_death += other.with_every_death
        self.steps += other.steps
        self.broken += other.broken


async def killed(live: Live, each: Iterable[tuple[str, ...]]) -> Killed:
    """Live a day for each of these deaths."""
    found = Killed()
    for deaths in each:
        verdict = await live(script_of(*deaths), 0)
        found.days += 1
        found.with_every_death += verdict.killed == deaths
        found.steps.update(verdict.killed)
        if verdict.broken:
            found.broken.append(f"{' then '.join(deaths)}: {'; '.join(verdict.broken)}")
    return found


def pairs_with(first: str, server_dsn: str) -> Killed:
    """The days on which this step is the first to kill, and each of them the second."""
    return run(lambda live: killed(live, [(first, second) for second in STEPS]), server_dsn)


def once(server_dsn: str) -> Killed:
    """Each step on a day of its own."""
    return run(lambda live: killed(live, [(step,) for step in STEPS]), server_dsn)


def all_pairs(server_dsn: str, processes: int) -> Iterator[Killed]:
    """All of them, in both orders, and each step twice; told by the first step as they end."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as workers:
        asked = [workers.submit(pairs_with, first, server_dsn) for first in STEPS]
        for each in as_completed(asked):
            yield each.result()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make failpoints", description=__doc__)
    parser.add_argument("--pairs", action="store_true", help="all pairs, not each step once")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    began, found = time.perf_counter(), Killed()
    with postgres() as server_dsn:
        portions = all_pairs(server_dsn, asked.processes) if asked.pairs else [once(server_dsn)]
        for portion in portions:
            found.add(portion)
            print(*portion.broken, sep="\n", end="\n" if portion.broken else "")
            seconds = time.perf_counter() - began
            print(
                f"{found.days} days in {seconds:.0f} s, {found.with_every_death} of them with every death: "
                f"{len(found.broken)} broke a promise",
                flush=True,
            )
    if missed := [step for step in STEPS if not found.steps[step]]:
        print(f"Nobody died at {', '.join(missed)}: add to DAY what passes there.")
    return int(bool(found.broken or missed))


if __name__ == "__main__":
    sys.exit(main())
