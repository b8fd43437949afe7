"""What is done for tokens and connections without being asked: renewed ahead of expiry, and looked after at Xero.

Every replica does so. Renewals are arbitrated by each row's lease; looks at /connections are handed out row by row, so
that N replicas together ask once an hour per Xero user and not N times.
"""

import random
from typing import Final

import structlog

from connector.deps import Deps
from connector.domain.refresh import CHECK_RETRY
from connector.for_each import for_each
from connector.refresh_tokens import CannotRefresh, check_tenants, refresh
from connector.store import token_sets

log = structlog.get_logger(__name__)

BATCH: Final = 100


async def refresh_due(deps: Deps) -> int:
    """Renew what is due now; returns how many were tried, so that a full batch can be followed by the next at once."""
    async with deps.pool.acquire() as conn:
        await token_sets.erase_expired(conn)
        userids = await token_sets.due(conn, BATCH)
    # Replicas find the same rows: in another order each, they seldom meet.
    random.shuffle(userids)
    await for_each(userids, lambda userid: renew_one(deps, userid))
    return len(userids)


async def renew_one(deps: Deps, xero_userid: str) -> None:
    """One renewal; what stands in its way is recorded where it belongs and tried again later."""
    async with deps.pool.acquire() as conn:
        tokens = await token_sets.find(conn, xero_userid)
    # Another replica may have had its turn since the row was found due.
    if tokens is None or tokens.refresh_after > tokens.now:
        return
    try:
        await refresh(deps, tokens)
    except CannotRefresh as error:
        log.info("refresh_due_failed", error=type(error).__name__)


async def check_due(deps: Deps) -> int:
    """Look at Xero which organisations are still connected, for users whose last look is about an hour ago.

    Nobody tells us when somebody disconnects inside Xero, and nobody need be calling. Asking needs a living access
    token, so this renews idle grants too. It spends no organisation's calls: /connections names no tenant.
    """
    async with deps.pool.acquire() as conn:
        userids = await token_sets.claim_checks(conn, BATCH, CHECK_RETRY)
    await for_each(userids, lambda userid: check_tenants(deps, userid))
    return len(userids)
