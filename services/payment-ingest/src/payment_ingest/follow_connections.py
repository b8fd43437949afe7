"""Follow which account is connected to which organisation, and take up what waited for it."""

from datetime import timedelta

from payment_ingest.store import connections, sweeps
from payment_ingest.store.connections import CONNECTED, AccountConnection
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope
from pipeline_messaging import worker
from pipeline_messaging.connection import Connection

BEFORE_CONNECTING = timedelta(hours=1)
"""How far behind the moment of connecting the first sweep looks, for clocks that differ."""


async def follow_connections(conn: Connection, envelopes: list[Envelope]) -> None:
    """Handle a batch of the connections topic in its transaction.

    A connected account is swept at once (a webhook may have been missed while it was away) and its waiting doorbells
    are answered. The first sweep of an organisation looks back to the moment it was connected; what its invoices held
    before is read by the first deep sweep, in case they are taken over. News about the day's calls of a connection that goes on is no reconnection: nothing was missed.
    """
    for envelope in envelopes:
        event = envelope.event
        if not isinstance(event, ConnectionStatusChanged):
            continue
        tenant_id = event.tenant_id.lower() if event.tenant_id else None
        told = AccountConnection(event.account_id, tenant_id, event.status, event.since)
        known = await connections.lock(conn, event.account_id)
        goes_on = event.goes_on(
            status=known.status, sequence=known.sequence, tenant_id=known.tenant_id
        )
        is_news = await connections.remember(
            conn, told, event.sequence, tenant_name=event.tenant_name, keep_pause=goes_on
        )
        if not is_news or goes_on or event.status != CONNECTED:
            continue
        now_known = await connections.connection_of(conn, event.account_id)
        if now_known is not None and now_known.tenant_id is not None:
            await sweeps.begin(conn, now_known.tenant_id, event.since - BEFORE_CONNECTING)
            await sweeps.request(conn, now_known.tenant_id)
            await worker.mark_due(conn, [event.account_id])
