"""What a batch of invoice events comes to, before any row is touched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from invoice_sync.domain.state import Account, Operation
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import Invoice, InvoiceVoided

Key = tuple[str, str]

_OF_INVOICES = (Invoice, InvoiceVoided)


class DesiredState(NamedTuple):
    """The newest state of one invoice in a batch. A void carries no body: the one before it stands.

    Its fields are those of the database's type `desired_state`, in their order.
    """

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
    traceparent: str | None = None


class Arrival(NamedTuple):
    """One event as it goes on the invoice's timeline; as the database's type `arrival`."""

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


def connection_went_on(known: Account | None, events: Sequence[ConnectionStatusChanged]) -> bool:
    """Whether `events`, by sequence, tell of nothing but the day's calls of a connection that was in use all along."""
    if known is None:
        return False
    status, sequence, tenant_id = known.status, known.sequence, known.tenant_id
    for event in events:
        if event.sequence <= sequence:
            continue
        if not event.goes_on(status=status, sequence=sequence, tenant_id=tenant_id):
            return False
        status, sequence, tenant_id = event.status, event.sequence, event.tenant_id
    return True


def reduce_batch(envelopes: Iterable[Envelope]) -> Batch:
    """Keep the highest version of each invoice; a void seen on the way is remembered, for it is final."""
    found: dict[Key, list[DesiredState]] = {}
    arrivals: list[Arrival] = []
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, _OF_INVOICES):
            continue
        state = _desired(event, envelope.traceparent)
        key = (state.account_id, state.invoice_id)
        found.setdefault(key, []).append(state)
        arrivals.append(Arrival(*key, event.version, type(event).__name__, envelope.time))
    states = tuple(_merge(found[key]) for key in sorted(found))
    accounts = tuple(sorted({state.account_id for state in states}))
    return Batch(states, tuple(arrivals), accounts)


def _desired(event: Invoice | InvoiceVoided, traceparent: str | None) -> DesiredState:
    if isinstance(event, InvoiceVoided):
        return DesiredState(
            event.account_id, event.invoice_id, event.version, Operation.VOID,
            None, None, None, None, None, event.version, traceparent,
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
        traceparent,
    )


def _merge(states: Sequence[DesiredState]) -> DesiredState:
    """The highest version (the first of equal ones), with the newest body there is and the first void."""
    if len(states) == 1:
        return states[0]
    high = max(states, key=lambda state: state.version)
    writes = [state for state in states if state.body is not None]
    body = max(writes, key=lambda state: state.version, default=high)
    voids = [state.void_version for state in states if state.void_version is not None]
    return body._replace(
        version=high.version,
        operation=high.operation,
        void_version=min(voids, default=None),
        traceparent=high.traceparent,
    )
