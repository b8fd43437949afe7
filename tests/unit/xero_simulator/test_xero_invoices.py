from decimal import Decimal

import pytest

from xero_simulator import messages
from xero_simulator.ids import NIL

STATUSES = ("DRAFT", "SUBMITTED", "AUTHORISED", "PAID", "VOIDED", "DELETED")
ALLOWED = {
    "DRAFT": {"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"},
    "SUBMITTED": {"SUBMITTED", "DRAFT", "AUTHORISED", "DELETED"},
    "AUTHORISED": {"AUTHORISED", "VOIDED"},
    "PAID": {"PAID"},
    "VOIDED": set(),
    "DELETED": set(),
}


async def bring_to(sim, status):
    start = status if status in {"DRAFT", "SUBMITTED"} else "AUTHORISED"
    start = "DRAFT" if status == "DELETED" else start
    invoice = await sim.created(Status=start)
    if status == "PAID":
        await sim.pay("P-1")
    elif status in {"VOIDED", "DELETED"}:
        await sim.write("POST", f"Invoices/{invoice['InvoiceID']}", {"Status": status})
    found = (await sim.get(f"Invoices/{invoice['InvoiceID']}"))["Invoices"][0]
    assert found["Status"] == status
    return found


@pytest.mark.parametrize("target", STATUSES)
@pytest.mark.parametrize("start", STATUSES)
async def test_status_transitions(sim, start, target):
    invoice = await bring_to(sim, start)
    path = f"Invoices/{invoice['InvoiceID']}"
    reply = await sim.call("POST", path, {"InvoiceID": invoice["InvoiceID"], "Status": target})
    after = (await sim.get(path))["Invoices"][0]
    if target in ALLOWED[start]:
        assert reply.status_code == 200
        assert after["Status"] == target
    else:
        text = reply.json()["Elements"][0]["ValidationErrors"][0]["Message"]
        refusal = messages.STATUS_FOR_MODIFICATION
        assert text == (messages.VOID_REFUSED if (start, target) == ("PAID", "VOIDED") else refusal)
        assert after == invoice


@pytest.mark.parametrize("status", ["PAID", "VOIDED", "DELETED", "NONSENSE"])
async def test_no_creation_in_a_later_status(sim, status):
    body = sim.invoice(await sim.contact(), Status=status)
    assert await sim.refused("PUT", "Invoices", body) == [
        "Invoice not of valid status for creation"
    ]


async def test_draft_is_the_default_status(sim):
    invoice = await sim.created(Status=None, DueDate=None, LineItems=None)
    assert invoice["Status"] == "DRAFT"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Contact": None}, "A Contact must be specified for this type of transaction"),
        ({"DueDate": None}, messages.DUE_DATE_REQUIRED),
        ({"LineItems": []}, messages.LINES_REQUIRED),
        ({"Type": "NONSENSE"}, messages.TYPE_INVALID),
        ({"CurrencyCode": "EUR"}, "Organisation is not subscribed to currency EUR"),
        ({"CurrencyCode": "XXQ"}, "Organisation is not subscribed to currency XXQ"),
        ({"Total": "99.99"}, messages.DOCUMENT_TOTAL),
        ({"Date": "soon"}, "Date is not valid: soon"),
        ({"Reference": "x" * 256}, "Reference cannot be longer than 255 characters"),
        ({"LineAmountTypes": "Sometimes"}, "LineAmountTypes is not valid: Sometimes"),
    ],
)
async def test_refused_documents(sim, changes, message):
    body = sim.invoice(await sim.contact(), **changes)
    assert await sim.refused("PUT", "Invoices", body) == [message]
    assert (await sim.get("Invoices"))["Invoices"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"AccountCode": "999"}, "Account code '999' is not a valid code for this document."),
        ({"AccountCode": "090"}, "Account code '090' is not a valid code for this document."),
        (
            {"AccountCode": "260"},
            messages.ACCOUNT_ARCHIVED.format(code="260"),
        ),
        ({"AccountCode": None}, messages.ACCOUNT_REQUIRED),
        ({"TaxType": "INPUT2"}, "The TaxType code 'INPUT2' cannot be used with account code '200'."),
        ({"TaxType": "WHAT"}, "The TaxType code 'WHAT' cannot be used with account code '200'."),
        (
            {"LineAmount": "110"},
            "The line total 110.00 does not match the expected line total 100.00",
        ),
        ({"UnitAmount": "much"}, "UnitAmount is not valid: much"),
        ({"Description": ""}, messages.DESCRIPTION_REQUIRED),
        ({"Description": "x" * 4001}, messages.DESCRIPTION_LENGTH),
        ({"Tracking": [{"Name": "Region", "Option": "West"}]}, "The tracking category or option 'Region: West' does not exist"),
        ({"ItemCode": "NOPE"}, "Item code 'NOPE' is not valid"),
        ({"Quantity": -1}, messages.NEGATIVE_TOTAL),
    ],
)  # fmt: skip
async def test_refused_lines(sim, line, message):
    await sim.admin("PUT", f"/organisations/{sim.tenant}/accounts/260", {"status": "ARCHIVED"})
    base = {"Description": "Work", "Quantity": 1, "UnitAmount": 100, "AccountCode": "200"}
    lines = [{name: value for name, value in (base | line).items() if value is not None}]
    body = sim.invoice(await sim.contact(), LineItems=lines)
    assert await sim.refused("PUT", "Invoices", body) == [message]


