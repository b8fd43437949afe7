"""Connect an account to a Xero organisation: from the click, through consent at Xero, to a bound connection.

Dying between any two steps leaves nothing that needs a hand: the state is used up or expires, stored tokens without a
connection are revoked later, and the person presses the button again.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from connector import metrics
from connector.clients.bounded import ExchangeFailed
from connector.clients.xero_api import organisation_facts
from connector.deps import Deps
from connector.disconnect_tenant import record_disconnect
from connector.domain import authorization
from connector.domain.authorization import (
    CHOICE_LIFETIME,
    STATE_LIFETIME,
    Choose,
    ConnectOne,
    Identity,
    NoOrganisation,
    TakenElsewhere,
    Tenant,
    UntrustedToken,
    WrongOrganisation,
)
from connector.domain.connection import (
    Actor,
    Connected,
    Connection,
    Organisation,
    Status,
    never_connected,
    next_connection,
)
from connector.domain.failures import Failure, failure_of_error
from connector.domain.refresh import (
    ClientRefused,
    GrantRefused,
    NoAnswer,
    Pair,
    Unrenewable,
    next_renewal,
)
from connector.domain.scopes import missing_scopes
from connector.domain.sealing import SealingError
from connector.record_change import record_change
from connector.refresh_tokens import DATABASE_AWAY
from connector.store import cleanups, connections, oauth_states, organisations, token_sets
from connector.store.oauth_states import Attempt, Flow
from connector.take_slot import ask_organisation
from connector.undo_consent import remove_unused, undo_consent, undo_unrenewable
from pipeline_messaging.connection import Connection as Db
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

STORE_WAIT_SECONDS: Final = 15.0
KEEP_CHOICE: Final = CHOICE_LIFETIME + timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Bound:
    """Connected."""


@dataclass(frozen=True, slots=True)
class MustChoose:
    """Several organisations: the person chooses on the next page."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Not connected; the page says why."""

    failure: Failure


Ending = Bound | MustChoose | Failed


@dataclass(frozen=True, slots=True, repr=False)
class Asker:
    """Who asks, for which account, and in which browser session."""

    account_id: str
    by: Actor
    session: str


@dataclass(frozen=True, slots=True, repr=False)
class Callback(Asker):
    """What Xero's redirect carried, and whom it brought back."""

    state: str
    code: str
    error: str


async def begin_connect(deps: Deps, account_id: str, by: Actor, session: str) -> str | Failed:
    """Remember an attempt and return the address at Xero to send the browser to; Failed when Xero has no place left."""
    flow = authorization.new_flow()
    async with deps.pool.acquire() as conn:
        if await cap_reached(conn, deps.settings.xero_connection_limit, account_id):
            full = Failed(Failure.CONNECTION_CAP)
            noted(account_id, full)
            return full
        await oauth_states.add(
            conn,
            deps.ring,
            flow,
            account_id=account_id,
            by=by,
            session=session,
            lifetime=STATE_LIFETIME,
        )
    log.info("connect_begun", account_id=account_id, actor=by.user_id)
    settings = deps.settings
    return authorization.url(
        settings.xero_login_url, settings.xero_client_id, settings.redirect_uri, flow
    )


async def cap_reached(conn: Db, limit: int | None, account_id: str) -> bool:
    """Whether connecting this account would take a place at Xero that the app does not have.

    Source: developer.xero.com, pricing: connections count until they are deleted. Xero itself tells people on a page of
    its own (authorize.xero.com/connectionLimit), from which nobody comes back to us: so it is told before.
    """
    if limit is None or await organisations.held(conn) < limit:
        return False
    return not await organisations.has_place(conn, account_id)


async def finish_connect(deps: Deps, callback: Callback) -> Ending:
    """Take Xero's answer: use the state up, exchange the code, store the tokens, find the organisation, bind it."""
    return noted(callback.account_id, await _finish(deps, callback))


def noted(account_id: str, ending: Ending) -> Ending:
    """The ending, counted and logged."""
    outcome = ending.failure.value if isinstance(ending, Failed) else type(ending).__name__
    metrics.CONNECT_ATTEMPTS.labels(outcome=outcome).inc()
    log.info("connect_ended", account_id=account_id, outcome=outcome)
    return ending


