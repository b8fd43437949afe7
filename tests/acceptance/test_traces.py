"""One trace each, by ids, on real processes: of an invoice, a customer, a payment and a connection, from what began it
into Xero and into what is told of it.
"""

import asyncio
import itertools
import json
import secrets
from decimal import Decimal

import asyncpg

from payment_ingest.store import sweeps
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import ContactMapped, InvoiceSynced
from pipeline_local_stack.paths import LOGS
from pipeline_messaging import leases

# Whatever is said of a span must be on this list: ids, and words of our own.
ATTRIBUTES = {
    "account_id",
    "caller",
    "cloudevents.event_id",
    "cloudevents.event_source",
    "cloudevents.event_subject",
    "customer_id",
    "found_by",
    "http.request.method",
    "http.response.status_code",
    "idempotency_key",
    "invoice_id",
    "lane",
    "messaging.destination.name",
    "messaging.operation.type",
    "messaging.system",
    "outcome",
    "reason",
    "server.address",
    "sweep",
    "xero_invoice_id",
}


async def test_an_invoice_has_one_trace_from_its_producer_into_xero_and_back(company, collector):
    trace_id, producer_id = secrets.token_hex(16), secrets.token_hex(8)
    invoice = company.invoice("traced")
    await company.know()
    await publish(company, invoice, f"00-{trace_id}-{producer_id}-01")
    await company.until_told(invoice, InvoiceSynced)
    spans = await company.wait_for(
        lambda: (found := by_name(collector, trace_id)).keys() >= EXPECTED and found,
        lambda: f"the spans {EXPECTED}, only {by_name(collector, trace_id)}",
    )
    taken_in = spans["process pipeline.invoice.created.v1"]
    synced = spans["sync invoice (create)"]
    assert (taken_in.service, taken_in.parent_id) == ("invoice-sync", producer_id)
    assert (synced.parent_id, synced.attributes["invoice_id"]) == (
        taken_in.span_id,
        invoice.invoice_id,
    )
    assert spans["send create"].parent_id == synced.span_id
    assert spans["carry PUT Invoices"].parent_id == spans["send create"].span_id
    assert spans["carry PUT Invoices"].service == "connector"
    assert spans["PUT Invoices"].parent_id == spans["carry PUT Invoices"].span_id
    assert spans["PUT Invoices"].attributes["http.response.status_code"] == "200"
    assert told_under(company, InvoiceSynced, invoice.invoice_id) == (
        f"00-{trace_id}-{taken_in.span_id}-01"
    )
    assert spans["publish pipeline.invoice.synced.v1"].parent_id == taken_in.span_id
    assert spans["publish pipeline.invoice.synced.v1"].service == "invoice-sync"
    # payment-ingest reads it, and goes on in the same trace.
    assert spans["process pipeline.invoice.synced.v1"].service == "payment-ingest"
    assert spans["process pipeline.invoice.synced.v1"].parent_id == taken_in.span_id
    logged = [line for line in log_of("connector") if line.get("trace_id") == trace_id]
    assert [line["event"] for line in logged if line["event"] == "xero_called"] == ["xero_called"]
    assert {line["span_id"] for line in logged} == {spans["carry PUT Invoices"].span_id}
    assert {name for span in collector.spans for name in span.attributes} <= ATTRIBUTES


async def test_what_its_producer_does_not_sample_is_not_recorded_and_keeps_its_trace(
    company, collector
):
    unseen, seen = secrets.token_hex(16), secrets.token_hex(16)
    one, other = company.invoice("unsampled"), company.invoice("sampled")
    await company.know()
    await publish(company, one, f"00-{unseen}-{secrets.token_hex(8)}-00")
    await company.until_told(one, InvoiceSynced)
    await publish(company, other, f"00-{seen}-{secrets.token_hex(8)}-01")
    await company.until_told(other, InvoiceSynced)
    await company.wait_for(
        lambda: by_name(collector, seen).keys() >= EXPECTED, lambda: "the later, sampled trace"
    )
    assert collector.of(unseen) == []
    version, trace_id, _, flags = told_under(company, InvoiceSynced, one.invoice_id).split("-")
    assert (version, trace_id, flags) == ("00", unseen, "00")


async def test_a_customer_has_one_trace_from_its_producer_to_its_contact_and_back(
    company, collector
):
    trace_id, producer_id = secrets.token_hex(16), secrets.token_hex(8)
    customer = company.customer("traced")
    await publish(company, customer, f"00-{trace_id}-{producer_id}-01")
    spans = await traced(company, collector, trace_id, {
        "process pipeline.customer.created.v1", "sync customer (contacts)", "send contacts",
        "carry PUT Contacts", "PUT Contacts", "publish pipeline.customer.contact_mapped.v1",
    })  # fmt: skip
    taken_in = spans["process pipeline.customer.created.v1"]
    assert (taken_in.service, taken_in.parent_id) == ("invoice-sync", producer_id)
    synced = spans["sync customer (contacts)"]
    assert (synced.parent_id, synced.attributes["customer_id"]) == (
        taken_in.span_id,
        customer.customer_id,
    )
    assert follows(spans, "PUT Contacts", "carry PUT Contacts", "send contacts", synced.name)
    told = await until_told_under(company, ContactMapped, customer.customer_id)
    assert told == f"00-{trace_id}-{taken_in.span_id}-01"
    assert spans["publish pipeline.customer.contact_mapped.v1"].parent_id == taken_in.span_id


