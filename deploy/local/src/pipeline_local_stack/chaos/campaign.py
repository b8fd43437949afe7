"""Runs of faults on one stack of real processes, each of them healed and judged before the next begins."""

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from pipeline_local_stack.bench.machine import describe_machine, load_now
from pipeline_local_stack.canaries import Canaries
from pipeline_local_stack.chaos.bookkeepers import Bookkeepers
from pipeline_local_stack.chaos.fault_proxy import Links
from pipeline_local_stack.chaos.gather import gather, happenings, waiting
from pipeline_local_stack.chaos.inject import Injector, Person
from pipeline_local_stack.chaos.intruder import Intruder
from pipeline_local_stack.chaos.readers import read_much
from pipeline_local_stack.chaos.record import keep
from pipeline_local_stack.chaos.schedule import FAULTS, Fault, Step, dealt, missed, plan
from pipeline_local_stack.chaos.struck_stack import LEASE_SECONDS, struck_stack
from pipeline_local_stack.chaos.timeline import timeline
from pipeline_local_stack.chaos.verdict import broken_promises
from pipeline_local_stack.chaos.workload import publications, publish
from pipeline_local_stack.connect import connect_account, connect_as, connection_of
from pipeline_local_stack.exposed import (
    logs,
    records,
    tables,
    watch_tokens,
    watch_what_is_configured,
)
from pipeline_local_stack.invariants import Violation
from pipeline_local_stack.paths import LOCAL, LOGS, StackError
from pipeline_local_stack.stack import Stack, supervised
from pipeline_local_stack.xero_admin import XeroAdmin

ACCOUNTS = 6
INVOICES = 540
"""Of each run; those that are cancelled are not paid, so that at least 500 payments are left."""
QUIET_SECONDS = 120
"""Within which everything must hold again once all faults are gone: reliability, invariant 15."""
REPORT_FILE = LOCAL / "chaos.json"
RUNS_OF_A_STACK = 20
"""Then a new one is started: what the judge reads would grow with every run. A multiple of the schedule's rounds."""
_PUBLISHING_SHARE = 0.8
"""The share of a run in which invoices are published."""
_LOOK_SECONDS = 1.0
_FOR_GOOD = frozenset({3, 4, 6, 10, 13, 14})
"""Invariants that nothing which happens later can mend."""


@dataclass(slots=True)
class Run:
    """One run and its outcome."""

    seed: int
    accounts: Sequence[str]
    faults: list[str] = field(default_factory=list)
    """Those that really struck."""
    published: int = 0
    paid: int = 0
    quiet_seconds: float = 0
    """From healing until everything held."""
    undecided: int = 0
    """Invoices that still waited on purpose for a write that may yet land, and were left out."""
    broken: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """The invariants that are broken."""
    timeline: list[str] = field(default_factory=list)
    """What happened to what the first broken promise names, in order."""


