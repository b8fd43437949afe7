"""`make demo`: the main job end to end on real parts, checked against Xero's books, Kafka and the databases."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TypeVar

import asyncpg
import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from pipeline_contracts import topics
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_contracts.problems import ProblemCode
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_local_stack.books import Verdict, XeroInvoice, compare_books
from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.identities import ACCOUNT
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.paths import LOCAL, StackError
from pipeline_local_stack.read_ledgers import read_ledgers
from pipeline_local_stack.sales import Sale, customer_of, invoice_of, take_sales
from pipeline_local_stack.stack import Stack, running_stack, supervised
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import ORGANISATION, ApiUse, XeroAdmin

SALES = 200
PAID, PAID_IN_PART, PAID_UNHEARD = 50, 10, 5
"""How many invoices are paid; part of them in part; and how many more while no webhook arrives."""
SWEEP_SECONDS = 5
"""How often all payments are looked for: every 15 minutes would be too long to wait for here."""
HELD_BACK = 2
"""Customers announced late, so that the demo shows invoices waiting for their contact and then released."""
PATIENCE_SECONDS = 150
CALLS_A_MINUTE, CALLS_AT_ONCE = 60, 5
"""Xero's limits for one organisation: developer.xero.com, OAuth 2.0 API limits."""
REPORT_FILE = LOCAL / "demo.json"
_HURRIED = {
    "payment-ingest": {
        "SWEEP_INTERVAL_SECONDS": str(SWEEP_SECONDS),
        "SWEEP_PAUSE_SECONDS": str(SWEEP_SECONDS),
    }
}


AnyEvent = TypeVar("AnyEvent", bound=Event)


@dataclass(slots=True)
class Kill:
    """SIGKILL one service once, when a part of the invoices has reached Xero or a payment has been recorded."""

    service: str | None
    done: bool = False

    def maybe(self, stack: Stack, say: Callable[[str], None], *, halfway: bool) -> None:
        """Kill it if its moment has come."""
        if self.service and halfway and not self.done:
            stack.children[self.service].kill()
            self.done = True
            say(f"[red]kill -9 {self.service}[/red], in the middle of its work")


def run_demo(*, broker: str = "kafka", kill: str | None = None) -> int:
    """Run the demo; 0 only if every ledger adds up. Leaves its figures in `.local/demo.json`."""
    console = Console()
    began = time.monotonic()
    with (
        running_stack(broker=broker, say=console.print, environment=_HURRIED) as stack,
        contextlib.closing(XeroAdmin(stack.urls["simulator"])) as xero,
    ):
        verdict, calls = asyncio.run(_run(stack, xero, console, Kill(kill)))
    seconds = round(time.monotonic() - began, 1)
    console.print(_table(verdict, calls, seconds))
    figures = {**asdict(verdict), "xero_calls": calls, "seconds": seconds, "killed": kill}
    figures["waiting"] = sum(verdict.waiting.values())
    REPORT_FILE.write_text(json.dumps(figures, indent=2))
    for complaint in verdict.complaints[:20]:
        console.print(f"[red]{complaint}[/red]")
    if adds_up(verdict):
        console.print("[green]Everything adds up.[/green]")
        return 0
    console.print("[red]It does not add up.[/red]")
    return 1


def adds_up(verdict: Verdict) -> bool:
    """Whether the demo's promise held: all in Xero, all payments recorded, nothing lost, doubled or different."""
    return (
        verdict.in_xero == verdict.published == SALES
        and verdict.payments_recorded == verdict.payments_made == PAID + PAID_UNHEARD
        and verdict.found_by_sweep >= PAID_UNHEARD
        and verdict.payments_reversed == verdict.credits_recorded == 1
        and verdict.lost == verdict.doubled == 0
        and not verdict.complaints
    )


