"""What a batch of invoice events comes to, before any row is touched."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from invoice_sync.domain.state import Operation
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import Invoice, InvoiceVoided

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The newest state of one invoice in a batch. A void carries no body: the one before it stands."""

    account_id: str
    invoice_id: str
    version: int
    operation: Operation
    body: str | None
    invoice_number: str | None
    customer_id: str | None
    currency: str | None
    total: Decimal | None
    void_version: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as it goes on the invoice's timeline."""

    account_id: str
    invoice_id: str
    version: int
    kind: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """The newest states in the order of their keys (so that two batches lock rows in one order), and all arrivals."""

    states: tuple[DesiredState, ...]
    arrivals: tuple[Arrival, ...]
    accounts: tuple[str, ...]


def reduce_batch(envelopes: Iterable[Envelope]) -> Batch:
    """Keep the highest version of each invoice; a void seen on the way is remembered, for it is final."""
    newest: dict[Key, DesiredState] = {}
    arrivals: list[Arrival] = []
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, Invoice | InvoiceVoided):
            continue
        state = _desired(event)
        key = (state.account_id, state.invoice_id)
        newest[key] = _merge(newest[key], state) if key in newest else state
        arrivals.append(Arrival(*key, event.version, type(event).__name__, envelope.time))
    states = tuple(newest[key] for key in sorted(newest))
    accounts = tuple(sorted({state.account_id for state in states}))
    return Batch(states, tuple(arrivals), accounts)


def _desired(event: Invoice | InvoiceVoided) -> DesiredState:
    if isinstance(event, InvoiceVoided):
        return DesiredState(
            event.account_id, event.invoice_id, event.version, Operation.VOID,
            None, None, None, None, None, event.version,
        )  # fmt: skip
    return DesiredState(
        event.account_id,
        event.invoice_id,
        event.version,
        Operation.WRITE,
        event.model_dump_json(exclude_none=True),
        event.invoice_number,
        event.customer_id,
        event.currency,
        event.total,
        None,
    )


def _merge(one: DesiredState, other: DesiredState) -> DesiredState:
    """The higher version wins (the first of two equal ones); a body and a void are kept from either."""
    high, low = (one, other) if one.version >= other.version else (other, one)
    voids = [each.void_version for each in (high, low) if each.void_version is not None]
    body = high if high.body is not None else low
    return DesiredState(
        high.account_id,
        high.invoice_id,
        high.version,
        high.operation,
        body.body,
        body.invoice_number,
        body.customer_id,
        body.currency,
        body.total,
        min(voids, default=None),
    )
