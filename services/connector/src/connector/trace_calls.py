"""The traces of calls through the gateway: one span of what the caller asked for, one of each request to Xero.

Xero is sent no trace: only the headers that it reads are passed on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C: Final = TraceContextTextMapPropagator()
_TRACER: Final = trace.get_tracer("connector")


@contextmanager
def carrying(
    method: str, path: str, traceparent: str | None, told: Mapping[str, str]
) -> Iterator[Span]:
    """Continue the caller's trace while its call is carried. The caller has proven who it is: its sampling counts."""
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    with _TRACER.start_as_current_span(
        f"carry {method} {_resource(path)}",
        context=_W3C.extract(carrier, Context()),
        kind=SpanKind.SERVER,
        attributes=told,
        # What an exception says may quote an answer of Xero.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


@contextmanager
def asking_xero(method: str, path: str) -> Iterator[Span]:
    """One request to Xero, from its first byte to the end of the reply."""
    # Not made the current one: a generator that is closed elsewhere could not put the former one back.
    span = _TRACER.start_span(
        f"{method} {_resource(path)}",
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": method, "server.address": "xero"},
    )
    try:
        yield span
    finally:
        span.end()


def _resource(path: str) -> str:
    """The first part of a path: what follows may be the id of somebody's invoice."""
    return path.partition("/")[0]
