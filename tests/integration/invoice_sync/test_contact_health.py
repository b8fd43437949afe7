"""Contacts that were archived, merged or deleted in Xero: recognised, told with the next step, healed where possible."""

import json
from datetime import timedelta

import httpx
import pytest

from invoice_sync import tend_contacts
from invoice_sync.map_contact import map_contact
from invoice_sync.retry_sync import retry_cause, retry_invoice
from invoice_sync.store import contact_mappings
from pipeline_contracts.sync import ContactMapped


async def mapping_of(service, customer_id="cust-1"):
    return await service.pool.fetchrow(
        "SELECT * FROM contact_mappings WHERE account_id = $1 AND customer_id = $2",
        service.account_id,
        customer_id,
    )


async def new_contact(service, name="Other", **fields) -> str:
    made = await service.books.act("POST", "contacts", {"Name": name} | fields)
    return made["contact_id"]


async def archive(service, contact_id, status="ARCHIVED") -> None:
    await service.books.act("POST", f"contacts/{contact_id}", {"ContactStatus": status})


async def audited(service) -> list[tuple[str, str]]:
    rows = await service.pool.fetch("SELECT action, detail FROM audit ORDER BY id")
    return [(row["action"], row["detail"]) for row in rows]


async def codes(service, invoice_id="inv-1") -> list[str]:
    return [getattr(each, "code", "synced") for each in await service.told(invoice_id)]


async def test_a_merged_contact_is_followed_and_its_invoices_go_on(ready):
    old = (await mapping_of(ready))["contact_id"]
    middle, last = await new_contact(ready, "Middle"), await new_contact(ready, "Last")
    await ready.books.act("POST", f"contacts/{old}/merge-into/{middle}")
    await ready.books.act("POST", f"contacts/{middle}/merge-into/{last}")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert (await mapping_of(ready))["contact_id"] == last
    assert (await ready.books.invoices("INV-1"))[0]["contact_id"] == last
    assert await audited(ready) == [("contact_merged", f"{old} -> {middle} -> {last}")]
    told = [each for each in await ready.told() if isinstance(each, ContactMapped)]
    assert [each.contact_id for each in told] == [old, last]


async def test_an_invoice_moved_by_a_merge_shows_it_and_is_no_conflict_for_long(
    ready, kinds_of_event
):
    old = (await mapping_of(ready))["contact_id"]
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    other = await new_contact(ready)
    await ready.books.act("POST", f"contacts/{old}/merge-into/{other}")
    updated = kinds_of_event["updated"]
    await ready.want(ready.invoice("inv-1", kind=updated, version=2, reference="New"))
    await ready.settle(10)
    assert (await mapping_of(ready))["contact_id"] == other
    assert await ready.state("inv-1") == "synced"
    (found,) = await ready.books.invoices("INV-1")
    assert (found["contact_id"], found["reference"]) == (other, "New")


async def test_an_archived_contact_is_told_holds_back_the_next_and_heals(ready):
    contact = (await mapping_of(ready))["contact_id"]
    await archive(ready, contact)
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await codes(ready) == ["CONTACT_ARCHIVED"]
    assert (await mapping_of(ready))["problem"] == "CONTACT_ARCHIVED"
    due_in = (await mapping_of(ready))["check_at"] - await ready.pool.fetchval("SELECT now()")
    assert timedelta(minutes=50) < due_in <= timedelta(hours=1)
    # Known before calling: the next invoice is not sent in vain.
    ready.gateway.calls.clear()
    await ready.want(ready.invoice("inv-2"))
    await ready.turn()
    assert await codes(ready, "inv-2") == ["CONTACT_ARCHIVED"]
    assert ready.gateway.calls == []
    await archive(ready, contact, "ACTIVE")
    await ready.settle()
    assert [await ready.state(each) for each in ("inv-1", "inv-2")] == ["synced", "synced"]
    assert [action for action, _ in await audited(ready)] == [
        "contact_archived",
        "contact_usable_again",
    ]


@pytest.mark.parametrize("by", ["invoice", "cause"])
async def test_a_person_need_not_wait_for_the_next_look(ready, by):
    contact = (await mapping_of(ready))["contact_id"]
    await archive(ready, contact)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await archive(ready, contact, "ACTIVE")
    if by == "invoice":
        await retry_invoice(ready.deps, ready.account_id, "inv-1", "user:1")
    else:
        await retry_cause(ready.deps, ready.account_id, "CONTACT_ARCHIVED", "user:1")
    await ready.turn()
    assert await ready.state("inv-1") == "synced"


