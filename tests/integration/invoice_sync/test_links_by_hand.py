"""Linking and unlinking by hand, at awkward moments: nothing of Pipeline's is dropped, and causes stay true."""

from datetime import timedelta

import pytest

from invoice_sync.map_contact import map_contact, unmap_contact
from pipeline_service_defaults.problems import Problem


async def new_contact(service, name="Ridgeway University", **fields) -> str:
    made = await service.books.act("POST", "contacts", {"Name": name} | fields)
    return made["contact_id"]


async def contact_of(service, customer_id="cust-1") -> str:
    return await service.pool.fetchval(
        "SELECT contact_id FROM contact_mappings WHERE account_id = $1 AND customer_id = $2",
        service.account_id,
        customer_id,
    )


async def names(service) -> dict[str, str]:
    rows = (await service.books.ledger())["contacts"]
    return {each["contact_id"]: each["name"] for each in rows}


async def link(service, contact_id, customer_id="cust-1"):
    return await map_contact(service.deps, service.account_id, customer_id, contact_id, "user:1")


async def unlink(service, customer_id="cust-1"):
    return await unmap_contact(service.deps, service.account_id, customer_id, "user:1")


async def codes(service, invoice_id="inv-1") -> list[str]:
    return [getattr(each, "code", "synced") for each in await service.told(invoice_id)]


async def test_a_cause_that_unlinking_made_untrue_is_told_anew(ready):
    contact = await contact_of(ready)
    await ready.books.act("POST", f"contacts/{contact}", {"ContactStatus": "ARCHIVED"})
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    await unlink(ready)
    await ready.settle()
    assert await codes(ready) == ["CONTACT_ARCHIVED", "CUSTOMER_NOT_MAPPED"]
    # Restoring the contact helps no more, linking does.
    await ready.books.act("POST", f"contacts/{contact}", {"ContactStatus": "ACTIVE"})
    assert (await link(ready, contact)).released == 1
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


@pytest.mark.parametrize("moment", ["new", "chosen", "in flight"])
async def test_linking_to_the_same_contact_again_drops_no_change_of_pipelines(ready, moment):
    contact = await contact_of(ready)
    if moment == "in flight":
        ready.books.fault("error_500_before", method="POST", path="*/Contacts*", times=1)
    if moment == "chosen":
        ready.books.fault("error_500_before", method="GET", path="*/Contacts*", times=1)
    await ready.know("cust-1", version=2, name="Changed")
    if moment != "new":
        await ready.turn()
    await link(ready, contact)
    await ready.settle()
    await ready.age_intents(timedelta(minutes=11))
    await ready.settle()
    assert (await names(ready))[contact] == "Changed"
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_linking_to_the_same_contact_settles_what_xeros_edit_stopped_and_nothing_else(ready):
    contact = await contact_of(ready)
    await ready.books.act("POST", f"contacts/{contact}", {"Name": "Of Xero"})
    await ready.know("cust-1", version=2, name="Of Pipeline")
    await ready.settle()
    await ready.know("cust-1", version=3, name="Of Pipeline", email="new@x.example")
    await link(ready, contact)
    await ready.settle()
    found = await ready.books.http.get(
        f"{ready.books.url}/api.xro/2.0/Contacts/{contact}",
        headers={
            "authorization": "Bearer test-token",
            "xero-tenant-id": ready.books.tenant_id,
            "accept": "application/json",
        },
    )
    (shown,) = found.json()["Contacts"]
    assert (shown["Name"], shown["EmailAddress"]) == ("Of Xero", "new@x.example")


async def test_a_creation_that_was_refused_after_a_person_linked_leaves_no_refusal(service):
    await service.connect()
    taken = await new_contact(service, "Customer cust-1")
    service.books.fault("error_500_before", method="PUT", path="*/Contacts*", times=1)
    await service.know("cust-1")
    await service.turn()
    await link(service, taken)
    await service.want(service.invoice("inv-1"))
    await service.settle()
    assert await service.state("inv-1") == "synced"
    assert await service.pool.fetchval("SELECT block_code FROM customers") is None
    assert await service.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_a_customer_linked_before_pipeline_told_of_it_keeps_its_contact(service):
    await service.connect()
    contact = await new_contact(service, "Good")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    assert (await link(service, contact)).released == 1
    await service.settle()
    assert await service.state("inv-1") == "synced"
    await service.know("cust-1", name="Other", email="o@x.example")
    await service.settle()
    assert await names(service) == {contact: "Good"}
    # Only what Pipeline changes from now on is changed.
    await service.know("cust-1", version=2, name="Newer", email="o@x.example")
    await service.settle()
    assert await names(service) == {contact: "Newer"}


async def test_one_unlinked_before_pipeline_told_of_it_stays_unlinked_afterwards(service):
    """Whatever the policy would do: a person took the link away, and only a person makes another."""
    await service.connect()
    contact = await new_contact(service, "Good")
    await link(service, contact)
    assert await unlink(service)
    await service.know("cust-1", name="Good", email="o@x.example")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    assert await contact_of(service) is None
    assert await service.state("inv-1") == "waiting_for_contact"
    assert await names(service) == {contact: "Good"}
    await link(service, contact)
    await service.settle()
    assert await service.state("inv-1") == "synced"
    await service.know("cust-1", version=2, name="Newer")
    await service.settle()
    assert await names(service) == {contact: "Newer"}


async def test_one_linked_again_before_pipeline_told_of_it_is_forgotten_as_unlinked(service):
    await service.connect()
    contact = await new_contact(service, "Good")
    for change in (link(service, contact), unlink(service), link(service, contact)):
        await change
    assert await service.pool.fetchval("SELECT count(*) FROM customers") == 0
    await service.know("cust-1", name="Other")
    await service.settle()
    assert await names(service) == {contact: "Good"}


async def test_two_people_who_choose_different_contacts_leave_one_and_release_once(service):
    await service.connect()
    one, other = await new_contact(service, "One"), await new_contact(service, "Other")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    released = [(await link(service, each)).released for each in (one, other)]
    assert released == [1, 0]
    await service.settle()
    (invoice,) = await service.books.invoices("INV-1")
    assert invoice["contact_id"] == await contact_of(service) == other


async def test_when_the_last_but_one_customer_leaves_a_contact_the_other_ones_change_is_made(ready):
    contact = await contact_of(ready)
    await link(ready, contact, "cust-2")
    await ready.know("cust-1", version=2, name="Changed")
    await ready.settle()
    assert (await names(ready))[contact] == "Customer cust-1"
    await unlink(ready, "cust-2")
    await ready.settle()
    assert (await names(ready))[contact] == "Changed"


async def test_the_contact_of_a_person_who_asked_to_be_forgotten_is_said_to_be_so(ready):
    contact = await contact_of(ready)
    await ready.books.act("POST", f"contacts/{contact}", {"ContactStatus": "GDPRREQUEST"})
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    # Xero's own words speak of an archived contact; the contact itself shows more.
    assert await codes(ready) == ["CONTACT_ARCHIVED", "CONTACT_ERASED"]
    assert "Restore" not in (await ready.row("inv-1"))["block_hint"]
    with pytest.raises(Problem) as refused:
        await link(ready, contact)
    assert (refused.value.status, refused.value.code) == (409, "CONTACT_ERASED")
    await link(ready, await new_contact(ready))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
