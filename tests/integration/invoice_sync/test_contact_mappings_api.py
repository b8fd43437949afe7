"""`…/contact-mappings` as people and programs see it: links, suggestions, what is wrong with a contact."""

import httpx
import pytest
from invoice_sync_api import Callers, app_over


@pytest.fixture
async def asking(service, sync_dsn, tmp_path):
    """A client in front of the application over the simulator, and the maker of people's headers."""
    callers = Callers()
    app = app_over(service.deps, sync_dsn, tmp_path, callers)

    def person(role="operator", account_id=service.account_id):
        return callers.person(account_id, role)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://invoice-sync"
    ) as client:
        yield client, f"/v1/accounts/{service.account_id}/contact-mappings", person


async def test_a_name_that_is_taken_is_suggested_linked_and_released(asking, service):
    client, path, person = asking
    await service.connect()
    made = await service.books.act("POST", "contacts", {"Name": "Ridgeway University"})
    await service.know("cust-1", name="Ridgeway University")
    await service.want(service.invoice("inv-1"), service.invoice("inv-2"))
    await service.settle()
    answer = await client.get(f"{path}/suggestions", headers=person("viewer"))
    assert answer.status_code == 200, answer.text
    (waiting,) = answer.json()["customers"]
    assert (waiting["customer_id"], waiting["code"]) == ("cust-1", "CONTACT_NAME_TAKEN")
    (suggested,) = waiting["suggestions"]
    assert suggested["contact_id"] == made["contact_id"]
    assert suggested["reasons"] == ["same_name"]
    assert made["contact_id"] in suggested["deep_link"]
    of_one = await client.get(f"{path}/cust-1/suggestions", headers=person("viewer"))
    assert of_one.json()["suggestions"] == [suggested]
    chosen = {"contact_id": suggested["contact_id"]}
    put = await client.put(f"{path}/cust-1", json=chosen, headers=person())
    assert (put.status_code, put.json()["released"]) == (200, 2)
    shown = (await client.get(f"{path}/cust-1", headers=person("viewer"))).json()
    assert put.json()["mapped_at"] == shown["mapped_at"] is not None
    again = await client.put(f"{path}/cust-1", json=chosen, headers=person())
    assert again.json()["released"] == 0
    await service.settle()
    assert await service.state("inv-1") == await service.state("inv-2") == "synced"


async def test_a_link_shows_what_is_wrong_with_its_contact(asking, ready):
    client, path, person = asking
    (contact,) = (await ready.books.ledger())["contacts"]
    await ready.books.act("POST", f"contacts/{contact['contact_id']}", {"Name": "Of Xero"})
    await ready.know("cust-1", version=2, name="Of Pipeline")
    await ready.settle()
    shown = (await client.get(f"{path}/cust-1", headers=person("viewer"))).json()
    assert shown["differences"] == [
        {"field": "name", "base": "Customer cust-1", "pipeline": "Of Pipeline", "xero": "Of Xero"}
    ]
    assert shown["problem"] is None
    # Linking anew keeps what Xero has.
    chosen = {"contact_id": contact["contact_id"]}
    put = await client.put(f"{path}/cust-1", json=chosen, headers=person())
    assert put.json()["differences"] == []
    await ready.settle()
    assert (await ready.books.ledger())["contacts"][0]["name"] == "Of Xero"


async def test_a_link_shows_that_xero_did_not_take_a_change(asking, ready):
    client, path, person = asking
    await ready.books.act("POST", "contacts", {"Name": "Ridgeway"})
    await ready.know("cust-1", version=2, name="Ridgeway")
    await ready.settle()
    shown = (await client.get(f"{path}/cust-1", headers=person("viewer"))).json()
    assert shown["refused_change"]["code"] == "CONTACT_NAME_TAKEN"
    assert "Ridgeway" in shown["refused_change"]["message"]


async def test_a_link_shows_who_shares_its_contact(asking, ready):
    client, path, person = asking
    (contact,) = (await ready.books.ledger())["contacts"]
    chosen = {"contact_id": contact["contact_id"]}
    for customer in ("cust-2", "cust-3"):
        await client.put(f"{path}/{customer}", json=chosen, headers=person())
    shown = (await client.get(f"{path}/cust-1", headers=person("viewer"))).json()
    assert shown["shared_with"] == ["cust-2", "cust-3"]
    for customer in ("cust-2", "cust-3"):
        gone = await client.delete(f"{path}/{customer}", headers=person())
        assert gone.status_code == 204
    assert (await client.get(f"{path}/cust-1", headers=person("viewer"))).json()[
        "shared_with"
    ] == []


async def test_the_list_is_paged_and_refuses_what_no_id_holds(asking, ready):
    client, path, person = asking
    await ready.know("cust-2", "cust-3")
    await ready.settle()
    seen, after = [], ""
    while after is not None:
        reply = await client.get(
            path, params={"limit": 2, "after": after}, headers=person("viewer")
        )
        seen += [each["customer_id"] for each in reply.json()["mappings"]]
        after = reply.json()["next_after"]
    assert seen == ["cust-1", "cust-2", "cust-3"]
    for rubbish in ({"after": "\0"}, {"after": "x" * 256}, {"limit": 0}, {"limit": "x"}):
        refused = await client.get(path, params=rubbish, headers=person("viewer"))
        assert refused.status_code == 422, rubbish
        assert refused.json()["errors"][0]["field"].startswith("query.")


async def test_suggestions_need_a_connection_and_ones_own_account(asking, service):
    client, path, person = asking
    refused = await client.get(f"{path}/suggestions", headers=person("viewer"))
    assert (refused.status_code, refused.json()["code"]) == (409, "NOT_CONNECTED")
    stranger = person("viewer", account_id="acc-stranger")
    assert (await client.get(f"{path}/suggestions", headers=stranger)).status_code == 404
    assert (await client.get(f"{path}/cust-1/suggestions")).status_code == 401
    await service.connect()
    unknown = await client.get(f"{path}/cust-1/suggestions", headers=person("viewer"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "CUSTOMER_UNKNOWN")


async def test_suggestions_say_when_xero_cannot_be_asked(asking, ready):
    client, path, person = asking
    ready.books.fault("error_500_before", method="GET", path="*/Contacts*", times=1)
    refused = await client.get(f"{path}/cust-1/suggestions", headers=person("viewer"))
    assert (refused.status_code, refused.json()["code"]) == (503, "XERO_UNAVAILABLE")


async def test_a_mistyped_contact_is_answered_with_where_its_id_is_found(asking, ready):
    client, path, person = asking
    for wrong in ("Ridgeway", "", 7, None, "243216c5-369e-4056-ac67-05388f86dc8"):
        answer = await client.put(f"{path}/cust-1", json={"contact_id": wrong}, headers=person())
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "body.contact_id"
        assert "/suggestions" in error["message"]
        assert "[0-9a-f" not in answer.text


async def test_a_customer_that_nobody_told_of_is_suggested_contacts_by_its_name(asking, ready):
    client, path, person = asking
    made = await ready.books.act("POST", "contacts", {"Name": "Ridgeway University"})
    unknown = await client.get(f"{path}/cust-9/suggestions", headers=person("viewer"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "CUSTOMER_UNKNOWN")
    assert "?name=" in unknown.json()["hint"]
    by_name = {"name": "Ridgeway University"}
    answer = await client.get(
        f"{path}/cust-9/suggestions", params=by_name, headers=person("viewer")
    )
    (suggested,) = answer.json()["suggestions"]
    assert (suggested["contact_id"], suggested["reasons"]) == (made["contact_id"], ["same_name"])
