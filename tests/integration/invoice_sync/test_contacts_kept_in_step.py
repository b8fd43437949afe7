"""A customer changed in Pipeline changes its contact in Xero: its own contact, its own fields, nobody's edits."""

import json

import pytest

from invoice_sync import record_contact_changes, send_intent, tend_contacts
from invoice_sync.map_contact import map_contact


async def contact_of(service, customer_id="cust-1") -> dict:
    contact_id = await service.pool.fetchval(
        "SELECT contact_id FROM contact_mappings WHERE account_id = $1 AND customer_id = $2",
        service.account_id,
        customer_id,
    )
    return await shown(service, contact_id)


async def shown(service, contact_id) -> dict:
    headers = {"authorization": "Bearer test-token", "xero-tenant-id": service.books.tenant_id}
    reply = await service.books.http.get(
        f"{service.books.url}/api.xro/2.0/Contacts/{contact_id}",
        headers=headers | {"accept": "application/json"},
    )
    (found,) = reply.json()["Contacts"]
    found["phone"] = next(
        each["PhoneNumber"] for each in found["Phones"] if each["PhoneType"] == "DEFAULT"
    )
    return found


async def mapping_of(service, customer_id="cust-1") -> dict:
    row = await service.pool.fetchrow(
        "SELECT * FROM contact_mappings WHERE account_id = $1 AND customer_id = $2",
        service.account_id,
        customer_id,
    )
    return {**row, "differences": json.loads(row["differences"] or "[]")}


async def audited(service) -> list[str]:
    return [
        row["action"] for row in await service.pool.fetch("SELECT action FROM audit ORDER BY id")
    ]


def writes(service) -> list[tuple[str, str]]:
    return [call for call in service.gateway.calls if call[0] != "GET"]


async def test_a_changed_customer_changes_the_contact_made_of_it(ready):
    contact_id = (await contact_of(ready))["ContactID"]
    await ready.books.act("POST", f"contacts/{contact_id}", {"AccountNumber": "A-7"})
    await ready.know("cust-1", version=2, name="Kim  Li Ltd", email="k@x.example", phone="04 5")
    await ready.settle()
    found = await contact_of(ready)
    assert (found["Name"], found["EmailAddress"], found["phone"]) == (
        "Kim Li Ltd",
        "k@x.example",
        "04 5",
    )
    assert (found["ContactID"], found["ContactNumber"], found["AccountNumber"]) == (
        contact_id,
        "cust-1",
        "A-7",
    )
    assert writes(ready) == [("POST", "Contacts")]
    assert len((await ready.books.ledger())["contacts"]) == 1


async def test_what_pipeline_takes_away_is_taken_away(ready):
    await ready.know("cust-1", version=2, email="k@x.example", phone="04 5")
    await ready.settle()
    await ready.know("cust-1", version=3)
    await ready.settle()
    found = await contact_of(ready)
    assert (found.get("EmailAddress") or "", found["phone"]) == ("", "")


async def test_a_change_that_changes_nothing_costs_no_call(ready):
    await ready.know("cust-1", version=2)
    await ready.settle()
    assert ready.gateway.calls == []


async def test_the_highest_version_wins_whatever_the_order(ready):
    await ready.know("cust-1", version=4, name="Fourth")
    await ready.know("cust-1", version=3, name="Third")
    await ready.settle()
    await ready.know("cust-1", version=2, name="Second")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Fourth"
    assert writes(ready) == [("POST", "Contacts")]


async def test_many_changes_go_in_one_call(service):
    await service.connect()
    ids = [f"cust-{n}" for n in range(20)]
    await service.know(*ids)
    await service.settle()
    service.gateway.calls.clear()
    await service.know(*ids, version=2, email="k@x.example")
    await service.settle()
    assert service.gateway.calls == [("GET", "Contacts"), ("POST", "Contacts")]
    rows = await service.books.ledger()
    assert {each["name"] for each in rows["contacts"]} == {f"Customer {each}" for each in ids}


async def test_an_edit_made_in_xero_is_told_and_not_overwritten(ready):
    contact_id = (await contact_of(ready))["ContactID"]
    await ready.books.act("POST", f"contacts/{contact_id}", {"Name": "Kim of Xero"})
    await ready.know("cust-1", version=2, name="Kim of Pipeline", phone="04 5")
    await ready.settle()
    found = await contact_of(ready)
    assert (found["Name"], found["phone"]) == ("Kim of Xero", "04 5")
    kept = await mapping_of(ready)
    assert kept["differences"] == [
        {
            "field": "name",
            "base": "Customer cust-1",
            "pipeline": "Kim of Pipeline",
            "xero": "Kim of Xero",
        }
    ]
    assert await audited(ready) == ["contact_edited_in_xero"]
    # Told once; and over as soon as both are the same.
    await ready.know("cust-1", version=3, name="Kim of Pipeline", phone="04 6")
    await ready.settle()
    assert await audited(ready) == ["contact_edited_in_xero"]
    await ready.know("cust-1", version=4, name="Kim of Xero", phone="04 6")
    await ready.settle()
    assert (await mapping_of(ready))["differences"] == []
    await ready.know("cust-1", version=5, name="Kim & Co", phone="04 6")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Kim & Co"


