"""How much of Xero's limits a backlog uses: 50 invoices a call, 60 calls a minute, and nothing beside them.

Xero's minutes are real ones here, and so are the connector's: the share is measured over three of them.
"""

import asyncio
from collections.abc import Sequence

from pipeline_contracts import topics
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench.accounts import BenchAccount
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import Measured, over_rounds
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.call_log import Call, Limits, broken_limits, shares_of_minutes
from pipeline_local_stack.paths import StackError

BACKLOG, PER_CALL, MINUTES = 10_000, 50, 3
_PATIENCE_SECONDS = 120.0
"""A minute that was spent in a few seconds leaves nothing to see for the rest of it."""


async def measure_drain(
    around: Surroundings, account: BenchAccount, limits: Limits, report: Report
) -> None:
    """Add `drain_use` to the report: a backlog of one account, against the most that its limits allow.

    Raises:
        StackError: the backlog did not drain.
    """
    invoices = account.own(around.workload.take(BACKLOG))
    since = await asyncio.to_thread(around.xero.calls_so_far)
    await around.publish(invoices)
    await around.wait_for(
        topics.SYNC.name,
        InvoiceSynced,
        {invoice.invoice_id for invoice in invoices},
        patience=_PATIENCE_SECONDS,
    )
    calls = await asyncio.to_thread(around.xero.calls, since)
    own = [call for call in calls if call.tenant_id == account.tenant_id]
    report.broken += broken_limits(own, limits)
    report.figures.append(
        Figure(
            "drain_use", "of the limit", used(own, limits),
            Reference(
                f"{PER_CALL} invoices a call and {limits.per_minute} calls a minute",
                Measured(1, 1, 1),
            ),
        )
    )  # fmt: skip


def used(calls: Sequence[Call], limits: Limits) -> Measured:
    """Which share of the ceiling the calls that wrote invoices came to: how close they followed, times how full they were.

    Raises:
        StackError: too few calls for a figure.
    """
    writes = [
        call.time for call in calls if call.method == "PUT" and call.path.endswith("/Invoices")
    ]
    shares = shares_of_minutes(writes, limits.per_minute, MINUTES)
    if not shares:
        raise StackError(f"A backlog of {BACKLOG} invoices led to {len(writes)} writes.")
    fullness = BACKLOG / PER_CALL / len(writes)
    return over_rounds([share * fullness for share in shares])
