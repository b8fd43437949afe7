import pytest

from xero_simulator.ids import NIL

TAKEN = (
    "The contact name {} is already assigned to another contact. "
    "The contact name must be unique across all active contacts."
)
ARCHIVED = (
    "The specified contact details matched an archived contact. "
    "Archived contacts cannot currently be edited via the API."
)


async def test_put_never_touches_an_existing_contact(sim):
    await sim.write("PUT", "Contacts", {"Name": "Acme", "ContactNumber": "c-1"})
    assert await sim.refused("PUT", "Contacts", {"Name": "ACME"}) == [TAKEN.format("ACME")]
    other = {"Name": "Other", "ContactNumber": "C-1"}
    assert await sim.refused("PUT", "Contacts", other) == [TAKEN.format("Other")]
    row = (await sim.write("PUT", "Contacts", other, summarizeErrors="false"))["Contacts"][0]
    assert (row["ContactID"], row["HasValidationErrors"]) == (NIL, True)
    assert row["StatusAttributeString"] == "ERROR"


async def test_post_with_a_colliding_name_overwrites(sim):
    contact = await sim.contact("Acme")
    body = {"Name": "acme", "EmailAddress": "new@example.com"}
    found = (await sim.write("POST", "Contacts", body))["Contacts"][0]
    assert found["ContactID"] == contact
    assert found["EmailAddress"] == "new@example.com"


async def test_renaming_onto_another_contact_is_refused(sim):
    await sim.contact("Acme")
    contact = await sim.contact("Other")
    body = {"ContactID": contact, "Name": "Acme"}
    assert await sim.refused("POST", "Contacts", body) == [TAKEN.format("Acme")]


async def test_an_archived_name_is_free_but_its_number_is_not(sim):
    body = {"Name": "Acme", "ContactNumber": "c-1"}
    contact = (await sim.write("PUT", "Contacts", body))["Contacts"][0]["ContactID"]
    await sim.write("POST", f"Contacts/{contact}", {"ContactStatus": "ARCHIVED"})
    assert await sim.refused("PUT", "Contacts", body) == [TAKEN.format("Acme")]
    await sim.write("PUT", "Contacts", {"Name": "Acme"})


async def test_an_archived_contact_is_not_editable_by_the_api_but_by_a_person(sim):
    contact = await sim.contact("Acme")
    await sim.write("POST", f"Contacts/{contact}", {"ContactStatus": "ARCHIVED"})
    body = {"ContactID": contact, "Name": "Acme 2"}
    assert await sim.refused("POST", "Contacts", body) == [ARCHIVED]
    restore = {"ContactStatus": "ACTIVE"}
    await sim.admin("POST", f"/tenants/{sim.tenant}/contacts/{contact}", restore)
    await sim.write("POST", "Contacts", body)


async def test_archived_contacts_are_listed_only_when_asked_for(sim):
    contact = await sim.contact("Acme")
    await sim.write("POST", f"Contacts/{contact}", {"ContactStatus": "ARCHIVED"})
    assert (await sim.get("Contacts"))["Contacts"] == []
    listed = (await sim.get("Contacts", includeArchived="True"))["Contacts"]
    assert [row["ContactStatus"] for row in listed] == ["ARCHIVED"]
    assert (await sim.get(f"Contacts/{contact}"))["Contacts"][0]["ContactStatus"] == "ARCHIVED"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Name": ""},
        {"Name": "a<b"},
        {"Name": "x" * 256},
        {"Name": "A", "ContactNumber": "9" * 51},
    ],
)
async def test_refused_contacts(sim, body):
    assert len(await sim.refused("PUT", "Contacts", body)) == 1


async def test_lookups(sim):
    rows = [
        {"Name": "Acme", "ContactNumber": "c-1", "EmailAddress": "a@example.com"},
        {"Name": "Best", "AccountNumber": "ACC-2", "FirstName": "Zoe", "LastName": "Quill"},
    ]
    await sim.write("PUT", "Contacts", {"Contacts": rows})

    async def names(**params):
        return [row["Name"] for row in (await sim.get("Contacts", **params))["Contacts"]]

    assert await names(where='Name=="ACME"') == ["Acme"]
    assert await names(where='EmailAddress=="A@EXAMPLE.COM"') == ["Acme"]
    assert await names(where='AccountNumber=="acc-2"') == ["Best"]
    assert await names(searchTerm="quill") == ["Best"]
    assert await names(searchTerm="c-1") == ["Acme"]
    assert await names(order="Name DESC") == ["Best", "Acme"]
    by_number = (await sim.get("Contacts/c-1"))["Contacts"][0]
    assert by_number["Name"] == "Acme"
    assert "Balances" in by_number
    assert await names(IDs=by_number["ContactID"]) == ["Acme"]


async def test_unknown_contact_is_a_404_page(sim):
    reply = await sim.call("GET", f"Contacts/{NIL}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.text == "The resource you're looking for cannot be found"


async def test_merged_contact_shows_on_single_reads_and_pages_only(sim):
    target, source = await sim.contact("Target"), await sim.contact("Source")
    await sim.admin("POST", f"/tenants/{sim.tenant}/contacts/{source}/merge-into/{target}", {})
    single = (await sim.get(f"Contacts/{source}"))["Contacts"][0]
    assert single["MergedToContactID"] == target
    unpaged = (await sim.get("Contacts", includeArchived="true"))["Contacts"]
    assert all("MergedToContactID" not in row for row in unpaged)
    paged = (await sim.get("Contacts", includeArchived="true", page="1"))["Contacts"]
    assert any(row.get("MergedToContactID") == target for row in paged)


async def test_the_documents_of_a_merged_contact_become_the_other_ones(sim):
    target, source = await sim.contact("Target"), await sim.contact("Source")
    line = {"Description": "Work", "Quantity": 1, "UnitAmount": 10, "AccountCode": "200"}
    body = {"Type": "ACCREC", "Contact": {"ContactID": source}, "LineItems": [line]}
    made = (await sim.write("PUT", "Invoices", body))["Invoices"][0]
    await sim.admin("POST", f"/tenants/{sim.tenant}/contacts/{source}/merge-into/{target}", {})
    shown = (await sim.get(f"Invoices/{made['InvoiceID']}"))["Invoices"][0]
    assert shown["Contact"]["ContactID"] == target


async def test_a_deleted_contact_is_gone_and_its_name_and_number_are_free(sim):
    body = {"Name": "Acme", "ContactNumber": "c-1"}
    contact = (await sim.write("PUT", "Contacts", body))["Contacts"][0]["ContactID"]
    await sim.admin("DELETE", f"/tenants/{sim.tenant}/contacts/{contact}")
    assert (await sim.call("GET", f"Contacts/{contact}")).status_code == 404
    listed = await sim.get("Contacts", IDs=contact, includeArchived="true", page="1")
    assert listed["Contacts"] == []
    await sim.write("PUT", "Contacts", body)
