"""Keep token pairs alive: one refresh at a time across all replicas, and nothing received is ever thrown away.

The order of events, each committed before the next begins: T1 claims the row with a lease; the token endpoint is asked,
with a deadline shorter than the lease; T3 stores the answer if version and lease are still ours, else keeps it as an
orphan. Dying anywhere leaves a row whose refresh token Xero still takes: the stored one for 30 minutes after a rotation
whose reply was lost.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import structlog

from connector import metrics
from connector.clients.bounded import ExchangeFailed
from connector.deps import Deps
from connector.domain.authorization import UntrustedToken
from connector.domain.connection import (
    Actor,
    Disconnected,
    Reason,
    Refused,
    Renewed,
    Status,
    next_connection,
)
from connector.domain.refresh import (
    ClientRefused,
    GrantRefused,
    NoAnswer,
    Pair,
    next_check,
    next_renewal,
    refusal_reason,
    retry_delay,
)
from connector.domain.scopes import missing_scopes
from connector.domain.sealing import SealingError
from connector.record_change import change_all_of_user, record_change
from connector.store import connections, token_sets
from connector.store.token_sets import TokenSet
from pipeline_messaging.connection import Connection as Db
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

USABLE_FOR: Final = timedelta(seconds=60)
"""An access token with less life than this is renewed before use."""

DATABASE_AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
LAST_SECONDS: Final = timedelta(seconds=5)
WAIT_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05
STORE_RETRY_SECONDS: Final = 0.2
LONGEST_STORE_RETRY_SECONDS: Final = 3.0


OUTCOMES: Final = {
    Pair: "renewed",
    GrantRefused: "refused",
    ClientRefused: "client_refused",
    NoAnswer: "no_answer",
    type(None): "superseded",
}
"""What the counter of refreshes calls each answer."""


class CannotRefresh(Exception):  # noqa: N818 - reads as what happened
    """No usable access token.

    CannotRefresh
    ├── GrantDead      Xero refuses every refresh token there is: a person has to connect again
    └── Unavailable    Xero, the app's credentials or our keys stand in the way: it may work later
    """


class GrantDead(CannotRefresh):
    """Xero refuses every refresh token there is."""


class Unavailable(CannotRefresh):
    """It may work later; the message is for logs, `reason` says what people are told."""

    def __init__(self, problem: str, reason: Reason = Reason.XERO_UNAVAILABLE) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """An access token ready for use, and the version of its row."""

    token: str
    version: int


async def access_token(
    deps: Deps,
    xero_userid: str,
    *,
    stale_version: int | None = None,
    just_read: TokenSet | None = None,
) -> Access:
    """A usable access token of this Xero user, refreshed first if it must be.

    Args:
        deps: The connector's ports.
        xero_userid: Whose tokens.
        stale_version: The version whose token was just refused by Xero: anything newer will do.
        just_read: The tokens, where the caller has read them this moment: saves the first look.

    Raises:
        GrantDead, Unavailable: There is none to be had.
    """
    give_up_at = time.monotonic() + WAIT_SECONDS
    tokens = just_read
    while True:
        if tokens is None:
            async with deps.pool.acquire() as conn:
                tokens = await token_sets.find(conn, xero_userid)
        if tokens is None or tokens.rejected_at is not None:
            raise GrantDead("no grant")
        left = tokens.access_expires_at - tokens.now
        if tokens.version != stale_version and left > USABLE_FOR:
            return opened(deps, tokens)
        got = await renewed(deps, tokens, stale_version=stale_version, left=left)
        if got is not None:
            return got
        if time.monotonic() >= give_up_at:
            raise Unavailable("somebody else's refresh takes too long")
        await asyncio.sleep(POLL_SECONDS * (1 + random.random()))  # noqa: S311 - jitter
        tokens = None


def opened(deps: Deps, tokens: TokenSet) -> Access:
    """The stored access token. Raises Unavailable when its key is missing."""
    try:
        return Access(tokens.access_token(deps.ring), tokens.version)
    except SealingError as error:
        log.error(  # noqa: TRY400 - the trace would add nothing but frames
            "token_unreadable", error=type(error).__name__
        )
        raise Unavailable(type(error).__name__, Reason.KEY_UNAVAILABLE) from error


async def renewed(
    deps: Deps, tokens: TokenSet, *, stale_version: int | None, left: timedelta
) -> Access | None:
    """Try to renew; the still living token when that fails; None to look again in a moment."""
    living = tokens.version != stale_version and left > LAST_SECONDS
    if tokens.leased:
        return opened(deps, tokens) if living else None
    if tokens.refresh_failures and tokens.refresh_after > tokens.now:
        # Asked a moment ago without an answer: do not make every caller wait for the same outage.
        if living:
            return opened(deps, tokens)
        raise Unavailable("Xero did not answer a moment ago")
    try:
        return await refresh(deps, tokens)
    except Unavailable:
        if living:
            return opened(deps, tokens)
        raise


async def refresh(deps: Deps, tokens: TokenSet, actor: Actor | None = None) -> Access | None:
    """One refresh of the row as read, not to be interrupted; None when somebody else is ahead.

    `actor` is the person who asked for it, and is on record when it heals an expired connection.
    It runs as a task of its own: a caller that goes away, or has waited long enough, must not take an answer with it.
    """

    def ended(task: asyncio.Task[Access | None]) -> None:
        deps.tasks.discard(task)
        if not task.cancelled():
            # Nobody may be waiting any more; what it raised is on record by now.
            task.exception()

    task = asyncio.create_task(_refresh(deps, tokens, actor), name="refresh-token")
    deps.tasks.add(task)
    task.add_done_callback(ended)
    await asyncio.wait({task}, timeout=lease(deps).total_seconds())
    if not task.done():
        raise Unavailable("Xero's answer is not stored yet")
    return await task


def lease(deps: Deps) -> timedelta:
    """Longer than everything done under it: up to four refresh tokens tried, and the storing."""
    return timedelta(seconds=4 * deps.settings.identity_seconds + 15)


async def _refresh(deps: Deps, tokens: TokenSet, actor: Actor | None) -> Access | None:
    lease_id = uuid4()
    failpoint("refresh:before_claim")
    async with deps.pool.acquire() as conn:
        claimed = await token_sets.claim(
            conn, tokens.xero_userid, tokens.version, lease_id, lease(deps)
        )
    if claimed is None:
        return None
    failpoint("refresh:after_claim")
    try:
        answer, used = await ask(deps, claimed)
    except SealingError as error:
        metrics.REFRESHES.labels(outcome="key_unavailable").inc()
        await give_back(deps, claimed, lease_id, type(error).__name__, Reason.KEY_UNAVAILABLE)
        raise Unavailable(type(error).__name__, Reason.KEY_UNAVAILABLE) from error
    metrics.REFRESHES.labels(outcome=OUTCOMES[type(answer)]).inc()
    match answer:
        case None:
            return None
        case Pair():
            failpoint("refresh:after_answer")
            return await keep(deps, claimed, lease_id, answer, used, actor)
        case GrantRefused():
            return await give_up(deps, claimed, lease_id)
        case ClientRefused(refused):
            await give_back(deps, claimed, lease_id, refused, Reason.CLIENT_REJECTED)
            raise Unavailable(refused, Reason.CLIENT_REJECTED)
        case NoAnswer(problem):
            await give_back(deps, claimed, lease_id, problem, None)
            raise Unavailable(problem)


async def ask(
    deps: Deps, tokens: TokenSet
) -> tuple[Pair | GrantRefused | ClientRefused | NoAnswer | None, str]:
    """Ask Xero with the stored refresh token; refused, with orphans and with the previous one inside its grace.

    Returns the decisive answer and the token it was given for; None when a newer pair was stored meanwhile. Only when
    every one was definitely refused is the answer GrantRefused; one without an answer might have been the good one.
    Raises SealingError.
    """
    current = tokens.refresh_token(deps.ring)
    answer = await deps.identity.refresh(current)
    if not isinstance(answer, GrantRefused):
        return answer, current
    async with deps.pool.acquire() as conn:
        newest = await token_sets.find(conn, tokens.xero_userid)
        others = [
            token for _, token in await token_sets.orphans(conn, deps.ring, tokens.xero_userid)
        ]
    if newest is None or newest.version != tokens.version:
        # A new consent arrived meanwhile; its pair is the one that counts.
        return None, current
    previous = tokens.previous_token(deps.ring)
    for candidate in [*others[:2], *([previous] if previous else [])]:
        answer = await deps.identity.refresh(candidate)
        if not isinstance(answer, GrantRefused):
            return answer, candidate
    return answer, current


async def keep(
    deps: Deps,
    claimed: TokenSet,
    lease_id: UUID,
    pair: Pair,
    used: str,
    actor: Actor | None = None,
) -> Access | None:
    """T3: store the pair, or keep it as an orphan when the row moved on.

    While database or keys are away it tries on, for as long as the process lives: past Xero's grace this is the only
    token that works. If the grant was given up meanwhile, the orphan is reason to look again.
    """
    expires_at = claimed.now + pair.lifetime
    renew_after = next_renewal(expires_at, pair.lifetime, random.random())  # noqa: S311 - jitter
    pause = STORE_RETRY_SECONDS
    while True:
        try:
            async with deps.pool.acquire() as conn, conn.transaction():
                stored = await token_sets.store_rotated(
                    conn,
                    deps.ring,
                    claimed,
                    lease_id,
                    pair,
                    used_token=used,
                    expires_at=expires_at,
                    renew_after=renew_after,
                )
                if stored is None:
                    await token_sets.add_orphan(
                        conn, deps.ring, claimed.xero_userid, uuid4(), pair.refresh_token
                    )
                    await token_sets.revive(conn, claimed.xero_userid)
                    return None
                await token_sets.forget_orphans(conn, claimed.xero_userid)
                happening = await judged(conn, stored, pair)
                changed = await change_all_of_user(conn, claimed.xero_userid, happening, actor)
        except (*DATABASE_AWAY, SealingError) as error:
            log.warning("refreshed_tokens_not_stored_yet", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_STORE_RETRY_SECONDS)
        else:
            failpoint("refresh:after_store")
            if changed:
                deps.wake()
            return Access(pair.access_token, stored.version)


async def judged(conn: Db, stored: TokenSet, pair: Pair) -> Renewed | Refused:
    """Whether the pair just stored covers what syncing needs; a reply without `scope` leaves it as it was (RFC 6749 §6)."""
    if pair.scopes and missing_scopes(pair.scopes):
        await token_sets.note_missing_scopes(conn, stored.xero_userid, stored.version)
    elif not stored.scopes_missing:
        return Renewed()
    return Refused(Reason.SCOPES_MISSING)


async def scopes_missing(deps: Deps, xero_userid: str, version: int) -> None:
    """Xero answered 401 insufficient_scope to the token of this version: only a new consent can help.

    A token newer than the refused one says nothing yet: a consent may have come in between.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        if await token_sets.note_missing_scopes(conn, xero_userid, version):
            await change_all_of_user(conn, xero_userid, Refused(Reason.SCOPES_MISSING), None)
    deps.wake()


