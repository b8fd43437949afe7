"""An event's trace: from the header it came with, through the span of its being taken in, to whoever stores it.

A span says which type of event of which source was taken in, and of what it is about the id: never what it says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline_contracts.envelope import Envelope

_W3C = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("pipeline_messaging")


def are_recorded() -> bool:
    """Whether this process records traces at all. Where it does not, what it was told is handed on as it is."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def context_of(traceparent: str | None) -> Context:
    """The context that a stored or received `traceparent` names; an empty one, which begins a trace, for None."""
    return _W3C.extract({} if traceparent is None else {"traceparent": traceparent}, Context())


def traceparent_of(span: Span) -> str:
    """What to hand on so that others continue at this span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier["traceparent"]


@contextmanager
def taking_in(envelopes: Sequence[Envelope]) -> Iterator[list[Envelope]]:
    """The events, each with the `traceparent` of a span of its own, which lasts as long as they are taken in.

    A batch has no span: its events have nothing in common but the moment.
    """
    if not are_recorded():
        yield list(envelopes)
        return
    spans = [
        _TRACER.start_span(
            f"process {envelope.type}",
            context=context_of(envelope.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "cloudevents.event_id": envelope.id,
                "cloudevents.event_source": envelope.source,
                "cloudevents.event_subject": envelope.subject,
            },
        )
        for envelope in envelopes
    ]
    try:
        yield [
            replace(envelope, traceparent=traceparent_of(span))
            for envelope, span in zip(envelopes, spans, strict=True)
        ]
    finally:
        for span in spans:
            span.end()
