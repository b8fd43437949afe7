"""Everything the connector does by itself, for ever: each chore in a loop of its own, so that a slow one delays no other.

Replicas may all do so: leases and claims in the database arbitrate.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from connector import metrics
from connector.announce_days import announce_days
from connector.deps import Deps
from connector.disconnect_tenant import resume_disconnects
from connector.learn_facts import count_organisations, learn_facts
from connector.measure_tokens import measure_tokens
from connector.store import budgets
from connector.tend_tokens import check_due, refresh_due

log = structlog.get_logger(__name__)

BREATH_SECONDS: Final = 0.2
STUCK_SECONDS: Final = 900.0
"""Longer than a full batch takes when every single request to Xero runs into its time limit."""


class BackgroundStuck(Exception):  # noqa: N818 - reads as what happened
    """A chore has not come round for too long; the message names it."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do again and again: at once while `work` says there is more, else after a pause."""

    work: Callable[[Deps], Awaitable[int | None]]
    at_least_seconds: float = 0.0

    @property
    def name(self) -> str:
        """The function's name, which logs and metrics carry."""
        return self.work.__name__


async def forget_calls(deps: Deps) -> None:
    """Drop the slots of calls that no longer count."""
    async with deps.pool.acquire() as conn:
        await budgets.forget_finished(conn)


CHORES: Final = (
    Chore(refresh_due),
    Chore(check_due),
    Chore(resume_disconnects),
    Chore(forget_calls),
    Chore(announce_days),
    Chore(learn_facts),
    Chore(count_organisations),
    Chore(measure_tokens, at_least_seconds=30.0),
)


async def keep_house(deps: Deps) -> None:
    """Do all chores until cancelled."""
    async with asyncio.TaskGroup() as group:
        for chore in CHORES:
            group.create_task(repeat(deps, chore), name=f"connector-{chore.name}")


async def repeat(deps: Deps, chore: Chore) -> None:
    """One chore, for ever; its failures are logged and never end it."""
    done_at = metrics.BACKGROUND_DONE.labels(chore=chore.name)
    # Shown from the start: of one that never succeeds, "not for two hours" must be askable, too.
    done_at.set_to_current_time()
    while True:
        deps.heartbeats.setdefault(chore.name, time.monotonic())
        done: int | None = None
        try:
            done = await chore.work(deps)
        except Exception as error:  # noqa: BLE001 - the loop must outlive any one failure
            log.warning("background_failed", step=chore.name, error=type(error).__name__)
        else:
            done_at.set_to_current_time()
        # Failed or not, it moves on: a restart would cure nothing, least of all a database that is away.
        deps.heartbeats[chore.name] = time.monotonic()
        pause = max(deps.settings.background_seconds, chore.at_least_seconds)
        await asyncio.sleep(BREATH_SECONDS if done else pause)


async def check_background(deps: Deps) -> None:
    """A liveness check. Raises BackgroundStuck when a chore has not come round for long: a restart is the cure."""
    now = time.monotonic()
    patience = STUCK_SECONDS + deps.settings.background_seconds
    stuck = [name for name, beat in deps.heartbeats.items() if now - beat > patience]
    if stuck:
        raise BackgroundStuck(", ".join(sorted(stuck)))
