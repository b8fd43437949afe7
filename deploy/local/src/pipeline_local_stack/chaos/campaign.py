"""Runs of faults on one stack of real processes, each of them healed and judged before the next begins."""

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from pipeline_local_stack.chaos.fault_proxy import Links
from pipeline_local_stack.chaos.gather import gather, waiting
from pipeline_local_stack.chaos.inject import Injector, Person
from pipeline_local_stack.chaos.schedule import FAULTS, LINKS, SERVICES, Fault, dealt, missed, plan
from pipeline_local_stack.chaos.verdict import broken_promises
from pipeline_local_stack.chaos.workload import Bookkeepers, publications, publish
from pipeline_local_stack.connect import connect_account, connect_as, connection_of
from pipeline_local_stack.kafka import Broker, Protection, start_kafka
from pipeline_local_stack.paths import LOCAL, LOGS, StackError
from pipeline_local_stack.postgres import Postgres, start_postgres
from pipeline_local_stack.processes import free_port
from pipeline_local_stack.stack import Servers, Stack, running_stack, supervised
from pipeline_local_stack.xero_admin import XeroAdmin

ACCOUNTS = 6
INVOICES = 540
"""Of each run; those that are cancelled are not paid, so that at least 500 payments are left."""
QUIET_SECONDS = 120
"""Within which everything must hold again once all faults are gone: reliability, invariant 15."""
LEASE_SECONDS = 5
REPORT_FILE = LOCAL / "chaos.json"
_NOBODY = 1  # a port on which nothing listens
_PUBLISHING_SHARE = 0.8
"""The share of a run in which invoices are published."""
_LOOK_SECONDS = 1.0
_HURRIED = {
    "connector": {
        "GATEWAY_READ_SECONDS": "5",
        "GATEWAY_TOTAL_SECONDS": "8",
        "IDENTITY_SECONDS": "5",
        "BACKGROUND_SECONDS": "1",
    },
    "invoice-sync": {"WORKER_LEASE_SECONDS": str(LEASE_SECONDS)},
    "payment-ingest": {
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "SWEEP_INTERVAL_SECONDS": "15",
        "SWEEP_PAUSE_SECONDS": "5",
    },
}
"""Waits that take minutes where the system is run for real, so that a run of seconds goes through them."""


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


@dataclass(slots=True)
class _Campaign:
    """What all runs share."""

    stack: Stack
    links: Links
    direct_kafka: str
    """The bootstrap servers without the link between."""
    seconds: float
    say: Callable[[str], None]
    poison: set[bytes] = field(default_factory=set)
    struck: set[Fault] = field(default_factory=set)

    async def run(self, seed: int) -> Run:
        """One run: faults for some seconds, healing, quiet, judgement."""
        names = [f"chaos-{seed}-{number}" for number in range(1, ACCOUNTS + 1)]
        people = [await asyncio.to_thread(self._connect, name) for name in names]
        wanted = publications(seed, names, INVOICES)
        self.poison |= {each.record.value or b"" for each in wanted if not each.record.headers}
        books = [XeroAdmin(self.stack.urls["simulator"], name) for name in names]
        keepers = Bookkeepers(books, seed)
        injector = Injector(self.stack, self.links, people)
        outcome = Run(seed, names, published=len(wanted))
        working = asyncio.create_task(keepers.work())
        try:
            async with asyncio.TaskGroup() as running:
                steps = plan(seed, self.seconds, LEASE_SECONDS)
                running.create_task(injector.carry_out(steps))
                publishing = self.seconds * _PUBLISHING_SHARE
                running.create_task(publish(self.direct_kafka, wanted, publishing))
            await self._until_quiet(outcome, injector, keepers)
        finally:
            working.cancel()
            await asyncio.wait({working})
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

    async def _until_quiet(self, outcome: Run, injector: Injector, keepers: Bookkeepers) -> None:
        """Return once everything holds, twice in a row and with nothing paid between; or when the time is up."""
        healed, held = time.monotonic(), 0
        while held < 2:  # noqa: PLR2004 - twice: what comes late, such as a doubled write, has had its chance
            await asyncio.sleep(_LOOK_SECONDS)
            await self._reconnect(injector)
            paid_before = len(keepers.paid)
            await self._judge(outcome)
            held = 0 if outcome.broken or len(keepers.paid) != paid_before else held + 1
            if not held and time.monotonic() - healed > QUIET_SECONDS:
                return
            outcome.quiet_seconds = round(time.monotonic() - healed, 1)

    async def _judge(self, outcome: Run) -> None:
        if left := await waiting(self.stack):
            outcome.broken = [f"invariant 15: {count} in {where}" for where, count in left.items()]
            return
        evidence = await gather(self.stack, outcome.accounts, frozenset(self.poison))
        outcome.undecided = evidence.undecided
        outcome.broken = list(map(str, broken_promises(evidence)))

    async def _reconnect(self, injector: Injector) -> None:
        """The person whose consent was taken away presses the button again."""
        for person in injector.people:
            if person.account_id in injector.revoked:
                found = await asyncio.to_thread(connection_of, self.stack, person.account_id)
                if found.get("status") != "CONNECTED":
                    account, email = person.account_id, person.email
                    with contextlib.suppress(StackError):
                        await asyncio.to_thread(connect_as, self.stack, account, email)


