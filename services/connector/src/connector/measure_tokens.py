"""Measure, over all rows, what operators need to see before people do. No figure names an account or a tenant."""

import structlog

from connector import metrics
from connector.deps import Deps
from connector.store import sealed_values, upkeep

log = structlog.get_logger(__name__)


async def measure_tokens(deps: Deps) -> None:
    """Set the gauges, and say loudly which keys are missing. Every replica measures the same; take the maximum."""
    async with deps.pool.acquire() as conn:
        by_key = await sealed_values.count(conn)
        figures = await upkeep.figures(conn)
        by_state = await upkeep.connections_by_state(conn)
    # Nothing is awaited from here on, so no scrape sees the gauges half set.
    metrics.SEALED_VALUES.clear()
    for version, number in by_key.items():
        metrics.SEALED_VALUES.labels(
            key_version=version, opens="yes" if deps.ring.opens(version) else "no"
        ).set(number)
    metrics.CONNECTIONS.clear()
    for status, reason, number in by_state:
        metrics.CONNECTIONS.labels(status=status, reason=reason).set(number)
    metrics.ACCESS_EXPIRY_SECONDS.set(figures.access_expiry_seconds)
    metrics.REFRESH_EXPIRY_SECONDS.set(figures.refresh_expiry_seconds)
    metrics.REFRESHES_OVERDUE.set(figures.refreshes_overdue)
    metrics.CLEANUPS_PENDING.set(figures.cleanups_pending)
    metrics.CLEANUPS_OLDEST_SECONDS.set(figures.cleanups_oldest_seconds)
    for version in sorted(by_key):
        if not deps.ring.opens(version):
            log.error("key_missing", key_version=version, values=by_key[version])
