"""No statement of the worker's rounds scans a table: a tick costs the same with 50 or 50,000 invoices waiting."""

import json
from datetime import UTC, datetime

import pytest

from invoice_sync.domain.codes import CodeKind
from invoice_sync.domain.state import Customer
from invoice_sync.domain.turns import Kind
from invoice_sync.store import (
    account_settings,
    accounts,
    codes,
    contact_mappings,
    customers,
    failures,
    imports,
    intents,
    invoice_links,
    invoices,
    lock_dates,
    reconciled,
    reconciliations,
    resolutions,
    setting_changes,
    timeline,
)
from invoice_sync.store.reconciliations import Reconciliation

ACCOUNTS, PER_ACCOUNT = 500, 100


class Explaining:
    """A connection that explains each statement instead of running it."""

    def __init__(self, conn) -> None:
        self.conn = conn
        self.scans: set[str] = set()

    async def _explain(self, statement, *args):
        plan = json.loads(await self.conn.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *args))
        self._walk(plan[0]["Plan"])

    def _walk(self, node) -> None:
        if node["Node Type"] == "Seq Scan":
            self.scans.add(node["Relation Name"])
        for child in node.get("Plans", ()):
            self._walk(child)

    async def fetch(self, statement, *args):
        await self._explain(statement, *args)
        return []

    async def fetchrow(self, statement, *args):
        await self._explain(statement, *args)

    async def fetchval(self, statement, *args):
        await self._explain(statement, *args)

    async def execute(self, statement, *args):
        if statement.startswith("SET LOCAL"):
            return "SET"  # what it does is tried with a backlog, in test_backlog_cost.py
        await self._explain(statement, *args)
        return "UPDATE 0"


