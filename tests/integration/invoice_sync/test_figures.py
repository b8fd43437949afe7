"""The gauges of what waits and of money that is not the same in both books, as Prometheus reads them."""

from decimal import Decimal

from prometheus_client import REGISTRY

from invoice_sync import metrics


def figure(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_what_waits_is_counted_by_state_with_the_age_of_the_oldest(sync_pool):
    async with sync_pool.acquire() as conn:
        await conn.execute(
            """
            INSERT INTO invoices (account_id, invoice_id, state, version, operation, waiting_since)
            SELECT 'acc', 'inv-' || n, state, 1, 'write', now() - make_interval(secs => 100 * n)
              FROM unnest(ARRAY['failed', 'failed', 'waiting_for_contact', 'synced', 'voided'])
                   WITH ORDINALITY AS s (state, n)
            """
        )
        await metrics.measure(conn)
    assert figure("invoice_sync_waiting", state="failed") == 2
    assert 200 <= figure("invoice_sync_oldest_waiting_seconds", state="failed") < 230
    assert figure("invoice_sync_waiting", state="waiting_for_contact") == 1
    assert figure("invoice_sync_waiting", state="synced") is None
    async with sync_pool.acquire() as conn:
        await conn.execute("UPDATE invoices SET state = 'synced'")
        await metrics.measure(conn)
    # Zero, not gone: an alert that looks at it must see it end.
    assert figure("invoice_sync_waiting", state="failed") == 0
    assert figure("invoice_sync_oldest_waiting_seconds", state="failed") == 0


async def test_unreconciled_money_is_of_each_accounts_last_finished_reconciliation(sync_pool):
    async with sync_pool.acquire() as conn:
        await conn.execute(
            """
            INSERT INTO reconciliations (account_id, number, tenant_id, asked_by, began_at, page_size, finished_at, outcome)
            VALUES ('a', 1, 't', 'x', now(), 1000, now(), 'findings'), ('a', 2, 't', 'x', now(), 1000, now(), 'findings'),
                   ('a', 3, 't', 'x', now(), 1000, now(), 'stopped'), ('a', 4, 't', 'x', now(), 1000, NULL, NULL), ('b', 1, 'u', 'x', now(), 1000, now(), 'findings')
            """
        )
        await conn.execute(
            """
            INSERT INTO reconciliation_totals (account_id, number, state, currency, invoices, total, in_xero, xero_total)
            VALUES ('a', 1, 'synced', 'NZD', 1, 500, 1, 100), ('a', 2, 'synced', 'NZD', 1, 10.5, 1, 10),
                   ('a', 2, 'failed', 'NZD', 1, 70, 0, 0), ('a', 2, 'synced', 'EUR', 1, 7, 1, 7),
                   ('b', 1, 'synced', 'NZD', 1, 3, 1, 4)
            """
        )
        await metrics.measure(conn)
    assert figure("invoice_sync_unreconciled_amount", currency="NZD") == 1.5
    assert figure("invoice_sync_unreconciled_amount", currency="EUR") is None
    async with sync_pool.acquire() as conn:
        await conn.execute("UPDATE reconciliation_totals SET xero_total = total")
        await metrics.measure(conn)
    assert figure("invoice_sync_unreconciled_amount", currency="NZD") is None
    assert Decimal(figure("invoice_sync_open_reconciliations")) == 1
