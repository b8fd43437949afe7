"""Take in events: desired states of invoices and customers, and the state of connections. One transaction a batch.

Every transaction of this service locks in one order: the account's lease row, the account, customers, invoices.
Marking accounts due therefore comes first; the other way round, a batch and a worker's result would wait for each
other.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from invoice_sync.domain.intake import connection_went_on, reduce_batch
from invoice_sync.store import accounts, customers, intents, invoices, lock_dates, timeline
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import Customer
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.event import Event
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import mark_due

EventT = TypeVar("EventT", bound=Event)


async def accept_invoices(conn: Connection, envelopes: Sequence[Envelope]) -> None:
    """Store what Pipeline wants of these invoices, and mark their accounts due."""
    batch = reduce_batch(envelopes)
    await mark_due(conn, batch.accounts)
    failpoint("accept:before_store")
    await invoices.want(conn, batch.states)
    await timeline.add_arrivals(conn, batch.arrivals)
    failpoint("accept:after_store")


async def accept_customers(conn: Connection, envelopes: Sequence[Envelope]) -> None:
    """Store these customers; those without a contact in Xero are due to become one."""
    newest: dict[tuple[str, str], tuple[Customer, str | None]] = {}
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, Customer):
            continue
        key = (event.account_id, event.customer_id)
        if key not in newest or event.version > newest[key][0].version:
            newest[key] = (event, envelope.traceparent)
    if not newest:
        return
    await mark_due(conn, sorted({account_id for account_id, _ in newest}))
    wanted = [newest[key] for key in sorted(newest)]
    await customers.want(
        conn, [event for event, _ in wanted], [traceparent for _, traceparent in wanted]
    )


async def track_connections(conn: Connection, envelopes: Sequence[Envelope]) -> None:
    """Take over connection states and release exactly what waited for a connection that is there now.

    Where only the day's calls changed, the connection was there all the while: nothing waited for it, and what rests
    goes on resting.
    """
    told: dict[str, list[ConnectionStatusChanged]] = {}
    for event in sorted(_of(ConnectionStatusChanged, envelopes), key=lambda each: each.sequence):
        told.setdefault(event.account_id, []).append(event)
    if not told:
        return
    await mark_due(conn, sorted(told))
    known = await accounts.lock_known(conn, sorted(told))
    newest = {key: events[-1] for key, events in sorted(told.items())}
    went_on = {key for key, events in told.items() if connection_went_on(known.get(key), events)}
    await accounts.apply_status(conn, [newest[key] for key in sorted(went_on)], ends_rest=False)
    anew = [event for key, event in newest.items() if key not in went_on]
    changed = await accounts.apply_status(conn, anew, ends_rest=True)
    await lock_dates.forget_refusals(conn, changed)
    await customers.release_for_connection(conn, changed)
    await invoices.release_for_connection(conn, changed)
    # A conflict could not be looked at meanwhile; a new version may have settled it.
    await invoices.compare_conflicts(conn, changed)
    await intents.wake(conn, changed)


def _of(kind: type[EventT], envelopes: Iterable[Envelope]) -> Iterable[EventT]:
    return (envelope.event for envelope in envelopes if isinstance(envelope.event, kind))
