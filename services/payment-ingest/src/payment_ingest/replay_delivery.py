"""Find stored deliveries and send them through the machinery again, on request of a person or a program."""

from dataclasses import dataclass, replace
from datetime import datetime

from payment_ingest.domain.delivery import read
from payment_ingest.store import connections, deliveries
from payment_ingest.store.deliveries import FoundDelivery, Search
from pipeline_messaging.connection import Connection


class UnknownDeliveryError(LookupError):
    """There is no such delivery (any more), or it does not concern the account of whoever asks."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: `account_id` is None for a program, which may replay any delivery."""

    name: str
    account_id: str | None


async def replay_delivery(conn: Connection, body_hash: bytes, requester: Requester) -> datetime:
    """Have the delivery read again and write down who asked; returns when.

    Harmless however often it is done: a delivery only makes us look at Xero once more.

    Raises:
        UnknownDeliveryError: See there.
    """
    async with conn.transaction():
        found = await deliveries.find(conn, body_hash)
        if found is None:
            raise UnknownDeliveryError(body_hash.hex())
        if requester.account_id is not None and not await connections.belongs_to(
            conn, requester.account_id, read(found.body).tenants
        ):
            raise UnknownDeliveryError(body_hash.hex())
        await deliveries.mark_unread(conn, [(found.received_at, body_hash)])
        return await deliveries.record_replay(
            conn, [body_hash], requester.name, requester.account_id
        )


async def find_deliveries(
    conn: Connection, wanted: Search, requester: Requester, limit: int
) -> list[FoundDelivery]:
    """The first `limit` deliveries asked for, of those that the requester may know of."""
    return await deliveries.search(conn, await _allowed(conn, wanted, requester), limit)


async def replay_deliveries(
    conn: Connection, wanted: Search, requester: Requester, limit: int
) -> list[FoundDelivery]:
    """Have the first `limit` of them read again and write down who asked; gives back which those are."""
    async with conn.transaction():
        found = await find_deliveries(conn, wanted, requester, limit)
        await deliveries.mark_unread(conn, [(one.received_at, one.body_hash) for one in found])
        hashes = [one.body_hash for one in found]
        await deliveries.record_replay(conn, hashes, requester.name, requester.account_id)
    return found


async def _allowed(conn: Connection, wanted: Search, requester: Requester) -> Search:
    """A person sees deliveries that speak of the own organisation; whatever else is asked for is simply not there."""
    if requester.account_id is None:
        return wanted
    own = await connections.tenants_of(conn, requester.account_id)
    if wanted.tenant_ids is not None:
        own = tuple(one for one in own if one in wanted.tenant_ids)
    return replace(wanted, tenant_ids=own)
