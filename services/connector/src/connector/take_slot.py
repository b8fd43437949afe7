"""Take one of a tenant's call slots, in line and under Xero's limits, and give it back with what the call taught."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import asyncpg
import structlog

from connector import metrics
from connector.clients.bounded import Answer, ExchangeFailed, Lost, NotSent, TooLarge
from connector.deps import Deps, Line
from connector.domain.app_minute import COUNTS_SECONDS, HEARD_FOR_SECONDS
from connector.domain.budget import (
    NOTHING_LEARNT,
    SEND_WITHIN_SECONDS,
    SMALLEST_WAIT,
    WINDOW,
    Block,
    Full,
    Learnt,
    Limits,
    Wait,
    learn,
    next_slot,
    retry_after_seconds,
)
from connector.domain.connection import Connection
from connector.domain.day_budget import Ask, day_stop
from connector.domain.lanes import Lane
from connector.store import budgets
from pipeline_messaging.connection import Connection as Db

log = structlog.get_logger(__name__)

AFTER_LOST_SECONDS: Final = 5.0
LATE_SECONDS: Final = 1.0
"""How late a caller that was told when to come back may be, and still find its place kept."""


class OutOfBudget(Exception):  # noqa: N818 - reads as what happened
    """No slot in time: `retry_after` seconds, and the limit in the way. Nothing was sent to Xero."""

    def __init__(self, retry_after: int, problem: str) -> None:
        super().__init__(problem)
        self.retry_after = retry_after
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to make one call, for a moment (`granted_at`, monotonic) unless it is used."""

    id: int
    granted_at: float


@dataclass(frozen=True, slots=True)
class NotYet:
    """No slot now: in how many seconds to look again, the limit in the way, and what a caller sent away is told."""

    seconds: float
    problem: str
    retry_after: int


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a slot, of which tenant, in which lane. No account: the tenant is only being connected."""

    tenant_id: str
    account_id: str | None
    caller: str
    lane: Lane


SHARED: Final = frozenset({"minute", "concurrent"})
"""The limits whose places are kept for a lane that waits."""


def known_limit(problem: str) -> str:
    """The limit's name for a metric's label: Xero's own word could be anything."""
    return problem if problem in SHARED | {"day", "appminute"} else "other"


class Fenced(Exception):  # noqa: N818 - reads as what happened
    """The connection is not usable any more."""


async def slot_in_time(
    deps: Deps, *, tenant_id: str, account_id: str | None, caller: str, lane: Lane
) -> Slot:
    """A slot that was granted less than a moment ago. Raises OutOfBudget, Fenced."""
    while True:
        slot = await take_slot(
            deps, tenant_id=tenant_id, account_id=account_id, caller=caller, lane=lane
        )
        if time.monotonic() - slot.granted_at <= SEND_WITHIN_SECONDS:
            return slot
        # Paused between commit and here (a stopped process, a stalled loop): a disconnect may have passed us by.
        async with deps.pool.acquire() as conn:
            await budgets.void_slot(conn, slot.id)


async def still_allowed(deps: Deps, account_id: str, tenant_id: str, slot: Slot) -> None:
    """The last look before the first byte goes out. Raises Fenced, NotSent.

    Connecting to Xero may take longer than a disconnect waits for calls under way; then the fence is asked again, and
    the call counts in the app's minute as one made now.
    """
    allowed_at = slot.granted_at
    while time.monotonic() - allowed_at > SEND_WITHIN_SECONDS:
        allowed_at = time.monotonic()
        async with deps.pool.acquire() as conn:
            if not await budgets.usable(conn, account_id, tenant_id):
                raise Fenced
            if await take_permit(deps, conn) is not None:
                raise NotSent("too late for its place in the app's minute")


async def take_slot(
    deps: Deps, *, tenant_id: str, account_id: str | None, caller: str, lane: Lane
) -> Slot:
    """Wait, briefly and in line, for one of the tenant's slots. Raises OutOfBudget, Fenced."""
    started = time.monotonic()
    asking = Asking(tenant_id, account_id, caller, lane)
    line = deps.lines.setdefault((tenant_id, lane), Line())
    line.callers += 1
    try:
        with metrics.WAITING.labels(lane=lane.value).track_inprogress():
            slot = await in_line(deps, asking, line, started)
    except OutOfBudget as error:
        metrics.TURNED_AWAY.labels(lane=lane.value, limit=known_limit(error.problem)).inc()
        raise
    finally:
        line.callers -= 1
    metrics.GRANTED.labels(lane=lane.value).inc()
    metrics.SLOT_WAIT_SECONDS.labels(caller=caller).observe(time.monotonic() - started)
    return slot


