"""One life from its script: everybody lives through it, then all is healed, comes to rest, and is judged."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from payment_ingest import notice_gaps, ring_doorbells
from pipeline_messaging import publishing, relay
from simulated import invoice_sync_life, kafka, payment_ingest_life
from simulated.clock import VirtualLoop, replacing
from simulated.database import Databases, OwnSession
from simulated.judge import broken_promises
from simulated.network import Gateway
from simulated.pipeline import ACCOUNT, CUSTOMER_NAME, Pipeline
from simulated.script import INVOICE_SYNC, PAYMENT_INGEST, Script, Step
from simulated.seams import Life, Seams, modules_with_failpoints
from simulated.webhooks import ADDRESS, Webhooks
from xero_simulator.app import XeroSimulator
from xero_simulator.limits import LimitSettings
from xero_simulator.webhooks import Subscription

LONGEST_REST = 3600.0
STEPS_TO_REST = 4000
TURNS_UNTIL_ON_ITS_WAY = 120


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a life: the broken promises, if any, and what was seen on the way."""

    broken: tuple[str, ...]
    fingerprint: str
    trace: tuple[str, ...] = field(repr=False)
    faults: dict[str, int] = field(repr=False)
    passed: dict[str, int] = field(repr=False)
    killed: tuple[str, ...] = field(repr=False)


