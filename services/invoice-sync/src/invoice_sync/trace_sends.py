"""The traces of what goes to Xero in one call: a span of each invoice or customer in its own trace, the call in the
first one's.

A call has one place in one trace, and up to 50 of them of as many traces go with it. The spans of the others name it
by a link, and it names them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, use_span

from invoice_sync.domain.state import Intent
from invoice_sync.store import customers, invoices
from pipeline_messaging import traces

_TRACER = trace.get_tracer("invoice_sync")


@asynccontextmanager
async def traced(pool: asyncpg.Pool, intent: Intent) -> AsyncIterator[None]:
    """Sending this intent and recording what became of it; the span of it all is current inside."""
    if not traces.are_recorded():
        yield
        return
    async with pool.acquire() as conn:
        if intent.kind == "contacts":
            what, parents = "customer", await customers.traceparents_of_intent(conn, intent.id)
        else:
            what, parents = "invoice", await invoices.traceparents_of_intent(conn, intent.id)
    spans = [
        _TRACER.start_span(
            f"sync {what} ({intent.kind})",
            context=traces.context_of(traceparent),
            attributes={"account_id": intent.account_id, f"{what}_id": its_id},
        )
        for its_id, traceparent in parents
    ]
    first = trace.set_span_in_context(spans[0]) if spans else None
    call = _TRACER.start_span(
        f"send {intent.kind}",
        context=first,
        kind=SpanKind.CLIENT,
        links=[Link(span.get_span_context()) for span in spans[1:]],
        attributes={"account_id": intent.account_id, "idempotency_key": intent.idempotency_key},
    )
    for span in spans[1:]:
        span.add_link(call.get_span_context())
    try:
        # An exception's text may hold what Xero or Postgres said of somebody's invoice.
        with use_span(call, record_exception=False, set_status_on_exception=False):
            yield
    finally:
        for span in (call, *spans):
            span.end()