@dataclass(slots=True)
class Campaign:
    """What all runs share.

    Attributes:
        direct_kafka: The bootstrap servers without the link between.
        seconds: For how long faults strike in each run.
        steps: The faults of a run, by its seed.
        invoices: How many are published in each run.
        readers: How many other callers read of one account through the gateway as much as they are let.
        quiet: Seconds within which everything must hold once all faults are gone.
        patience: Seconds after which what is broken, and has not moved since, counts as broken for good.
    """

    stack: Stack
    links: Links
    direct_kafka: str
    seconds: float
    steps: Callable[[int], Sequence[Step]]
    invoices: int = INVOICES
    quiet: float = QUIET_SECONDS
    patience: float = QUIET_SECONDS
    readers: int = 0
    poison: set[bytes] = field(default_factory=set)
    struck: set[Fault] = field(default_factory=set)

    async def run(self, seed: int) -> Run:
        """One run: faults for some seconds, healing, quiet, judgement."""
        names = [f"chaos-{seed}-{number}" for number in range(1, ACCOUNTS + 1)]
        people = [await asyncio.to_thread(self._connect, name) for name in names]
        wanted = publications(seed, names, self.invoices)
        self.poison |= {each.record.value or b"" for each in wanted if not each.record.headers}
        books = [XeroAdmin(self.stack.urls["simulator"], name) for name in names]
        keepers = Bookkeepers(books, seed)
        await asyncio.to_thread(keepers.enter_by_hand, wanted)
        intruder = Intruder(self.stack, seed)
        injector = Injector(self.stack, self.links, people)
        outcome = Run(seed, names, published=len(wanted))
        working = [asyncio.create_task(each.work()) for each in (keepers, intruder)]
        reading = asyncio.create_task(read_much(self.stack, names[0], self.readers))
        try:
            async with asyncio.TaskGroup() as running:
                running.create_task(injector.carry_out(self.steps(seed)))
                publishing = self.seconds * _PUBLISHING_SHARE
                running.create_task(publish(self.direct_kafka, wanted, publishing))
            reading.cancel()
            await self._until_quiet(outcome, injector, keepers, intruder)
            await self._look_for_secrets(outcome, intruder)
        finally:
            for task in (*working, reading):
                task.cancel()
            await asyncio.wait((*working, reading))
            await injector.close()
            for xero in books:
                xero.close()
        self.struck |= injector.struck
        outcome.faults = sorted(map(str, injector.struck))
        outcome.paid = len(keepers.paid)
        outcome.broken += injector.complaints
        return outcome

    def _connect(self, name: str) -> Person:
        email = f"{name}@example.com"
        return Person(name, email, connect_account(self.stack, name, email, name))

    async def _until_quiet(
        self, outcome: Run, injector: Injector, keepers: Bookkeepers, intruder: Intruder
    ) -> None:
        """Return once everything holds, twice in a row and with nothing paid between; or when it never will."""
        healed = moved = time.monotonic()
        held = 0
        while held < 2:  # noqa: PLR2004 - twice: what comes late, such as a doubled write, has had its chance
            await asyncio.sleep(_LOOK_SECONDS)
            await self._reconnect(injector)
            before = len(keepers.paid), outcome.broken
            try:
                await self._judge(outcome, keepers, intruder)
            except httpx.HTTPError as error:
                _note(outcome, [Violation(15, f"a service gives no answer: {error!r}")])
            now = time.monotonic()
            if (len(keepers.paid), outcome.broken) != before:
                moved = now
            is_moving = keepers.is_busy or len(keepers.paid) != before[0]
            held = 0 if outcome.broken or is_moving else held + 1
            outcome.quiet_seconds = round(now - healed, 1)
            is_over = now - healed > self.quiet or now - moved > self.patience
            if not held and (is_over or _FOR_GOOD & set(outcome.numbers)):
                return

    async def _judge(self, outcome: Run, keepers: Bookkeepers, intruder: Intruder) -> None:
        outcome.timeline = []
        left = await waiting(self.stack)
        late = [Violation(15, f"{count} in {where}") for where, count in left.items()]
        evidence = await gather(
            self.stack, outcome.accounts, frozenset(self.poison), keepers.notes, intruder.attempts
        )
        outcome.undecided = evidence.undecided
        found = broken_promises(evidence)
        _note(outcome, [*found, *late])
        if found:
            happened = await happenings(self.stack, found[0].words, evidence.ledgers)
            outcome.timeline = timeline(found[0].words, evidence.ledgers, happened)

    async def _look_for_secrets(self, outcome: Run, intruder: Intruder) -> None:
        canaries = Canaries()
        ring = watch_what_is_configured(self.stack, canaries)
        await watch_tokens(self.stack, canaries, ring)
        public = [*logs(), *await records(self.stack), *intruder.attempts.answers]
        public += await tables(self.stack, self.stack.dsns)
        leaks = set().union(*(canaries.leaks(where, text) for where, text in public))
        told = [f"{one.secret} stands, {one.encoding}, in {one.where}" for one in leaks]
        outcome.numbers += [12] if told else []
        outcome.broken += [str(Violation(12, words)) for words in sorted(told)]

    async def _reconnect(self, injector: Injector) -> None:
        """The person whose consent was taken away presses the button again."""
        for person in injector.people:
            if person.account_id in injector.revoked:
                found = await asyncio.to_thread(connection_of, self.stack, person.account_id)
                if found.get("status") != "CONNECTED":
                    account, email = person.account_id, person.email
                    with contextlib.suppress(StackError):
                        await asyncio.to_thread(connect_as, self.stack, account, email)