async def test_a_deleted_contact_is_told_once_and_linking_another_heals(ready):
    contact = (await mapping_of(ready))["contact_id"]
    await ready.books.act("DELETE", f"contacts/{contact}")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await codes(ready) == ["CONTACT_NOT_FOUND"]
    assert (await mapping_of(ready))["check_at"] is None
    assert await audited(ready) == [("contact_gone", contact)]
    other = await new_contact(ready)
    await map_contact(ready.deps, ready.account_id, "cust-1", other, "user:1")
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert (await mapping_of(ready))["problem"] is None


async def test_the_archived_contact_of_a_new_customer_is_told_and_heals(service):
    await service.connect()
    contact = await new_contact(service, "Old Friend", ContactNumber="cust-1")
    await archive(service, contact)
    await service.know("cust-1")
    await service.want(service.invoice("inv-1"))
    await service.settle()
    assert (await mapping_of(service))["problem"] == "CONTACT_ARCHIVED"
    assert set(await codes(service)) == {"CONTACT_ARCHIVED"}
    assert await service.state("inv-1") == "waiting_for_contact"
    await archive(service, contact, "ACTIVE")
    await service.settle()
    assert await codes(service) == ["CONTACT_ARCHIVED", "synced"]
    assert len((await service.books.ledger())["contacts"]) == 1


async def test_a_contact_archived_before_a_change_gets_it_when_restored(ready):
    contact = (await mapping_of(ready))["contact_id"]
    await archive(ready, contact)
    await ready.know("cust-1", version=2, name="New Name")
    await ready.settle()
    assert [call for call in ready.gateway.calls if call[0] == "POST"] == []
    await archive(ready, contact, "ACTIVE")
    await ready.settle()
    (found,) = (await ready.books.ledger())["contacts"]
    assert found["name"] == "New Name"


async def test_xeros_list_and_its_refusals_may_contradict_each_other_without_end(ready):
    """Refused as archived, shown as active: asked about once an hour, not as fast as Xero answers."""
    contact = (await mapping_of(ready))["contact_id"]
    await ready.pool.execute("UPDATE contact_mappings SET healed_at = now() - interval '5 minutes'")
    async with ready.pool.acquire() as conn:
        now = await conn.fetchval("SELECT now()")
        await contact_mappings.doubt(
            conn,
            ready.account_id,
            ready.books.tenant_id,
            ["cust-1"],
            linked_before=now,
        )
    kept = await mapping_of(ready)
    assert kept["contact_id"] == contact
    assert timedelta(minutes=50) < kept["check_at"] - now < timedelta(minutes=56)


def meanwhile(service, act):
    """Something happens in Xero between our look at a contact and our change of it, once."""
    real, done = service.gateway._pass_on, []

    async def pass_on(request, path, tenant_id):
        if request.method == "POST" and not done:
            done.append(path)
            await act()
        return await real(request, path, tenant_id)

    service.gateway._pass_on = pass_on


@pytest.mark.parametrize("whole_call", [False, True], ids=["of the element", "of the call"])
async def test_a_contact_deleted_just_before_a_change_is_said_to_be_gone(ready, whole_call):
    contact = (await mapping_of(ready))["contact_id"]
    meanwhile(ready, lambda: ready.books.act("DELETE", f"contacts/{contact}"))
    if whole_call:
        real = ready.gateway._pass_on

        async def not_found(request, path, tenant_id):
            answer = await real(request, path, tenant_id)
            return httpx.Response(404, text="Not found") if request.method == "POST" else answer

        ready.gateway._pass_on = not_found
    await ready.know("cust-1", version=2, name="Changed")
    await ready.settle()
    assert (await mapping_of(ready))["problem"] == "CONTACT_NOT_FOUND"
    assert await ready.pool.fetchval("SELECT block_code FROM customers") is None
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_a_contact_archived_just_before_a_change_gets_it_when_restored(ready):
    contact = (await mapping_of(ready))["contact_id"]
    meanwhile(ready, lambda: archive(ready, contact))
    await ready.know("cust-1", version=2, name="Changed")
    await ready.settle()
    assert (await mapping_of(ready))["problem"] == "CONTACT_ARCHIVED"
    await archive(ready, contact, "ACTIVE")
    await ready.settle()
    (found,) = (await ready.books.ledger())["contacts"]
    assert found["name"] == "Changed"


