"""Ledgers of a small run in which all is in order, for tests that plant one fault."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Record, encode, stable_id
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated, InvoiceUpdated, InvoiceVoided
from pipeline_contracts.observed import ObservedInvoice
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed, SyncResumed
from pipeline_local_stack.call_log import Call
from pipeline_local_stack.ledgers import (
    Document,
    DocumentLine,
    InvoiceKey,
    Ledgers,
    link_of,
)
from pipeline_local_stack.sales import Sale, invoice_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONNECTED_AT, DISCONNECTED_AT = NOW.timestamp(), (NOW + timedelta(hours=1)).timestamp()
TENANT, ELSEWHERE = "t-1", "t-2"


def published(row: int, account_id: str = "demo") -> InvoiceCreated:
    sale = Sale(row, f"{row:05}", date(2026, 2, 1), 2, Decimal("29.33"))
    return invoice_of(sale, account_id)


def changed(row: int, **changes: object) -> InvoiceUpdated:
    body = published(row).model_dump() | {"version": 2} | changes
    return InvoiceUpdated.model_validate(body)


def cancelled(row: int, version: int = 2) -> InvoiceVoided:
    return InvoiceVoided(account_id="demo", invoice_id=f"inv-{row:05}", version=version)


def record(event: Event, copy: str = "") -> Record:
    """As it stands on its topic; another `copy` is another event of the same content."""
    return encode(event, id=stable_id(event) + copy, source="test", time=NOW)


def synced(row: int, sequence: int = 1, **changes: object) -> InvoiceSynced:
    fields = {
        "account_id": "demo",
        "invoice_id": f"inv-{row:05}",
        "version": 1,
        "sequence": sequence,
        "tenant_id": TENANT,
        "xero_invoice_id": f"x-{row}",
        "invoice_number": f"CD-{row:05}",
        "xero_status": "AUTHORISED",
        "total": Decimal("29.33"),
        "currency": "NZD",
        "deep_link": "https://go.xero.com/x",
    }
    return InvoiceSynced.model_validate(fields | changes)


def failed(row: int, sequence: int = 1, **changes: object) -> SyncFailed:
    fields = {
        "account_id": "demo",
        "invoice_id": f"inv-{row:05}",
        "version": 1,
        "sequence": sequence,
        "code": "CUSTOMER_NOT_MAPPED",
        "message": "m",
        "hint": "h",
        "retryable": False,
        "generation": 1,
    }
    return SyncFailed.model_validate(fields | changes)


def conflicting(row: int, sequence: int = 2) -> OutOfSync:
    return OutOfSync(
        account_id="demo",
        invoice_id=f"inv-{row:05}",
        version=1,
        sequence=sequence,
        tenant_id=TENANT,
        xero_invoice_id=f"x-{row}",
        differences=(),
        message="m",
        hint="h",
    )


AS_IN_XERO = ObservedInvoice(
    status="AUTHORISED", currency="NZD", amounts_are="tax_inclusive", lines=(), total=Decimal(1)
)


def resumed(row: int, sequence: int, invoice: ObservedInvoice | None = None) -> SyncResumed:
    return SyncResumed(
        account_id="demo",
        invoice_id=f"inv-{row:05}",
        version=1,
        sequence=sequence,
        tenant_id=TENANT,
        xero_invoice_id=f"x-{row}",
        resolved_by="xero_change",
        invoice=invoice,
    )


def connection(status: str, sequence: int = 1, hours: int = 0) -> Record:
    return record(
        ConnectionStatusChanged(
            account_id="demo",
            status=status,
            reason="TEST",
            since=NOW + timedelta(hours=hours),
            message="m",
            hint="",
            can_refresh=False,
            tenant_id=TENANT,
            sequence=sequence,
        )
    )


def booked(row: int, **changes: object) -> Document:
    invoice = published(row)
    (line,) = invoice.lines
    document = Document(
        tenant_id=TENANT,
        document_id=f"x-{row}",
        number=invoice.invoice_number,
        status="AUTHORISED",
        reference=invoice.reference or "",
        issue_date=invoice.issue_date,
        due_date=invoice.due_date,
        currency="NZD",
        total=invoice.total,
        paid=Decimal(0),
        url="https://pipeline.example" + link_of(InvoiceKey("demo", invoice.invoice_id)),
        by_app=True,
        lines=(
            DocumentLine(
                line.description, line.quantity, line.unit_amount, line.account_code or ""
            ),
        ),
    )
    return replace(document, **changes)  # type: ignore[arg-type]


def call(at: float = CONNECTED_AT + 1, tenant_id: str = TENANT, path: str = "/Invoices") -> Call:
    return Call(tenant_id, at, 0.1, 200, method="PUT", path=f"/api.xro/2.0{path}")


IN_ORDER = Ledgers(
    published=[
        record(published(1)),
        record(published(2)),
        record(published(3)),
        record(cancelled(3)),
        record(published(4)),
        record(changed(4, reference="second")),
    ],
    announced=[
        record(synced(1)),
        record(failed(2)),
        record(synced(3)),
        record(synced(3, 2, version=2, xero_status="VOIDED")),
        record(synced(4)),
        record(conflicting(4)),
    ],
    connections=[connection("CONNECTED")],
    documents=[
        booked(1),
        booked(3, status="VOIDED"),
        booked(4, reference="by hand"),
        booked(9, url="", by_app=False, document_id="by-a-person"),
    ],
    calls=[call(), call(CONNECTED_AT - 1, path="/Organisation")],
    states={InvoiceKey("demo", "inv-00001"): "synced"},
    counts={"demo": {"synced": 1, "waiting_for_contact": 1, "voided": 1, "out_of_sync": 1}},
    edited_in_xero=frozenset({"x-4"}),
)