async def in_line(deps: Deps, asking: Asking, line: Line, started: float) -> Slot:
    """Stand in this process's line for the lane, and ask when first in it. Raises OutOfBudget, Fenced."""
    patience = deps.settings.gateway_slot_wait_seconds
    try:
        # At most one caller per lane and process asks the database; a crowd of them would only be in each other's way.
        async with asyncio.timeout(patience):
            await line.turn.acquire()
    except TimeoutError:
        raise OutOfBudget(1, "concurrent") from None
    try:
        while True:
            line.freed.clear()
            found = await try_slot(deps, asking, line.callers)
            if isinstance(found, Slot):
                return found
            # Jitter, so that replicas do not wake together.
            pause = found.seconds + random.uniform(0, 0.02)  # noqa: S311 - not a secret
            if time.monotonic() + pause > started + patience:
                await come_back(deps, asking, line.callers, found)
                raise OutOfBudget(found.retry_after, found.problem)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await line.freed.wait()
    finally:
        line.turn.release()


def free_lines(deps: Deps, tenant_id: str) -> None:
    """A slot came back in this process: whoever waits for one looks again."""
    for lane in Lane:
        line = deps.lines.get((tenant_id, lane))
        if line is not None:
            line.freed.set()


async def try_slot(deps: Deps, asking: Asking, callers: int) -> Slot | NotYet:
    """Look, decide, claim: a slot, or when to look again. Raises Fenced.

    When another replica was faster, the facts have changed and all is decided anew; one of them always gets on.
    """
    settings = deps.settings
    limits = Limits(settings.xero_concurrent_limit, settings.xero_minute_limit)
    has_permit = False
    async with deps.pool.acquire() as conn:
        while True:
            asked_at = time.monotonic()
            budget = await budgets.look(conn, asking.tenant_id)
            day = day_stop(asking.lane, budget.day, budget.now)
            blocks = [*budget.blocks, day] if isinstance(day, Block) else budget.blocks
            decision = next_slot(asking.lane, budget.usage, blocks, limits, budget.now)
            if isinstance(decision, Full):
                leaves_at = await budgets.leaves_at(conn, asking.tenant_id, decision.leaving)
                decision = Wait(leaves_at or budget.now + WINDOW, "minute")
            if isinstance(decision, Wait):
                return await not_yet(deps, conn, asking, callers, budget, decision)
            if not has_permit:
                missing = await take_permit(deps, conn)
                if missing is not None:
                    return missing
                has_permit = True
            claim = await budgets.claim_slot(
                conn,
                budget.version,
                tenant_id=asking.tenant_id,
                account_id=asking.account_id,
                caller=asking.caller,
                lane=asking.lane,
                lease=lease_of(deps),
                asks_for_day=isinstance(day, Ask),
            )
            if claim.slot_id is not None:
                return Slot(claim.slot_id, asked_at)
            if claim.current:
                raise Fenced


def lease_of(deps: Deps) -> timedelta:
    """Connecting, the send window and the call itself, with room: the lease must outlive any call made under it."""
    settings = deps.settings
    return timedelta(seconds=settings.gateway_connect_seconds + settings.gateway_total_seconds + 10)


async def not_yet(
    deps: Deps, conn: Db, asking: Asking, callers: int, budget: budgets.Budget, wait: Wait
) -> NotYet:
    """No slot now; whoever shares the limit in the way is told that this lane waits."""
    patience = deps.settings.gateway_slot_wait_seconds
    known = budget.usage.waiting.get(asking.lane, 0)
    if wait.problem in SHARED and known < callers:
        await budgets.wish(conn, asking.tenant_id, asking.lane, callers, patience + LATE_SECONDS)
    seconds = (wait.until - budget.now).total_seconds()
    return NotYet(seconds, wait.problem, retry_after_seconds(wait.until, budget.now, patience))


async def come_back(deps: Deps, asking: Asking, callers: int, found: NotYet) -> None:
    """The caller is sent away: its place is kept until a moment after it was told to be back."""
    if found.problem in SHARED:
        seconds = min(found.retry_after, WINDOW.total_seconds()) + LATE_SECONDS
        async with deps.pool.acquire() as conn:
            await budgets.wish(conn, asking.tenant_id, asking.lane, callers, seconds)