def _note(outcome: Run, found: Sequence[Violation]) -> None:
    outcome.numbers = sorted({each.invariant for each in found})
    outcome.broken = list(map(str, found))


def run_chaos(*, seed: int, runs: int, seconds: float, record: bool = False) -> int:
    """Run a campaign; 0 only if every promise held in every run and every fault was met that had to be.

    Leaves what happened last in `.local/chaos.json`, and the logs of a stack that broke a promise in `.local/chaos-logs`.

    Args:
        seed: of the first run; each further run has the next one.
        runs: how many.
        seconds: for how long faults strike in each.
        record: whether to add what happened to the record in the documentation.
    """
    # Our own client tells of every fault that it meets, and that is what faults are for.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for first in range(seed, seed + runs, RUNS_OF_A_STACK):
        seeds = range(first, min(first + RUNS_OF_A_STACK, seed + runs))
        report = _on_one_stack(seeds, seconds)
        REPORT_FILE.write_text(json.dumps(report, indent=2))
        if record:
            keep(report)
        if report["missed"] or any(run["broken"] for run in report["runs"]):
            return 1
    return 0


def _on_one_stack(seeds: range, seconds: float) -> dict[str, Any]:
    """Start a stack, carry out its runs until one breaks a promise, and report."""
    outcomes: list[Run] = []
    started = time.monotonic()
    with struck_stack(print) as (stack, made, direct_kafka):
        campaign = Campaign(
            stack, made, direct_kafka, seconds, lambda each: plan(each, seconds, LEASE_SECONDS)
        )
        machine = asyncio.run(describe_machine(stack, load_now()))
        asyncio.run(_runs(campaign, seeds, outcomes))
        due = {fault for outcome in outcomes for fault in dealt(outcome.seed)}
        unmet = [fault for fault in missed(campaign.struck) if fault in due]
        if any(outcome.broken for outcome in outcomes):
            shutil.copytree(LOGS, LOCAL / "chaos-logs", dirs_exist_ok=True)
    print(f"{len(outcomes)} runs, {sum(one.published for one in outcomes)} records published, "
          f"{sum(one.paid for one in outcomes)} invoices paid, {len(campaign.struck)} of {len(FAULTS)} faults met, "
          f"{sum(len(one.broken) for one in outcomes)} promises broken.")  # fmt: skip
    if unmet:
        print(
            f"invariant 16: the campaign is void, for these never struck: {', '.join(map(str, unmet))}."
        )
    return {
        "measured_at": machine.measured_at,
        "commit": machine.commit,
        "servers": f"{machine.kafka}, Postgres {machine.postgres}, Python {machine.python}",
        "seconds": seconds,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "runs": [asdict(outcome) for outcome in outcomes],
        "faults": len(FAULTS),
        "faults_met": len(campaign.struck),
        "missed": list(map(str, unmet)),
    }


async def _runs(campaign: Campaign, seeds: Sequence[int], outcomes: list[Run]) -> None:
    async with supervised(campaign.stack, lambda _: None):
        for seed in seeds:
            outcome = await campaign.run(seed)
            outcomes.append(outcome)
            print(
                f"Seed {seed}: {outcome.published} records, {outcome.paid} paid, {len(outcome.faults)} faults, "
                f"at rest after {outcome.quiet_seconds} s, {outcome.undecided} undecided, {len(outcome.broken)} promises broken."
            )
            for words in outcome.broken[:20]:
                print(f"  {words}")
            if outcome.broken:
                print(
                    "  ",
                    "\n    ".join(["What happened to the first of these:", *outcome.timeline]),
                    sep="",
                )
                print(f"  Faults: {'; '.join(outcome.faults)}.")
                print(f"  Again: make chaos SEED={seed} RUNS=1")
                return
