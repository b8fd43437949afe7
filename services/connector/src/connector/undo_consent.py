"""Give back to Xero what a consent brought and nobody will use: a grant that stays would count, and would be reach."""

from datetime import timedelta

import structlog

from connector.clients.bounded import ExchangeFailed
from connector.deps import Deps
from connector.disconnect_tenant import clean_up
from connector.domain.authorization import (
    Identity,
    Tenant,
    UntrustedToken,
    granted_by,
    named_owner,
)
from connector.domain.refresh import Pair, next_renewal
from connector.store import cleanups, connections, oauth_states, token_sets
from pipeline_messaging.connection import Connection as Db
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)


async def undo_consent(deps: Deps, pair: Pair) -> None:
    """Undo a consent whose tokens will not be used; what Xero does not take now is tried again in the background.

    Revoking takes everything its Xero user granted to this app. So where that user's tokens serve an account, or another
    attempt, those tokens stay as they are, and only the organisations that this consent added are removed.
    """
    owner = named_owner(pair.access_token)
    if owner is None:
        log.warning("consent_not_undone", why="its tokens name no user")
        return
    cleanup_id = await queue_revocation(deps, owner.xero_userid, pair)
    failpoint("connect:after_unwanted")
    if cleanup_id is not None:
        await clean_up(deps, cleanup_id)
        return
    added = await added_by(deps, owner, pair.access_token)
    async with deps.pool.acquire() as conn, conn.transaction():
        await remove_unused(conn, owner.xero_userid, added, timedelta(0))


async def undo_unrenewable(deps: Deps, access_token: str) -> None:
    """Undo a consent that brought no refresh token.

    Nothing can be revoked with it, and it cannot be tried again for long. So the organisations that it added are removed
    at once, and later only where their user's stored tokens can do so.
    """
    owner = named_owner(access_token)
    if owner is None:
        log.warning("consent_not_undone", why="its token names no user")
        return
    added = await added_by(deps, owner, access_token)
    async with deps.pool.acquire() as conn, conn.transaction():
        if await token_sets.find(conn, owner.xero_userid) is not None:
            await remove_unused(conn, owner.xero_userid, added, timedelta(0))
            return
        used = [t for t in added if await connections.tenant_in_use(conn, t.tenant_id)]
    for tenant in added:
        if tenant in used:
            continue
        try:
            await deps.api.delete_connection(access_token, tenant.connection_id)
        except ExchangeFailed as error:
            log.warning("consent_not_undone", why=type(error).__name__)


async def added_by(deps: Deps, owner: Identity, access_token: str) -> tuple[Tenant, ...]:
    """The organisations that this consent added; none when Xero does not tell."""
    try:
        listed = await deps.api.connections(access_token)
    except (ExchangeFailed, UntrustedToken) as error:
        log.warning("consent_not_undone", why=type(error).__name__)
        return ()
    return granted_by(listed or (), owner.authentication_event_id)


async def queue_revocation(deps: Deps, xero_userid: str, pair: Pair) -> int | None:
    """Store the pair to be revoked; None when its user's tokens serve an account or another attempt."""
    async with deps.pool.acquire() as conn, conn.transaction():
        old = await token_sets.lock(conn, xero_userid)
        serves = await connections.of_user(conn, xero_userid)
        if serves or await oauth_states.consent_under_way(conn, xero_userid):
            return None
        now = await conn.fetchval("SELECT clock_timestamp()")
        renew_after = next_renewal(now + pair.lifetime, pair.lifetime, 0.5)
        if old is not None:
            await token_sets.replace_consented(conn, deps.ring, old, pair, renew_after)
        elif not await token_sets.insert_consented(conn, deps.ring, xero_userid, pair, renew_after):
            return None
        return await cleanups.add(conn, kind="grant", xero_userid=xero_userid, tenant_id=None)


async def remove_unused(
    conn: Db, xero_userid: str, tenants: tuple[Tenant, ...], delay: timedelta
) -> None:
    """Queue the removal of organisations that were granted and not taken; those an account uses are left alone then."""
    for tenant in tenants:
        await cleanups.add(
            conn,
            kind="connection",
            xero_userid=xero_userid,
            tenant_id=tenant.tenant_id,
            delay=delay,
        )
