"""Every kind of write loses its answer on one day, its process dies while nobody knows, and people work meanwhile."""

from collections import Counter

import pytest

pytestmark = pytest.mark.usefixtures("judged")

FAULTS = [
    "reset_before",
    "commit_then_reset",
    "commit_then_timeout",
    "error_500_before",
    "error_500_after",
]
# What is open, and the call that wrote it. Changes and voids are two calls of one method.
WRITES = {
    ("create", "PUT"): "Invoices",
    ("update", "POST"): "Invoices",
    ("void", "POST"): "Invoices",
    ("contacts", "PUT"): "Contacts",
    ("contacts", "POST"): "Contacts",
}
CALLS = Counter((method, path) for (_, method), path in WRITES.items())


@pytest.mark.parametrize("minutes", [1, 6, 11])
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_doubled_overwritten_lost_or_adopted_after(
    ready, kinds_of_event, died, fault, minutes
):
    await in_xero(ready)
    ready.gateway.patience = 0.3
    for (method, path), count in CALLS.items():
        # The first answer is lost with its process, so others must be lost for the process after it.
        address = f"/api.xro/2.0/{path}*"
        ready.books.fault(fault, method=method, path=address, times=3 * count, seconds=0.5)
    await want_otherwise(ready, kinds_of_event)
    at_first_answers = dying_at(CALLS, died)
    struck, taken, edited = set(), None, set()
    for _ in range(30):
        await turn_or_die(ready, died, at_first_answers)
        now_open = await open_writes(ready) - struck
        await time_passes(ready, minutes)
        if not now_open:
            continue
        struck |= now_open
        # What is not in Xero yet may be taken by somebody else; what is there may be edited.
        if ("create", "PUT") in now_open:
            taken = await somebody_takes(ready, "INV-3")
        if ("update", "POST") in now_open:
            edited |= await somebody_edits(ready, "INV-0")
        if ("void", "POST") in now_open:
            edited |= await somebody_edits(ready, "INV-1")
        assert await turn_or_die(ready, died, dying_at_any(died)), "nothing asks what became of it"
    assert struck == WRITES.keys()
    assert (taken is not None) == fault.endswith("before")
    assert "INV-0" in edited
    await time_passes(ready, 11)
    await ready.settle(30)
    await as_it_must_be(ready, taken, edited)


def dying_at(calls, died):
    """The process dies at the first answers to these calls, as many times as each is counted."""
    left = Counter(calls)

    def die(request):
        call = (request.method, request.url.path.rpartition("/")[2])
        if left[call]:
            left[call] -= 1
            raise died

    return die


def dying_at_any(died):
    def die(_request):
        raise died

    return die


async def turn_or_die(service, died, die) -> bool:
    """One turn with everything due; whether the process died in it."""
    await service.hurry()
    service.gateway.after = die
    try:
        await service.turn()
    except died:
        return True
    finally:
        service.gateway.after = None
    return False


async def time_passes(service, minutes) -> None:
    service.books.world.clock.advance(minutes * 60)
    await service.pool.execute(
        "UPDATE intents SET first_sent_at = first_sent_at - make_interval(mins => $1)", minutes
    )


async def open_writes(service) -> set[tuple[str, str]]:
    rows = await service.pool.fetch("SELECT kind, method FROM intents")
    return {(row["kind"], row["method"]) for row in rows}


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


async def somebody_takes(service, number) -> dict | None:
    """Somebody's own invoice under this number; None if Xero has that number already."""
    line = {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
    if not await service.books.invoices(number):
        body = {"InvoiceNumber": number, "Contact": {"Name": "Else"}, "LineItems": [line]}
        await service.books.act("POST", "invoices", body)
        (found,) = await service.books.invoices(number)
        return found
    return None


async def somebody_edits(service, number) -> set[str]:
    """The number, if Xero still lets the invoice be edited."""
    (found,) = await service.books.invoices(number)
    if found["status"] == "VOIDED":
        return set()
    await service.books.act("POST", f"invoices/{number}", {"Reference": "theirs"})
    return {number}


async def as_it_must_be(service, stranger, edited) -> None:
    ledger = await service.books.ledger()
    invoices = {each["number"]: each for each in ledger["invoices"]}
    assert sorted(each["number"] for each in ledger["invoices"]) == [f"INV-{n}" for n in range(5)]
    assert {number for number in invoices if invoices[number]["reference"] == "theirs"} == edited
    voided = "INV-1" not in edited
    assert invoices["INV-1"]["status"] == ("VOIDED" if voided else "AUTHORISED")
    if stranger is not None:
        assert invoices["INV-3"] == stranger
    names = Counter(each["name"] for each in ledger["contacts"])
    assert names["Customer cust-2"] == names["Customer cust-3"] == 1
    emails = {each["name"]: each["email"] for each in ledger["contacts"]}
    assert emails["Customer cust-2"] == "two@example.com"
    states = [await service.state(f"inv-{number}") for number in (1, 2, 3, 4)]
    first, third = "voided" if voided else "out_of_sync", "failed" if stranger else "synced"
    assert states == [first, "synced", third, "synced"]
    assert await service.state("inv-0") in {"synced", "out_of_sync"}
    if stranger is not None:
        assert (await service.row("inv-3"))["block_code"] == "INVOICE_NUMBER_TAKEN"
    for number in range(5):
        assert await service.told(f"inv-{number}")  # checks that sequences are 1..n
    assert await service.pool.fetchval("SELECT count(*) FROM intents") == 0


@pytest.mark.parametrize("is_edited", [True, False])
async def test_a_change_of_a_contact_is_not_repeated_over_somebodys_edit(ready, died, is_edited):
    """Lost on its way with its process; the key still counts when the next process finds it."""
    await ready.know("cust-1", version=2, email="one@example.com")
    await ready.settle()
    contact_id = await ready.pool.fetchval("SELECT contact_id FROM contact_mappings")
    ready.books.fault("reset_before", method="POST", path="/api.xro/2.0/Contacts*")
    await ready.know("cust-1", version=3, email="two@example.com")
    assert await turn_or_die(ready, died, dying_at({("POST", "Contacts"): 1}, died))
    if is_edited:
        edit = {"EmailAddress": "theirs@example.com"}
        await ready.books.act("POST", f"contacts/{contact_id}", edit)
    await ready.settle()
    await time_passes(ready, 11)
    await ready.settle()
    (contact,) = (await ready.books.ledger())["contacts"]
    assert contact["email"] == ("theirs@example.com" if is_edited else "two@example.com")
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0
