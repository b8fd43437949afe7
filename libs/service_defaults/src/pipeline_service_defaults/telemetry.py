"""Logs as JSON lines, one form for our own code and for every library.

Only fields on the allowlist are written, and every text passes redaction. JSON escapes line breaks, so nobody can
write a log line of their own making.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from pipeline_service_defaults.redaction import redact
from pipeline_service_defaults.tracing import ids_of_current_span

_FIELD_NAMES = """
account_id actor age_seconds alg app attempt attempts batch bytes caller cause check checks code
column connection_id contact_id correlation_id count customer_id database day delay_seconds
deliveries dropped duration_ms effect element epoch error error_type event event_id event_type
events example exception expected failures field found found_by from generation group_id handler
hint host http_status invoice_id invoice_number invoices key key_version kind lane lease_until
level limit logger message method missing name next_attempt_at offset operation outbox_id
outcome owner partition partitions path payment_id payments pending pid place port previous priority
problem reason reconciliation records remaining request_id resource retries retry_after retry_in
retryable role route rows sequence service size source span_id stack state status status_code step
subject table tasks tenant_id timestamp to topic trace_id url values version waited_ms wakeups
webhook_id why xero_correlation_id xero_invoice_id xero_payment_id
"""
ALLOWED_FIELDS: frozenset[str] = frozenset(_FIELD_NAMES.split())

# Loggers that say something about every single message or request, or repeat URLs with their query.
_QUIET = {
    "faststream": logging.WARNING,
    "faststream.access": logging.WARNING,
    "faststream.access.kafka": logging.WARNING,
    "aiokafka": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "asyncio": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
}
_TAKEN_OVER = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "faststream",
    "fastapi",
)
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


def configure_logging(
    service: str,
    level: str = "INFO",
    *,
    extra_fields: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send everything logged in this process to ``stream`` as JSON lines.

    Args:
        service: Written into each line.
        level: Lowest level of our own loggers.
        extra_fields: Field names this service may log beyond ``ALLOWED_FIELDS``.
        stream: Standard output by default.
    """
    allowed = ALLOWED_FIELDS | frozenset(extra_fields)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _ServiceName(service),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_extra],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _Allowlist(allowed),
                _redact_event,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _TAKEN_OVER:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger taking fields as keywords: ``log.info("invoice sent", invoice_id=…)``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class _ServiceName:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: Any, __: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def _add_trace(_: Any, __: str, event: EventDict) -> EventDict:
    """The trace that this line belongs to, so that a line leads to its trace and back."""
    event.update(ids_of_current_span())
    return event


class _Allowlist:
    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def __call__(self, _: Any, __: str, event: EventDict) -> Mapping[str, Any]:
        kept = {key: value for key, value in event.items() if key in self._allowed}
        if dropped := sorted(str(key) for key in event if key not in self._allowed):
            # Only the names: a developer sees what to add to the allowlist, the log learns no value.
            kept["dropped"] = dropped
        return kept


def _redact_event(_: Any, __: str, event: EventDict) -> MutableMapping[str, Any]:
    return {key: redact(value) for key, value in event.items()}


def _add_extra(_: Any, __: str, event: EventDict) -> EventDict:
    """Fields a library gave by stdlib's ``extra=``; the allowlist then judges them."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        for key, value in vars(record).items():
            if key not in _STANDARD_ATTRIBUTES and not key.startswith("_"):
                event.setdefault(key, value)
    return event
