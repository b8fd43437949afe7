"""Real input: a public record of purchases (CDNOW), each row turned into what Pipeline would publish."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine
from pipeline_local_stack.paths import ROOT

SALES_FILE = ROOT / "tests" / "data" / "cdnow_sample.txt"
CURRENCY = "NZD"  # the base currency of the organisation that the demo connects to


@dataclass(frozen=True, slots=True)
class Sale:
    """One row: a customer bought some CDs on a day."""

    row: int
    customer: str
    day: date
    quantity: int
    amount: Decimal

    @property
    def invoice_id(self) -> str:
        """Pipeline's id of the invoice for this sale."""
        return f"inv-{self.row:05}"

    @property
    def customer_id(self) -> str:
        """Pipeline's id of the customer."""
        return f"cust-{self.customer}"


def read_sales(path: Path = SALES_FILE) -> Iterator[Sale]:
    """All rows of the file, in its order: customer in the master file, in the sample, date, CDs, dollars."""
    with path.open(encoding="ascii") as rows:
        for number, row in enumerate(rows, start=1):
            customer, _, day, quantity, amount = row.split()
            yield Sale(
                number, customer, datetime.strptime(day, "%Y%m%d").date(), int(quantity), Decimal(amount)  # noqa: DTZ007 - a calendar day
            )  # fmt: skip


def take_sales(count: int) -> list[Sale]:
    """The first `count` sales."""
    return list(islice(read_sales(), count))


def customer_of(sale: Sale, account_id: str) -> CustomerCreated:
    """The customer of a sale, as Pipeline announces it."""
    return CustomerCreated(
        account_id=account_id,
        customer_id=sale.customer_id,
        version=1,
        name=f"CDNOW customer {sale.customer}",
        email=f"customer-{sale.customer}@example.com",
    )


def invoice_of(sale: Sale, account_id: str) -> InvoiceCreated:
    """The invoice of a sale: one line whose amount, rounded to cents, is what the customer paid."""
    # Four decimals are what Xero keeps of a unit amount; at these quantities the line still rounds to the cent.
    unit_amount = (sale.amount / sale.quantity).quantize(Decimal("0.0001"))
    return InvoiceCreated(
        account_id=account_id,
        invoice_id=sale.invoice_id,
        version=1,
        invoice_number=f"CD-{sale.row:05}",
        reference=f"Order {sale.row}",
        customer_id=sale.customer_id,
        issue_date=sale.day,
        due_date=sale.day + timedelta(days=20),
        currency=CURRENCY,
        amounts_are="tax_inclusive",
        lines=(
            InvoiceLine(
                line_id="1",
                description=f"{sale.quantity} CD{'s' if sale.quantity > 1 else ''}",
                quantity=Decimal(sale.quantity),
                unit_amount=unit_amount,
                account_code="200",
            ),
        ),
        total=sale.amount,
    )