async def _finish(  # noqa: PLR0911 - one return per way it can end
    deps: Deps, callback: Callback
) -> Ending:
    if not callback.state:
        return Failed(Failure.STATE_MISSING)
    try:
        async with deps.pool.acquire() as conn:
            flow = await oauth_states.use(
                conn,
                deps.ring,
                state=callback.state,
                session=callback.session,
                user_id=callback.by.user_id,
                account_id=callback.account_id,
            )
            if flow is None:
                return Failed(await why_unusable(conn, callback))
    except SealingError:
        return Failed(Failure.STATE_UNKNOWN)
    failpoint("connect:after_state")
    if callback.error:
        return Failed(failure_of_error(callback.error))
    if not callback.code:
        return Failed(Failure.STATE_MISSING)
    pair = await exchange_code(deps, flow, callback.code)
    if isinstance(pair, Failed):
        return pair
    identity = await believe(deps, flow, pair)
    if isinstance(identity, Failed):
        await undo_consent(deps, pair)
        return identity
    await store_consented(deps, flow, identity, pair)
    failpoint("connect:after_tokens")
    return await find_organisation(deps, flow, identity, pair)


async def why_unusable(conn: Db, callback: Callback) -> Failure:
    """Which page explains a state that did not work."""
    known = await oauth_states.known(conn, callback.state)
    if known is None:
        return Failure.STATE_UNKNOWN
    if known.session_hash != authorization.digest(callback.session):
        return Failure.OTHER_BROWSER
    if known.used:
        return Failure.STATE_USED
    return Failure.STATE_UNKNOWN if known.expired else Failure.OTHER_BROWSER


async def exchange_code(deps: Deps, flow: Flow, code: str) -> Pair | Failed:
    """Trade the code for tokens."""
    answer = await deps.identity.exchange_code(code, flow.verifier)
    failpoint("connect:after_exchange")
    match answer:
        case GrantRefused():
            return Failed(Failure.CODE_REJECTED)
        case ClientRefused():
            return Failed(Failure.CLIENT_REJECTED)
        case NoAnswer():
            return Failed(Failure.XERO_DOWN)
        case Unrenewable(access, scopes):
            await undo_unrenewable(deps, access)
            return await lacks(deps, flow, ("offline_access", *missing_scopes(scopes)))
        case Pair():
            return answer


async def believe(deps: Deps, flow: Flow, pair: Pair) -> Identity | Failed:
    """Whose the tokens are; refused when they do not prove it, or allow less than was asked."""
    # RFC 6749 §5.1: a reply without `scope` grants exactly what was asked.
    missing = missing_scopes(pair.scopes) if pair.scopes else ()
    if missing:
        return await lacks(deps, flow, missing)
    try:
        return await deps.identity.who(pair, flow.nonce)
    except UntrustedToken as error:
        log.warning("tokens_not_trusted", why=str(error))
        return Failed(Failure.UNTRUSTED)
    except ExchangeFailed:
        return Failed(Failure.XERO_DOWN)


async def lacks(deps: Deps, flow: Flow, scopes: tuple[str, ...]) -> Failed:
    """Note which permissions were not granted, for the attempt's page."""
    async with deps.pool.acquire() as conn:
        await oauth_states.finish(
            conn, flow.state_hash, Failure.SCOPES_MISSING.value, " ".join(scopes)
        )
    return Failed(Failure.SCOPES_MISSING)


