"""Accounts share the workers: a large backlog delays nobody, and a crowd of accounts makes no look dearer."""

import asyncio
import contextlib

import pytest

from invoice_sync import sync_account as module
from invoice_sync.choose_work import Send, choose_work
from pipeline_messaging import leases
from pipeline_messaging.worker import AccountWorker

BACKLOG = 100_000
FILL_BACKLOG = """
INSERT INTO invoices (account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id, currency,
                      total, tenant_id, due_at)
SELECT account_id, 'backlog-' || n, 'pending', 1, 'write', replace(replace(desired, 'INV-1', 'BACKLOG-' || n),
       'inv-1', 'backlog-' || n), 'BACKLOG-' || n, customer_id, currency, total, tenant_id, now() - interval '1 hour'
  FROM invoices, generate_series(1, $2::int) n WHERE account_id = $1 AND invoice_id = 'inv-1'
"""


class Turns:
    """One worker's turns and calls, in their order, as (what, account)."""

    def __init__(self, service) -> None:
        self.service = service
        self.log: list[tuple[str, str]] = []
        self.news = asyncio.Event()
        service.gateway.before = self._call

    def _call(self, request) -> None:
        self.note("call", request.url.path.split("/")[3])

    def note(self, what, account_id) -> None:
        self.log.append((what, account_id))
        self.news.set()

    async def process(self, lease):
        self.note("turn", lease.account_id)
        return await module.sync_account(self.service.deps, lease)

    async def until(self, is_so) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                self.news.clear()
                await self.news.wait()

    def of(self, what) -> list[str]:
        return [account_id for kind, account_id in self.log if kind == what]

    @contextlib.asynccontextmanager
    async def running(self, concurrency):
        worker = AccountWorker(
            self.service.pool, self.process, concurrency=concurrency, poll_seconds=0.05
        )
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running


@pytest.fixture
def turns(ready, monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", 0.3)
    return Turns(ready)


async def with_account(service, account_id) -> None:
    """Another account, connected and with its customer mapped."""
    service.account_id = account_id
    await service.connect()
    await service.know("cust-1")
    await service.settle()


async def with_backlog(service, count) -> None:
    """The account has `count` invoices waiting, for an hour already."""
    await service.want(service.invoice("inv-1"))
    await service.pool.execute(FILL_BACKLOG, service.account_id, count)
    await service.pool.execute("ANALYZE invoices")


async def test_a_single_invoice_waits_for_no_more_than_the_turn_under_way(ready, turns):
    """One worker with one place is the worst case; the other account has 100,000 waiting."""
    busy = ready.account_id
    await with_account(ready, "single")
    ready.account_id = busy
    await with_backlog(ready, BACKLOG)
    turns.log.clear()
    async with turns.running(1) as worker:
        await turns.until(lambda: turns.of("call").count(busy) >= 2)
        ready.account_id = "single"
        await ready.want(ready.invoice("only"))
        worker.wake()
        before = turns.of("turn").count(busy)
        await turns.until(lambda: "single" in turns.of("call"))
        until_then = turns.log[: turns.log.index(("call", "single"))]
        # The claim may have been on its way already when the invoice came.
        assert until_then.count(("turn", busy)) <= before + 1
    assert (
        await ready.pool.fetchval("SELECT count(*) FROM invoices WHERE due_at IS NOT NULL") > 50_000
    )


async def test_backlogs_take_turns(ready, turns):
    accounts = [ready.account_id, "second", "third"]
    for account_id in accounts[1:]:
        await with_account(ready, account_id)
    for account_id in accounts:
        ready.account_id = account_id
        await ready.want(ready.invoice("inv-1", invoice_number=f"{account_id}-INV-1"))
        await ready.pool.execute(FILL_BACKLOG, account_id, 2_000)
    turns.log.clear()
    async with turns.running(1):
        await turns.until(lambda: len(turns.of("turn")) >= 10)
    order = turns.of("turn")
    for place in range(len(order) - 3):
        assert set(order[place : place + 3]) == set(accounts), order


class OneConnection:
    """A pool of one connection, so that everything happens in its transaction."""

    def __init__(self, conn) -> None:
        self._conn = conn

    @contextlib.asynccontextmanager
    async def acquire(self):
        yield self._conn


FILL_CROWD = """
WITH filled AS (SELECT generate_series($1::int, $2::int) AS a), leased AS (
    INSERT INTO account_leases (account_id, due_at) SELECT 'crowd-' || a, now() FROM filled
), connected AS (
    INSERT INTO accounts (account_id, status, tenant_id, sequence)
    SELECT 'crowd-' || a, 'CONNECTED', 'ten-' || a, 1 FROM filled
), mapped AS (
    INSERT INTO contact_mappings (account_id, tenant_id, customer_id, contact_id, mapped_by)
    SELECT 'crowd-' || a, 'ten-' || a, 'cust-1', 'c', 'test' FROM filled
)
INSERT INTO invoices (account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id, currency,
                      total, due_at)
SELECT 'crowd-' || a, 'inv-' || n, 'pending', 1, 'write', replace($3, 'INV-1', 'INV-' || n), 'INV-' || n, 'cust-1',
       'NZD', 100, now()
  FROM filled, generate_series(1, 10) n
"""


async def rows_of_a_turn(service, conn) -> tuple[int, set[str]]:
    """How many rows the statements of one turn read, and which tables they scanned; the turn is undone."""
    deps = service.deps.__class__(
        OneConnection(conn), service.gateway, service.deps.write, chance=lambda: 0.5
    )
    transaction = conn.transaction()
    await transaction.start()
    (claim,) = await leases.claim(conn, limit=1, seconds=30)
    assert isinstance(await choose_work(deps, claim.lease), Send)
    rows = await conn.fetch(
        "SELECT relname, seq_scan, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS rows"
        " FROM pg_stat_xact_user_tables"
    )
    await transaction.rollback()
    return sum(row["rows"] for row in rows), {row["relname"] for row in rows if row["seq_scan"]}


async def test_a_turn_reads_as_much_with_ten_thousand_accounts_as_with_ten(service, invoice_of):
    body = invoice_of("crowd", "inv-1").model_dump_json(exclude_none=True)
    async with service.pool.acquire() as conn:
        await conn.execute(FILL_CROWD, 1, 10, body)
        await conn.execute("ANALYZE")
        few, _ = await rows_of_a_turn(service, conn)
        await conn.execute(FILL_CROWD, 11, 10_000, body)
        await conn.execute("ANALYZE")
        many, scanned = await rows_of_a_turn(service, conn)
    assert many <= few * 1.2
    # The other tables are empty here: test_invoice_sync_plans.py has them filled.
    assert not scanned & {"invoices", "accounts", "account_leases", "contact_mappings"}
