"""The judge's truth: every record of an organisation in plain words, amounts as exact strings."""

from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from xero_simulator.records import Allocation, Contact, Document, Payment
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
    plain: Json = {name: _plain(value) for name, value in asdict(row).items()}
    contact_row = books.contacts.get(row.contact_id)
    return plain | {
        "amount_due": str(row.outstanding),
        "contact_name": contact_row.name if contact_row else "",
        "contact_number": contact_row.number if contact_row else "",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
