"""The guide's chapter "Invoice Not Syncing": each of its sentences is true of the running system."""

from company import Company

from pipeline_contracts.sync import InvoiceSynced, SyncFailed


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__check_the_connection_status_is_connected_not_expired(
    company: Company,
):
    await company.know()
    for ending in "revoke", "expire":
        company.xero.http.post(f"/tokens/{ending}", json={"user": company.email}).raise_for_status()
    invoice = company.invoice("expired")
    await company.publish(invoice)

    found = await company.until(invoice, "waiting_for_connection")
    assert company.connection()["status"] == "TOKEN_EXPIRED"
    assert found["cause"]["code"] == "NOT_CONNECTED"
    assert found["cause"]["whose_move"] == "account_admin"
    assert "presses Connect to Xero" in found["cause"]["hint"]
    assert company.in_xero(invoice) == []

    await company.connect()
    await company.until(invoice, "synced")
    assert len(company.in_xero(invoice)) == 1


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__check_the_connection_status_is_connected_not_disconnected(
    company: Company,
):
    await company.know()
    removed = company.xero.http.delete(f"/connections/{company.xero.tenant_id}")
    removed.raise_for_status()
    invoice = company.invoice("disconnected")
    await company.publish(invoice)

    found = await company.until(invoice, "waiting_for_connection")
    assert company.connection()["status"] == "DISCONNECTED"
    assert found["cause"]["code"] == "NOT_CONNECTED"
    assert "Somebody disconnected Pipeline from inside Xero" in found["cause"]["message"]
    assert company.in_xero(invoice) == []

    await company.connect()
    await company.until(invoice, "synced")
    assert len(company.in_xero(invoice)) == 1


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__sync_operates_in_the_background_wait_a_few_minutes_and_check_again(
    company: Company,
):
    await company.issue("before")
    maintenance = {
        "kind": "unavailable_503",
        "method": "PUT",
        "path": "/api.xro/2.0/Invoices*",
        "tenant_id": company.xero.tenant_id,
        "text": "maintenance",
    }
    company.xero.http.post("/faults", json=maintenance).raise_for_status()
    invoice = company.invoice("later")
    await company.publish(invoice)

    def is_under_way():
        found = company.sync(invoice)
        return found if found.get("cause") else None

    found = await company.wait_for(is_under_way, lambda: f"a cause: {company.sync(invoice)}")
    assert found["state"] in {"pending", "syncing"}
    assert found["cause"]["whose_move"] == "system"
    assert found["cause"]["retryable"]
    await company.until(invoice, "synced")
    assert len(company.in_xero(invoice)) == 1
    assert company.told(invoice, SyncFailed) == []


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__ensure_the_customer_linked_to_the_invoice_has_a_valid_xero_contact_mapping(
    company: Company,
):
    choose_strict(company)
    customer = company.customer("buyer")
    contact_id = company.make_contact(Name="The Buyer", EmailAddress=customer.email)
    invoice = company.invoice("unlinked")
    await company.publish(customer, invoice)

    found = await company.until(invoice, "waiting_for_contact")
    assert found["cause"]["code"] == "CUSTOMER_NOT_MAPPED"
    assert found["cause"]["whose_move"] == "bookkeeper"
    mapping = f"/contact-mappings/{customer.customer_id}"
    (suggested,) = await company.wait_for(  # the customer's news may come behind the invoice's
        lambda: company.service.get(f"{mapping}/suggestions").json().get("suggestions"),
        lambda: "a suggestion",
    )
    assert suggested["contact_id"] == contact_id
    assert "same_email" in suggested["reasons"]

    linked = company.service.put(mapping, json={"contact_id": contact_id})
    assert linked.json()["released"] == 1
    await company.until(invoice, "synced")
    assert [row["contact_id"] for row in company.in_xero(invoice)] == [contact_id]


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__a_mapping_to_an_archived_contact_is_not_valid(
    company: Company,
):
    first = await company.issue("first")
    (row,) = company.in_xero(first)
    company.edit_contact(row["contact_id"], ContactStatus="ARCHIVED")
    invoice = company.invoice("archived")
    await company.publish(invoice)

    found = await company.until(invoice, "waiting_for_contact")
    assert found["cause"]["code"] == "CONTACT_ARCHIVED"
    assert company.in_xero(invoice) == []

    other = company.make_contact(Name="The buyer's new contact")
    mapping = f"/contact-mappings/{invoice.customer_id}"
    assert company.service.put(mapping, json={"contact_id": other}).json()["released"] == 1
    await company.until(invoice, "synced")
    assert [row["contact_id"] for row in company.in_xero(invoice)] == [other]


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__if_the_customer_does_not_exist_in_xero_the_invoice_sync_will_fail(
    company: Company,
):
    invoices = [company.invoice(name, customer="nobody") for name in ("one", "two")]
    await company.publish(*invoices)

    for invoice in invoices:
        failure = await company.until_told(invoice, SyncFailed)
        assert failure.code == "CUSTOMER_NOT_MAPPED"
        assert invoice.customer_id in failure.message
        assert "create it there first" in failure.hint
        assert not failure.retryable
        found = company.sync(invoice)
        assert (found["state"], found["in_xero"]) == ("waiting_for_contact", None)
        assert company.in_xero(invoice) == []
    (cause,) = company.service.get("/failures").json()["failures"]
    assert (cause["code"], cause["invoices"]) == ("CUSTOMER_NOT_MAPPED", 2)
    assert cause["totals"] == [{"currency": "NZD", "total": "230.00"}]


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__create_the_customer_first(
    company: Company,
):
    invoice = company.invoice("early")
    await company.publish(invoice)
    await company.until(invoice, "waiting_for_contact")

    await company.publish(company.customer("buyer"))
    await company.until_told(invoice, InvoiceSynced)
    (row,) = company.in_xero(invoice)
    assert row["contact_number"] == invoice.customer_id
    assert len(company.told(invoice, SyncFailed)) == 1


async def test_an_invoice_was_created_in_pipeline_but_does_not_appear_in_xero__create_the_customer_first_where_only_people_link(
    company: Company,
):
    choose_strict(company)
    invoice = company.invoice("early")
    await company.publish(company.customer("buyer"), invoice)
    await company.until(invoice, "waiting_for_contact")
    assert company.contacts() == {}

    contact_id = company.make_contact(Name="Made by hand")
    mapping = f"/contact-mappings/{invoice.customer_id}"
    company.service.put(mapping, json={"contact_id": contact_id}).raise_for_status()
    await company.until(invoice, "synced")
    assert [row["contact_id"] for row in company.in_xero(invoice)] == [contact_id]


def choose_strict(company: Company) -> None:
    """No mapping, no sync: a person links every customer."""
    settings = company.service.get("/settings")
    company.service.put(
        "/settings",
        json={"mapping_policy": "strict"},
        headers={"If-Match": settings.headers["etag"]},
    ).raise_for_status()
