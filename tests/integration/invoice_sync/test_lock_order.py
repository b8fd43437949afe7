"""Whoever locks several rows of one kind does so in one order, whichever way he chose them.

A third party holds a row in the middle, so that two others each hold one side of it when they meet.
"""

import asyncio

import pytest

from invoice_sync.accept_events import accept_customers, accept_invoices
from invoice_sync.domain.turns import Kind
from invoice_sync.store import customers, invoices

ROWS = [f"row-{number}" for number in range(9)]

OF_INVOICES = {
    "due": lambda conn, account: invoices.lock_due(conn, account, limit=50),
    "due of a kind": lambda conn, account: invoices.lock_due_of(conn, account, Kind.NEW, limit=50),
    "of an intent": lambda conn, _: invoices.lock_of_intent(conn, 7),
    "named": lambda conn, account: invoices.lock_invoices(conn, account, ROWS[::-1]),
    "released by a mapping": lambda conn, account: invoices.release_for_contacts(
        conn, account, ["cust-1"]
    ),
    "told of a contact": lambda conn, account: invoices.retell_contacts(
        conn, account, [("cust-1", "CONTACT_ERASED")]
    ),
}
OF_CUSTOMERS = {
    "due": lambda conn, account: customers.lock_due(conn, account, limit=50),
    "of an intent": lambda conn, _: customers.lock_of_intent(conn, 7),
    "named": lambda conn, account: customers.lock_of(conn, account, ROWS[::-1]),
    "retried": lambda conn, account: customers.retry(conn, account, code="CONTACT_INVALID"),
}


async def blocked(pool, backend) -> None:
    """Until this backend waits for a lock."""
    while not await pool.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", backend):  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.01)


async def meet(pool, middle, first, second) -> None:
    """`first`, then `second` come upon a locked row; then it is let go. Neither may wait for the other for ever."""

    async def go(act, started):
        async with pool.acquire() as conn, conn.transaction():
            started.set_result(await conn.fetchval("SELECT pg_backend_pid()"))
            await act(conn)

    loop = asyncio.get_running_loop()
    async with pool.acquire() as holder, asyncio.TaskGroup() as group, holder.transaction():
        await holder.execute(middle)
        for act in (first, second):
            started = loop.create_future()
            group.create_task(go(act, started))
            await blocked(pool, await started)


@pytest.mark.parametrize("how", OF_INVOICES)
async def test_events_and_whoever_locks_invoices_never_wait_in_a_circle(
    service, kinds_of_event, envelopes_of, how
):
    # The youngest first: by age the order is the opposite of that by id.
    for each in reversed(ROWS):
        await service.want(service.invoice(each))
    await service.pool.execute(
        "UPDATE invoices SET state = 'waiting_for_contact', intent_id = 7,"
        " intent_position = 9 - right(invoice_id, 1)::int, intent_version = 1"
    )
    newer = [service.invoice(each, kind=kinds_of_event["updated"], version=2) for each in ROWS]
    await meet(
        service.pool,
        "SELECT FROM invoices WHERE invoice_id = 'row-4' FOR UPDATE",
        lambda conn: OF_INVOICES[how](conn, service.account_id),
        lambda conn: accept_invoices(conn, envelopes_of(newer[::-1])),
    )
    assert await service.pool.fetchval("SELECT min(version) FROM invoices") == 2


@pytest.mark.parametrize("how", OF_CUSTOMERS)
async def test_events_and_whoever_locks_customers_never_wait_in_a_circle(
    service, customers_of, envelopes_of, how
):
    for each in reversed(ROWS):
        await service.know(each)
    await service.pool.execute(
        "UPDATE customers SET intent_id = 7, intent_position = 9 - right(customer_id, 1)::int"
    )
    if how == "retried":
        await service.pool.execute(
            "UPDATE customers SET intent_id = NULL, due_at = NULL, block_code = 'CONTACT_INVALID'"
        )
    newer = customers_of(service.account_id, ROWS[::-1], version=2)
    await meet(
        service.pool,
        "SELECT FROM customers WHERE customer_id = 'row-4' FOR UPDATE",
        lambda conn: OF_CUSTOMERS[how](conn, service.account_id),
        lambda conn: accept_customers(conn, envelopes_of(newer)),
    )
    assert await service.pool.fetchval("SELECT min(version) FROM customers") == 2