async def test_unknown_account_on_a_draft_is_a_warning(sim):
    lines = [{"Description": "Work", "Quantity": 1, "UnitAmount": 100, "AccountCode": "476"}]
    body = sim.invoice(await sim.contact(), Status="DRAFT", LineItems=lines)
    found = (await sim.write("PUT", "Invoices", body, summarizeErrors="false"))["Invoices"][0]
    assert found["StatusAttributeString"] == "WARNING"
    assert found["Warnings"] == [
        {
            "Message": "Account code '476' has been removed as it does not match a recognised account."
        }
    ]
    assert "AccountCode" not in found["LineItems"][0]


async def test_rounding_example_through_the_api(sim):
    lines = [
        {"Description": "x", "Quantity": 1, "UnitAmount": amount, "AccountCode": "200"}
        for amount in (25.06, 25.61, 25.63)
    ]
    found = await sim.created(LineItems=lines)
    assert [line["TaxAmount"] for line in found["LineItems"]] == [
        Decimal("3.76"), Decimal("3.84"), Decimal("3.84")
    ]  # fmt: skip
    assert found["TotalTax"] == Decimal("11.44")
    assert found["Total"] == Decimal("87.74")


@pytest.mark.parametrize(
    ("unitdp", "unit", "amount"), [("2", "1.24", "124.00"), ("4", "1.2357", "123.57")]
)
async def test_unit_amount_is_rounded_to_two_places_unless_four_are_asked_for(
    sim, unitdp, unit, amount
):
    lines = [{"Description": "x", "Quantity": 100, "UnitAmount": "1.2357", "AccountCode": "200"}]
    body = sim.invoice(await sim.contact(), LineItems=lines)
    found = (await sim.write("PUT", "Invoices", body, unitdp=unitdp))["Invoices"][0]
    line = found["LineItems"][0]
    # The line follows the rounded unit amount: 100 x 1.24.
    assert (line["UnitAmount"], line["LineAmount"]) == (Decimal(unit), Decimal(amount))


async def test_lock_dates(sim):
    change = {"period_lock_date": "2026-10-31"}
    await sim.admin("PATCH", f"/organisations/{sim.tenant}", change)
    contact = await sim.contact()
    early = sim.invoice(contact, Date="2026-10-31")
    assert await sim.refused("PUT", "Invoices", early) == [
        "The document date cannot be before the period lock date, currently set at 31 October 2026"
    ]
    invoice = await sim.created("P-2", contact_id=contact)
    await sim.admin(
        "PATCH", f"/organisations/{sim.tenant}", {"end_of_year_lock_date": "2026-11-30"}
    )
    path = f"Invoices/{invoice['InvoiceID']}"
    refused = await sim.refused("POST", path, {"Reference": "late"})
    assert refused == [messages.YEAR_LOCKED.format(lock_date="30 November 2026")]
    draft = await sim.created("P-3", contact_id=contact, Status="DRAFT", Date="2026-10-31")
    refused = await sim.refused("POST", f"Invoices/{draft['InvoiceID']}", {"Status": "AUTHORISED"})
    assert refused == [messages.YEAR_LOCKED.format(lock_date="30 November 2026")]


async def test_the_period_lock_date_does_not_hold_for_an_app_that_an_adviser_connected(sim):
    await sim.admin("PATCH", "/switches", {"connected_by_adviser": True})
    change = {"period_lock_date": "2026-10-31", "end_of_year_lock_date": "2026-09-30"}
    await sim.admin("PATCH", f"/organisations/{sim.tenant}", change)
    contact = await sim.contact()
    assert (await sim.created("P-1", contact_id=contact, Date="2026-10-31"))[
        "Status"
    ] == "AUTHORISED"
    early = sim.invoice(contact, "P-2", Date="2026-09-30")
    assert await sim.refused("PUT", "Invoices", early) == [
        messages.YEAR_LOCKED.format(lock_date="30 September 2026")
    ]


