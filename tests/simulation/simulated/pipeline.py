"""What Pipeline publishes in a life: invoices in versions, and their customer."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.customer import CustomerCreated, CustomerUpdated
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine, InvoiceUpdated, InvoiceVoided

ACCOUNT = "acc-1"
CUSTOMER = "cust-1"
CUSTOMER_NAME = "Ridgeway University"


@dataclass
class Pipeline:
    """The records it has published, in order, and the versions they are at."""

    now: Callable[[], datetime]
    published: list[Record] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)
    customer_version: int = 0

    def connection(self, tenant_id: str, sequence: int) -> Record:
        return self._record(
            ConnectionStatusChanged(
                account_id=ACCOUNT,
                status="CONNECTED",
                reason="TEST",
                since=self.now() - timedelta(days=3650),
                message="Connected.",
                hint="",
                can_refresh=False,
                tenant_id=tenant_id,
                short_code="!Abc1D",
                sequence=sequence,
            )
        )

    def customer(self) -> Record:
        self.customer_version += 1
        kind = CustomerCreated if self.customer_version == 1 else CustomerUpdated
        return self._record(
            kind(
                account_id=ACCOUNT,
                customer_id=CUSTOMER,
                version=self.customer_version,
                name=CUSTOMER_NAME,
                phone=f"+64 4 555 {self.customer_version:04}",
            )
        )

    def invoice(self, number: int, kind: str) -> Record | None:
        """The invoice's next version; None where there is nothing to say any more."""
        invoice_id = f"inv-{number}"
        version = self.versions.get(invoice_id, 0) + 1
        if invoice_id in self.voided or (kind == "create") != (version == 1):
            return None
        self.versions[invoice_id] = version
        if kind == "void":
            self.voided.add(invoice_id)
            event: Event = InvoiceVoided(account_id=ACCOUNT, invoice_id=invoice_id, version=version)
        else:
            event = _body(InvoiceCreated if version == 1 else InvoiceUpdated, invoice_id, version)
        return self._record(event)

    def _record(self, event: Event) -> Record:
        record = encode(event, id=uuid.uuid4().hex, source="billing", time=self.now())
        self.published.append(record)
        return record


def _body(kind: type[InvoiceCreated | InvoiceUpdated], invoice_id: str, version: int) -> Event:
    line = InvoiceLine(
        line_id="1", description="Work", quantity=Decimal(1), unit_amount=Decimal(100 + version)
    )
    return kind(
        account_id=ACCOUNT,
        invoice_id=invoice_id,
        version=version,
        invoice_number=invoice_id.upper(),
        customer_id=CUSTOMER,
        issue_date=date(2026, 3, 1),
        due_date=date(2026, 3, 31) + timedelta(days=version),
        currency="NZD",
        amounts_are="no_tax",
        reference="ours",
        lines=[line],
        total=line.unit_amount,
    )
