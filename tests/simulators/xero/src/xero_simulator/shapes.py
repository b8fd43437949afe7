"""Records as Xero writes them, following recorded replies of 2026 key by key.

How much is written depends on the call: a single read carries everything, a page leaves the
contact short, an unpaged list leaves line items out, a write leaves empty settlements out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from xero_simulator.money import ZERO, round_to
from xero_simulator.records import Account, Allocation, Contact, Document, Line, Payment
from xero_simulator.state import Books
from xero_simulator.wire import Json, day_stamp, day_string, stamp, stamp_string

BRANDING_THEME_ID = "7889a0ac-0000-4000-8000-00000000b0b0"
_ADDRESS_TYPES = ("STREET", "POBOX")
_PHONE_TYPES = ("DEFAULT", "DDI", "FAX", "MOBILE")
_CREDIT_KEYS = {"credit_note": "CreditNotes", "overpayment": "Overpayments",
                "prepayment": "Prepayments"}  # fmt: skip
_ID_KEYS = {"invoice": "InvoiceID", "credit_note": "CreditNoteID", "overpayment": "OverpaymentID",
            "prepayment": "PrepaymentID"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """How much of a record a call shows.

    Attributes:
        lines: Line items are present.
        full: A single read: the whole contact, line validation lists.
        written: A write's reply: empty settlement lists are left out.
        summary: `summaryOnly=true`.
        unit_places: Decimals of UnitAmount.
        nested_contact_shift: Odd shift of the nested contact's UpdatedDateUTC (a recorded quirk).
    """

    lines: bool = True
    full: bool = False
    written: bool = False
    summary: bool = False
    unit_places: int = 2
    nested_contact_shift: timedelta = timedelta(0)


def contact(row: Contact, *, short: bool = False) -> Json:
    """A contact; `short` is the form nested in lists."""
    body: Json = {"ContactID": row.contact_id}
    if not short:
        body["ContactStatus"] = row.status
    body["Name"] = row.name
    optional = {
        "ContactNumber": row.number,
        "AccountNumber": row.account_number,
        "FirstName": row.first_name,
        "LastName": row.last_name,
        "CompanyNumber": row.company_number,
        "TaxNumber": row.tax_number,
        "MergedToContactID": row.merged_to,
    }
    if short:
        return body | {"Addresses": [], "Phones": [], "ContactGroups": [], "ContactPersons": [],
                       "HasValidationErrors": False}  # fmt: skip
    body |= {key: value for key, value in optional.items() if value}
    body |= {"EmailAddress": row.email, "BankAccountDetails": ""}
    body |= dict(row.details)
    return body | {
        "Addresses": _addresses(row),
        "Phones": _phones(row),
        "UpdatedDateUTC": stamp(row.updated),
        "ContactGroups": [],
        "IsSupplier": row.is_supplier,
        "IsCustomer": row.is_customer,
        "SalesTrackingCategories": [],
        "PurchasesTrackingCategories": [],
        "ContactPersons": [],
        "HasAttachments": False,
        "HasValidationErrors": False,
    }


def contact_balances(books: Books, row: Contact) -> Json:
    """Outstanding and overdue sums, which only a single read shows."""
    sums = {"ACCREC": ZERO, "ACCPAY": ZERO}
    for key in books.documents_by_contact.get(row.contact_id, ()):
        document = books.documents[key]
        if document.kind == "invoice" and document.status == "AUTHORISED":
            sums[document.type] += document.outstanding
    return {
        "AccountsReceivable": {"Outstanding": sums["ACCREC"], "Overdue": ZERO},
        "AccountsPayable": {"Outstanding": sums["ACCPAY"], "Overdue": ZERO},
    }


def invoice(books: Books, row: Document, view: View) -> Json:
    """An invoice as the call shows it."""
    body: Json = {
        "Type": row.type,
        "InvoiceID": row.document_id,
        "InvoiceNumber": row.number,
        "Reference": row.reference,
    }
    if row.url:
        body["Url"] = row.url
    if not view.summary:
        body |= _settlements(books, row, view)
    body |= {"AmountDue": row.outstanding, "AmountPaid": row.amount_paid}
    if row.amount_credited or not view.written:
        body["AmountCredited"] = row.amount_credited
    body |= {
        "SentToContact": row.sent_to_contact,
        "CurrencyRate": row.currency_rate,
        "IsDiscounted": any(line.discount_rate or line.discount_amount for line in row.lines),
    }
    if not view.written and not view.summary:
        body |= {"HasAttachments": False, "InvoiceAddresses": []}
    body |= {"HasErrors": False, "InvoicePaymentServices": []}
    return body | _common(books, row, view)


def credit_note(books: Books, row: Document, view: View) -> Json:
    """A credit note (or another document with credit) as the call shows it."""
    id_key = _ID_KEYS[row.kind]
    body: Json = {
        id_key: row.document_id,
        "ID": row.document_id,
        "SentToContact": row.sent_to_contact,
        "Payments": [_nested_payment(p) for p in books.live_payments(row.document_id)],
        "HasErrors": False,
        "InvoiceAddresses": [],
        "CurrencyRate": row.currency_rate,
        "Type": row.type,
        "Reference": row.reference,
        "RemainingCredit": row.outstanding,
        "Allocations": [
            allocation(books, found) for found in books.allocations_from(row.document_id)
        ],
        "HasAttachments": False,
    }
    if row.kind == "credit_note":
        body["CreditNoteNumber"] = row.number
    return body | _common(books, row, view)


def allocation(books: Books, row: Allocation) -> Json:
    """An allocation as a credit note lists it."""
    target = books.documents[row.invoice_id]
    return {
        "AllocationID": row.allocation_id,
        "Amount": row.amount,
        "Date": day_stamp(row.date),
        "Invoice": _nested_invoice(target),
    }


def payment(books: Books, row: Payment, *, full: bool) -> Json:
    """A payment; `full` adds the invoice's state, as a write and a single read do."""
    document = books.documents[row.document_id]
    account_row = _account_by_id(books, row.account_id)
    nested = _nested_invoice(document) | {
        "Type": document.type,
        "Contact": contact(books.contacts[document.contact_id], short=True),
        "CurrencyCode": document.currency,
    }
    if full and document.kind == "invoice":
        nested = invoice(books, document, View(lines=False, written=True))
    account_body: Json = {"AccountID": row.account_id, "Code": account_row.code}
    if full:
        account_body["Name"] = account_row.name
    return _batch(row) | {
        "PaymentID": row.payment_id,
        "Date": day_stamp(row.date),
        "BankAmount": row.bank_amount,
        "Amount": row.amount,
        "Reference": row.reference,
        "CurrencyRate": row.currency_rate,
        "PaymentType": row.payment_type,
        "Status": row.status,
        "UpdatedDateUTC": stamp(row.updated),
        "UpdatedDateUTCString": stamp_string(row.updated),
        "HasAccount": True,
        "IsReconciled": row.is_reconciled,
        "Account": account_body,
        # A payment on a credit note is listed under Invoice too, with the credit note's id.
        "Invoice": nested,
        "HasValidationErrors": False,
    }


