"""How long one thing takes on an idle system, against doing only the unavoidable part of it by hand."""

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal

from pipeline_contracts import topics
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench import plain_sync
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import over_samples
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.identities import ACCOUNT
from pipeline_local_stack.paths import StackError

_INVOICES = 100
_PAYMENTS = 20
_WARM_UP = 5
_PUT = "one PUT straight to Xero"
_BY_HAND = "publish, read, PUT straight to Xero, by hand"
_PAID_BY_HAND = "pay, GET the invoice, publish and read one record, by hand"


async def measure_latency(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add the figures of publishing and of paying to the report.

    Raises:
        StackError: something that was published or paid did not come out.
    """
    await _publish_to_xero(around, report)
    say("Measured from publishing to Xero.")
    await _webhook_to_event(around, report)
    say("Measured from a payment to its event.")


async def _publish_to_xero(around: Surroundings, report: Report) -> None:
    """One invoice at a time; the moment it is in the books comes from Xero's own log of calls."""
    in_xero, announced, bare, by_hand = [], [], [], []
    for number in range(_WARM_UP + _INVOICES):
        await around.until_idle()
        calls = await _calls_so_far(around)
        (invoice,) = around.workload.take(1)
        started, clock = time.perf_counter(), time.time()
        await around.publish([invoice])
        ended = await around.wait_for(topics.SYNC.name, InvoiceSynced, {invoice.invoice_id})
        present = await _written_at(around, since=calls)
        (other,) = around.workload.take(1)
        await around.until_idle()
        direct = await timed(
            lambda other=other: around.direct.create_invoices([other], around.direct_contacts)  # type: ignore[misc]
        )
        carried = await _carry_by_hand(around)
        if number >= _WARM_UP:
            in_xero.append((present - clock) * 1000)
            announced.append((ended - started) * 1000)
            bare.append(direct)
            by_hand.append(carried)
    for name, samples, percent in (
        ("publish_to_xero_p50_ms", in_xero, 50),
        ("publish_to_xero_p99_ms", in_xero, 99),
        ("publish_to_synced_p50_ms", announced, 50),
    ):
        report.figures.append(
            Figure(
                name, "ms", over_samples(samples, percent),
                Reference(_PUT, over_samples(bare, percent)),
                Reference(_BY_HAND, over_samples(by_hand, percent)),
            )
        )  # fmt: skip


async def _carry_by_hand(around: Surroundings) -> float:
    """The way of an invoice from Kafka to Xero with nothing kept on it: a record out and in again, and one PUT."""
    (invoice,) = around.workload.take(1)
    started = time.perf_counter()
    await publish_all(around.producer, [invoice], plain_sync.SYNCED.name)
    await around.wait_for(plain_sync.SYNCED.name, InvoiceCreated, {invoice.invoice_id})
    await around.direct.create_invoices([invoice], around.direct_contacts)
    return (time.perf_counter() - started) * 1000


async def _webhook_to_event(around: Surroundings, report: Report) -> None:
    """A payment made in Xero, until PaymentRecorded can be read. Xero rings at once, without collecting first."""
    reply = await around.http.patch("/admin/webhooks", json={"batch_seconds": 0})
    reply.raise_for_status()
    ours, bare = [], []
    payable = [invoice for invoice in around.published if invoice.total >= 1]
    for number, invoice in enumerate(payable[: _WARM_UP + _PAYMENTS]):
        await around.until_idle()
        started = time.perf_counter()
        await _pay(around, around.xero.tenant_id, invoice.invoice_number)
        ended = await around.wait_for(topics.PAYMENTS.name, PaymentRecorded, {invoice.invoice_id})
        by_hand = await _payment_by_hand(around)
        if number >= _WARM_UP:
            ours.append((ended - started) * 1000)
            bare.append(by_hand)
    report.figures += [
        Figure(
            f"webhook_to_event_p{percent}_ms", "ms", over_samples(ours, percent),
            Reference(_PAID_BY_HAND, over_samples(bare, percent)),
        )
        for percent in (50, 99)
    ]  # fmt: skip


async def _payment_by_hand(around: Surroundings) -> float:
    (invoice,) = around.workload.take(1)
    (xero_id,) = await around.direct.create_invoices([invoice], around.direct_contacts)
    await around.until_idle()
    started = time.perf_counter()
    await _pay(around, around.direct.tenant_id, invoice.invoice_number)
    reply = await around.direct.get(f"Invoices/{xero_id}")
    paid = reply.json()["Invoices"][0]
    recorded = PaymentRecorded(
        account_id=ACCOUNT, invoice_id=invoice.invoice_id, sequence=1, payment_id=xero_id,
        xero_payment_id=xero_id, kind="payment", amount=invoice.total, currency=invoice.currency,
        paid_on=invoice.issue_date, reference=None, amount_paid=invoice.total, amount_due=Decimal(0),
        invoice_status=paid["Status"], found_by="webhook",
    )  # fmt: skip
    await publish_all(around.producer, [recorded], plain_sync.SYNCED.name)
    ended = await around.wait_for(plain_sync.SYNCED.name, PaymentRecorded, {invoice.invoice_id})
    return (ended - started) * 1000


async def _pay(around: Surroundings, tenant_id: str, number: str) -> None:
    """Pay all that is due, as a person does in Xero."""
    reply = await around.http.post(f"/admin/tenants/{tenant_id}/payments", json={"invoice": number})
    reply.raise_for_status()


async def _calls_so_far(around: Surroundings) -> int:
    reply = await around.http.get("/admin/calls", params={"limit": 0, "path": "no such path"})
    return int(reply.json()["count"])


async def _written_at(around: Surroundings, *, since: int) -> float:
    """When the call that wrote the invoice ended, by Xero's log and the clock that we share.

    Raises:
        StackError: there was no such call, or several.
    """
    reply = await around.http.get(
        "/admin/calls",
        params={"since": since, "tenant": around.xero.tenant_id, "path": "/Invoices"},
    )
    writes = [call for call in reply.json()["calls"] if call["method"] in ("PUT", "POST")]
    if len(writes) != 1:
        raise StackError(f"One invoice led to {len(writes)} writes in Xero: {writes}")
    return float(writes[0]["time"] + writes[0]["seconds"])


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """How many milliseconds an action takes."""
    started = time.perf_counter()
    await action()
    return (time.perf_counter() - started) * 1000