async def test_a_change_refused_as_archived_of_what_is_shown_as_active_is_tried_hourly(ready):
    real = ready.gateway._pass_on

    async def contradict(request, path, tenant_id):
        if request.method != "POST":
            return await real(request, path, tenant_id)
        error = "The specified contact details matched an archived contact. Archived contacts cannot currently be edited via the API."
        sent = json.loads(request.content)["Contacts"][0]
        refused = sent | {"HasValidationErrors": True, "ValidationErrors": [{"Message": error}]}
        return httpx.Response(200, json={"Contacts": [refused]})

    ready.gateway._pass_on = contradict
    await ready.know("cust-1", version=2, name="Changed")
    for _ in range(6):
        await ready.turn()
    assert [method for method, _ in ready.gateway.calls].count("POST") <= 2


async def test_a_long_chain_of_merges_is_followed_to_its_end(ready):
    last = (await mapping_of(ready))["contact_id"]
    for number in range(8):
        into = await new_contact(ready, f"Step {number}")
        await ready.books.act("POST", f"contacts/{last}/merge-into/{into}")
        last = into
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert (await mapping_of(ready))["contact_id"] == last


async def test_a_contact_merged_into_an_archived_one_waits_for_that_one(ready):
    contact, other = (await mapping_of(ready))["contact_id"], await new_contact(ready)
    await ready.books.act("POST", f"contacts/{contact}/merge-into/{other}")
    await archive(ready, other)
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await codes(ready) == ["CONTACT_ARCHIVED"]
    await archive(ready, other, "ACTIVE")
    await ready.settle()
    assert await codes(ready) == ["CONTACT_ARCHIVED", "synced"]
    assert (await mapping_of(ready))["contact_id"] == other


async def test_a_contact_merged_into_another_customers_is_shared_and_changed_by_neither(ready):
    await ready.know("cust-2")
    await ready.settle()
    old, kept = [(await mapping_of(ready, each))["contact_id"] for each in ("cust-1", "cust-2")]
    await ready.books.act("POST", f"contacts/{old}/merge-into/{kept}")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2", customer_id="cust-2"))
    await ready.settle()
    assert [await ready.state(each) for each in ("inv-1", "inv-2")] == ["synced", "synced"]
    assert (await mapping_of(ready))["contact_id"] == kept
    await ready.know("cust-1", "cust-2", version=2, name="Changed")
    await ready.settle()
    names = {each["contact_id"]: each["name"] for each in (await ready.books.ledger())["contacts"]}
    assert names[kept] == "Customer cust-2"


@pytest.mark.parametrize("step", ["contacts:after_read"])
async def test_dying_while_a_merge_is_followed_means_following_it_again(
    ready, died, monkeypatch, step
):
    def die(name):
        if name == step:
            raise died

    old = (await mapping_of(ready))["contact_id"]
    other = await new_contact(ready)
    await ready.books.act("POST", f"contacts/{old}/merge-into/{other}")
    await ready.want(ready.invoice("inv-1"))
    with monkeypatch.context() as patched:
        patched.setattr(tend_contacts, "failpoint", die)
        with pytest.raises(died):
            await ready.turn()
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert [action for action, _ in await audited(ready)] == ["contact_merged"]
    assert len(await ready.books.invoices("INV-1")) == 1


async def test_contacts_that_cannot_be_read_now_do_not_stop_the_others(ready):
    contact = (await mapping_of(ready))["contact_id"]
    await ready.know("cust-2")
    await ready.settle()
    await archive(ready, contact)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2", customer_id="cust-2"))
    ready.books.fault("error_500_before", method="GET", path="*/Contacts*", times=2)
    await ready.settle()
    assert await ready.state("inv-2") == "synced"
    assert await codes(ready) == ["CONTACT_ARCHIVED"]
    assert (await mapping_of(ready))["problem"] == "CONTACT_ARCHIVED"


async def test_a_switched_organisation_looks_at_none_of_the_former_ones_contacts(ready):
    await ready.pool.execute("UPDATE contact_mappings SET check_at = now()")
    other = next(each for each in ready.books.world.books if each != ready.books.tenant_id)
    await ready.connect(tenant_id=other)
    await ready.turn()
    assert await ready.turn() is None
    assert not any(path.startswith("Contacts") for _, path in ready.gateway.calls)
