"""What a thousand invoices, and a thousand payments, take of everything: from which an installation is sized."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from pipeline_contracts import topics
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench.accounts import BenchAccount, connect_accounts
from pipeline_local_stack.bench.processor import seconds_used
from pipeline_local_stack.bench.report import Cost, Report
from pipeline_local_stack.bench.surroundings import Surroundings
from pipeline_local_stack.paths import LOCAL
from pipeline_local_stack.stack import SERVICES

_ACCOUNTS = 8
_BACKLOG, _ONE_BY_ONE, _PAYMENTS, _AT_ONCE = 2_000, 100, 400, 8
_SETTLE_SECONDS = 11.0
"""Postgres's processes that fall silent report what they did within 10 s (pgstat.c, PGSTAT_IDLE_INTERVAL)."""
_REST_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_HOUR, _THOUSAND = 3600, 1000
_ROWS = """
SELECT datname, tup_inserted + tup_updated + tup_deleted AS written, xact_commit AS commits,
       pg_database_size(datname) AS size
  FROM pg_stat_database WHERE datname = ANY($1::text[])
"""


@dataclass(frozen=True, slots=True)
class Meter:
    """Where every meter stood at one moment, by its name."""

    amounts: dict[str, float]

    def since(self, before: "Meter", units: float) -> dict[str, float]:
        """What was used between two moments, for each of so many units."""
        return {
            name: (amount - before.amounts[name]) / units for name, amount in self.amounts.items()
        }


async def measure_costs(around: Surroundings, report: Report, say: Callable[[str], None]) -> None:
    """Add to the report what 1,000 invoices, 1,000 payments and an hour at rest cost.

    Raises:
        StackError: not everything came out at the end.
    """
    accounts = await connect_accounts(around, "cost", _ACCOUNTS)
    conn = await asyncpg.connect(around.stack.postgres.dsn)
    try:
        for work, count, act in (
            ("1,000 invoices of a backlog", _BACKLOG, _backlog),
            ("1,000 invoices one by one", _ONE_BY_ONE, _one_by_one),
            ("1,000 payments", _PAYMENTS, _payments),
        ):
            used = await _used_by(around, conn, accounts, act)
            report.costs.append(
                Cost(work, {n: each * _THOUSAND / count for n, each in used.items()})
            )
            say(f"Counted what {work} cost.")
        report.costs.append(Cost("an hour at rest", await _at_rest(around, conn)))
    finally:
        await conn.close()


async def _used_by(
    around: Surroundings,
    conn: asyncpg.Connection,
    accounts: list[BenchAccount],
    act: Callable[[Surroundings, list[BenchAccount]], Awaitable[None]],
) -> dict[str, float]:
    await around.until_idle(look_seconds=_LOOK_SECONDS)
    await asyncio.sleep(_SETTLE_SECONDS)
    before = await _read(around, conn)
    await act(around, accounts)
    await around.until_idle(look_seconds=_LOOK_SECONDS)
    processor = _processor(around)  # before the wait, which is no work of theirs
    await asyncio.sleep(_SETTLE_SECONDS)
    after = Meter((await _read(around, conn)).amounts | processor)
    return after.since(before, 1)


async def _backlog(around: Surroundings, accounts: list[BenchAccount]) -> None:
    """Waiting all at once: Xero takes them fifty in a call."""
    each = _BACKLOG // len(accounts)
    shares = [account.own(around.workload.take(each)) for account in accounts]
    invoices = [invoice for turn in zip(*shares, strict=True) for invoice in turn]
    await around.publish(invoices)
    ids = {invoice.invoice_id for invoice in invoices}
    await around.wait_for(topics.SYNC.name, InvoiceSynced, ids)


async def _one_by_one(around: Surroundings, accounts: list[BenchAccount]) -> None:
    """Each issued when the one before is in Xero: nothing can be put together."""
    for invoice in accounts[0].own(around.workload.take(_ONE_BY_ONE)):
        await around.publish([invoice])
        await around.wait_for(topics.SYNC.name, InvoiceSynced, {invoice.invoice_id})


async def _payments(around: Surroundings, accounts: list[BenchAccount]) -> None:
    """Payments of invoices that were synced above, made in Xero a few at a time, as webhooks tell of them."""
    tenants = {account.account_id: account.tenant_id for account in accounts}
    payable = [
        invoice
        for invoice in around.published
        if invoice.account_id in tenants and invoice.total >= 1
    ][:_PAYMENTS]
    few_at_once = asyncio.Semaphore(_AT_ONCE)

    async def pay(tenant_id: str, number: str) -> None:
        async with few_at_once:
            reply = await around.http.post(
                f"/admin/tenants/{tenant_id}/payments", json={"invoice": number}
            )
            reply.raise_for_status()

    await asyncio.gather(*(pay(tenants[each.account_id], each.invoice_number) for each in payable))
    ids = {invoice.invoice_id for invoice in payable}
    await around.wait_for(topics.PAYMENTS.name, PaymentRecorded, ids)


async def _at_rest(around: Surroundings, conn: asyncpg.Connection) -> dict[str, float]:
    """What running costs when there is nothing to do, with as many accounts as the bench has."""
    await around.until_idle(look_seconds=_LOOK_SECONDS)
    before, began = await _read(around, conn), time.monotonic()
    await asyncio.sleep(_REST_SECONDS)
    used = (await _read(around, conn)).since(before, (time.monotonic() - began) / _HOUR)
    # Files shrink when they are tidied up, which is no matter of hours.
    return {name: amount for name, amount in used.items() if "MB kept" not in name}


async def _read(around: Surroundings, conn: asyncpg.Connection) -> Meter:
    reply = await around.http.get("/admin/calls", params={"path": "/api.xro/", "limit": 1_000_000})
    calls = reply.raise_for_status().json()["calls"]
    rows = {row["datname"]: row for row in await conn.fetch(_ROWS, list(SERVICES.values()))}
    wal = await conn.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
    return Meter(
        _processor(around)
        | {
            "Xero: calls": len(calls),
            "Xero: MB sent and received": sum(c["bytes_in"] + c["bytes_out"] for c in calls) / 1e6,
            "Kafka: MB written": kafka_bytes() / 1e6,
            **{f"Postgres: rows written, {name}": row["written"] for name, row in rows.items()},
            **{f"Postgres: commits, {name}": row["commits"] for name, row in rows.items()},
            "Postgres: MB of WAL": float(wal) / 1e6,
            **{f"Postgres: MB kept, {name}": row["size"] / 1e6 for name, row in rows.items()},
        }
    )


def _processor(around: Surroundings) -> dict[str, float]:
    stack = around.stack
    children = {name: stack.children[name] for name in SERVICES}
    children |= {"Postgres": stack.postgres.child, "Kafka": stack.broker.child}
    return {f"CPU seconds, {name}": seconds_used([child]) for name, child in children.items()}


def kafka_bytes() -> int:
    """What the broker's log holds of our topics, as their producers compressed it, before replication."""
    segments = (LOCAL / "kafka" / "data").glob("pipeline.*/*.log")
    return sum(segment.stat().st_size for segment in segments)