async def store_consented(deps: Deps, flow: Flow, identity: Identity, pair: Pair) -> None:
    """Store the tokens, sealed, before anything is done with them.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError: The database stayed away for longer than a
            person waits for a page.
    """
    userid = identity.xero_userid
    give_up_at = time.monotonic() + STORE_WAIT_SECONDS
    while True:
        is_late = time.monotonic() >= give_up_at
        try:
            async with deps.pool.acquire() as conn, conn.transaction():
                now = await conn.fetchval("SELECT clock_timestamp()")
                renew_after = next_renewal(now + pair.lifetime, pair.lifetime, 0.5)
                await cleanups.spare_grant(conn, userid, KEEP_CHOICE)
                # A revocation under way would take the new consent too; let it end before the pair is relied on.
                waiting = not is_late and await cleanups.under_way(conn, userid)
                if not waiting and await put_consented(conn, deps, userid, pair, renew_after):
                    await oauth_states.attach_user(conn, flow.state_hash, userid, KEEP_CHOICE)
                    return
        except DATABASE_AWAY as error:
            # The code is spent: these tokens are all there is of the consent.
            if is_late:
                raise
            log.warning("consented_tokens_not_stored_yet", error=type(error).__name__)
        await asyncio.sleep(0.1)


async def put_consented(
    conn: Db, deps: Deps, xero_userid: str, pair: Pair, renew_after: datetime
) -> bool:
    """Insert or replace the user's tokens; False when two first consents of one user met: look again."""
    old = await token_sets.lock(conn, xero_userid)
    if old is None:
        return await token_sets.insert_consented(conn, deps.ring, xero_userid, pair, renew_after)
    await token_sets.replace_consented(conn, deps.ring, old, pair, renew_after)
    await token_sets.forget_orphans(conn, xero_userid)
    return True


async def find_organisation(deps: Deps, flow: Flow, identity: Identity, pair: Pair) -> Ending:
    """Ask Xero what was granted, and bind, offer a choice, or say why neither."""
    try:
        listed = await deps.api.connections(pair.access_token)
    except (ExchangeFailed, UntrustedToken):
        listed = None
    if listed is None:
        return Failed(Failure.XERO_DOWN)
    async with deps.pool.acquire() as conn:
        old = await connections.find(conn, flow.account_id)
        taken = await connections.taken_tenants(
            conn, flow.account_id, [t.tenant_id for t in listed]
        )
    decision = authorization.decide(
        listed,
        authentication_event_id=identity.authentication_event_id,
        bound_tenant_id=old.tenant_id if old else None,
        taken_tenant_ids=taken,
    )
    match decision:
        case ConnectOne(tenant, unused):
            async with deps.pool.acquire() as conn, conn.transaction():
                await remove_unused(conn, identity.xero_userid, unused, KEEP_CHOICE)
            return await connect_one(deps, flow, identity.xero_userid, tenant, pair.access_token)
        case Choose(found):
            async with deps.pool.acquire() as conn, conn.transaction():
                await oauth_states.offer(conn, flow.state_hash, found, taken)
                await oauth_states.await_choice(conn, flow.state_hash)
                await remove_unused(conn, identity.xero_userid, found, KEEP_CHOICE)
            return MustChoose()
        case NoOrganisation():
            return await refuse(deps, flow, Failure.NO_ORGANISATION, ())
        case TakenElsewhere(found):
            return await refuse(deps, flow, Failure.TAKEN, found)
        case WrongOrganisation(found):
            return await offer_switch(deps, flow, identity.xero_userid, found, taken, old)


def named(tenants: tuple[Tenant, ...]) -> str:
    """The organisations by name, for a page."""
    return ", ".join(tenant.tenant_name for tenant in tenants)


async def refuse(deps: Deps, flow: Flow, failure: Failure, chosen: tuple[Tenant, ...]) -> Failed:
    """Note how the attempt ended, for its page."""
    async with deps.pool.acquire() as conn:
        await oauth_states.finish(conn, flow.state_hash, failure.value, named(chosen))
    return Failed(failure)


async def offer_switch(
    deps: Deps,
    flow: Flow,
    xero_userid: str,
    found: tuple[Tenant, ...],
    taken: frozenset[str],
    old: Connection | None,
) -> Failed:
    """Other organisations than the bound one: nothing changes, unless a person confirms to switch while it is offered."""
    bound = (old.tenant_id, old.tenant_name) if old else (None, None)
    async with deps.pool.acquire() as conn, conn.transaction():
        if any(tenant.tenant_id not in taken for tenant in found):
            await oauth_states.offer(conn, flow.state_hash, found, taken)
        await oauth_states.await_switch(
            conn, flow.state_hash, Failure.WRONG_ORGANISATION.value, named(found), bound
        )
        await remove_unused(conn, xero_userid, found, KEEP_CHOICE)
    return Failed(Failure.WRONG_ORGANISATION)


