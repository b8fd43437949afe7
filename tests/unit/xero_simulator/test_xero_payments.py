from decimal import Decimal

import pytest

from xero_simulator import messages


async def pay(sim, invoice, amount, **more):
    body = {
        "Invoice": {"InvoiceID": invoice["InvoiceID"]},
        "Account": {"Code": "090"},
        "Date": "2026-11-10",
        "Amount": amount,
    }
    return (await sim.write("PUT", "Payments", body | more))["Payments"][0]


async def state(sim):
    row = (await sim.get("Invoices/P-1"))["Invoices"][0]
    return row["Status"], row["AmountPaid"], row["AmountDue"], "FullyPaidOnDate" in row


async def test_part_then_full_then_deleted(sim):
    invoice = await sim.created()
    first = await pay(sim, invoice, "15.00")
    assert await state(sim) == ("AUTHORISED", 15, 100, False)
    second = await pay(sim, invoice, "100.00")
    assert await state(sim) == ("PAID", 115, 0, True)
    deleted = await sim.write("POST", f"Payments/{first['PaymentID']}", {"Status": "DELETED"})
    assert deleted["Payments"][0]["Status"] == "DELETED"
    assert await state(sim) == ("AUTHORISED", 100, 15, False)
    nested = (await sim.get("Invoices/P-1"))["Invoices"][0]["Payments"]
    assert [row["PaymentID"] for row in nested] == [second["PaymentID"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Amount": "115.01"}, "Payment amount exceeds the amount outstanding on this document"),
        ({"Amount": "0"}, messages.PAYMENT_AMOUNT_INVALID),
        ({"Amount": "-5"}, messages.PAYMENT_AMOUNT_INVALID),
        ({"Account": {"Code": "200"}}, messages.PAYMENT_ACCOUNT_INVALID),
        ({"Account": {}}, messages.PAYMENT_ACCOUNT_INVALID),
        ({"Invoice": {"InvoiceID": "nope"}}, messages.PAYMENT_DOCUMENT_UNKNOWN),
        ({"CreditNote": {"CreditNoteID": "both"}}, messages.PAYMENT_DOCUMENT_UNKNOWN),
    ],
)
async def test_refused_payments(sim, change, message):
    invoice = await sim.created()
    body = {
        "Invoice": {"InvoiceID": invoice["InvoiceID"]},
        "Account": {"Code": "090"},
        "Amount": "1",
    } | change
    assert await sim.refused("PUT", "Payments", body) == [message]
    assert await state(sim) == ("AUTHORISED", 0, 115, False)


@pytest.mark.parametrize("status", ["DRAFT", "SUBMITTED", "VOIDED", "PAID"])
async def test_only_authorised_documents_are_paid(sim, status):
    start = status if status in {"DRAFT", "SUBMITTED"} else "AUTHORISED"
    invoice = await sim.created(Status=start)
    if status == "VOIDED":
        await sim.write("POST", f"Invoices/{invoice['InvoiceID']}", {"Status": "VOIDED"})
    if status == "PAID":
        await sim.pay("P-1")
    body = {"Invoice": {"InvoiceNumber": "P-1"}, "Account": {"Code": "090"}, "Amount": 1}
    assert await sim.refused("PUT", "Payments", body) == [
        "Payments can only be made against Authorised documents"
    ]


@pytest.mark.parametrize(
    "body", [{"Reference": "x"}, {"Status": "AUTHORISED"}, {"Status": "DELETED", "Amount": 1}]
)
async def test_payments_are_never_edited(sim, body):
    payment = await pay(sim, await sim.created(), "1")
    path = f"Payments/{payment['PaymentID']}"
    assert await sim.refused("POST", path, body) == ["Only Status accepted for updates."]


