"""What an invoice is on both sides, told alike, and what somebody who types it into Xero would type.

The model's words: only the fields that Pipeline owns count, and the order of lines is none of them.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from pipeline_contracts.invoice import Invoice, InvoiceVoided

Content = dict[str, Any]
GONE = frozenset({"VOIDED", "DELETED"})


def line_content(description: str, quantity: Any, unit_amount: Any) -> tuple[str, Decimal, Decimal]:
    """A line as both sides would tell it."""
    return description, Decimal(str(quantity)).normalize(), Decimal(str(unit_amount)).normalize()


def in_xero(invoice: dict[str, Any]) -> Content:
    """What the ledger holds of the fields that Pipeline owns. The order of lines is none of them."""
    lines = Counter(
        line_content(each["description"], each["quantity"], each["unit_amount"])
        for each in invoice["lines"]
    )
    return {
        "live": invoice["status"] not in GONE,
        "number": invoice["number"],
        "reference": invoice["reference"] or "",
        "due_date": invoice["due_date"],
        "lines": lines,
    }


def in_pipeline(event: Invoice, *, live: bool = True) -> Content:
    """The same of an event."""
    return {
        "live": live,
        "number": event.invoice_number,
        "reference": event.reference or "",
        "due_date": event.due_date.isoformat(),
        "lines": Counter(
            line_content(each.description, each.quantity, each.unit_amount) for each in event.lines
        ),
    }


@dataclass
class Published:
    """One invoice of Pipeline: its versions, the first of them number 1, and the highest that arrived."""

    versions: list[Invoice | InvoiceVoided] = field(default_factory=list)
    arrived: int = 0

    @property
    def is_void(self) -> bool:
        return bool(self.versions) and isinstance(self.versions[-1], InvoiceVoided)

    def body(self, version: int) -> Invoice:
        """The newest body up to this version: a void carries none."""
        return next(
            each
            for each in reversed(self.versions[:version])
            if not isinstance(each, InvoiceVoided)
        )

    def content(self, version: int) -> Content:
        live = not isinstance(self.versions[version - 1], InvoiceVoided)
        return in_pipeline(self.body(version), live=live)


def lines_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The document's lines as somebody who edits one of them sends them all back."""
    return [
        {
            "LineItemID": each["line_id"],
            "Description": each["description"],
            "Quantity": each["quantity"],
            "UnitAmount": each["unit_amount"],
            "AccountCode": each["account_code"],
        }
        for each in document["lines"]
    ]


def as_wanted(body: Invoice, document: dict[str, Any]) -> dict[str, Any]:
    """What somebody types into Xero who has Pipeline's version before them."""
    ids = {each["description"]: each["line_id"] for each in document["lines"]}
    return {
        "InvoiceNumber": body.invoice_number,
        "Reference": body.reference or "",
        "DueDate": body.due_date.isoformat(),
        "LineAmountTypes": "NoTax",
        "LineItems": [
            {
                "Description": each.description,
                "Quantity": str(each.quantity),
                "UnitAmount": str(each.unit_amount),
                "AccountCode": "200",
            }
            | ({"LineItemID": ids[each.description]} if each.description in ids else {})
            for each in body.lines
        ],
    }


def due_in(days: int) -> date:
    """A date that an invoice may be due at."""
    return date(2026, 3, 31) + timedelta(days=days)