class World:
    """Two replicas of each service, Kafka, Xero and its people, for one life."""

    def __init__(self, loop: VirtualLoop, databases: Databases, simulator: XeroSimulator) -> None:
        self.loop = loop
        self.databases = databases
        self.seams = Seams(loop)
        self.kafka = kafka.Kafka(self.seams)
        self.pipeline = Pipeline(loop.utc)
        self.xero = simulator.world
        self.gateway = Gateway(self.seams, simulator)
        self.webhooks = Webhooks(self.seams)
        self.hands = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=simulator), base_url="http://xero.test"
        )
        self.lives: dict[str, Life] = {}
        self.births = 0
        self.edits: dict[str, str] = {}
        """By InvoiceID: the reference that somebody typed in Xero last."""
        self.tenant_id = ""
        self.payments: list[str] = []
        """Ids of those that stand in Xero."""
        self.healed_at = loop.utc()

    async def live(self, script: Script) -> Verdict:
        """Live through the script, and be judged."""
        replaced: list[tuple[Any, str, Any]] = [
            (module, "failpoint", self.seams.failpoint) for module in modules_with_failpoints()
        ]
        replaced += [
            (relay, "asyncpg", _Connecting(self)),
            (relay, "_LOCK_POLL_SECONDS", 20.0),
            (ring_doorbells, "_IDLE_SECONDS", 20.0),
            (notice_gaps, "_LOOK_SECONDS", 60.0),
            (publishing, "make_producer", lambda _settings: kafka.Producer(self.kafka)),
            (publishing, "discard", _discard),
        ]
        with replacing(replaced):
            try:
                await self._begin()
                for step in script:
                    await self._do(step)
                await self._heal()
                self._count_xeros_faults()
                broken = await self._come_to_rest() or await broken_promises(self)
            finally:
                for life in self.lives.values():
                    life.is_dead = True
                await self.seams.end()
        broken += [
            f"{type(error).__name__} ended an actor: {error}" for error in self.seams.unexpected
        ]
        seams = self.seams
        return Verdict(
            tuple(broken),
            seams.fingerprint,
            tuple(seams.trace),
            seams.faults,
            seams.passed,
            tuple(seams.killed),
        )

    async def _begin(self) -> None:
        await self.databases.invoices.empty()
        xero = self.xero
        xero.reset()
        xero.webhooks.subscription = Subscription("", "")
        xero.clock._real = self.loop.timestamp
        self.tenant_id = self.gateway.connect(ACCOUNT, next(iter(xero.users.values())))
        xero.limits.settings = LimitSettings(None, None, None, None)
        for record in (self.pipeline.connection(self.tenant_id, 1), self.pipeline.customer()):
            self.kafka.append(record)
        for name in INVOICE_SYNC:
            self._start(name)

    async def _ingest(self) -> None:
        """Payments are taken in, too; Xero tells of changes, some of them twice, and not in order."""
        await self.databases.payments.empty()
        for name in PAYMENT_INGEST:
            self._start(name)
        sender = self.xero.webhooks
        sender.subscription = Subscription(
            ADDRESS,
            payment_ingest_life.WEBHOOK_KEY,
            double_probability=0.1,
            reorder_probability=0.2,
        )
        # Which ones is drawn from the life's seed, as every id is.
        sender.reset(uuid.uuid4().int)
        sender._transport, sender._client = self.webhooks, None
        self.seams.start(sender.run(), None)

    @property
    def ingests(self) -> bool:
        """Whether payment-ingest has a part in this life."""
        return PAYMENT_INGEST[0] in self.lives

    def _start(self, name: str) -> None:
        self.births += 1
        life = self.lives[name] = Life(f"{name}{self.births}")
        of_invoices, of_payments = self.databases
        if name in INVOICE_SYNC:
            invoice_sync_life.start(life, self.seams, of_invoices, self.kafka, self.gateway)
        else:
            gate = payment_ingest_life.start(
                life, self.seams, of_payments, self.kafka, self.gateway
            )
            self.webhooks.open(life, gate)
        self.kafka.assign()

    # One step of a script

    async def _do(self, step: Step) -> None:
        self.seams.note(f"step {step}")
        name, *arguments = step
        if arguments[:1] and arguments[0] in PAYMENT_INGEST and not self.ingests:
            return
        deed: Callable[..., Any] = getattr(self, f"_{name}")
        await deed(*arguments)
        await self._settle()

    async def _settle(self) -> None:
        """Until nobody can go on by himself; who died meanwhile is buried, and born again."""
        await self.loop.rest()
        while dead := [name for name, life in self.lives.items() if life.is_dead]:
            for name in dead:
                await self._crash(name)
            await self.loop.rest()

    async def _go(self, times: int, salt: int) -> None:
        chance = Random(salt)
        for _ in range(times):
            await self._settle()
            ready = self.seams.ready()
            if not ready:
                return
            self._tick(0.001)
            self.seams.let_go(chance.choice(ready))

    def _tick(self, seconds: float) -> None:
        self.loop.now = round(self.loop.now + seconds, 6)

    async def _pass(self, seconds: float) -> None:
        self._tick(seconds)

    async def _publish(self, number: int, kind: str) -> None:
        if record := self.pipeline.invoice(number, kind):
            self.kafka.append(record)

    async def _again(self, which: int) -> None:
        """A record that was published before comes once more: a copy, and late."""
        record = self.pipeline.published[which % len(self.pipeline.published)]
        self.kafka.append(record)

    async def _customer(self) -> None:
        self.kafka.append(self.pipeline.customer())

    async def _edit(self, number: int) -> None:
        """Somebody types a reference into an invoice in Xero."""
        told = f"typed {self.loop.now}"
        path = f"/admin/tenants/{self.tenant_id}/invoices/INV-{number}"
        reply = await self.hands.post(path, json={"Reference": told})
        if reply.is_success:
            self.seams.strike("edited in xero")
            self.edits[reply.json()["document_id"]] = told

    async def _pay(self, number: int, amount: str) -> None:
        """Somebody enters a payment in Xero, which refuses it where there is nothing to pay."""
        path = f"/admin/tenants/{self.tenant_id}/payments"
        paid = await self.hands.post(path, json={"invoice": f"INV-{number}", "amount": amount})
        if paid.is_success:
            self.seams.strike("paid in xero")
            self.payments.append(paid.json()["payment_id"])

    async def _unpay(self, which: int) -> None:
        """Somebody deletes a payment in Xero."""
        if self.payments:
            gone = self.payments.pop(which % len(self.payments))
            path = f"/admin/tenants/{self.tenant_id}/payments/{gone}"
            (await self.hands.delete(path)).raise_for_status()
            self.seams.strike("payment deleted in xero")

    async def _credit(self, number: int, amount: str) -> None:
        """Somebody allocates a credit note in Xero."""
        path = f"/admin/tenants/{self.tenant_id}/credits"
        credited = await self.hands.post(path, json={"invoice": f"INV-{number}", "amount": amount})
        if credited.is_success:
            self.seams.strike("credited in xero")

    async def _silence(self, is_silent: bool) -> None:  # noqa: FBT001 - as a script has it
        """Xero tells nothing of what happens from now on, or does again."""
        self.xero.webhooks.subscription.drop_probability = float(is_silent)

    async def _webhook(self, trouble: str) -> None:
        self.webhooks.troubles.append(trouble)

    async def _xero(self, kind: str, method: str = "*") -> None:
        self.xero.faults.add(kind=kind, method=method)

    async def _kafka(self, trouble: str) -> None:
        self.kafka.troubles.append(trouble)

    async def _crash(self, name: str) -> None:
        life = self.lives[name]
        life.is_dead = True
        self.seams.strike(f"crash {name}")
        await self.seams.bury(life)
        self._start(name)

    async def _crash_while(self, seam: str) -> None:
        """Whoever next has a request or a record on its way dies meanwhile."""
        if name := await self._who_waits_for(seam):
            await self._crash(name)

    async def _freeze_while(self, seam: str) -> None:
        """Whoever next has a request on its way stands still meanwhile."""
        if name := await self._who_waits_for(seam):
            self.seams.strike(f"frozen while its request is {seam}")
            await self._freeze(name)

    async def _who_waits_for(self, seam: str) -> str | None:
        """Go on until something of a replica is there; its name, or None if nothing comes there."""
        for _ in range(TURNS_UNTIL_ON_ITS_WAY):
            await self._settle()
            for name, life in self.lives.items():
                if any(
                    each.seam.startswith(seam) and each.seam.endswith(f" of {life.name}")
                    for each in self.seams.waiting
                ):
                    return name
            if not (ready := self.seams.ready()):
                return None
            self._tick(0.001)
            self.seams.let_go(ready[0])
        return None

    async def _freeze(self, name: str) -> None:
        self.lives[name].is_frozen = True
        self.seams.strike(f"freeze {name}")
        self.kafka.assign()

    async def _thaw(self, name: str) -> None:
        if self.lives[name].is_frozen:
            self.loop.thaw(self.lives[name])
            self.kafka.thawed(self.lives[name])

    async def _die_at(self, name: str, failpoint: str, nth: int) -> None:
        self.lives[name].dies_at[failpoint] = nth

    async def _die_in_turn(self, *named: str) -> None:
        self.seams.deaths += named

    async def _match(self) -> None:
        """The customer is in Xero already, and the account links what it finds."""
        path = f"/admin/tenants/{self.tenant_id}/contacts"
        (await self.hands.post(path, json={"Name": CUSTOMER_NAME})).raise_for_status()
        await invoice_sync_life.choose_matching(self.databases.invoices, ACCOUNT)

    async def _ask(self, name: str, what: str) -> None:
        """Somebody asks a replica for an import, or for a comparison of the books."""
        asked = invoice_sync_life.ask(what, self.databases.invoices, self.seams, ACCOUNT)
        self.seams.start(asked, self.lives[name])

    def _count_xeros_faults(self) -> None:
        for call in self.xero.calls.calls:
            if call.fault:
                self.seams.strike(f"xero {call.fault}")

    # The end

    async def _heal(self) -> None:
        self.seams.note("heal")
        self.xero.faults.faults.clear()
        self.kafka.troubles.clear()
        self.webhooks.troubles.clear()
        await self._silence(False)
        self.healed_at = self.loop.utc()
        for name, life in self.lives.items():
            life.dies_at.clear()
            self.seams.deaths.clear()
            await self._thaw(name)
        await self._settle()

    async def _come_to_rest(self) -> list[str]:
        """Go on, in the order in which they came, until nothing is left to do; what hinders that, in words."""
        began = self.loop.now
        for _ in range(STEPS_TO_REST):
            await self._settle()
            if ready := self.seams.ready():
                self._tick(0.001)
                self.seams.let_go(ready[0])
            elif not await self._rests():
                self._tick(await self._until_next())
            elif self.loop.now < began + LONGEST_REST / 4:
                # What is late at all is late by less.
                self._tick(LONGEST_REST / 4)
            else:
                return []
        return [f"never at rest: {await self._what_is_left()}"]

    async def _rests(self) -> bool:
        return self.kafka.is_read() and not await self._what_is_left()

    async def _what_is_left(self) -> list[str]:
        rows = await self.databases.invoices.fetch(
            """
            SELECT 'invoice ' || invoice_id || ' ' || state AS what FROM invoices
             WHERE due_at IS NOT NULL OR intent_id IS NOT NULL
            UNION ALL SELECT 'customer ' || customer_id FROM customers
             WHERE due_at IS NOT NULL OR intent_id IS NOT NULL
            UNION ALL SELECT 'intent ' || kind FROM intents
            UNION ALL SELECT 'import' FROM imports WHERE finished_at IS NULL
            UNION ALL SELECT 'reconciliation' FROM reconciliations WHERE finished_at IS NULL
            UNION ALL SELECT 'outbox ' || topic FROM outbox
            UNION ALL SELECT 'lease ' || account_id FROM account_leases WHERE lease_until IS NOT NULL
            """
        )
        if not self.ingests:
            return [row["what"] for row in rows]
        rows += await self.databases.payments.fetch(
            """
            SELECT 'delivery' AS what FROM unread_deliveries
            UNION ALL SELECT 'doorbell ' || xero_invoice_id FROM doorbells
            UNION ALL SELECT 'doorbell ' || document_id FROM document_doorbells
            UNION ALL SELECT 'outbox ' || topic FROM outbox
            UNION ALL SELECT 'lease ' || account_id FROM account_leases WHERE lease_until IS NOT NULL
            -- What no webhook told of, the next one finds.
            UNION ALL SELECT 'sweep' FROM tenant_sweeps WHERE kind = 'recent' AND watermark <= $1
            """,
            self.healed_at,
        )
        return [row["what"] for row in rows] + ["webhook"] * (not self.xero.webhooks.idle)

    async def _until_next(self) -> float:
        """Seconds until a database has something due, within five minutes."""
        soonest = 300.0
        for database in self.databases:
            (row,) = await database.fetch(
                """
                SELECT extract(epoch FROM min(at) - now())::float8 AS seconds FROM (
                    SELECT due_at AS at FROM account_leases UNION ALL SELECT lease_until FROM account_leases
                ) AS moments WHERE at > now()
                """
            )
            soonest = min(soonest, row["seconds"] or soonest)
        return max(soonest, 1.0)


class _Connecting:
    """What a relay knows as asyncpg."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def connect(self, dsn: str, **_options: Any) -> OwnSession:
        (database,) = [each for each in self._world.databases if each.dsn == dsn]
        return await OwnSession.open(database, self._world.seams)


async def _discard(producer: Any) -> None:
    await asyncio.sleep(0)