def run_chaos(*, seed: int, runs: int, seconds: float) -> int:
    """Run a campaign; 0 only if every promise held in every run and every fault was met that had to be.

    Leaves what happened in `.local/chaos.json`, and the logs of a stack that broke a promise in `.local/chaos-logs`.

    Args:
        seed: of the first run; each further run has the next one.
        runs: how many.
        seconds: for how long faults strike in each.
    """
    # Our own client tells of every fault that it meets, and that is what faults are for.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    outcomes: list[Run] = []
    with _struck_stack(print) as (stack, made, direct_kafka):
        campaign = _Campaign(stack, made, direct_kafka, seconds, print)
        asyncio.run(_runs(campaign, range(seed, seed + runs), outcomes))
        unmet = [fault for fault in missed(campaign.struck) if fault in _due(seed, runs)]
        broken = any(outcome.broken for outcome in outcomes)
        if broken:
            shutil.copytree(LOGS, LOCAL / "chaos-logs", dirs_exist_ok=True)
    report = {
        "seed": seed, "seconds": seconds, "runs": [asdict(outcome) for outcome in outcomes],
        "faults": len(FAULTS), "faults_met": len(campaign.struck), "missed": list(map(str, unmet)),
    }  # fmt: skip
    REPORT_FILE.write_text(json.dumps(report, indent=2))
    print(f"{len(outcomes)} runs, {sum(one.published for one in outcomes)} records published, "
          f"{sum(one.paid for one in outcomes)} invoices paid, {len(campaign.struck)} of {len(FAULTS)} faults met, "
          f"{sum(len(one.broken) for one in outcomes)} promises broken.")  # fmt: skip
    if unmet:
        print(f"The campaign is void, for these never struck: {', '.join(map(str, unmet))}.")
    return 1 if broken or unmet else 0


def _due(seed: int, runs: int) -> set[Fault]:
    return {fault for each in range(seed, seed + runs) for fault in dealt(each)}


async def _runs(campaign: _Campaign, seeds: Sequence[int], outcomes: list[Run]) -> None:
    async with supervised(campaign.stack, lambda _: None):
        for seed in seeds:
            outcome = await campaign.run(seed)
            outcomes.append(outcome)
            campaign.say(
                f"Seed {seed}: {outcome.published} records, {outcome.paid} paid, {len(outcome.faults)} faults, "
                f"at rest after {outcome.quiet_seconds} s, {outcome.undecided} undecided, {len(outcome.broken)} promises broken."
            )
            for words in outcome.broken[:20]:
                campaign.say(f"  {words}")
            if outcome.broken:
                campaign.say(f"  Faults: {'; '.join(outcome.faults)}.")
                campaign.say(f"  Again: make chaos SEED={seed} RUNS=1")
                return


@contextlib.contextmanager
def _struck_stack(say: Callable[[str], None]) -> Iterator[tuple[Stack, Links, str]]:
    """Two replicas of each service, which reach Kafka, Postgres, Xero and the connector through links."""
    behind: dict[str, int] = {}
    direct = free_port()

    def kafka() -> Broker:
        broker = start_kafka(say=say, protection=_two_ways_in(direct, made.port("kafka")))
        behind["kafka"] = broker.port
        return replace(broker, port=made.port("kafka"))

    def postgres() -> Postgres:
        server = start_postgres()
        behind["postgres"] = server.port
        return replace(server, port=made.port("postgres"))

    def behind_the_link(name: str) -> int:
        return behind.get(name, _NOBODY)

    with Links({name: partial(behind_the_link, name) for name in LINKS}) as made:
        xero, connector = (f"http://localhost:{made.port(n)}" for n in ("simulator", "connector"))
        routes = {
            "connector": {"XERO_IDENTITY_URL": xero, "XERO_API_URL": xero},
            "invoice-sync": {"CONNECTOR_URL": connector},
            "payment-ingest": {"CONNECTOR_URL": connector},
        }
        environment = {name: {**_HURRIED[name], **routes[name]} for name in SERVICES}
        with running_stack(
            say=say,
            replicas=dict.fromkeys(SERVICES, 2),
            environment=environment,
            servers=Servers(kafka, postgres),
        ) as stack:
            behind |= {name: stack.ports[name] for name in ("simulator", "connector-front")}
            behind["connector"] = stack.ports["connector-front"]
            yield stack, made, f"127.0.0.1:{direct}"


def _two_ways_in(direct: int, link: int) -> Protection:
    """The broker sends whoever comes by the link back to the link, and us, who watch, to a port of our own."""
    return Protection(
        settings={
            "listeners": f"PLAINTEXT://127.0.0.1:{{port}},DIRECT://127.0.0.1:{direct},"
            "CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{link},DIRECT://127.0.0.1:{direct}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "DIRECT",
        }
    )