async def test_a_payment_has_one_trace_from_its_webhook_through_the_read_into_its_event(
    company, collector
):
    invoice = await company.issue("paid")
    await asyncio.to_thread(pay, company, invoice)
    told = await until_told_under(company, PaymentRecorded, invoice.invoice_id)
    _, trace_id, span_id, _ = told.split("-")
    spans = await traced(company, collector, trace_id, {
        "receive webhook", "look at invoice", "publish pipeline.payment.recorded.v1",
        "read invoices", "carry GET Invoices", "GET Invoices",
    })  # fmt: skip
    received, looked = spans["receive webhook"], spans["look at invoice"]
    assert (received.service, received.parent_id) == ("payment-ingest", "")
    assert (looked.parent_id, looked.span_id) == (received.span_id, span_id)
    assert looked.attributes["found_by"] == "webhook"
    assert follows(spans, "GET Invoices", "carry GET Invoices", "read invoices", looked.name)
    assert spans["publish pipeline.payment.recorded.v1"].parent_id == span_id
    assert {name for span in collector.spans for name in span.attributes} <= ATTRIBUTES


async def test_a_payment_of_which_no_webhook_came_is_in_the_trace_of_the_sweep_that_found_it(
    company, collector
):
    invoice = await company.issue("unheard")
    with company.xero.webhooks_lost():
        await asyncio.to_thread(pay, company, invoice)
        await sweep(company)
        told = await until_told_under(company, PaymentRecorded, invoice.invoice_id)
    _, trace_id, span_id, _ = told.split("-")
    spans = await traced(company, collector, trace_id, {
        "sweep invoices", "publish pipeline.payment.recorded.v1", "carry GET Invoices", "GET Invoices",
    })  # fmt: skip
    swept = spans["sweep invoices"]
    assert (swept.parent_id, swept.span_id) == ("", span_id)
    assert swept.attributes["account_id"] == company.account_id
    assert follows(spans, "GET Invoices", "carry GET Invoices", swept.name)


async def test_a_change_of_a_connection_has_one_trace_into_those_who_follow_it(company, collector):
    await company.disconnect()

    def changed() -> list:
        return [
            span
            for span in collector.spans
            if span.name == "change connection"
            and span.attributes["account_id"] == company.account_id
            and span.attributes["reason"] == "DISCONNECTED_BY_USER"
        ]

    (change,) = await company.wait_for(changed, lambda: "the change of the connection")
    name = ConnectionStatusChanged.TYPE
    followers = {"invoice-sync", "payment-ingest"}

    def followed() -> list:
        spans = collector.of(change.trace_id)
        return (
            followers <= {one.service for one in spans if one.name == f"process {name}"} and spans
        )

    spans = await company.wait_for(followed, lambda: f"the change at all of {followers}")
    assert change.service == "connector"
    about = {span.name for span in spans if span.parent_id == change.span_id}
    assert {f"publish {name}", f"process {name}"} <= about


EXPECTED = {
    "process pipeline.invoice.synced.v1",
    "publish pipeline.invoice.synced.v1",
    "process pipeline.invoice.created.v1",
    "sync invoice (create)",
    "send create",
    "carry PUT Invoices",
    "PUT Invoices",
}


async def publish(company, event, traceparent) -> None:
    servers = company.stack.broker.bootstrap_servers
    async with EventPublisher(servers, source="billing") as publisher:
        await publisher.publish(event, traceparent=traceparent)


def pay(company, invoice) -> None:
    (found,) = company.in_xero(invoice)
    company.xero.pay(found["document_id"], Decimal(10))


async def sweep(company) -> None:
    """The moment of the regular sweep of this company's organisation comes."""
    conn = await asyncpg.connect(company.stack.dsns["payment_ingest"])
    try:
        async with conn.transaction():
            await sweeps.request(conn, company.xero.tenant_id)
            await leases.mark_due(conn, [company.account_id])
    finally:
        await conn.close()


async def traced(company, collector, trace_id, names) -> dict:
    return await company.wait_for(
        lambda: (found := by_name(collector, trace_id)).keys() >= names and found,
        lambda: f"the spans {names}, only {collector.of(trace_id)}",
    )


def follows(spans, *names) -> bool:
    """Whether each of these is the child of the one after it."""
    return all(
        spans[one].parent_id == spans[parent].span_id for one, parent in itertools.pairwise(names)
    )


def by_name(collector, trace_id) -> dict:
    """The spans of a trace by name; the first of each: Kafka may be sent a record twice."""
    return {span.name: span for span in reversed(collector.of(trace_id))}


def told_under(company, kind, subject) -> str | None:
    found = {
        each.traceparent
        for each in company.seen.envelopes[kind.TOPIC]
        if isinstance(each.event, kind) and each.subject == subject
    }
    return found.pop() if len(found) == 1 else None


async def until_told_under(company, kind, subject) -> str:
    return await company.wait_for(
        lambda: told_under(company, kind, subject),
        lambda: f"{kind.__name__} of {subject} under one trace",
    )


def log_of(service) -> list[dict]:
    lines = (LOGS / f"{service}.log").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