async def take_permit(deps: Deps, conn: Db) -> NotYet | None:
    """One of the app's calls in this minute, mostly from memory; None when it was had."""
    permits = deps.permits
    if permits.spend(time.monotonic()):
        return None
    async with deps.permits_turn:
        asked_at = time.monotonic()
        # Somebody else in this process may have fetched a block meanwhile.
        if permits.spend(asked_at):
            return None
        wanted = permits.wanted(asked_at)
        if wanted == 0:
            return NotYet(HEARD_FOR_SECONDS, "appminute", round(HEARD_FOR_SECONDS))
        block = await budgets.take_permits(
            conn,
            wanted,
            deps.settings.xero_app_minute_limit,
            COUNTS_SECONDS,
            permits.block,
            permits.spent,
        )
        metrics.APP_PERMITS_LEFT.set(block.left)
        permits.refill(block.id, block.permits, asked_at)
        if permits.spend(time.monotonic()):
            return None
        seconds = block.frees_in if block.permits == 0 else SMALLEST_WAIT.total_seconds()
        return NotYet(seconds, "appminute", max(1, math.ceil(seconds)))


@asynccontextmanager
async def returning(
    deps: Deps, slot: Slot, tenant_id: str, connection: Connection | None
) -> AsyncIterator[list[Answer]]:
    """Give the slot back in the way the call ended; the list takes its reply.

    A call with unknown end keeps its slot until the lease runs out: Xero may still be working on it, and counts it.
    """
    ended: list[Answer] = []
    try:
        yield ended
    except BaseException as error:
        if ended:
            # The reply had begun, so Xero has done with the call, however the rest of it arrived.
            await settle_answered(deps, slot, tenant_id, connection, ended[0])
        elif isinstance(error, NotSent | Fenced):
            await settle(deps, tenant_id, lambda conn: budgets.void_slot(conn, slot.id))
        elif isinstance(error, Lost):
            await settle(
                deps,
                tenant_id,
                lambda conn: budgets.shorten_slot(conn, slot.id, AFTER_LOST_SECONDS),
            )
        elif isinstance(error, TooLarge):
            await settle(
                deps,
                tenant_id,
                lambda conn: finish(conn, slot, tenant_id, connection, NOTHING_LEARNT),
            )
        raise
    await settle_answered(deps, slot, tenant_id, connection, ended[0])


async def settle_answered(
    deps: Deps, slot: Slot, tenant_id: str, connection: Connection | None, answer: Answer
) -> None:
    """The call is over for certain, and its answer says how much is left."""
    learnt = learn(answer.status, answer.headers)
    deps.permits.hear(learnt.app_minute_remaining, time.monotonic())
    worked = answer.status < HTTPStatus.BAD_REQUEST
    await settle(
        deps,
        tenant_id,
        lambda conn: finish(conn, slot, tenant_id, connection, learnt, worked=worked),
    )


async def finish(
    conn: Db,
    slot: Slot,
    tenant_id: str,
    connection: Connection | None,
    learnt: Learnt,
    *,
    worked: bool = False,
) -> None:
    """Record a call that was answered, what its answer taught, and, if it worked, that the account's calls do."""
    await budgets.finish_call(
        conn,
        slot.id,
        tenant_id,
        learnt.day_remaining,
        connection.account_id if connection and worked else None,
        connection.xero_userid if connection else None,
    )
    if learnt.blocked_for is not None:
        await budgets.block(conn, tenant_id, learnt.blocked_for, learnt.problem or "unknown")


async def settle(deps: Deps, tenant_id: str, record: Callable[[Db], Awaitable[None]]) -> None:
    """Record a call's end. When the database is away, the reply still goes out and the lease ends the slot."""
    try:
        async with deps.pool.acquire() as conn:
            await record(conn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        log.warning("slot_not_settled", error=type(error).__name__)
    free_lines(deps, tenant_id)


async def ask_organisation(
    deps: Deps, tenant_id: str, token: str, account_id: str | None
) -> Answer | None:
    """The Organisation of a tenant, under its limits; None when that cannot be had now.

    `account_id` is whose connection allows it, as long as it does; None while the tenant is only being connected.
    """
    try:
        slot = await slot_in_time(
            deps, tenant_id=tenant_id, account_id=account_id, caller="connector", lane=Lane.PEOPLE
        )
    except (OutOfBudget, Fenced):
        return None
    try:
        async with returning(deps, slot, tenant_id, None) as ended:
            answer = await deps.api.organisation(token, tenant_id)
            ended.append(answer)
    except ExchangeFailed:
        return None
    return answer
