"""Where an invoice stands in its account's queue, and about when its turn comes."""

from datetime import timedelta

import pytest

from invoice_sync.explain_sync import explain_sync


@pytest.fixture
def place_of(ready):
    async def of(invoice_id):
        async with ready.pool.acquire() as conn:
            found = await explain_sync(conn, ready.account_id, invoice_id, "https://go.xero.com")
            return found.place, await conn.fetchval("SELECT now()")

    return of


async def test_each_waiting_invoice_knows_how_many_are_before_it(ready, place_of):
    await ready.want(*(ready.invoice(f"inv-{number:03}") for number in range(120)))
    places = [await place_of(f"inv-{number:03}") for number in (0, 49, 50, 119)]
    assert [place.ahead for place, _ in places] == [0, 49, 50, 119]
    waits = [round((place.expected_at - now).total_seconds()) for place, now in places]
    assert waits == [1, 1, 2, 3]
    await ready.turn()
    assert await ready.state("inv-119") == "synced"
    assert (await place_of("inv-119"))[0] is None


async def test_a_rest_of_the_account_is_part_of_the_wait(ready, place_of):
    ready.books.fault("rate_limit_minute", seconds=40)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.turn()
    place, now = await place_of("inv-2")
    assert place.ahead == 1
    assert timedelta(seconds=38) < place.expected_at - now < timedelta(seconds=44)


async def test_what_waits_for_a_person_or_a_connection_has_no_place(ready, place_of):
    await ready.want(
        ready.invoice("bad", total="7.00"), ready.invoice("nobody", customer_id="cust-9")
    )
    await ready.turn()
    await ready.want(ready.invoice("inv-1"))
    await ready.connect("DISCONNECTED")
    for invoice_id in ("bad", "nobody", "inv-1"):
        assert (await place_of(invoice_id))[0] is None


async def test_a_long_queue_is_not_counted_to_its_end(ready, place_of):
    await ready.want(ready.invoice("last"))
    await ready.pool.execute(
        """
        INSERT INTO invoices (account_id, invoice_id, state, version, operation, due_at)
        SELECT $1, 'waiting-' || n, 'pending', 1, 'write', now() - interval '1 hour'
          FROM generate_series(1, 5001) n
        """,
        ready.account_id,
    )
    place, _ = await place_of("last")
    assert (place.ahead, place.is_exact, place.expected_at) == (5000, False, None)


async def test_the_timeline_shows_when_and_by_whom_the_customer_was_linked(ready):
    await ready.want(ready.invoice("inv-1", customer_id="cust-2"))
    await ready.turn()
    await ready.know("cust-2", name="Kim")
    await ready.settle()
    async with ready.pool.acquire() as conn:
        found = await explain_sync(conn, ready.account_id, "inv-1", "https://go.xero.com")
    kinds = [each.note.kind for each in found.timeline]
    assert kinds.index("sync_failed") < kinds.index("contact_mapped") < kinds.index("synced")
    assert kinds.count("contact_mapped") == 1
    mapped = found.timeline[kinds.index("contact_mapped")]
    assert mapped.note.detail == "customer cust-2 linked to Kim by service:invoice-sync"
    assert found.timeline[-1].note.correlation_id
    await ready.want(ready.invoice("inv-2", customer_id="cust-2"))
    async with ready.pool.acquire() as conn:
        later = await explain_sync(conn, ready.account_id, "inv-2", "https://go.xero.com")
    assert [each.note.kind for each in later.timeline] == ["InvoiceCreated"]
