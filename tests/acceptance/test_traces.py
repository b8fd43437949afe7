"""One trace of one invoice, by ids, on real processes: from its producer's header into Xero and into what is told of it."""

import json
import secrets

from pipeline_contracts.producer import EventPublisher
from pipeline_contracts.sync import InvoiceSynced
from pipeline_contracts.topics import SYNC
from pipeline_local_stack.paths import LOGS

# Whatever is said of a span must be on this list: ids, and words of our own.
ATTRIBUTES = {
    "account_id",
    "caller",
    "cloudevents.event_id",
    "cloudevents.event_source",
    "cloudevents.event_subject",
    "http.request.method",
    "http.response.status_code",
    "idempotency_key",
    "invoice_id",
    "lane",
    "messaging.operation.type",
    "messaging.system",
    "outcome",
    "server.address",
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
    assert told_under(company, invoice) == f"00-{trace_id}-{taken_in.span_id}-01"
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
    version, trace_id, _, flags = told_under(company, one).split("-")
    assert (version, trace_id, flags) == ("00", unseen, "00")


EXPECTED = {
    "process pipeline.invoice.created.v1",
    "sync invoice (create)",
    "send create",
    "carry PUT Invoices",
    "PUT Invoices",
}


async def publish(company, invoice, traceparent) -> None:
    servers = company.stack.broker.bootstrap_servers
    async with EventPublisher(servers, source="billing") as publisher:
        await publisher.publish(invoice, traceparent=traceparent)


def by_name(collector, trace_id) -> dict:
    spans = collector.of(trace_id)
    assert len({span.name for span in spans}) == len(spans), spans
    return {span.name: span for span in spans}


def told_under(company, invoice) -> str:
    (found,) = {
        each.traceparent
        for each in company.seen.envelopes[SYNC.name]
        if isinstance(each.event, InvoiceSynced) and each.subject == invoice.invoice_id
    }
    return found


def log_of(service) -> list[dict]:
    lines = (LOGS / f"{service}.log").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
