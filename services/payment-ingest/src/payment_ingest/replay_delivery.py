"""Send a stored delivery through the machinery again, on request of a person or a program."""

from dataclasses import dataclass
from datetime import datetime

from payment_ingest.domain.delivery import read
from payment_ingest.store import connections, deliveries
from pipeline_messaging.connection import Connection


class UnknownDeliveryError(LookupError):
    """There is no such delivery, or it does not concern the account of whoever asks."""


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
        body = await deliveries.body_of(conn, body_hash)
        if body is None:
            raise UnknownDeliveryError(body_hash.hex())
        if requester.account_id is not None and not await connections.belongs_to(
            conn, requester.account_id, read(body).tenants
        ):
            raise UnknownDeliveryError(body_hash.hex())
        await deliveries.mark_unprocessed(conn, body_hash)
        return await deliveries.record_replay(conn, body_hash, requester.name, requester.account_id)
