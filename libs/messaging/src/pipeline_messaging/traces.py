"""An event's trace: from the header it came with, through the span of its being taken in, to whoever stores it and
into the headers of what is told of it, and its publishing.

A span says which type of event of which source it is, and of what it is about the id: never what it says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline_contracts.envelope import Envelope, Record

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


@contextmanager
def doing(
    name: str,
    traceparent: str | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str],
) -> Iterator[str | None]:
    """One piece of work, and the `traceparent` for whatever is told or stored because of it; None if nobody records.

    It continues `traceparent`, else the span that is current, else it begins a trace; inside, it is current itself.
    """
    if not are_recorded():
        yield traceparent
        return
    context = None if traceparent is None else context_of(traceparent)
    # What an exception says may quote Xero, Postgres or somebody's invoice.
    with _TRACER.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield traceparent_of(span)


@contextmanager
def publishing(records: Iterable[Record]) -> Iterator[None]:
    """One try to publish these records: each has a span in the trace that its headers name, if they name one.

    The headers stay as they are: every copy of a record is the same, whoever publishes it and however often.
    """
    if not are_recorded():
        yield
        return
    spans = [
        _TRACER.start_span(
            f"publish {_text(headers.get('ce_type'))}",
            context=context_of(traceparent.decode("latin-1")),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": record.topic,
                "cloudevents.event_id": _text(headers.get("ce_id")),
            },
        )
        for record in records
        if (traceparent := (headers := dict(record.headers)).get("traceparent")) is not None
    ]
    try:
        yield
    finally:
        for span in spans:
            span.end()


def _text(header: bytes | None) -> str:
    return (header or b"").decode("utf-8", "replace")
