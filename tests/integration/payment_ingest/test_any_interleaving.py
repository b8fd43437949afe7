"""Whatever people do in Xero, whatever becomes of webhooks and of us: the events add up to Xero's books, each once.

`INTERLEAVINGS=2000` makes a deep run of it.
"""

import os
from collections import defaultdict
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
import pytest
from bookkeeping import ThinGateway, simulated
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from payment_ingest.ring_doorbells import ring_doorbells
from pipeline_messaging.worker import LeaseLost

INVOICES = 3
RECORDED = "pipeline.payment.recorded.v1"
FAILPOINTS = (
    "doorbell:after_claim",
    "doorbell:before_commit",
    "payment:after_claim",
    "payment:after_fetch",
    "payment:before_commit",
    "payment:after_commit",
    "sweep:after_fetch",
    "sweep:after_portion",
    "sweep:before_commit",
    "sweep:after_commit",
)

invoices = st.integers(0, INVOICES - 1)
amounts = st.sampled_from(["0.01", "1.00", "7.35", "20.00"])
kinds = st.sampled_from(["credit_note", "prepayment", "overpayment"])
which = st.integers(0, 30)
in_xero = st.one_of(
    st.tuples(st.just("pay"), invoices, amounts),
    st.tuples(st.just("pay_all"), invoices),
    st.tuples(st.just("unpay"), which),
    st.tuples(st.just("credit"), invoices, kinds, amounts),
    st.tuples(st.just("uncredit"), which),
    st.tuples(st.just("reallocate"), which, invoices, amounts),
    st.tuples(st.just("batch"), invoices, invoices, amounts),
    st.tuples(st.just("unbatch"), which),
    st.tuples(st.just("refund"), which),
)
steps = st.one_of(
    in_xero,
    in_xero,
    st.tuples(st.just("hear"), which),
    st.tuples(st.just("hear_again"), which),
    st.tuples(st.just("lose"), which),
    st.tuples(st.just("look")),
    st.tuples(st.just("look")),
    st.tuples(st.just("sweep"), st.sampled_from(["recent", "deep"])),
    st.tuples(st.just("one_page"), st.sampled_from(["recent", "deep"])),
    st.tuples(st.just("link"), invoices),
    st.tuples(st.just("die_at"), st.sampled_from(FAILPOINTS)),
    st.tuples(st.just("overtaken")),
    st.tuples(st.just("meanwhile"), in_xero),
    st.tuples(st.just("moves_invoice"), st.booleans()),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("to_and_fro"), invoices, amounts),
)


class Killed(BaseException):
    """Ends whatever runs as SIGKILL would."""


class Outbound(httpx.AsyncBaseTransport):
    """Takes every webhook Xero sends, for the test to pass on when, and as often as, it likes."""

    def __init__(self):
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request):
        self.bodies.append(await request.aread())
        return httpx.Response(200)