@pytest.fixture
async def crowded(sync_pool):
    async with sync_pool.acquire() as conn:
        await conn.execute(
            """
            INSERT INTO accounts (account_id, status, tenant_id)
            SELECT 'acc-' || a, 'CONNECTED', 'ten-' || a FROM generate_series(1, $1) a
            """,
            ACCOUNTS,
        )
        await conn.execute(
            """
            INSERT INTO lock_dates (account_id, tenant_id, read_at, tried_at)
            SELECT account_id, tenant_id, now(), now() FROM accounts
            """
        )
        await conn.execute(
            """
            INSERT INTO invoices (account_id, invoice_id, state, version, operation, customer_id, currency, total,
                                  due_at, block_code, intent_id)
            SELECT 'acc-' || a, 'inv-' || n,
                   (ARRAY['pending','synced','waiting_for_contact','waiting_for_connection','failed'])[1 + n % 5],
                   1, 'write', 'cust-' || n % 20, 'NZD', 1,
                   CASE WHEN n % 5 = 0 THEN now() - interval '1 minute' END,
                   CASE WHEN n % 5 > 1 THEN 'CODE_' || n % 5 END, CASE WHEN n % 50 = 0 THEN a END
              FROM generate_series(1, $1) a, generate_series(1, $2) n
            """,
            ACCOUNTS,
            PER_ACCOUNT,
        )
        await conn.execute(
            """
            INSERT INTO resolutions (account_id, invoice_id, keep, fingerprint, actor)
            SELECT account_id, invoice_id, 'xero', 'f', 'user:u' FROM invoices
            """
        )
        await conn.execute(
            """
            INSERT INTO invoice_links
            SELECT account_id, invoice_id, 'ten-' || substr(account_id, 5), account_id || invoice_id, 'n', 'AUTHORISED',
                   '{}', '{}', '{}', '{}', now() FROM invoices
            """
        )
        await conn.execute(
            """
            INSERT INTO customers (account_id, customer_id, version, name, due_at, intent_id)
            SELECT 'acc-' || a, 'cust-' || n, 1, 'x', CASE WHEN n % 10 = 0 THEN now() END, CASE WHEN n = 5 THEN a END
              FROM generate_series(1, $1) a, generate_series(1, 40) n
            """,
            ACCOUNTS,
        )
        await conn.execute(
            """
            INSERT INTO contact_mappings
            SELECT account_id, 'ten-' || substr(account_id, 5), customer_id, 'c', 'n', 'x', now() FROM customers
            """
        )
        await conn.execute(
            """
            INSERT INTO intents (account_id, tenant_id, kind, method, path, body, idempotency_key, first_sent_at, due_at)
            SELECT 'acc-' || a % $1, 't', 'create', 'PUT', 'Invoices', '', 'key-' || a, now(), now()
              FROM generate_series(1, $1 * 4) a
            """,
            ACCOUNTS,
        )
        await conn.execute(
            """
            INSERT INTO timeline (account_id, invoice_id, at, kind)
            SELECT account_id, invoice_id, now(), 'x' FROM invoices
            """
        )
        await conn.execute(
            """
            INSERT INTO account_settings
            SELECT account_id, 1, 'draft', NULL, 'strict', NULL, NULL, '' FROM accounts
            """
        )
        await conn.execute(
            """
            INSERT INTO code_mappings
            SELECT account_id, kind, 'code-' || n, 'x', 'x', now()
              FROM accounts, generate_series(1, 20) n, unnest(ARRAY['account', 'tax']) kind
            """
        )
        await conn.execute(
            """
            INSERT INTO code_lists
            SELECT account_id, kind, tenant_id, '{}', now(), now()
              FROM accounts, unnest(ARRAY['account', 'tax', 'tracking', 'item']) kind
            """
        )
        await conn.execute(
            """
            INSERT INTO setting_changes
            SELECT account_id, n, now(), 'x', 'settings', NULL, NULL, NULL, ''
              FROM accounts, generate_series(1, 20) n
            """
        )
        await conn.execute(
            """
            INSERT INTO reconciliations (account_id, number, tenant_id, asked_by, began_at, page_size, finished_at, outcome)
            SELECT account_id, n, 'ten', 'x', now(), 1000, CASE WHEN n < 20 THEN now() END,
                   CASE WHEN n < 20 THEN 'clean' END FROM accounts, generate_series(1, 20) n
            """
        )
        await conn.execute(
            """
            INSERT INTO imports (account_id, number, tenant_id, dry_run, asked_by, finished_at, outcome)
            SELECT account_id, n, 'ten', false, 'x', CASE WHEN n < 20 THEN now() END, CASE WHEN n < 20 THEN 'done' END
              FROM accounts, generate_series(1, 20) n
            """
        )
        await conn.execute(
            """
            INSERT INTO import_results (account_id, number, place, invoice_id, number_key)
            SELECT account_id, 20, n, 'inv-' || n, 'inv-' || n FROM accounts, generate_series(1, 100) n
            """
        )
        await conn.execute("ANALYZE")
        yield Explaining(conn)


