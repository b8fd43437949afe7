"""Replies against the property names of Xero's published specification and recorded replies."""

import json
import re
from pathlib import Path

import pytest

PUBLISHED = json.loads(
    Path(__file__).with_name("published_property_names.json").read_text(encoding="utf-8")
)
# Recorded in real replies of 2026, absent from the specification.
RECORDED = {
    "Invoice": {"DateString", "DueDateString", "InvoicePaymentServices", "AmountCredited"},
    "CreditNote": {"DateString", "DueDateString", "ID", "InvoiceAddresses"},
    "LineItem": {"ValidationErrors"},
    "Item": {"ItemID", "Name", "Code", "UpdatedDateUTC"},
    "HistoryRecord": {"DateUTCString", "ValidationErrors"},
    "Allocation": set(),
}
NESTED = {
    "Contact": "Contact",
    "LineItems": "LineItem",
    "Payments": "Payment",
    "CreditNotes": "CreditNote",
    "Allocations": "Allocation",
    "Tracking": "LineItemTracking",
    "Item": "Item",
    "Invoice": "Invoice",
    "Account": "Account",
    "Addresses": "Address",
    "Phones": "Phone",
    "Options": "TrackingOption",
    "TaxComponents": "TaxComponent",
}
TOP = {
    "Invoices": "Invoice",
    "Contacts": "Contact",
    "Payments": "Payment",
    "CreditNotes": "CreditNote",
    "Organisations": "Organisation",
    "Accounts": "Account",
    "TaxRates": "TaxRate",
    "Currencies": "Currency",
    "TrackingCategories": "TrackingCategory",
    "Items": "Item",
    "HistoryRecords": "HistoryRecord",
    "OnlineInvoices": "OnlineInvoice",
}


def unknown(kind, body, where):
    known = set(PUBLISHED[kind]) | RECORDED.get(kind, set())
    found = [f"{where}.{name}" for name in body if name not in known]
    for name, value in body.items():
        inner = NESTED.get(name)
        if inner:
            rows = value if isinstance(value, list) else [value]
            for row in rows:
                found += unknown(inner, row, f"{where}.{name}")
    return found


async def everything(sim):
    line = {"ItemCode": "CD", "Quantity": 2, "DiscountRate": 10,
            "Tracking": [{"Name": "Region", "Option": "North"}]}  # fmt: skip
    contact = {"Name": "Acme", "ContactNumber": "c-1", "AccountNumber": "a", "FirstName": "F",
               "TaxNumber": "1", "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "1"}],
               "Addresses": [{"AddressType": "POBOX", "City": "Napier"}]}  # fmt: skip
    await sim.write("PUT", "Contacts", contact)
    body = sim.invoice(
        "", Contact={"ContactNumber": "c-1"}, LineItems=[line], Url="https://a.example"
    )
    written = await sim.write("PUT", "Invoices", body)
    await sim.pay("P-1", "5")
    await sim.admin("POST", f"/tenants/{sim.tenant}/credits", {"invoice": "P-1"})
    return written


@pytest.mark.parametrize(
    "path",
    [
        "Invoices", "Invoices?page=1", "Invoices/P-1", "Invoices/P-1/History",
        "Invoices/P-1/OnlineInvoice", "Contacts", "Contacts/c-1", "Payments", "CreditNotes?page=1",
        "Organisation", "Accounts", "TaxRates", "Currencies", "TrackingCategories", "Items",
    ],
)  # fmt: skip
async def test_only_published_or_recorded_names(sim, path):
    await everything(sim)
    resource, _, query = path.partition("?")
    params = {"page": "1"} if query else {}
    found = await sim.get(resource, **params)
    plural = next(name for name in found if name in TOP)
    assert found[plural]
    problems = [text for row in found[plural] for text in unknown(TOP[plural], row, plural)]
    assert problems == []
    assert {"Id", "Status", "ProviderName", "DateTimeUTC"} <= set(found)
    assert found["Status"] == "OK"
    assert re.fullmatch(r"/Date\(\d+\)/", found["DateTimeUTC"])


async def test_write_replies_use_known_names_and_leave_empty_settlements_out(sim):
    written = (await everything(sim))["Invoices"][0]
    assert unknown("Invoice", written, "Invoice") == []
    assert not {"Payments", "CreditNotes", "AmountCredited", "HasAttachments"} & set(written)
    assert written["Contact"]["IsCustomer"] is True


async def test_both_date_forms(sim):
    written = (await everything(sim))["Invoices"][0]
    assert written["DateString"] == "2026-11-01T00:00:00"
    assert written["Date"] == "/Date(1793491200000+0000)/"
    assert re.fullmatch(r"/Date\(\d{13}\+0000\)/", written["UpdatedDateUTC"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written["UpdatedDateUTCString"])
    body = sim.invoice(
        "", "P-2", Contact={"ContactNumber": "c-1"}, Date="/Date(1793491200000+0000)/"
    )
    again = (await sim.write("PUT", "Invoices", body))["Invoices"][0]
    assert again["DateString"] == "2026-11-01T00:00:00"


async def test_a_list_shows_a_short_contact_and_a_single_read_the_whole(sim):
    await everything(sim)
    short = (await sim.get("Invoices", page="1"))["Invoices"][0]["Contact"]
    assert set(short) == {
        "ContactID", "Name", "Addresses", "Phones", "ContactGroups", "ContactPersons",
        "HasValidationErrors",
    }  # fmt: skip
    whole = (await sim.get("Invoices/P-1"))["Invoices"][0]["Contact"]
    assert whole["ContactNumber"] == "c-1"


async def test_the_nested_contacts_clock_may_run_ahead(sim):
    await sim.admin("PATCH", "/switches", {"nested_contact_shift_hours": 13})
    invoice = await sim.created()
    nested = int(re.findall(r"\d+", invoice["Contact"]["UpdatedDateUTC"])[0])
    contact = (await sim.get(f"Contacts/{invoice['Contact']['ContactID']}"))["Contacts"][0]
    own = int(re.findall(r"\d+", contact["UpdatedDateUTC"])[0])
    assert nested - own == 13 * 3_600_000


async def test_the_date_header_is_the_simulators_clock(sim):
    sim.world.clock.freeze()
    sim.world.clock.advance(900)
    reply = await sim.call("GET", "Organisation")
    expected = sim.world.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert reply.headers["Date"] == expected
