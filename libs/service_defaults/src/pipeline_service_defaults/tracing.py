"""Traces by OpenTelemetry, exported by OTLP over HTTP once an address for them is set.

Where to, how much and with which credentials is said by OpenTelemetry's own variables
(opentelemetry.io/docs/specs/otel/protocol/exporter, …/configuration/sdk-environment-variables): the endpoint is ours
to check, the rest the SDK reads by itself. Whether a trace is recorded is decided where it begins: by default, and
with every `parentbased_…` sampler, the flag in `traceparent` is followed.
"""

import atexit
import threading
from collections.abc import Callable

from opentelemetry import trace

_LAST_SECONDS = 3.0


def configure_tracing(service: str, endpoint: str | None) -> None:
    """Record and export spans of this process from now on; without an endpoint, do nothing and load nothing.

    Spans are sent by a thread of their own. What cannot be sent is dropped, and never held up for.

    Args:
        service: What traces call this process.
        endpoint: The setting OTEL_EXPORTER_OTLP_ENDPOINT, which the exporter reads as well.
    """
    if endpoint is None:
        return
    # The SDK, protobuf and an HTTP client: several megabytes that most processes never need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - see above

    provider = TracerProvider(
        resource=Resource.create({"service.name": service}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _send_the_last_at_exit(provider.shutdown)


def _send_the_last_at_exit(shutdown: Callable[[], None]) -> None:
    """Send what is left when the process ends, but not for the half a minute that the SDK would try a silent collector.

    By a thread that is there already: at exit none can be started any more.
    """
    ending, sent = threading.Event(), threading.Event()

    def wait_and_send() -> None:
        ending.wait()
        shutdown()
        sent.set()

    def end() -> None:
        ending.set()
        sent.wait(_LAST_SECONDS)

    threading.Thread(target=wait_and_send, name="last-spans", daemon=True).start()
    atexit.register(end)


def ids_of_current_span() -> dict[str, str]:
    """`trace_id` and `span_id` of the span that is current here; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