async def test_sales_numbers_are_unique_bills_are_not(sim):
    contact = await sim.contact()
    await sim.created(contact_id=contact)
    again = sim.invoice(contact)
    assert await sim.refused("PUT", "Invoices", again) == ["Invoice # must be unique."]
    line = {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "400"}
    bill = sim.invoice(contact, "B-1", Type="ACCPAY", LineItems=[line])
    for _ in range(2):
        await sim.write("PUT", "Invoices", bill)


@pytest.mark.parametrize("status", ["VOIDED", "DELETED"])
async def test_a_dead_number_is_held_until_the_switch_frees_it(sim, status):
    contact = await sim.contact()
    invoice = await sim.created(
        contact_id=contact, Status="DRAFT" if status == "DELETED" else "AUTHORISED"
    )
    await sim.write("POST", f"Invoices/{invoice['InvoiceID']}", {"Status": status})
    body = sim.invoice(contact)
    assert await sim.refused("PUT", "Invoices", body) == ["Invoice # must be unique."]
    await sim.admin("PATCH", f"/organisations/{sim.tenant}", {"numbers_freed_by": [status]})
    await sim.write("PUT", "Invoices", body)
    both = (await sim.get("Invoices", InvoiceNumbers="P-1"))["Invoices"]
    assert {row["Status"] for row in both} == {status, "AUTHORISED"}
    assert (await sim.get("Invoices/P-1"))["Invoices"][0]["Status"] == "AUTHORISED"


async def test_absent_numbers_are_assigned(sim):
    first = await sim.created(InvoiceNumber=None)
    second = await sim.created(InvoiceNumber=None, contact_id=first["Contact"]["ContactID"])
    assert [first["InvoiceNumber"], second["InvoiceNumber"]] == ["INV-0001", "INV-0002"]


async def test_put_creates_only_and_post_overwrites_by_number(sim):
    contact = await sim.contact()
    invoice = await sim.created(contact_id=contact)
    other = sim.invoice(contact, Reference="mine now", InvoiceID=invoice["InvoiceID"])
    assert await sim.refused("PUT", "Invoices", other) == ["Invoice # must be unique."]
    del other["InvoiceID"]
    found = (await sim.write("POST", "Invoices", other))["Invoices"][0]
    assert found["InvoiceID"] == invoice["InvoiceID"]
    assert found["Reference"] == "mine now"


async def test_mixed_batch_without_summary_is_200_with_each_outcome(sim):
    contact = await sim.contact()
    rows = [
        sim.invoice(contact, "A"),
        sim.invoice(contact, "B", Contact={}),
        sim.invoice(contact, "C"),
    ]
    found = await sim.write("PUT", "Invoices", {"Invoices": rows}, summarizeErrors="False")
    outcomes = [row["StatusAttributeString"] for row in found["Invoices"]]
    assert outcomes == ["OK", "ERROR", "OK"]
    failed = found["Invoices"][1]
    assert failed["InvoiceID"] == NIL
    assert failed["HasErrors"] is True
    assert failed["ValidationErrors"] == [{"Message": messages.CONTACT_REQUIRED}]
    assert {row["InvoiceNumber"] for row in (await sim.get("Invoices"))["Invoices"]} == {"A", "C"}


@pytest.mark.parametrize(("atomic", "saved"), [(True, set()), (False, {"A"})])
async def test_mixed_batch_with_summary_is_400(sim, atomic, saved):
    await sim.admin("PATCH", "/switches", {"atomic_without_summarize": atomic})
    contact = await sim.contact()
    rows = [sim.invoice(contact, "A"), sim.invoice(contact, "B", DueDate=None)]
    refusals = await sim.refused("PUT", "Invoices", {"Invoices": rows})
    assert refusals == [messages.DUE_DATE_REQUIRED]
    assert {row["InvoiceNumber"] for row in (await sim.get("Invoices"))["Invoices"]} == saved


async def test_success_without_summarize_errors_has_no_status_attribute(sim):
    assert "StatusAttributeString" not in await sim.created()