class Interleaving:
    """One run: the simulator, the service, and what goes wrong next."""

    def __init__(self, service, xero, gateway, outbound, mortality):
        self.service, self.xero, self.gateway = service, xero, gateway
        self.outbound, self.mortality = outbound, mortality
        self.waiting: list[bytes] = []
        self.heard: list[bytes] = []
        self.invoices: list[str] = []
        self.payments: list[str] = []
        self.allocations: list[str] = []
        self.sources: list[str] = []
        self.batches: list[str] = []

    async def do(self, name, *arguments):
        try:
            await getattr(self, name)(*arguments)
        except (Killed, LeaseLost):
            note(f"{name} ended early")
        finally:
            self.gateway.meanwhile = None

    async def act(self, method, path, **body):
        """Xero refuses what is not possible now, such as paying a paid invoice; then nothing happened."""
        answer = await self.xero.http.request(
            method, f"/admin/tenants/{self.xero.tenant_id}{path}", json=body or None
        )
        await self.xero.webhooks_are_out()
        self.waiting += self.outbound.bodies
        self.outbound.bodies.clear()
        return answer.json() if answer.is_success else {}

    async def pay(self, number, amount):
        made = await self.act("POST", "/payments", invoice=self.invoices[number], amount=amount)
        self.payments += [made["payment_id"]] if made else []

    async def pay_all(self, number):
        made = await self.act("POST", "/payments", invoice=self.invoices[number])
        self.payments += [made["payment_id"]] if made else []

    async def unpay(self, number):
        if self.payments:
            gone = self.payments.pop(number % len(self.payments))
            await self.act("DELETE", f"/payments/{gone}")

    async def credit(self, number, kind, amount):
        made = await self.act(
            "POST",
            "/credits",
            invoice=self.invoices[number],
            kind=kind,
            amount=amount,
            total="25.00",
        )
        self.allocations += [made["allocation_id"]] if made else []
        if made and kind == "credit_note":
            self.sources.append(made["source_id"])

    async def uncredit(self, number):
        if self.allocations:
            gone = self.allocations.pop(number % len(self.allocations))
            await self.act("DELETE", f"/allocations/{gone}")

    async def reallocate(self, number, invoice, amount):
        """The same credit note once more: to another invoice, or to the same a second time."""
        if not self.sources:
            return
        source = self.sources[number % len(self.sources)]
        made = await self.act(
            "POST", f"/credits/{source}/allocations", invoice=self.invoices[invoice], amount=amount
        )
        self.allocations += [made["allocation_id"]] if made else []

    async def batch(self, first, second, amount):
        """One batch over two invoices, or over one of them twice."""
        rows = [{"invoice": self.invoices[one], "amount": amount} for one in (first, second)]
        made = await self.act("POST", "/batch-payments", payments=rows)
        if made:
            self.batches.append(made["batch_payment_id"])
            self.payments += [one["payment_id"] for one in made["payments"]]

    async def unbatch(self, number):
        if self.batches:
            gone = self.batches.pop(number % len(self.batches))
            await self.act("DELETE", f"/batch-payments/{gone}")

    async def refund(self, number):
        """What is left of a credit note is paid back, which moves no invoice."""
        if self.sources:
            source = self.sources[number % len(self.sources)]
            await self.act("POST", f"/credits/{source}/refunds")

    async def to_and_fro(self, number, amount):
        """A credit note allocated, seen, taken back, seen, and allocated again: two payments to everybody else."""
        await self.credit(number, "credit_note", amount)
        await self.sweep("deep")
        await self.uncredit(-1)
        await self.sweep("deep")
        await self.reallocate(-1, number, amount)

    async def hear(self, number):
        if self.waiting:
            body = self.waiting.pop(number % len(self.waiting))
            self.heard.append(body)
            await self.service.store(body)

    async def hear_again(self, number):
        if self.heard:
            body = self.heard[number % len(self.heard)]
            await self.service.store(body)
            await self.service.pool.execute(
                "INSERT INTO unread_deliveries SELECT received_at, body_hash, true FROM raw_deliveries"
                " ON CONFLICT DO NOTHING"
            )

    async def lose(self, number):
        if self.waiting:
            self.waiting.pop(number % len(self.waiting))

    async def look(self):
        async with self.service.pool.acquire() as conn:
            while await ring_doorbells(conn):
                pass
        await self.service.pool.execute("UPDATE doorbells SET next_at = now()")
        await self.service.turn()

    async def sweep(self, kind):
        await self.service.sweep(kind)

    async def one_page(self, kind):
        """Of a sweep that reads invoice by invoice."""
        await self.service.pool.execute(
            "UPDATE tenant_sweeps SET next_at = now(), page_size = CASE WHEN began_at IS NULL THEN 1"
            " ELSE page_size END WHERE kind = $1",
            kind,
        )
        await self.service.turn()

    async def link(self, number):
        await self.service.link(self.invoices[number], f"inv-{number}")

    async def die_at(self, failpoint):
        self.mortality.at = failpoint

    async def overtaken(self):
        """Frozen during a call for longer than the lease: somebody else took the account over."""

        async def taken_over():
            await self.service.pool.execute("UPDATE account_leases SET epoch = epoch + 1")

        self.gateway.meanwhile = taken_over
        try:
            await self.service.turn()
        finally:
            await self.service.pool.execute("UPDATE account_leases SET lease_until = NULL")

    async def meanwhile(self, step):
        """Somebody does something in Xero just after it has read what it is about to answer."""
        self.gateway.meanwhile = lambda: getattr(self, step[0])(*step[1:])
        await self.look()

    async def moves_invoice(self, is_so):
        await self.xero.switch(settlements_move_invoice=is_so)

    async def reconnect(self):
        await self.service.connect("DISCONNECTED")
        await self.service.turn()
        await self.service.connect()