async def test_deleting_twice_and_deleting_what_is_reconciled(sim):
    invoice = await sim.created()
    payment = await pay(sim, invoice, "1")
    path = f"Payments/{payment['PaymentID']}"
    await sim.write("POST", path, {"Status": "DELETED"})
    refused = await sim.refused("POST", path, {"Status": "DELETED"})
    assert refused == [messages.PAYMENT_DELETED]
    held = await pay(sim, invoice, "1", IsReconciled=True)
    path = f"Payments/{held['PaymentID']}"
    refused = await sim.refused("POST", path, {"Status": "DELETED"})
    assert refused == [messages.PAYMENT_RECONCILED]
    await sim.admin("PATCH", "/switches", {"reconciled_payment_deletable": True})
    await sim.write("POST", path, {"Status": "DELETED"})


@pytest.mark.parametrize("listed", [True, False])
async def test_lists_filter_and_may_hide_deleted_payments(sim, listed):
    await sim.admin("PATCH", "/switches", {"deleted_payments_listed": listed})
    invoice = await sim.created()
    payment = await pay(sim, invoice, "1", Reference="gone")
    await sim.write("POST", f"Payments/{payment['PaymentID']}", {"Status": "DELETED"})
    await pay(sim, invoice, "2", Reference="here")
    where = f'Invoice.InvoiceID==guid("{invoice["InvoiceID"]}")'
    rows = (await sim.get("Payments", where=where))["Payments"]
    assert {row["Reference"] for row in rows} == ({"gone", "here"} if listed else {"here"})
    live = (await sim.get("Payments", where='Status=="AUTHORISED" AND Amount>1.5'))["Payments"]
    assert [row["Reference"] for row in live] == ["here"]
    assert live[0]["PaymentType"] == "ACCRECPAYMENT"


async def test_bank_amount_is_in_the_accounts_currency(sim):
    invoice = await sim.created(CurrencyCode="USD", CurrencyRate="0.5")
    payment = await pay(sim, invoice, "10")
    assert (payment["Amount"], payment["BankAmount"]) == (10, 20)


async def test_a_credit_note_pays_an_invoice_without_any_payment(sim):
    invoice = await sim.created()
    contact = invoice["Contact"]["ContactID"]
    note = {
        "Type": "ACCRECCREDIT",
        "Contact": {"ContactID": contact},
        "Date": "2026-11-05",
        "Status": "AUTHORISED",
        "LineItems": [{"Description": "sorry", "UnitAmount": 200, "AccountCode": "200"}],
    }
    credit = (await sim.write("PUT", "CreditNotes", note))["CreditNotes"][0]
    assert credit["RemainingCredit"] == 230
    path = f"CreditNotes/{credit['CreditNoteID']}/Allocations"
    too_much = {"Invoice": {"InvoiceID": invoice["InvoiceID"]}, "Amount": 116}
    refused = await sim.refused("PUT", path, {"Allocations": [too_much]})
    assert refused == [messages.ALLOCATION_TOO_LARGE]
    row = too_much | {"Amount": 115}
    made = (await sim.write("PUT", path, {"Allocations": [row]}))["Allocations"][0]
    found = (await sim.get("Invoices/P-1"))["Invoices"][0]
    assert (found["Status"], found["AmountPaid"], found["AmountCredited"]) == ("PAID", 0, 115)
    assert "Payments" not in found
    assert found["CreditNotes"][0]["AppliedAmount"] == 115
    left = (await sim.get(f"CreditNotes/{credit['CreditNoteID']}"))["CreditNotes"][0]
    assert (left["Status"], left["RemainingCredit"]) == ("AUTHORISED", 115)
    reply = await sim.call("DELETE", f"{path}/{made['AllocationID']}")
    assert reply.json()["IsDeleted"] is True
    again = (await sim.get("Invoices/P-1"))["Invoices"][0]
    assert (again["Status"], again["AmountCredited"]) == ("AUTHORISED", 0)