async def connect_one(
    deps: Deps, flow: Flow, xero_userid: str, tenant: Tenant, token: str
) -> Bound | Failed:
    """Bind what was decided on, unless another tab or another account came in between."""
    organisation = Organisation(tenant.tenant_id, tenant.tenant_name)
    ending = await bind(deps, flow, xero_userid, organisation, token)
    if isinstance(ending, Bound):
        return ending
    failure = ending.failure
    if failure is not Failure.WRONG_ORGANISATION:
        return await refuse(deps, flow, failure, (tenant,))
    async with deps.pool.acquire() as conn:
        bound = await connections.find(conn, flow.account_id)
    return await offer_switch(deps, flow, xero_userid, (tenant,), frozenset(), bound)


async def bind(
    deps: Deps,
    attempt: Attempt,
    xero_userid: str,
    organisation: Organisation,
    token: str,
    *,
    chosen: str | None = None,
) -> Bound | Failed:
    """Make the organisation the account's, and announce it, in one transaction.

    `chosen` names the outcome by which the attempt awaited a person's choice, which this uses up.
    """
    # Asked before the transaction: no row lock is held across HTTP, and one event carries everything.
    answer = await ask_organisation(deps, organisation.tenant_id, token, account_id=None)
    short_code, base_currency = organisation_facts(answer) if answer else (None, None)
    told = replace(organisation, short_code=short_code, base_currency=base_currency)
    # A disconnect that was begun comes first, or it would undo this connection when it is resumed.
    await record_disconnect(deps, attempt.account_id, cleanup_delay=KEEP_CHOICE)
    failpoint("connect:before_bind")
    try:
        async with deps.pool.acquire() as conn, conn.transaction():
            ending = await _bind(conn, attempt, xero_userid, told, chosen=chosen)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "connections_tenant":
            raise
        return Failed(Failure.TAKEN)
    if isinstance(ending, Bound):
        deps.wake()
        failpoint("connect:after_bind")
    return ending


async def _bind(
    conn: Db,
    attempt: Attempt,
    xero_userid: str,
    organisation: Organisation,
    *,
    chosen: str | None,
) -> Bound | Failed:
    await connections.lock_account(conn, attempt.account_id)
    old = await connections.lock(conn, attempt.account_id) or never_connected(attempt.account_id)
    leaves = old.tenant_id if old.tenant_id != organisation.tenant_id else None
    if leaves is not None and chosen != Failure.WRONG_ORGANISATION.value:
        return Failed(Failure.WRONG_ORGANISATION)
    if leaves is not None and not await may_leave(conn, attempt, old):
        return Failed(Failure.CHOICE_EXPIRED)
    if chosen and not await oauth_states.settle_choice(conn, attempt.state_hash, chosen):
        return Failed(Failure.CHOICE_EXPIRED)
    now = await conn.fetchval("SELECT clock_timestamp()")
    new = next_connection(
        replace(old, fenced_at=None),
        Connected(organisation, xero_userid, attempt.by),
        now=now,
        actor=attempt.by,
    )
    if new is None:
        raise AssertionError("a consent always changes the connection")
    await cleanups.forget_tenant(conn, xero_userid, organisation.tenant_id)
    await record_change(conn, old, new, attempt.by)
    await connections.clear_fencer(conn, attempt.account_id)
    await oauth_states.finish(
        conn, attempt.state_hash, oauth_states.CONNECTED, organisation.tenant_name
    )
    return Bound()


async def may_leave(conn: Db, attempt: Attempt, old: Connection) -> bool:
    """Whether a confirmed switch still applies: it was confirmed for this organisation, which is disconnected by now."""
    left = await oauth_states.leaves(conn, attempt.state_hash)
    return left == old.tenant_id and old.status is Status.DISCONNECTED
