"""Traces by OpenTelemetry, exported by OTLP over HTTP once an address for them is set.

Where to, how much and with which credentials is said by OpenTelemetry's own variables
(opentelemetry.io/docs/specs/otel/protocol/exporter, …/configuration/sdk-environment-variables): the endpoint is ours
to check, the rest the SDK reads by itself. Whether a trace is recorded is decided where it begins: by default, and
with every `parentbased_…` sampler, the flag in `traceparent` is followed.
"""

from opentelemetry import trace


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

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def ids_of_current_span() -> dict[str, str]:
    """`trace_id` and `span_id` of the span that is current here; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
