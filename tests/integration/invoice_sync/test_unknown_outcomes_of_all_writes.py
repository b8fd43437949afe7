"""Every kind of write loses its answer on one day, its process dies while nobody knows, and people work meanwhile."""

from collections import Counter

import pytest

FAULTS = [
    "reset_before",
    "commit_then_reset",
    "commit_then_timeout",
    "error_500_before",
    "error_500_after",
]
WRITES = [("PUT", "Invoices"), ("POST", "Invoices"), ("PUT", "Contacts"), ("POST", "Contacts")]


@pytest.mark.parametrize("minutes", [1, 6, 11])
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_doubled_overwritten_lost_or_adopted_after(
    ready, kinds_of_event, died, fault, minutes
):
    await in_xero(ready)
    ready.gateway.patience = 0.3
    for method, path in WRITES:
        # Changes and voids are two calls of one method.
        times = 2 if (method, path) == ("POST", "Invoices") else 1
        address = f"/api.xro/2.0/{path}*"
        ready.books.fault(fault, method=method, path=address, times=times, seconds=0.5)
    await want_otherwise(ready, kinds_of_event)
    stranger, seen = None, set()
    for _ in range(30):
        await ready.hurry()
        await ready.turn()
        now_open = await open_write(ready)
        await time_passes(ready, minutes)
        if now_open is None or now_open in seen:
            continue
        seen.add(now_open)
        # What is not in Xero yet may be taken by somebody else; what is there may be edited.
        if now_open == ("create", "PUT"):
            stranger = await somebody_takes(ready, "INV-3")
        if now_open in {("update", "POST"), ("void", "POST")}:
            await ready.books.act("POST", "invoices/INV-0", {"Reference": "theirs"})
        await die_at_the_next_answer(ready, died)
    # Writes of invoices are open too, but for the faults that are settled within a turn.
    assert {("contacts", "PUT"), ("contacts", "POST")} <= seen
    await time_passes(ready, 11)
    await ready.settle(30)
    await as_it_must_be(ready, stranger)


async def time_passes(service, minutes) -> None:
    service.books.world.clock.advance(minutes * 60)
    await service.pool.execute(
        "UPDATE intents SET first_sent_at = first_sent_at - make_interval(mins => $1)", minutes
    )


async def open_write(service) -> tuple[str, str] | None:
    row = await service.pool.fetchrow("SELECT kind, method FROM intents ORDER BY id LIMIT 1")
    return row and (row["kind"], row["method"])


async def in_xero(service) -> None:
    await service.know("cust-2", email="one@example.com")
    await service.want(service.invoice("inv-0"), service.invoice("inv-1"))
    await service.settle()


async def want_otherwise(service, kinds) -> None:
    """An update, a void, a batch of new ones, a contact to be changed and one to be created."""
    await service.know("cust-2", version=2, email="two@example.com")
    await service.know("cust-3")
    await service.want(
        service.invoice("inv-0", kind=kinds["updated"], version=2, due_date="2026-04-30"),
        kinds["voided"](account_id=service.account_id, invoice_id="inv-1", version=2),
        service.invoice("inv-2"),
        service.invoice("inv-3"),
        service.invoice("inv-4", customer_id="cust-3"),
    )


async def die_at_the_next_answer(service, died) -> None:
    def die(_request):
        raise died

    await service.hurry()
    service.gateway.after = die
    try:
        with pytest.raises(died):
            await service.turn()
    finally:
        service.gateway.after = None


async def somebody_takes(service, number) -> dict | None:
    """Somebody's own invoice under this number; None if Xero has that number already."""
    line = {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
    if not await service.books.invoices(number):
        body = {"InvoiceNumber": number, "Contact": {"Name": "Else"}, "LineItems": [line]}
        await service.books.act("POST", "invoices", body)
        (found,) = await service.books.invoices(number)
        return found
    return None


async def as_it_must_be(service, stranger) -> None:
    ledger = await service.books.ledger()
    invoices = {each["number"]: each for each in ledger["invoices"]}
    assert sorted(each["number"] for each in ledger["invoices"]) == [f"INV-{n}" for n in range(5)]
    assert invoices["INV-0"]["reference"] == "theirs"
    assert invoices["INV-1"]["status"] == "VOIDED"
    if stranger is not None:
        assert invoices["INV-3"] == stranger
    names = Counter(each["name"] for each in ledger["contacts"])
    assert names["Customer cust-2"] == names["Customer cust-3"] == 1
    emails = {each["name"]: each["email"] for each in ledger["contacts"]}
    assert emails["Customer cust-2"] == "two@example.com"
    states = [await service.state(f"inv-{number}") for number in (1, 2, 3, 4)]
    assert states == ["voided", "synced", "failed" if stranger else "synced", "synced"]
    assert await service.state("inv-0") in {"synced", "out_of_sync"}
    if stranger is not None:
        assert (await service.row("inv-3"))["block_code"] == "INVOICE_NUMBER_TAKEN"
    for number in range(5):
        assert await service.told(f"inv-{number}")  # checks that sequences are 1..n
    assert await service.pool.fetchval("SELECT count(*) FROM intents") == 0