async def test_a_failed_update_echoes_what_was_asked_for(sim):
    invoice = await sim.created()
    row = {"InvoiceID": invoice["InvoiceID"], "Status": "DELETED"}
    found = await sim.write("POST", "Invoices", row, summarizeErrors="false")
    echo = found["Invoices"][0]
    assert echo["Status"] == "DELETED"
    assert echo["InvoiceID"] == invoice["InvoiceID"]
    assert echo["StatusAttributeString"] == "ERROR"
    assert echo["ValidationErrors"] == [{"Message": "Invoice not of valid status for modification"}]
    assert (await sim.get("Invoices/P-1"))["Invoices"][0]["Status"] == "AUTHORISED"


async def test_lines_update_by_id_are_new_without_and_removed_when_left_out(sim):
    line = {"Quantity": 1, "UnitAmount": 10, "AccountCode": "200"}
    invoice = await sim.created(
        LineItems=[line | {"Description": "keep"}, line | {"Description": "drop"}]
    )
    kept = invoice["LineItems"][0]["LineItemID"]
    change = {
        "LineItems": [
            {"LineItemID": kept, "Description": "kept", "Quantity": 2},
            line | {"Description": "new"},
        ]
    }
    path = f"Invoices/{invoice['InvoiceID']}"
    found = (await sim.write("POST", path, change))["Invoices"][0]
    assert [row["Description"] for row in found["LineItems"]] == ["new", "kept"]
    assert found["LineItems"][1]["LineItemID"] == kept
    assert found["LineItems"][1]["LineAmount"] == Decimal(20)
    assert found["Total"] == Decimal("34.5")


async def test_fields_left_out_of_an_update_stay(sim):
    invoice = await sim.created(Reference="keep me")
    path = f"Invoices/{invoice['InvoiceID']}"
    found = (await sim.write("POST", path, {"DueDate": "2026-12-24"}))["Invoices"][0]
    assert found["Reference"] == "keep me"
    assert found["DueDateString"] == "2026-12-24T00:00:00"
    assert found["LineItems"] == invoice["LineItems"]


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"Reference": "new"}, True),
        ({"DueDate": "2027-01-01"}, True),
        ({"InvoiceNumber": "P-9"}, True),
        ({"Url": "https://example.com/1"}, True),
        ({"Date": "2026-11-02"}, False),
        ({"CurrencyCode": "USD"}, False),
        ({"LineAmountTypes": "NoTax"}, False),
        ({"LineItems": [{"Description": "x", "UnitAmount": 1, "AccountCode": "200"}]}, False),
        ({"LineItems": []}, False),
    ],
)
async def test_edits_of_a_part_paid_invoice(sim, change, allowed):
    invoice = await sim.created()
    await sim.pay("P-1", "10")
    path = f"Invoices/{invoice['InvoiceID']}"
    if allowed:
        await sim.write("POST", path, change)
        return
    refused = await sim.refused("POST", path, change)
    expected = (
        messages.LINES_REQUIRED if change == {"LineItems": []} else messages.PAID_NOT_EDITABLE
    )
    assert refused == [expected]


async def test_line_texts_and_codes_of_a_paid_invoice_may_change(sim):
    invoice = await sim.created()
    await sim.pay("P-1")
    line_id = invoice["LineItems"][0]["LineItemID"]
    change = {
        "LineItems": [
            {
                "LineItemID": line_id,
                "Description": "Better words",
                "AccountCode": "260",
                "Tracking": [{"Name": "Region", "Option": "North"}],
            }
        ]
    }
    found = (await sim.write("POST", f"Invoices/{invoice['InvoiceID']}", change))["Invoices"][0]
    assert found["Status"] == "PAID"
    assert found["LineItems"][0]["AccountCode"] == "260"
    assert found["LineItems"][0]["Tracking"][0]["Option"] == "North"


async def test_a_due_date_on_a_part_paid_invoice_does_not_move_its_updated_date(sim):
    invoice = await sim.created()
    await sim.pay("P-1", "10")
    sim.world.clock.advance(60)
    path = f"Invoices/{invoice['InvoiceID']}"
    before = (await sim.get(path))["Invoices"][0]["UpdatedDateUTC"]
    await sim.write("POST", path, {"DueDate": "2027-01-01"})
    silent = (await sim.get(path))["Invoices"][0]
    assert (silent["UpdatedDateUTC"], silent["DueDateString"]) == (before, "2027-01-01T00:00:00")
    await sim.write("POST", path, {"Reference": "seen"})
    assert (await sim.get(path))["Invoices"][0]["UpdatedDateUTC"] != before


