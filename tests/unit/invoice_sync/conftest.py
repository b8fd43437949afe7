"""Values the tests of the pure parts are made of."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from invoice_sync.domain.mapping import WriteSettings
from invoice_sync.domain.plan import Known, decide
from invoice_sync.domain.state import Account, ContactMapping, Invoice, Operation, State
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine


def line(line_id="1", **fields) -> InvoiceLine:
    return InvoiceLine(
        line_id=line_id,
        **({"description": "Work", "quantity": "2", "unit_amount": "50.00"} | fields),
    )


def body(**fields) -> InvoiceCreated:
    lines = fields.pop("lines", [line()])
    values = {
        "account_id": "acc-1",
        "invoice_id": "inv-1",
        "version": 1,
        "invoice_number": "INV-1",
        "customer_id": "cust-1",
        "issue_date": date(2026, 3, 1),
        "due_date": date(2026, 3, 31),
        "currency": "NZD",
        "amounts_are": "no_tax",
        "total": sum((each.quantity * each.unit_amount for each in lines), Decimal(0)),
    }
    return InvoiceCreated(lines=lines, **(values | fields))


def row(**fields) -> Invoice:
    values = {
        "account_id": "acc-1",
        "invoice_id": "inv-1",
        "state": State.PENDING,
        "version": 1,
        "operation": Operation.WRITE,
        "desired": body().model_dump_json(),
        "invoice_number": "INV-1",
        "customer_id": "cust-1",
    }
    return Invoice(**(values | fields))


@pytest.fixture
def line_of():
    return line


@pytest.fixture
def body_of():
    return body


@pytest.fixture
def row_of():
    return row


@pytest.fixture
def now():
    return datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
def account():
    return Account("acc-1", "CONNECTED", tenant_id="tenant-1", short_code="!Abc1D")


@pytest.fixture
def settings():
    return WriteSettings("https://app.pipeline.example/", "200")


@pytest.fixture
def decide_on(account, settings, now):
    """What is decided on a new invoice under given terms; its customer has a contact."""
    contact = ContactMapping("acc-1", "tenant-1", "cust-1", "contact-1", "Customer", "t")

    def of(invoice, terms):
        known = Known(account, {"cust-1": contact}, {}, {}, settings, terms, now)
        return decide(row(desired=invoice.model_dump_json()), known)

    return of
