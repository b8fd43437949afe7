"""Whatever is asked of the books, accepted or refused, they add up afterwards."""

from collections import Counter
from contextlib import suppress
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from xero_simulator import contacts, credit_notes, invoices, payments
from xero_simulator.config import Settings
from xero_simulator.messages import RuleBroken
from xero_simulator.world import make_world

# Few numbers and telling amounts; "all" is what is due.
NUMBERS = st.sampled_from(["A", "B"])
AMOUNTS = st.sampled_from(["all", "all", "10", "0.01", "4.44", "149.99"])
# Repeated so that most runs reach the states where money moves.
STATUSES = st.sampled_from(
    ["AUTHORISED"] * 6 + ["VOIDED"] * 3 + ["DRAFT", "SUBMITTED", "DELETED", "PAID"]
)
ACTIONS = st.sampled_from(
    ["create"] * 4 + ["pay"] * 4 + ["status"] * 3 + ["credit", "post", "unpay", "uncredit"] * 2
    + ["archive"]
)  # fmt: skip
STEPS = st.tuples(ACTIONS, NUMBERS, AMOUNTS, STATUSES)


def invoice(number, amount, status):
    lines = [
        {"Description": "x", "Quantity": 1, "UnitAmount": part, "AccountCode": "200"}
        for part in (amount, "0.03")
    ]
    return {
        "Type": "ACCREC", "InvoiceNumber": number, "Contact": {"Name": f"Contact {number}"},
        "DueDate": "2026-12-01", "Status": status, "LineItems": lines,
    }  # fmt: skip


def credit(scene, number, amount):
    found = scene.books.invoices_numbered(number)
    if not found:
        return
    note = invoice(number, amount, "AUTHORISED") | {"Type": "ACCRECCREDIT"}
    source = credit_notes.create_credit_note(scene, note).document
    row = {"Invoice": {"InvoiceID": found[-1].document_id}, "Amount": amount}
    credit_notes.allocate(scene, source, row)


def take(scene, step):
    action, number, amount, status = step
    books = scene.books
    if amount == "all":
        due = [row.outstanding for row in books.invoices_numbered(number)]
        amount = str(due[-1]) if due and action in {"pay", "credit"} else "10"
    if action == "create":
        invoices.create_invoice(scene, invoice(number, amount, status))
    elif action == "post":
        invoices.update_or_create_invoice(scene, invoice(number, amount, status))
    elif action == "status":
        change = {"Type": "ACCREC", "InvoiceNumber": number, "Status": status}
        invoices.update_or_create_invoice(scene, change)
    elif action == "pay":
        account = {"Code": "090"}
        body = {"Invoice": {"InvoiceNumber": number}, "Account": account, "Amount": amount}
        payments.create_payment(scene, body)
    elif action == "unpay":
        for row in list(books.payments.values())[:1]:
            deletion = {"Status": "DELETED"}
            payments.delete_payment(scene, row, deletion, reconciled_allowed=True)
    elif action == "credit":
        credit(scene, number, amount)
    elif action == "uncredit":
        for row in list(books.allocations.values())[:1]:
            credit_notes.remove_allocation(scene, row)
    else:
        contacts.update_or_create_contact(
            scene, {"Name": f"Contact {number}", "ContactStatus": "ARCHIVED"}
        )


def check(books):
    sales = Counter()
    for row in books.documents.values():
        paid = sum((found.amount for found in books.live_payments(row.document_id)), Decimal(0))
        applied = books.allocations_to(row.document_id) + books.allocations_from(row.document_id)
        credited = sum((found.amount for found in applied), Decimal(0))
        assert (row.amount_paid, row.amount_credited) == (paid, credited)
        assert row.outstanding >= 0
        assert (row.status == "PAID") == (row.touched and row.outstanding == 0)
        assert not (row.touched and row.status not in {"AUTHORISED", "PAID"})
        assert row.total == sum(
            (line.line_amount + line.tax_amount for line in row.lines), Decimal(0)
        )
        if row.kind == "invoice":
            sales[row.number] += 1
            assert row in books.invoices_numbered(row.number)
        assert row.document_id in books.documents_by_contact[row.contact_id]
    assert all(count == 1 for count in sales.values())
    active = Counter(row.name for row in books.contacts.values() if row.status == "ACTIVE")
    assert all(count == 1 for count in active.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_the_books_always_add_up(steps):
    world = make_world(Settings())
    books = next(iter(world.books.values()))
    scene = world.scene(books)
    for step in steps:
        before = (dict(books.documents), dict(books.payments), dict(books.contacts))
        taken = False
        with suppress(RuleBroken), books.atomic():
            take(scene, step)
            taken = True
        if not taken:
            assert before == (books.documents, books.payments, books.contacts)
        check(books)
    books.commit()
