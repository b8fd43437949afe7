"""The traces of looks at Xero: a span of each doorbell in the trace of its webhook, the call in the first one's.

A call has one place in one trace, and up to 50 invoices of as many traces are read with it. The spans of the others
name it by a link, and it names them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date

import asyncpg
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, use_span

from payment_ingest.store import deliveries
from payment_ingest.store.doorbells import Doorbell
from pipeline_messaging import traces

_TRACER = trace.get_tracer("payment_ingest")


@asynccontextmanager
async def looking(
    pool: asyncpg.Pool, account_id: str, claimed: Sequence[Doorbell]
) -> AsyncIterator[dict[str, str]]:
    """Reading these doorbells' invoices and recording what is found; the span of it all is current inside.

    Gives the `traceparent` of each invoice, by its id in Xero; none where nothing is recorded.
    """
    if not traces.are_recorded():
        yield {}
        return
    async with pool.acquire() as conn:
        known = await deliveries.traceparents(
            conn, [key for one in claimed if (key := _heard(one))]
        )
    spans = [
        _TRACER.start_span(
            "look at invoice",
            context=traces.context_of(known.get(key) if (key := _heard(one)) else None),
            attributes={
                "account_id": account_id,
                "xero_invoice_id": one.xero_invoice_id,
                "found_by": one.found_by,
            },
        )
        for one in claimed
    ]
    call = _TRACER.start_span(
        "read invoices",
        context=trace.set_span_in_context(spans[0]) if spans else None,
        kind=SpanKind.CLIENT,
        links=[Link(span.get_span_context()) for span in spans[1:]],
        attributes={"account_id": account_id},
    )
    for span in spans[1:]:
        span.add_link(call.get_span_context())
    try:
        # An exception's text may hold what Xero or Postgres said of somebody's invoice.
        with use_span(call, record_exception=False, set_status_on_exception=False):
            yield {
                one.xero_invoice_id: traces.traceparent_of(span)
                for one, span in zip(claimed, spans, strict=True)
            }
    finally:
        for span in (call, *spans):
            span.end()


def _heard(one: Doorbell) -> tuple[date, bytes] | None:
    """Which delivery rang: a webhook's doorbell rings since its delivery arrived."""
    return None if one.delivery is None else (one.rung_at.astimezone(UTC).date(), one.delivery)