async def give_up(deps: Deps, claimed: TokenSet, lease_id: UUID) -> Access | None:
    """Every token was refused: the connections that live on this grant expire. Raises GrantDead."""
    async with deps.pool.acquire() as conn, conn.transaction():
        if not await token_sets.reject(conn, claimed, lease_id):
            return None
        reason = refusal_reason(claimed.refreshed_at, claimed.now)
        await change_all_of_user(conn, claimed.xero_userid, Refused(reason), None)
    deps.wake()
    raise GrantDead(reason.value)


async def give_back(
    deps: Deps, claimed: TokenSet, lease_id: UUID, problem: str, reason: Reason | None
) -> None:
    """No refresh this time. With a definite `reason` and no life left in the access token, say so; an outage stays silent."""
    delay = retry_delay(claimed.refresh_failures, random.random())  # noqa: S311 - jitter
    async with deps.pool.acquire() as conn, conn.transaction():
        # The reason, where it is known for certain, is what the card tells meanwhile.
        noted = reason.value if reason is not None else problem
        ours = await token_sets.release(conn, claimed, lease_id, retry_in=delay, problem=noted)
        if ours and reason is not None and claimed.access_expires_at <= claimed.now:
            await change_all_of_user(conn, claimed.xero_userid, Refused(reason), None)
    deps.wake()
    log.warning("refresh_without_result", problem=problem)