def _common(books: Books, row: Document, view: View) -> Json:
    body: Json = {
        "UpdatedDateUTCString": stamp_string(row.updated),
        "Contact": _nested_contact(books, row, view),
        "DateString": day_string(row.date),
        "Date": day_stamp(row.date),
    }
    for name, value in (
        ("DueDate", row.due_date),
        ("ExpectedPaymentDate", row.expected_payment_date),
        ("PlannedPaymentDate", row.planned_payment_date),
    ):
        if value is not None:
            body |= {f"{name}String": day_string(value), name: day_stamp(value)}
    body |= {
        "BrandingThemeID": row.branding_theme_id or BRANDING_THEME_ID,
        "Status": row.status,
        "LineAmountTypes": row.line_amount_types,
    }
    if not view.summary:
        shown: Iterable[Line] = row.lines if view.lines else ()
        body["LineItems"] = [_line(books, line, view) for line in shown]
    body |= {
        "SubTotal": row.subtotal,
        "TotalTax": row.total_tax,
        "Total": row.total,
        "UpdatedDateUTC": stamp(row.updated),
        "CurrencyCode": row.currency,
    }
    if row.fully_paid_on is not None:
        body["FullyPaidOnDate"] = day_stamp(row.fully_paid_on)
    return body


def _nested_contact(books: Books, row: Document, view: View) -> Json:
    found = books.contacts[row.contact_id]
    if not (view.full or view.written):
        return contact(found, short=True)
    body = contact(found)
    del body["HasAttachments"]
    body["UpdatedDateUTC"] = stamp(found.updated + view.nested_contact_shift)
    return body