async def test_linking_writes_nothing_and_later_only_what_pipeline_changed(service):
    await service.connect()
    made = await service.books.act(
        "POST", "contacts", {"Name": "Ridgeway", "EmailAddress": "old@x.example"}
    )
    await map_contact(service.deps, service.account_id, "cust-1", made["contact_id"], "user:1")
    await service.know("cust-1", name="Ridgeway University", email="ap@x.example")
    await service.settle()
    assert writes(service) == []
    await service.know("cust-1", version=2, name="Ridgeway University", email="new@x.example")
    await service.settle()
    found = await contact_of(service)
    assert (found["Name"], found["EmailAddress"]) == ("Ridgeway", "new@x.example")
    assert not found.get("ContactNumber")


async def test_a_contact_of_several_customers_is_changed_by_none(ready):
    contact_id = (await contact_of(ready))["ContactID"]
    await map_contact(ready.deps, ready.account_id, "cust-2", contact_id, "user:1")
    await ready.know("cust-1", version=2, name="Other")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Customer cust-1"
    assert writes(ready) == []


async def test_a_name_that_is_taken_is_told_and_leaves_both_contacts(ready):
    await ready.books.act("POST", "contacts", {"Name": "Ridgeway"})
    await ready.know("cust-1", "cust-2", version=2, name="Ridgeway")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Customer cust-1"
    rows = await ready.pool.fetch(
        "SELECT customer_id, block_code FROM customers ORDER BY customer_id"
    )
    assert {row["customer_id"]: row["block_code"] for row in rows} == {
        "cust-1": "CONTACT_NAME_TAKEN",
        "cust-2": "CONTACT_NAME_TAKEN",
    }
    # Its invoices need only the contact, whatever it is called.
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


async def test_a_change_whose_answer_was_lost_is_no_edit_of_somebody(ready):
    ready.books.fault("error_500_after", method="POST", path="*/Contacts*", times=3)
    await ready.know("cust-1", version=2, name="Second")
    await ready.turn()
    assert (await contact_of(ready))["Name"] == "Second"
    await ready.know("cust-1", version=3, name="Third")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Third"
    assert (await mapping_of(ready))["differences"] == []
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_a_change_that_may_still_land_is_awaited(ready):
    ready.books.fault("error_500_before", method="POST", path="*/Contacts*", times=1)
    await ready.know("cust-1", version=2, name="Second")
    await ready.settle()
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 1
    sent = len(writes(ready))
    await ready.settle()
    assert len(writes(ready)) == sent
    await ready.pool.execute("UPDATE intents SET first_sent_at = now() - interval '11 minutes'")
    await ready.settle()
    assert (await contact_of(ready))["Name"] == "Second"
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


STEPS = [
    (tend_contacts, "contacts:after_read"),
    (tend_contacts, "contact_changes:before_intent"),
    (tend_contacts, "contact_changes:after_intent"),
    (send_intent, "send:before"),
    (send_intent, "send:after"),
    (record_contact_changes, "record_contact_changes:before"),
    (record_contact_changes, "record_contact_changes:before_commit"),
    (send_intent, "record:after"),
]


@pytest.mark.parametrize("newer", [False, True], ids=["same", "changed meanwhile"])
@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
async def test_dying_at_any_step_of_a_change_loses_and_invents_nothing(
    ready, died, monkeypatch, module, step, newer
):
    def die(name):
        if name == step:
            raise died

    await ready.know("cust-1", version=2, name="Second")
    with monkeypatch.context() as patched:
        patched.setattr(module, "failpoint", die)
        with pytest.raises(died):
            await ready.turn()
    if newer:
        await ready.know("cust-1", version=3, name="Third")
    await ready.settle(10)
    assert (await contact_of(ready))["Name"] == ("Third" if newer else "Second")
    kept = await mapping_of(ready)
    assert kept["differences"] == []
    assert json.loads(kept["agreed"])["name"] == ("Third" if newer else "Second")
    assert len((await ready.books.ledger())["contacts"]) == 1
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_a_customer_changed_while_its_contact_is_made_is_changed_after(service):
    await service.connect()
    await service.know("cust-1", name="First")
    service.books.fault("error_500_after", method="PUT", path="*/Contacts*", times=1)
    await service.turn()
    await service.know("cust-1", version=2, name="Second")
    await service.settle()
    assert (await contact_of(service))["Name"] == "Second"
    assert len((await service.books.ledger())["contacts"]) == 1