async def refresh_now(deps: Deps, account_id: str, actor: Actor) -> None:
    """What Refresh Token does: renew at once, whatever the schedule. Raises GrantDead, Unavailable."""
    log.info("refresh_asked_for", account_id=account_id, actor=actor.user_id)
    async with deps.pool.acquire() as conn:
        connection = await connections.find(conn, account_id)
        userid = connection.xero_userid if connection else None
        tokens = await token_sets.find(conn, userid) if userid else None
    if connection is None or tokens is None or tokens.rejected_at is not None:
        raise GrantDead("no grant")
    give_up_at = time.monotonic() + WAIT_SECONDS
    asked = tokens.version
    while tokens.version == asked and await refresh(deps, tokens, actor) is None:
        if time.monotonic() >= give_up_at:
            raise Unavailable("somebody else's refresh takes too long")
        await asyncio.sleep(POLL_SECONDS)
        async with deps.pool.acquire() as conn:
            tokens = await token_sets.find(conn, tokens.xero_userid)
        if tokens is None or tokens.rejected_at is not None:
            raise GrantDead("no grant")
    await check_tenants(deps, connection.xero_userid or "")


async def check_tenants(deps: Deps, xero_userid: str) -> frozenset[str] | None:
    """Ask Xero which organisations the user still has connected, and mark those of ours that are gone.

    Returns the tenants found, None when Xero did not say. Source: xero-platform, disconnecting inside Xero: refreshing
    goes on working, /connections omits the tenant.
    """
    async with deps.pool.acquire() as conn:
        asked_at = await conn.fetchval("SELECT clock_timestamp()")
    try:
        access = await access_token(deps, xero_userid)
        listed = await deps.api.connections(access.token)
    except (CannotRefresh, ExchangeFailed, UntrustedToken) as error:
        log.warning("connections_not_checked", error=type(error).__name__)
        return None
    if listed is None:
        return None
    present = frozenset(tenant.tenant_id for tenant in listed)
    async with deps.pool.acquire() as conn, conn.transaction():
        # Tokens before connections, in the order every transaction locks them.
        await token_sets.checked(conn, xero_userid, next_check(random.random()))  # noqa: S311 - jitter
        for old in await connections.lock_of_user(conn, xero_userid):
            # Connected after the question was asked: the answer says nothing about it.
            recent = old.connected_at is None or old.connected_at > asked_at
            if old.status is Status.DISCONNECTED or old.tenant_id in present or recent:
                continue
            now = await conn.fetchval("SELECT clock_timestamp()")
            new = next_connection(old, Disconnected(Reason.REVOKED_IN_XERO), now=now, actor=None)
            if new is not None:
                await record_change(conn, old, new, None)
                deps.wake()
    return present
