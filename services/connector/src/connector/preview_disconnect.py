"""What a disconnect would stop, told before anybody presses the button."""

from dataclasses import dataclass
from enum import Enum, auto

from connector.clients.invoice_sync import Counts
from connector.deps import Deps
from connector.domain.connection import Connection
from connector.store import connections


class NotAnswered(Enum):
    """Why there are no counts."""

    NOT_CONFIGURED = auto()
    NO_ANSWER = auto()


@dataclass(frozen=True, slots=True)
class Preview:
    """What there is to disconnect. `shared`: its Xero user serves another account too, which keeps the grant alive."""

    connection: Connection
    shared: bool
    counts: Counts | None
    not_counted: NotAnswered | None


async def preview_disconnect(deps: Deps, account_id: str) -> Preview | None:
    """The preview; None when there is nothing to disconnect. Waits for the counts for a short while only."""
    async with deps.pool.acquire() as conn:
        connection = await connections.find(conn, account_id)
        if connection is None or not connection.can_disconnect or connection.xero_userid is None:
            return None
        sharing = await connections.of_user(conn, connection.xero_userid)
    shared = len(sharing) > 1
    if deps.invoice_sync is None:
        return Preview(connection, shared, None, NotAnswered.NOT_CONFIGURED)
    counts = await deps.invoice_sync.counts(account_id)
    return Preview(connection, shared, counts, None if counts else NotAnswered.NO_ANSWER)
