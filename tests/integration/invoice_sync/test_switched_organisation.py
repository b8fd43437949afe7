"""After a confirmed switch of the organisation: what is in the former one stays there, nothing of it goes to the new."""

import pytest

from invoice_sync.map_contact import map_contact

INVOICES = "/api.xro/2.0/Invoices"


@pytest.fixture
def other(service):
    """The organisation switched to: its id in the simulator."""
    return next(each for each in service.books.world.books if each != service.books.tenant_id)


async def switch(service, tenant_id):
    """As the connector announces it: disconnected from the one, connected to the other."""
    await service.connect("DISCONNECTED", reason="DISCONNECTED_BY_USER")
    await service.connect(tenant_id=tenant_id, reason="ORGANISATION_SWITCHED")


async def ledger(service, tenant_id):
    reply = await service.books.http.get(f"{service.books.url}/admin/tenants/{tenant_id}/ledger")
    return reply.json()


async def numbers(service, tenant_id):
    return [each["number"] for each in (await ledger(service, tenant_id))["invoices"]]


async def a_contact_in(service, tenant_id, name="Somebody"):
    reply = await service.books.http.post(
        f"{service.books.url}/admin/tenants/{tenant_id}/contacts", json={"Name": name}
    )
    return reply.json()["contact_id"]


async def map_customer(service, tenant_id):
    """A person maps cust-1 to a contact of the organisation connected now."""
    contact = await a_contact_in(service, tenant_id)
    await map_contact(service.deps, service.account_id, "cust-1", contact, "user-1")
    return contact


async def test_an_invoice_in_the_former_organisation_stays_there(ready, other, kinds_of_event):
    before = await numbers(ready, other)
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    await switch(ready, other)
    await ready.want(
        ready.invoice("inv-1", version=2, reference="new", kind=kinds_of_event["updated"])
    )
    await ready.settle()
    assert await ready.state("inv-1") == "waiting_for_connection"
    assert [each.code for each in await ready.told("inv-1") if hasattr(each, "code")] == [
        "TENANT_CHANGED"
    ]
    assert await numbers(ready, other) == before
    # Switching back resumes it.
    await switch(ready, ready.books.tenant_id)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    [only] = await ready.books.invoices("INV-1")
    assert only["reference"] == "new"


async def test_a_write_on_its_way_to_the_former_organisation_is_never_sent_to_the_new(ready, other):
    before = await numbers(ready, other)
    ready.books.fault("commit_then_reset", method="PUT", path=f"{INVOICES}*")
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    await switch(ready, other)
    for _ in range(4):
        await ready.hurry()
        await ready.turn()
    assert await numbers(ready, other) == before
    await switch(ready, ready.books.tenant_id)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert len(await ready.books.invoices("INV-1")) == 1


@pytest.mark.parametrize("accepted", ["before", "while disconnected", "after"])
async def test_what_was_never_sent_goes_to_the_new_organisation_once_its_customer_is_mapped(
    ready, other, accepted
):
    before = await numbers(ready, other)
    former = await numbers(ready, ready.books.tenant_id)
    if accepted == "before":
        await ready.want(ready.invoice("inv-1"))
        await switch(ready, other)
    elif accepted == "while disconnected":
        await ready.connect("DISCONNECTED")
        await ready.want(ready.invoice("inv-1"))
        await ready.turn()
        assert await ready.state("inv-1") == "waiting_for_connection"
        await ready.connect(tenant_id=other, reason="ORGANISATION_SWITCHED")
    else:
        await switch(ready, other)
        await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    # The former organisation's mapping of this customer does not apply.
    assert await ready.state("inv-1") == "waiting_for_contact"
    assert await numbers(ready, other) == before
    contact = await map_customer(ready, other)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert sorted(await numbers(ready, other)) == sorted([*before, "INV-1"])
    assert await numbers(ready, ready.books.tenant_id) == former
    [sent] = [e for e in (await ledger(ready, other))["invoices"] if e["number"] == "INV-1"]
    assert contact in str(sent)
    link = await ready.pool.fetchrow("SELECT tenant_id FROM invoice_links")
    assert link["tenant_id"] == other


async def test_a_send_that_met_the_switch_goes_to_the_new_organisation_afterwards(ready, other):
    """The gateway refuses it by its X-Expected-Tenant, so nothing was sent; it is as unsent as any other."""
    await ready.want(ready.invoice("inv-1"))
    ready.gateway.tenants[ready.account_id] = other
    await ready.turn()
    assert await ready.books.invoices("INV-1") == []
    await switch(ready, other)
    await map_customer(ready, other)
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert "INV-1" in await numbers(ready, other)
    assert await ready.books.invoices("INV-1") == []


async def test_nothing_known_of_the_former_organisation_is_taken_for_the_new(service, other):
    await service.connect()
    await service.pool.execute(
        "UPDATE accounts SET tenant_name = 'Former', base_currency = 'NZD', short_code = '!old'"
    )
    await service.connect("DISCONNECTED")
    row = await service.pool.fetchrow("SELECT * FROM accounts")
    assert (row["tenant_name"], row["base_currency"]) == ("Former", "NZD")
    await service.connect(tenant_id=other, reason="ORGANISATION_SWITCHED")
    row = await service.pool.fetchrow("SELECT * FROM accounts")
    assert (row["tenant_id"], row["tenant_name"], row["base_currency"]) == (other, None, None)
    assert row["short_code"] == "!Abc1D"
