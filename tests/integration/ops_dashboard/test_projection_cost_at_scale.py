"""Following an event costs the dashboard the same whatever else it shows: what is read is counted at both sizes."""

from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
from explained import ExplainedConnection, Reading, grown

from ops_dashboard.project_records import Batch, project
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.sync import InvoiceSynced
from pipeline_local_stack.bench.filling import add_accounts, add_rows, look_over
from pipeline_service_defaults.migrate import directories_of

FEW, MANY = (10, 10_000), (10_000, 100_000)
BATCH, ACCOUNT, TENANT = 50, "past-3", "d3a5b1c6-5a1a-4a53-9f2a-3a6a0d6d2a11"


def story(invoice_id):
    """An invoice issued, synced and paid."""
    money, day = Decimal("100.00"), date(2026, 3, 1)
    line = InvoiceLine(line_id="1", description="Work", quantity="1", unit_amount="100.00")
    yield InvoiceCreated(
        account_id=ACCOUNT, invoice_id=invoice_id, version=1, invoice_number=invoice_id.upper(),
        customer_id="customer-1", issue_date=day, due_date=day, currency="NZD", amounts_are="no_tax",
        lines=[line], total=money,
    )  # fmt: skip
    yield InvoiceSynced(
        account_id=ACCOUNT, invoice_id=invoice_id, version=1, sequence=1, tenant_id=TENANT,
        xero_invoice_id=f"x-{invoice_id}", invoice_number=invoice_id.upper(), xero_status="AUTHORISED",
        total=money, currency="NZD", deep_link="-",
    )  # fmt: skip
    yield PaymentRecorded(
        account_id=ACCOUNT, invoice_id=invoice_id, sequence=1, payment_id=f"p-{invoice_id}",
        xero_payment_id=f"xp-{invoice_id}", kind="payment", amount=money, currency="NZD", paid_on=day,
        reference=None, amount_paid=money, amount_due=Decimal(0), invoice_status="PAID", found_by="webhook",
    )  # fmt: skip


async def follow(conn, prefix):
    events = [event for number in range(BATCH) for event in story(f"{prefix}-{number}")]
    envelopes = [
        Envelope(
            id=f"{prefix}-{number}", source="billing", type=event.TYPE, subject=event.subject,
            time=datetime.now(UTC), traceparent=None, event=event,
        )
        for number, event in enumerate(events)
    ]  # fmt: skip
    with Reading() as reads:
        async with conn.transaction():
            new = await project(conn, 1, Batch([(None, each) for each in envelopes], []))
    assert new == len(events)
    return reads


async def test_what_is_read_for_an_event_does_not_grow_with_the_projection(make_database):
    dsn = await make_database(*directories_of("ops_dashboard"))
    conn = await asyncpg.connect(dsn, connection_class=ExplainedConnection)
    found, accounts, rows = [], 0, 0
    try:
        for more_accounts, more_rows in (FEW, MANY):
            await add_accounts(conn, "ops_dashboard", accounts + 1, more_accounts)
            await add_rows(conn, "ops_dashboard", rows + 1, more_rows, more_accounts)
            await look_over(conn)
            accounts, rows = more_accounts, more_rows
            found.append(await follow(conn, f"of-{rows}"))
    finally:
        await conn.close()
    assert grown(*found) == []