async def test_no_statement_of_a_round_scans_a_table(crowded):  # noqa: PLR0915 - each statement once
    account, tenant = "acc-7", "ten-7"
    await invoices.lock_due(crowded, account, limit=50)
    await invoices.due_kinds(crowded, account)
    for kind in Kind:
        await invoices.due_before(crowded, account, "inv-1", kind, limit=5_001)
    for kind in Kind:
        await invoices.lock_due_of(crowded, account, kind, limit=50)
    await accounts.served(crowded, account, Kind.NEW)
    await invoices.lock_of_intent(crowded, 7)
    await invoices.lock_invoices(crowded, account, ["inv-1", "inv-2"])
    await invoices.lock_invoice(crowded, account, "inv-1")
    await invoices.next_due(crowded, account)
    await invoices.release_for_connection(crowded, [account])
    await invoices.release_for_contacts(crowded, account, ["cust-1"])
    await invoices.release_failed(crowded, account, "CODE_4")
    await invoices.count_by_state(crowded, account)
    await invoices.compare_again(crowded, [(account, "inv-1")])
    await invoices.compare_conflicts(crowded, [account])
    with pytest.raises(AssertionError):  # an explained statement brings no row
        await accounts.lock(crowded, account)
    await customers.retry(crowded, account, code="CONTACT_NAME_TAKEN")
    await customers.retry(crowded, account, customer_id="cust-1")
    await customers.lock_due(crowded, account, limit=50)
    await customers.lock_of_intent(crowded, 7)
    await customers.customers_of(crowded, account, ["cust-1", "cust-2"])
    await customers.release_for_connection(crowded, [account])
    await contact_mappings.mappings_of(crowded, account, tenant, ["cust-1", "cust-2"])
    await contact_mappings.list_mappings(crowded, account, tenant, after="", limit=100)
    await contact_mappings.linked_to(crowded, account, tenant, ["c"])
    await contact_mappings.to_check(crowded, account, tenant, limit=50)
    at = datetime.now(UTC)
    await contact_mappings.check(crowded, account, tenant, ["cust-1"], at)
    await contact_mappings.doubt(crowded, account, tenant, ["cust-1"], linked_before=at)
    await contact_mappings.check_again(crowded, account, code="CONTACT_ARCHIVED")
    await customers.lock_of(crowded, account, ["cust-1"])
    await customers.release_for_policy(crowded, account)
    await customers.unlinked_waiting(crowded, account, limit=10)
    alike = [Customer(account, f"cust-{n}", 1, f"Name {n}", f"{n}@x.example") for n in range(50)]
    await customers.unlinked_like(crowded, account, tenant, alike)
    await invoices.retell_contacts(crowded, account, [("cust-1", "CONTACT_ARCHIVED")])
    await invoices.retell_start_date(crowded, account)
    await invoices.hold_before_date(crowded, account, at.date())
    await invoice_links.follow_merge(crowded, account, tenant, [("cust-1", "c", "d")])
    await invoices.compare_conflicts_of(crowded, account, ["cust-1"])
    await invoice_links.links_of(crowded, account, ["inv-1", "inv-2"])
    await invoices.lock_many(crowded, [(account, "inv-1"), (account, "inv-2")])
    await resolutions.choices_of(crowded, account, ["inv-1", "inv-2"])
    await invoice_links.links_by_xero(crowded, [(tenant, "acc-7inv-1")])
    await intents.due(crowded, account)
    await intents.wake(crowded, [account])
    await timeline.timeline_of(crowded, account, "inv-1")
    await failures.groups(crowded, account)
    await account_settings.find(crowded, account)
    await codes.terms_of(crowded, account, tenant, "200")
    await codes.list_mappings(crowded, account, CodeKind.TAX, after="", limit=100)
    await lock_dates.find(crowded, account, tenant)
    await lock_dates.refused(crowded, account, tenant, at.date())
    await lock_dates.forget_refusals(crowded, [account])
    await lock_dates.doubt(crowded, account)
    await codes.waited_for(crowded, account)
    await codes.read_by(crowded, account, datetime.now(UTC))
    await invoices.release_for_codes(crowded, account, ["account:200"])
    await invoices.release_from_date(crowded, account, None)
    await accounts.reconcile_at(crowded, account, at)
    await reconciliations.find_open(crowded, account)
    await accounts.import_at(crowded, account, at)
    await imports.find_open(crowded, account)
    run = imports.Import(account, 20, tenant, False, "x", at, None, None, None)
    await imports.next_listed(crowded, run, limit=100)
    await reconciliations.newest(crowded, account, limit=10)
    await setting_changes.any_since(crowded, account, datetime.now(UTC))
    await setting_changes.changes_of(crowded, account, after=0, limit=10)
    assert crowded.scans == set()


async def test_adding_up_one_account_scans_no_table(crowded):
    await crowded.conn.execute(
        """
        INSERT INTO reconciled_invoices
        SELECT account_id, 20, xero_invoice_id, invoice_id, true, 'live', 'NZD', 1, false, false, now()
          FROM invoice_links
        """
    )
    at = datetime.now(UTC)
    run = Reconciliation("acc-7", 20, "ten-7", "x", at, None, 1_000, 0, None, None, None, {})
    async with crowded.conn.transaction():
        await reconciled.expect_many(crowded.conn)
        await reconciled.not_seen(crowded, run, limit=50)
        await reconciled.add_up(crowded, run)
        await reconciled.find(crowded, run)
    assert crowded.scans == set()