class LateGateway(ThinGateway):
    """Something may happen between Xero's reading and its answer's arrival."""

    meanwhile = None

    async def __call__(self, scope, receive, send):
        async def held(message):
            if message["type"] == "http.response.start" and self.meanwhile is not None:
                happens, self.meanwhile = self.meanwhile, None
                await happens()
            await send(message)

        await super().__call__(scope, receive, held)


class Mortality:
    """Dies once at the named place."""

    at = None

    def __call__(self, name):
        if name == self.at:
            self.at = None
            raise Killed


@asynccontextmanager
async def interleaving(pool, new_service, mortality):
    mortality.at = None
    tables = "outbox, inbox, raw_deliveries, unread_deliveries, delivery_readings, delivery_mentions, delivery_replays, connections, tenant_sweeps, doorbells, payments"
    await pool.execute(
        f"TRUNCATE {tables}, payment_movements, payment_sequences, xero_invoices, account_leases"
    )
    outbound = Outbound()
    async with simulated(webhooks_to=outbound) as (xero, token):
        await xero.disturb(batch_seconds=0.0)
        gateway = LateGateway(xero.http, token, xero.tenant_id)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway)) as client:
            service = new_service(pool, xero, client)
            await service.connect()
            made = Interleaving(service, xero, gateway, outbound, mortality)
            contact = await made.act("POST", "/contacts", Name="Somebody")
            for _ in range(INVOICES):
                made.invoices.append(await xero.invoice("100.00", contact["contact_id"]))
            yield made


@pytest.fixture
def mortality(monkeypatch):
    found = Mortality()
    for module in (
        "answer_doorbells",
        "read_invoices",
        "read_payments",
        "ring_doorbells",
        "sweep_account",
    ):
        monkeypatch.setattr(f"payment_ingest.{module}.failpoint", found)
    return found


@settings(
    max_examples=int(os.environ.get("INTERLEAVINGS", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=st.lists(steps, min_size=5, max_size=25))
async def test_the_events_add_up_to_xeros_books(pool, new_service, mortality, program):
    async with interleaving(pool, new_service, mortality) as run:
        for step in program:
            await run.do(*step)
        mortality.at = None
        for number in range(INVOICES):
            await run.link(number)
        await run.service.sweep("recent")
        await run.service.sweep("deep")
        await run.look()
        await check(run)


async def check(run: Interleaving) -> None:
    events = await run.service.told()
    assert len({one.id for one in events}) == len(events), "told twice"
    live = defaultdict(dict)
    sequences = defaultdict(list)
    last = {}
    for one in events:
        event = one.event
        sequences[one.subject].append(event.sequence)
        last[event.xero_invoice_id] = event
        of_invoice = live[event.xero_invoice_id]
        key = (event.kind, event.xero_payment_id)
        if one.type == RECORDED:
            assert key not in of_invoice, "recorded while it stands"
            of_invoice[key] = (event.payment_id, event.amount)
        else:
            assert of_invoice.pop(key) == (event.payment_id, event.amount), "another was recorded"
    for numbers in sequences.values():
        assert numbers == list(range(1, len(numbers) + 1))
    books = await run.xero.act("GET", "/ledger")
    for invoice in books["invoices"]:
        of_invoice = live[invoice["document_id"]]
        told = {key: amount for key, (_, amount) in of_invoice.items()}
        assert told == in_books(books, invoice["document_id"])
        event = last.get(invoice["document_id"])
        if event is not None:
            state = (event.amount_paid, event.amount_due, event.invoice_status)
            assert state == (
                Decimal(invoice["amount_paid"]),
                Decimal(invoice["amount_due"]),
                invoice["status"],
            )


def in_books(books, invoice_id) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in books["payments"]:
        if one["document_id"] == invoice_id and one["status"] != "DELETED":
            found["payment", one["payment_id"]] += Decimal(one["amount"])
    for one in books["allocations"]:
        if one["invoice_id"] == invoice_id:
            found[one["kind"], one["source_id"]] += Decimal(one["amount"])
    return dict(found)
