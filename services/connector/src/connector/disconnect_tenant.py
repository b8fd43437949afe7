"""Disconnect an account: stop its calls, record it, undo the grant at Xero, erase the tokens. Each step is resumed.

What is undone at Xero: revoking a refresh token removes *all* organisations its user connected to the app
(developer.xero.com, revoking tokens). So when the same Xero user still serves another account here, only this
organisation's connection is deleted; otherwise the whole grant is revoked and the tokens are erased.
"""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from connector.clients.bounded import ExchangeFailed
from connector.deps import Deps
from connector.domain.authorization import UntrustedToken
from connector.domain.budget import SEND_WITHIN_SECONDS
from connector.domain.connection import Actor, Disconnected, Reason, next_connection
from connector.domain.sealing import SealingError
from connector.for_each import for_each
from connector.record_change import record_change
from connector.refresh_tokens import CannotRefresh, GrantDead, access_token
from connector.store import budgets, cleanups, connections, oauth_states, token_sets
from connector.store.cleanups import Cleanup
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = SEND_WITHIN_SECONDS + 0.5
CLEANUP_LEASE: Final = timedelta(seconds=90)
AFTER_CONSENT: Final = timedelta(minutes=1)
LATEST_RETRY: Final = timedelta(minutes=10)
GONE: Final = frozenset({200, 204, 404})


async def disconnect(deps: Deps, account_id: str, actor: Actor, only: str | None = None) -> bool:
    """Disconnect; False when there was nothing to disconnect. When it returns, no call goes out any more.

    With `only`, an account that is connected to any other organisation than this one is left as it is: False.
    Undoing the grant at Xero is tried at once and, when Xero does not answer, again in the background.
    """
    async with deps.pool.acquire() as conn:
        begun = await connections.fence(conn, account_id, actor, only)
    if not begun:
        return False
    failpoint("disconnect:after_fence")
    await drain(deps, account_id)
    cleanup_id = await record_disconnect(deps, account_id)
    failpoint("disconnect:after_record")
    if cleanup_id is not None:
        await clean_up(deps, cleanup_id)
    return True


async def drain(deps: Deps, account_id: str) -> None:
    """Wait for calls that took their slot before the fence: they end, or are on their way, or void after a moment."""
    give_up_at = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < give_up_at:
        async with deps.pool.acquire() as conn:
            if await budgets.running(conn, account_id) == 0:
                return
        await asyncio.sleep(0.05)


async def record_disconnect(
    deps: Deps, account_id: str, *, cleanup_delay: timedelta = timedelta(0)
) -> int | None:
    """Record a disconnect that was begun, with its event and the work left at Xero; the cleanup's id, if any."""
    async with deps.pool.acquire() as conn, conn.transaction():
        old = await connections.lock(conn, account_id)
        if old is None or old.fenced_at is None:
            return None
        actor = await connections.fencer(conn, account_id)
        await connections.clear_fencer(conn, account_id)
        now = await conn.fetchval("SELECT clock_timestamp()")
        new = next_connection(old, Disconnected(Reason.DISCONNECTED_BY_USER), now=now, actor=actor)
        if new is None or old.xero_userid is None:
            # Found disconnected inside Xero meanwhile: recorded already.
            await connections.put(conn, replace(old, fenced_at=None))
            return None
        sharing = [
            c
            for c in await connections.of_user(conn, old.xero_userid)
            if c.account_id != account_id
        ]
        await record_change(conn, old, new, actor)
        cleanup_id = await cleanups.add(
            conn,
            kind="connection" if sharing else "grant",
            xero_userid=old.xero_userid,
            tenant_id=old.tenant_id,
            delay=cleanup_delay,
        )
    deps.wake()
    return cleanup_id


async def clean_up(deps: Deps, cleanup_id: int) -> None:
    """Do one piece of work left at Xero, or put it off."""
    async with deps.pool.acquire() as conn:
        cleanup = await cleanups.claim(conn, cleanup_id, CLEANUP_LEASE)
        if cleanup is None:
            return
        if await oauth_states.consent_under_way(conn, cleanup.xero_userid):
            # Undoing the old grant would take the new one too, which no connection shows yet.
            await cleanups.postpone(conn, cleanup.id, AFTER_CONSENT, "a consent is under way")
            return
        # Whoever connects through this user now must keep what they have.
        shared = bool(await connections.of_user(conn, cleanup.xero_userid))
    try:
        if cleanup.kind == "grant" and not shared:
            problem = await revoke_grant(deps, cleanup)
        else:
            problem = await remove_connection(deps, cleanup)
    except (CannotRefresh, ExchangeFailed, UntrustedToken, SealingError) as error:
        problem = f"{type(error).__name__}: {error}"
    failpoint("disconnect:after_cleanup")
    async with deps.pool.acquire() as conn:
        if problem is None:
            await cleanups.delete(conn, cleanup.id)
            return
        delay = min(LATEST_RETRY, timedelta(seconds=10) * 2 ** min(cleanup.attempts, 8))
        await cleanups.postpone(conn, cleanup.id, delay, problem)
    log.warning("cleanup_postponed", kind=cleanup.kind, attempts=cleanup.attempts, problem=problem)


async def revoke_grant(deps: Deps, cleanup: Cleanup) -> str | None:
    """Revoke the user's grant and erase the tokens; a problem, or None when done."""
    async with deps.pool.acquire() as conn:
        tokens = await token_sets.find(conn, cleanup.xero_userid)
    if tokens is None:
        return None
    if tokens.leased:
        # Xero does not say that revoking a replaced token ends the grant; the pair on its way would live on unknown.
        return "a refresh is under way"
    if tokens.rejected_at is None:
        refused = await deps.identity.revoke(tokens.refresh_token(deps.ring))
        if refused is not None:
            return refused.problem
        failpoint("disconnect:after_revoke")
    async with deps.pool.acquire() as conn:
        await token_sets.delete(conn, cleanup.xero_userid, tokens.version)
    return None


async def remove_connection(deps: Deps, cleanup: Cleanup) -> str | None:
    """Delete one organisation's connection at Xero unless an account uses it; a problem, or None when done."""
    if cleanup.tenant_id is None:
        return None
    async with deps.pool.acquire() as conn:
        if await connections.tenant_in_use(conn, cleanup.tenant_id):
            return None
    try:
        access = await access_token(deps, cleanup.xero_userid)
    except GrantDead:
        return None
    listed = await deps.api.connections(access.token)
    if listed is None:
        return "Xero did not list its connections"
    for tenant in listed:
        if tenant.tenant_id == cleanup.tenant_id:
            status = await deps.api.delete_connection(access.token, tenant.connection_id)
            return None if status in GONE else f"status {status}"
    return None


async def resume_disconnects(deps: Deps) -> None:
    """Finish what a killed process or an outage left: begun disconnects, cleanups, consents nobody used."""
    async with deps.pool.acquire() as conn:
        begun = await connections.unfinished_disconnects(conn, DRAIN_SECONDS + 5)
    await for_each(begun, lambda account_id: record_disconnect(deps, account_id))
    async with deps.pool.acquire() as conn:
        await oauth_states.forget_old(conn)
        for userid in await token_sets.unreferenced(conn):
            await cleanups.add(conn, kind="grant", xero_userid=userid, tenant_id=None)
        due = await cleanups.due(conn, 20)
    await for_each(due, lambda cleanup_id: clean_up(deps, cleanup_id))