@pytest.mark.parametrize(
    ("kind", "key"), [("overpayment", "Overpayments"), ("prepayment", "Prepayments")]
)
async def test_over_and_prepayments_show_inside_the_invoice(sim, kind, key):
    await sim.created()
    body = {"invoice": "P-1", "kind": kind, "amount": "15.00", "total": "50.00"}
    made = await sim.admin("POST", f"/tenants/{sim.tenant}/credits", body)
    assert made["amount_due"] == "100.00"
    found = (await sim.get("Invoices/P-1"))["Invoices"][0]
    assert found[key][0]["AppliedAmount"] == 15
    assert found["AmountCredited"] == 15
    await sim.admin("DELETE", f"/tenants/{sim.tenant}/allocations/{made['allocation_id']}")
    assert (await sim.get("Invoices/P-1"))["Invoices"][0]["AmountDue"] == Decimal(115)


async def test_a_person_pays_without_spending_calls(sim):
    await sim.created()
    before = (await sim.admin("GET", "/calls"))["count"]
    payment = await sim.pay("P-1", "15.00", reference="bank line")
    assert (payment["amount"], payment["amount_due"]) == ("15.00", "100.00")
    assert (await sim.admin("GET", "/calls"))["count"] == before
    await sim.admin("DELETE", f"/tenants/{sim.tenant}/payments/{payment['payment_id']}")
    ledger = await sim.admin("GET", f"/tenants/{sim.tenant}/ledger")
    assert ledger["payments"][0]["status"] == "DELETED"
    assert ledger["invoices"][0]["amount_due"] == "115.00"
    body = {"invoice": "P-1", "amount": "500"}
    await sim.admin("POST", f"/tenants/{sim.tenant}/payments", body, status=422)


async def test_a_credit_note_can_be_paid_out(sim):
    contact = await sim.contact()
    line = {"Description": "sorry", "UnitAmount": 100, "AccountCode": "200"}
    note = {"Type": "ACCRECCREDIT", "Contact": {"ContactID": contact}, "Status": "AUTHORISED",
            "LineItems": [line]}  # fmt: skip
    credit = (await sim.write("PUT", "CreditNotes", note))["CreditNotes"][0]
    body = {
        "CreditNote": {"CreditNoteNumber": credit["CreditNoteNumber"]},
        "Account": {"Code": "090"},
        "Amount": 115,
    }
    paid = (await sim.write("POST", "Payments", body))["Payments"][0]
    assert paid["PaymentType"] == "ARCREDITPAYMENT"
    # Listed under Invoice with the credit note's id, as in the published example.
    assert paid["Invoice"]["InvoiceID"] == credit["CreditNoteID"]
    found = (await sim.get(f"CreditNotes/{credit['CreditNoteID']}"))["CreditNotes"][0]
    assert (found["Status"], found["RemainingCredit"]) == ("PAID", 0)
    assert found["Payments"][0]["PaymentID"] == paid["PaymentID"]


@pytest.mark.parametrize("target", ["DRAFT", "VOIDED"])
async def test_credit_notes_move_by_the_same_table(sim, target):
    contact = await sim.contact()
    line = {"Description": "sorry", "UnitAmount": 100, "AccountCode": "200"}
    note = {"Type": "ACCRECCREDIT", "Contact": {"ContactID": contact}, "Status": "AUTHORISED",
            "CreditNoteNumber": "CN-X", "LineItems": [line]}  # fmt: skip
    await sim.write("PUT", "CreditNotes", note)
    assert await sim.refused("PUT", "CreditNotes", note) == [messages.CREDIT_NOTE_NUMBER_TAKEN]
    change = {"CreditNoteNumber": "CN-X", "Status": target}
    if target == "VOIDED":
        found = (await sim.write("POST", "CreditNotes", change))["CreditNotes"][0]
        assert found["Status"] == "VOIDED"
    else:
        refused = await sim.refused("POST", "CreditNotes", change)
        assert refused == [messages.STATUS_FOR_MODIFICATION]
