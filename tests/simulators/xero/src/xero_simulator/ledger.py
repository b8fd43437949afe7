"""The judge's truth: every record of an organisation in plain words, amounts as exact strings."""

from datetime import date
from decimal import Decimal

from xero_simulator.records import Allocation, Contact, Document, Line, Payment
from xero_simulator.state import Books
from xero_simulator.wire import Json


def dump(books: Books) -> Json:
    """Everything in the books."""
    documents = books.documents.values()
    return {
        "tenant_id": books.organisation.tenant_id,
        "name": books.organisation.name,
        "base_currency": books.organisation.base_currency,
        "contacts": [contact(row) for row in books.contacts.values()],
        "invoices": [invoice(books, row) for row in documents if row.kind == "invoice"],
        "credits": [_document(books, row) for row in documents if row.kind != "invoice"],
        "payments": [payment(books, row) for row in books.payments.values()],
        "allocations": [allocation(books, row) for row in books.allocations.values()],
    }


def contact(row: Contact) -> Json:
    """One contact."""
    return {
        "contact_id": row.contact_id,
        "name": row.name,
        "number": row.number,
        "status": row.status,
        "email": row.email,
        "merged_to": row.merged_to,
        "updated": row.updated.isoformat(),
    }


def invoice(books: Books, row: Document) -> Json:
    """One invoice with its settlements."""
    return _document(books, row) | {
        "payments": [found.payment_id for found in books.live_payments(row.document_id)],
        "allocations": [found.allocation_id for found in books.allocations_to(row.document_id)],
    }


def payment(books: Books, row: Payment) -> Json:
    """One payment."""
    document = books.documents[row.document_id]
    return {
        "payment_id": row.payment_id,
        "document_id": row.document_id,
        "document_kind": document.kind,
        "number": document.number,
        "amount": str(row.amount),
        "currency": document.currency,
        "date": row.date.isoformat(),
        "reference": row.reference,
        "status": row.status,
        "payment_type": row.payment_type,
        "updated": row.updated.isoformat(),
        "amount_due": str(document.outstanding),
        "invoice_status": document.status,
    }


def allocation(books: Books, row: Allocation) -> Json:
    """One allocation."""
    source, target = books.documents[row.source_id], books.documents[row.invoice_id]
    return {
        "allocation_id": row.allocation_id,
        "kind": source.kind,
        "source_id": row.source_id,
        "invoice_id": row.invoice_id,
        "number": target.number,
        "amount": str(row.amount),
        "date": row.date.isoformat(),
        "amount_due": str(target.outstanding),
        "invoice_status": target.status,
    }


def _document(books: Books, row: Document) -> Json:
    contact_row = books.contacts[row.contact_id]
    return {
        "kind": row.kind,
        "document_id": row.document_id,
        "type": row.type,
        "number": row.number,
        "reference": row.reference,
        "status": row.status,
        "contact_id": row.contact_id,
        "contact_name": contact_row.name,
        "contact_number": contact_row.number,
        "date": row.date.isoformat(),
        "due_date": _day(row.due_date),
        "currency": row.currency,
        "currency_rate": str(row.currency_rate),
        "line_amount_types": row.line_amount_types,
        "subtotal": str(row.subtotal),
        "total_tax": str(row.total_tax),
        "total": str(row.total),
        "amount_paid": str(row.amount_paid),
        "amount_credited": str(row.amount_credited),
        "amount_due": str(row.outstanding),
        "url": row.url,
        "sent_to_contact": row.sent_to_contact,
        "fully_paid_on": _day(row.fully_paid_on),
        "created_by_app": row.created_by_app,
        "created": row.created.isoformat(),
        "updated": row.updated.isoformat(),
        "lines": [_line(line) for line in row.lines],
    }


def _line(row: Line) -> Json:
    return {
        "line_id": row.line_id,
        "description": row.description,
        "quantity": _amount(row.quantity),
        "unit_amount": _amount(row.unit_amount),
        "discount_rate": _amount(row.discount_rate),
        "item_code": row.item_code,
        "account_code": row.account_code,
        "tax_type": row.tax_type,
        "tax_amount": str(row.tax_amount),
        "line_amount": str(row.line_amount),
        "tracking": [f"{choice.category}: {choice.option}" for choice in row.tracking],
    }


def _day(value: date | None) -> str | None:
    return value.isoformat() if value else None


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
