"""Take one of a tenant's call slots, in line and under Xero's limits, and give it back with what the call taught."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
import structlog

from connector import metrics
from connector.clients.bounded import Answer, ExchangeFailed, Lost, NotSent, TooLarge
from connector.deps import Deps, Lane
from connector.domain.budget import (
    FULL_LANES,
    SEND_WITHIN_SECONDS,
    Granted,
    Limits,
    Wait,
    learn,
    limits_for,
    next_slot,
    retry_after_seconds,
)
from connector.domain.connection import Connection
from connector.store import budgets
from pipeline_messaging.connection import Connection as Db

log = structlog.get_logger(__name__)

AFTER_LOST_SECONDS: Final = 5.0
RESERVE_SECONDS: Final = 5.0


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


class Fenced(Exception):  # noqa: N818 - reads as what happened
    """The connection is not usable any more."""


async def slot_in_time(deps: Deps, *, tenant_id: str, account_id: str, caller: str) -> Slot:
    """A slot that was granted less than a moment ago. Raises OutOfBudget, Fenced."""
    while True:
        slot = await take_slot(
            deps,
            tenant_id=tenant_id,
            account_id=account_id,
            caller=caller,
        )
        if time.monotonic() - slot.granted_at <= SEND_WITHIN_SECONDS:
            return slot
        # Paused between commit and here (a stopped process, a stalled loop): a disconnect may have passed us by.
        async with deps.pool.acquire() as conn:
            await budgets.void_slot(conn, slot.id)


async def still_allowed(deps: Deps, account_id: str, tenant_id: str, slot: Slot) -> None:
    """The last look before the first byte goes out. Raises Fenced.

    Connecting to Xero may take longer than a disconnect waits for calls under way; then the fence is asked again.
    """
    allowed_at = slot.granted_at
    while time.monotonic() - allowed_at > SEND_WITHIN_SECONDS:
        allowed_at = time.monotonic()
        async with deps.pool.acquire() as conn:
            if not await budgets.usable(conn, account_id, tenant_id):
                raise Fenced


async def take_slot(deps: Deps, *, tenant_id: str, account_id: str | None, caller: str) -> Slot:
    """Wait, briefly and in line, for one of the tenant's slots. Raises OutOfBudget, Fenced."""
    started = time.monotonic()
    give_up_at = started + deps.settings.gateway_slot_wait_seconds
    lane = deps.lanes.setdefault((tenant_id, caller in FULL_LANES), Lane())
    try:
        # At most one caller per lane and process asks the database; a crowd of them would only queue for its row lock.
        async with asyncio.timeout(deps.settings.gateway_slot_wait_seconds):
            await lane.turn.acquire()
    except TimeoutError:
        raise OutOfBudget(1, "concurrent") from None
    try:
        while True:
            lane.freed.clear()
            granted = await try_slot(
                deps, tenant_id=tenant_id, account_id=account_id, caller=caller
            )
            if isinstance(granted, Slot):
                metrics.SLOT_WAIT_SECONDS.labels(caller=caller).observe(time.monotonic() - started)
                return granted
            seconds, problem, retry_after = granted
            # Jitter, so that replicas do not wake together.
            pause = seconds + random.uniform(0, 0.02)  # noqa: S311 - not a secret
            if time.monotonic() + pause > give_up_at:
                raise OutOfBudget(retry_after, problem)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await lane.freed.wait()
    finally:
        lane.turn.release()


def free_lanes(deps: Deps, tenant_id: str) -> None:
    """A slot came back in this process: whoever waits for one looks again."""
    for preferred in (True, False):
        lane = deps.lanes.get((tenant_id, preferred))
        if lane is not None:
            lane.freed.set()


async def try_slot(
    deps: Deps, *, tenant_id: str, account_id: str | None, caller: str
) -> Slot | tuple[float, str, int]:
    """One look under the tenant's lock: a slot, or (seconds to wait, limit, Retry-After). Raises Fenced."""
    settings = deps.settings
    everything = Limits(settings.xero_concurrent_limit, settings.xero_minute_limit)
    # Connecting, the send window and the call itself, with room: the lease must outlive any call made under it.
    lease = timedelta(
        seconds=settings.gateway_connect_seconds + settings.gateway_total_seconds + 10
    )
    async with deps.pool.acquire() as conn, conn.transaction():
        asked_at = time.monotonic()
        budget = await budgets.lock_tenant(conn, tenant_id)
        if account_id is not None and not await budgets.usable(conn, account_id, tenant_id):
            raise Fenced
        limits = limits_for(everything, caller, reserve_wanted=budget.reserve_wanted)
        usage, app_block, now = await budgets.count_calls(conn, tenant_id, limits.per_minute)
        blocks = [block for block in (budget.block, app_block) if block is not None]
        decision = next_slot(usage, blocks, limits, now)
        match decision:
            case Granted():
                slot_id = await budgets.take_slot(
                    conn, tenant_id=tenant_id, account_id=account_id, caller=caller, lease=lease
                )
                return Slot(slot_id, asked_at)
            case Wait(until, problem):
                seconds = (until - now).total_seconds()
                if caller in FULL_LANES and problem in {"minute", "concurrent"}:
                    await budgets.want_reserve(
                        conn, tenant_id, min(seconds, 60.0) + RESERVE_SECONDS
                    )
                return seconds, problem, retry_after_seconds(until, now)


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
    except (NotSent, Fenced):
        await settle(deps, tenant_id, lambda conn: budgets.void_slot(conn, slot.id))
        raise
    except Lost:
        await settle(
            deps, tenant_id, lambda conn: budgets.shorten_slot(conn, slot.id, AFTER_LOST_SECONDS)
        )
        raise
    except TooLarge:
        await settle(deps, tenant_id, lambda conn: finish(conn, slot, tenant_id, connection, []))
        raise
    await settle(deps, tenant_id, lambda conn: finish(conn, slot, tenant_id, connection, ended))


async def finish(
    conn: Db, slot: Slot, tenant_id: str, connection: Connection | None, ended: list[Answer]
) -> None:
    """Record a call that was answered, and what its answer taught."""
    learnt = learn(ended[0].status, dict(ended[0].headers)) if ended else None
    await budgets.finish_call(
        conn,
        slot.id,
        tenant_id,
        learnt.day_remaining if learnt else None,
        connection.account_id if connection else None,
        connection.xero_userid if connection else None,
    )
    if learnt is not None and learnt.blocked_for is not None:
        await budgets.block(conn, tenant_id, learnt.blocked_for, learnt.problem or "unknown")


async def settle(deps: Deps, tenant_id: str, record: Callable[[Db], Awaitable[None]]) -> None:
    """Record a call's end. When the database is away, the reply still goes out and the lease ends the slot."""
    try:
        async with deps.pool.acquire() as conn:
            await record(conn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        log.warning("slot_not_settled", error=type(error).__name__)
    free_lanes(deps, tenant_id)


async def ask_organisation(deps: Deps, tenant_id: str, token: str) -> Answer | None:
    """The Organisation of a tenant that is being connected, under its limits; None when that cannot be had now."""
    try:
        slot = await take_slot(deps, tenant_id=tenant_id, account_id=None, caller="connector")
    except OutOfBudget:
        return None
    try:
        async with returning(deps, slot, tenant_id, None) as ended:
            answer = await deps.api.organisation(token, tenant_id)
            ended.append(answer)
    except ExchangeFailed:
        return None
    return answer