def _settlements(books: Books, row: Document, view: View) -> Json:
    body: Json = {
        "Payments": [_nested_payment(found) for found in books.live_payments(row.document_id)],
        "CreditNotes": [],
        "Prepayments": [],
        "Overpayments": [],
    }
    for found in books.allocations_to(row.document_id):
        source = books.documents[found.source_id]
        body[_CREDIT_KEYS[source.kind]].append(_nested_credit(source, found))
    if view.written or view.full:
        # Recorded writes and single reads leave these two out where there are none.
        for name in ("Payments", "CreditNotes"):
            if not body[name]:
                del body[name]
    return body


def _nested_payment(row: Payment) -> Json:
    return _batch(row) | {
        "PaymentID": row.payment_id,
        "Date": day_stamp(row.date),
        "Amount": row.amount,
        "Reference": row.reference,
        "CurrencyRate": row.currency_rate,
        "HasAccount": True,
        "HasValidationErrors": False,
    }


def _batch(row: Payment) -> Json:
    return {"BatchPaymentID": row.batch_payment_id} if row.batch_payment_id else {}


def _nested_credit(source: Document, row: Allocation) -> Json:
    body: Json = {_ID_KEYS[source.kind]: source.document_id, "ID": source.document_id}
    if source.kind == "credit_note":
        body["CreditNoteNumber"] = source.number
    return body | {
        "HasErrors": False,
        "InvoiceAddresses": [],
        "CurrencyRate": source.currency_rate,
        "AppliedAmount": row.amount,
        "DateString": day_string(row.date),
        "Date": day_stamp(row.date),
        "LineItems": [],
        "Total": source.total,
    }


def _nested_invoice(row: Document) -> Json:
    return {
        "InvoiceID": row.document_id,
        "InvoiceNumber": row.number,
        "Payments": [],
        "CreditNotes": [],
        "Prepayments": [],
        "Overpayments": [],
        "IsDiscounted": False,
        "InvoiceAddresses": [],
        "HasErrors": False,
        "InvoicePaymentServices": [],
        "LineItems": [],
    }


def _line(books: Books, row: Line, view: View) -> Json:
    body: Json = {}
    if row.item_code:
        item = books.organisation.items[row.item_code]
        body["ItemCode"] = row.item_code
        body["Item"] = {"ItemID": item.item_id, "Name": item.name, "Code": item.code}
    body["Description"] = row.description
    if row.unit_amount is not None:
        places: Decimal = round_to(row.unit_amount, view.unit_places)
        body |= {
            "UnitAmount": places,
            "TaxType": row.tax_type,
            "TaxAmount": row.tax_amount,
            "LineAmount": row.line_amount,
        }
    if row.account_code:
        body["AccountCode"] = row.account_code
        body["AccountID"] = books.organisation.accounts[row.account_code].account_id
    body["Tracking"] = [
        {
            "Name": choice.category,
            "Option": choice.option,
            "TrackingCategoryID": choice.category_id,
            "TrackingOptionID": choice.option_id,
        }
        for choice in row.tracking
    ]
    for name, value in (
        ("Quantity", row.quantity),
        ("DiscountRate", row.discount_rate),
        ("DiscountAmount", row.discount_amount),
    ):
        if value is not None:
            body[name] = value
    body["LineItemID"] = row.line_id
    if view.full or view.written:
        body["ValidationErrors"] = []
    return body


def _addresses(row: Contact) -> list[Json]:
    kept = {dict(address).get("AddressType", "STREET"): dict(address) for address in row.addresses}
    blank = {"City": "", "Region": "", "PostalCode": "", "Country": ""}
    return [{"AddressType": kind} | blank | kept.get(kind, {}) for kind in _ADDRESS_TYPES]


def _phones(row: Contact) -> list[Json]:
    kept = {phone[0]: phone for phone in row.phones}
    return [
        {
            "PhoneType": kind,
            "PhoneNumber": kept[kind][1] if kind in kept else "",
            "PhoneAreaCode": kept[kind][2] if kind in kept else "",
            "PhoneCountryCode": kept[kind][3] if kind in kept else "",
        }
        for kind in _PHONE_TYPES
    ]


def _account_by_id(books: Books, account_id: str) -> Account:
    return next(row for row in books.organisation.accounts.values() if row.account_id == account_id)