async def test_voiding_with_a_payment_is_refused(sim):
    invoice = await sim.created()
    await sim.pay("P-1", "10")
    path = f"Invoices/{invoice['InvoiceID']}"
    refused = await sim.refused("POST", path, {"Status": "VOIDED"})
    assert refused[0].startswith("The status VOIDED cannot be applied")


async def test_voiding_takes_id_and_status_not_the_whole_object(sim):
    invoice = await sim.created()
    path = f"Invoices/{invoice['InvoiceID']}"
    whole = sim.invoice(invoice["Contact"]["ContactID"], Status="VOIDED")
    assert await sim.refused("POST", path, whole) == [messages.STATUS_FOR_MODIFICATION]
    await sim.admin("PATCH", "/switches", {"whole_object_void_fails": False})
    found = (await sim.write("POST", path, whole))["Invoices"][0]
    assert found["Status"] == "VOIDED"
    assert found["AmountDue"] == found["Total"] == 115


async def test_early_plan_limit(sim):
    await sim.admin("PATCH", f"/organisations/{sim.tenant}", {"monthly_approval_limit": 1})
    contact = await sim.contact()
    draft = await sim.created("D", contact_id=contact, Status="DRAFT")
    await sim.created("A", contact_id=contact)
    text = "You have reached the limit of invoices you can approve"
    assert await sim.refused("PUT", "Invoices", sim.invoice(contact, "B")) == [text]
    path = f"Invoices/{draft['InvoiceID']}"
    assert await sim.refused("POST", path, {"Status": "AUTHORISED"}) == [text]
    sim.world.clock.advance(31 * 86_400)
    await sim.connect()
    await sim.write("POST", path, {"Status": "AUTHORISED"})


async def test_foreign_currency_has_a_rate(sim):
    given = await sim.created("A", CurrencyCode="USD", CurrencyRate="0.61234567")
    assert given["CurrencyRate"] == Decimal("0.612346")
    by_day = await sim.created("B", CurrencyCode="USD")
    assert by_day["CurrencyRate"] == Decimal("0.5873")
    assert (await sim.created("C"))["CurrencyRate"] == 1


async def test_nested_contact_fields_edit_the_contact_and_an_unknown_name_creates_one(sim):
    contact = await sim.contact("Acme")
    body = sim.invoice(contact, Contact={"ContactID": contact, "EmailAddress": "a@example.com"})
    await sim.write("PUT", "Invoices", body)
    found = (await sim.get(f"Contacts/{contact}"))["Contacts"][0]
    assert (found["EmailAddress"], found["IsCustomer"]) == ("a@example.com", True)
    await sim.write("PUT", "Invoices", sim.invoice(contact, "P-2", Contact={"Name": "Brand New"}))
    names = {row["Name"] for row in (await sim.get("Contacts"))["Contacts"]}
    assert names == {"Acme", "Brand New"}


async def test_archived_contact(sim):
    contact = await sim.contact("Acme")
    await sim.write("POST", f"Contacts/{contact}", {"ContactStatus": "ARCHIVED"})
    text = [messages.CONTACT_ARCHIVED]
    assert await sim.refused("PUT", "Invoices", sim.invoice(contact)) == text
    by_name = sim.invoice(contact, Contact={"Name": "acme"})
    assert await sim.refused("PUT", "Invoices", by_name) == text


async def test_a_failed_element_leaves_nothing_behind(sim):
    body = sim.invoice("", Contact={"Name": "Ghost"}, DueDate=None)
    await sim.refused("PUT", "Invoices", body)
    assert (await sim.get("Contacts"))["Contacts"] == []


async def test_history_online_address_and_email(sim):
    invoice = await sim.created()
    path = f"Invoices/{invoice['InvoiceID']}"
    note = {"HistoryRecords": [{"Details": "From Pipeline"}]}
    written = (await sim.write("PUT", f"{path}/History", note))["HistoryRecords"][0]
    assert written["Details"] == "From Pipeline"
    records = (await sim.get(f"{path}/History"))["HistoryRecords"]
    assert {"Changes", "DateUTCString", "DateUTC", "User", "Details"} == set(records[0])
    assert records[0]["Details"] == "From Pipeline"
    await sim.refused("PUT", f"{path}/History", {"HistoryRecords": [{"Details": "x" * 2501}]})
    online = (await sim.get(f"{path}/OnlineInvoice"))["OnlineInvoices"][0]
    assert online["OnlineInvoiceUrl"].startswith("https://in.xero.com/")
    assert (await sim.call("POST", f"{path}/Email", {})).status_code == 204
    assert (await sim.get(path))["Invoices"][0]["SentToContact"] is True