async def _run(stack: Stack, xero: XeroAdmin, console: Console, kill: Kill) -> tuple[Verdict, int]:
    say = console.print
    sales = take_sales(SALES)
    late = {sale.customer_id for sale in sales[-HELD_BACK:]}
    await asyncio.to_thread(connect_to_xero, stack.urls["portal"])
    say(f"Connected to {ORGANISATION} through Xero's consent page.")
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    async with (
        watching(stack.broker.bootstrap_servers) as seen,
        supervised(stack, say),
    ):
        with progress:
            in_xero = progress.add_task("Invoices in Xero", total=SALES)
            recorded = progress.add_task("Payments recorded", total=PAID + PAID_UNHEARD)
            published = await _publish(stack, sales, late)
            say(
                f"Published {len(published)} invoices; {len(late)} of their customers are not known yet."
            )
            waiting = sum(1 for sale in sales if sale.customer_id in late)
            watch = _Watch(seen, progress)

            def kill_while_syncing() -> None:
                halfway = watch.synced() >= SALES // 8
                kill.maybe(stack, say, halfway=halfway and kill.service != "payment-ingest")

            await watch.until(in_xero, "in Xero", watch.synced, SALES - waiting, kill_while_syncing)
            await watch.until(
                None, "explained", lambda: len(_unmapped(seen)), waiting, kill_while_syncing
            )
            say(f"{waiting} invoices wait: {next(iter(_unmapped(seen).values()))}")
            await _publish(
                stack, [s for s in sales if s.customer_id in late], set(), invoices=False
            )
            await watch.until(in_xero, "in Xero", watch.synced, SALES, kill_while_syncing)
            say(
                "Pipeline announced those customers; invoice-sync made and linked a contact for each by itself, as the "
                "account's mapping policy (create) says, and their invoices followed."
            )
            await asyncio.to_thread(_forge_webhook, stack, say)
            payable = [one for one in xero.invoices() if one.total >= Decimal(1)]
            paying = asyncio.create_task(_pay(xero, payable[:PAID]))
            await watch.until(
                recorded, "recorded", watch.recorded, PAID,
                lambda: kill.maybe(stack, say, halfway=watch.recorded() >= PAID // 10),
            )  # fmt: skip
            first = (await paying)[0]
            unheard = await _pay_unheard(xero, payable[PAID:][:PAID_UNHEARD], say)
            await watch.until(
                recorded, "found by the sweep", watch.recorded, PAID + PAID_UNHEARD, lambda: None
            )
            say(_found(watch.payments(PaymentRecorded), unheard))
            await _change_of_mind(xero, first, payable[-1], watch, say)
            await _settle(stack, seen)
    verdict = compare_books(
        published, xero.invoices(), xero.payments(),
        seen.envelopes[topics.SYNC.name], seen.envelopes[topics.PAYMENTS.name],
    )  # fmt: skip
    found = violations(await read_ledgers(stack, accounts=(ACCOUNT,)))
    verdict.complaints += [str(violation) for violation in found]
    await _check_databases(stack, verdict)
    if seen.dead_letters:
        verdict.complaints.append(f"{len(seen.dead_letters)} dead letters: {seen.dead_letters[:3]}")
    if kill.service and not kill.done:
        verdict.complaints.append(f"{kill.service} was never killed: its moment did not come")
    _check_limits(xero.api_use(), verdict)
    return verdict, xero.api_use().calls


async def _publish(
    stack: Stack, sales: list[Sale], held_back: set[str], *, invoices: bool = True
) -> list[InvoiceCreated]:
    published = []
    customers: set[str] = set()
    async with EventPublisher(
        stack.broker.bootstrap_servers,
        source="billing",
        enable_idempotence=stack.broker.supports_idempotence,
    ) as publisher:
        for sale in sales:
            if sale.customer_id not in held_back | customers:
                customers.add(sale.customer_id)
                await publisher.publish(customer_of(sale, ACCOUNT))
            if invoices:
                invoice = invoice_of(sale, ACCOUNT)
                await publisher.publish(invoice)
                published.append(invoice)
    return published


@dataclass(frozen=True, slots=True)
class _Watch:
    """Counts what has come out on the topics, shows it, and waits for more."""

    seen: Watcher
    progress: Progress

    def synced(self) -> int:
        """How many invoices were announced as synced."""
        return len({event.subject for event in self._events(InvoiceSynced)})

    def recorded(self) -> int:
        """How many payments were recorded; repeated copies count once."""
        return len({event.xero_payment_id for event in self.payments(PaymentRecorded)})

    def payments(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """What was told of payments, in the order in which it was read."""
        return self._events(kind)

    def _events(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        events = (envelope.event for envelope in self.seen.envelopes[kind.TOPIC])
        return [event for event in events if isinstance(event, kind)]

    async def until(
        self,
        task: TaskID | None,
        what: str,
        count: Callable[[], int],
        goal: int,
        meanwhile: Callable[[], None],
    ) -> None:
        """Wait for so many of them.

        Raises:
            StackError: nothing new came for so long that nothing will come any more.
        """
        last_news, reached = time.monotonic(), -1
        while reached < goal:
            await self.seen.changed(1)
            meanwhile()
            if count() != reached:
                last_news, reached = time.monotonic(), count()
                if task is not None:
                    self.progress.update(task, completed=reached)
            elif time.monotonic() - last_news > PATIENCE_SECONDS:
                raise StackError(
                    f"{reached} of {goal} {what}, then nothing for {PATIENCE_SECONDS} s: look "
                    f"into .local/logs. Dead letters: {self.seen.dead_letters[:3]}"
                )


def _unmapped(seen: Watcher) -> dict[str, str]:
    """The invoices that wait for their customer, each with the sentence that says so."""
    events = (envelope.event for envelope in seen.envelopes[SyncFailed.TOPIC])
    return {
        event.invoice_id: f"{event.message} {event.hint}"
        for event in events
        if isinstance(event, SyncFailed) and event.code == ProblemCode.CUSTOMER_NOT_MAPPED
    }


async def _pay(xero: XeroAdmin, payable: Sequence[XeroInvoice]) -> list[str]:
    """What a bookkeeper does in Xero: some invoices paid in part, the others whole; the PaymentIDs."""
    made = []
    for index, invoice in enumerate(payable):
        half = (invoice.total / 2).quantize(Decimal("0.01"), ROUND_DOWN)
        amount = half if index < PAID_IN_PART else invoice.total
        made.append(await asyncio.to_thread(xero.pay, invoice.invoice_id, amount))
    return made


async def _pay_unheard(
    xero: XeroAdmin, payable: Sequence[XeroInvoice], say: Callable[[str], None]
) -> set[str]:
    """Pay while every webhook is lost; the PaymentIDs."""
    with xero.webhooks_lost():
        made = {await asyncio.to_thread(xero.pay, one.invoice_id, one.total) for one in payable}
    say(f"{len(made)} more invoices were paid in Xero, and every webhook about them was lost.")
    return made


def _found(recorded: Sequence[PaymentRecorded], unheard: set[str]) -> str:
    """How the payments that no webhook told of were found.

    Raises:
        StackError: not by the sweep.
    """
    found = {one.xero_payment_id for one in recorded if one.found_by == "sweep"}
    if unheard - found:
        raise StackError(f"{len(unheard - found)} payments were not found by the sweep.")
    return f"The sweep found all {len(unheard)} (every {SWEEP_SECONDS} s here, by default every 15 minutes)."


async def _change_of_mind(
    xero: XeroAdmin,
    payment_id: str,
    unpaid: XeroInvoice,
    watch: "_Watch",
    say: Callable[[str], None],
) -> None:
    """A bookkeeper deletes a payment and writes a credit note; both are told."""
    await asyncio.to_thread(xero.take_back, payment_id)
    await asyncio.to_thread(xero.credit, unpaid.invoice_id, Decimal("0.50"))

    def credited() -> list[PaymentRecorded]:
        return [one for one in watch.payments(PaymentRecorded) if one.kind == "credit_note"]

    await watch.until(
        None, "reversed", lambda: len(watch.payments(PaymentReversed)), 1, lambda: None
    )
    await watch.until(None, "credited", lambda: len(credited()), 1, lambda: None)
    back, credit = watch.payments(PaymentReversed)[0], credited()[0]
    say(
        f"A payment of {back.amount} {back.currency} was deleted in Xero: PaymentReversed,"
        f" {back.amount_due} is due on {back.invoice_id} again."
    )
    say(
        f"A credit note of {credit.amount} {credit.currency} was written in Xero: PaymentRecorded as credit_note,"
        f" {credit.amount_due} is left due on {credit.invoice_id}."
    )


def _forge_webhook(stack: Stack, say: Callable[[str], None]) -> None:
    """Send what an attacker would; a webhook that Xero did not sign must be refused.

    Raises:
        StackError: it was accepted.
    """
    forged = json.dumps(
        {"events": [], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "x"}
    )
    reply = httpx.post(
        f"{stack.urls['payment-ingest']}/webhooks/xero",
        content=forged,
        headers={"x-xero-signature": hashlib.sha256(forged.encode()).hexdigest()},
    )
    if reply.status_code != httpx.codes.UNAUTHORIZED or reply.content:
        raise StackError(
            f"A forged webhook was answered {reply.status_code} instead of an empty 401."
        )
    say("A forged webhook was refused: 401.")


async def _settle(stack: Stack, seen: Watcher) -> None:
    """Wait until nothing is left to publish, so that the comparison sees the end and not the middle."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not sum(
            [await _scalar(dsn, "SELECT count(*) FROM outbox") for dsn in stack.dsns.values()]
        ):
            await seen.read_to_the_end()
            return
        await asyncio.sleep(0.1)


async def _check_databases(stack: Stack, verdict: Verdict) -> None:
    for service, dsn in stack.dsns.items():
        left = await _scalar(dsn, "SELECT count(*) FROM outbox")
        if left:
            verdict.complaints.append(f"{service}: {left} events are still waiting to be published")
    synced = await _scalar(
        stack.dsns["invoice_sync"], "SELECT count(*) FROM invoices WHERE state = 'synced'"
    )
    if synced != verdict.in_xero:
        verdict.complaints.append(
            f"invoice-sync believes {synced} are synced; Xero holds {verdict.in_xero}"
        )


def _check_limits(use: ApiUse, verdict: Verdict) -> None:
    """Xero's limits, judged by Xero's own log."""
    if use.refused or use.most_in_a_minute > CALLS_A_MINUTE or use.most_at_once > CALLS_AT_ONCE:
        verdict.complaints.append(f"Xero's limits were broken: {use}")


async def _scalar(dsn: str, query: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


def _table(verdict: Verdict, calls: int, seconds: float) -> Table:
    table = Table(title="Pipeline and Xero", show_header=False)
    reasons = ", ".join(f"{code}: {count}" for code, count in verdict.waiting.items())
    for label, value in (
        ("published", verdict.published),
        ("in Xero", verdict.in_xero),
        ("waiting, with reason", f"{sum(verdict.waiting.values())} {reasons}".strip()),
        ("payments made in Xero", verdict.payments_made),
        ("PaymentRecorded", verdict.payments_recorded),
        ("found by the sweep", verdict.found_by_sweep),
        ("PaymentReversed", verdict.payments_reversed),
        ("credit notes recorded", verdict.credits_recorded),
        ("doubled", verdict.doubled),
        ("lost", verdict.lost),
        ("Xero calls used", calls),
        ("seconds", seconds),
    ):
        table.add_row(label, str(value))
    return table
