"""The documents the services read from Xero, as frozen values.

``from_json`` takes one element of a reply. Missing and unknown keys are normal (summaries, nested stubs, new
fields); only a member of the wrong type raises ``UnexpectedAnswer``. Statuses and kinds stay plain text: Xero
adds new ones without notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self

from pipeline_xero.json_forms import (
    day,
    entity_id,
    flag,
    instant,
    mapping,
    members,
    number,
    required_text,
    text,
)

_ZERO = Decimal(0)


def _required_id(source: Mapping[str, Any], key: str) -> str:
    return required_text(source, key).lower()


def _stub(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return {} if value is None else mapping(value, key)


@dataclass(frozen=True, slots=True)
class XeroTracking:
    """A tracking category and the option chosen on a line."""

    name: str | None
    option: str | None
    category_id: str | None
    option_id: str | None

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of LineItems[].Tracking."""
        return cls(
            name=text(source, "Name"),
            option=text(source, "Option"),
            category_id=entity_id(source, "TrackingCategoryID"),
            option_id=entity_id(source, "TrackingOptionID"),
        )


@dataclass(frozen=True, slots=True)
class XeroLine:
    """A line of an invoice or credit note. A line without LineItemID has not been stored by Xero."""

    line_item_id: str | None
    description: str | None
    quantity: Decimal | None
    unit_amount: Decimal | None
    discount_rate: Decimal | None
    discount_amount: Decimal | None
    account_code: str | None
    tax_type: str | None
    tax_amount: Decimal | None
    line_amount: Decimal | None
    item_code: str | None
    tracking: tuple[XeroTracking, ...]

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of LineItems."""
        return cls(
            line_item_id=entity_id(source, "LineItemID"),
            description=text(source, "Description"),
            quantity=number(source, "Quantity"),
            unit_amount=number(source, "UnitAmount"),
            discount_rate=number(source, "DiscountRate"),
            discount_amount=number(source, "DiscountAmount"),
            account_code=text(source, "AccountCode"),
            tax_type=text(source, "TaxType"),
            tax_amount=number(source, "TaxAmount"),
            line_amount=number(source, "LineAmount"),
            item_code=text(source, "ItemCode"),
            tracking=tuple(
                XeroTracking.from_json(item) for item in members(source.get("Tracking"), "Tracking")
            ),
        )


@dataclass(frozen=True, slots=True)
class XeroContact:
    """A contact. Nested in another document only ``contact_id`` and ``name`` can be relied on."""

    contact_id: str | None
    name: str | None
    status: str | None
    contact_number: str | None
    account_number: str | None
    email: str | None
    tax_number: str | None
    merged_to: str | None
    updated_at: datetime | None
    phone: str | None = None
    """The default telephone number: country, area and number as one text."""

    @property
    def is_archived(self) -> bool:
        """True when invoices can no longer be raised for it."""
        return self.status is not None and self.status != "ACTIVE"

    @property
    def is_erased(self) -> bool:
        """True when the person asked to be forgotten: unlike an archived contact, this one cannot be restored."""
        return self.status == "GDPRREQUEST"

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of Contacts, or the Contact of another document."""
        return cls(
            contact_id=entity_id(source, "ContactID"),
            name=text(source, "Name"),
            status=text(source, "ContactStatus"),
            contact_number=text(source, "ContactNumber"),
            account_number=text(source, "AccountNumber"),
            email=text(source, "EmailAddress"),
            tax_number=text(source, "TaxNumber"),
            merged_to=entity_id(source, "MergedToContactID"),
            updated_at=instant(source, "UpdatedDateUTC"),
            phone=_default_phone(source),
        )


def _default_phone(contact: Mapping[str, Any]) -> str | None:
    for phone in members(contact.get("Phones"), "Phones"):
        if text(phone, "PhoneType") == "DEFAULT":
            parts = (text(phone, f"Phone{part}") for part in ("CountryCode", "AreaCode", "Number"))
            return " ".join(part for part in parts if part) or None
    return None


@dataclass(frozen=True, slots=True)
class XeroPayment:
    """A payment, from Payments or from inside an invoice (where Xero leaves most members out)."""

    payment_id: str
    paid_on: date | None
    amount: Decimal
    bank_amount: Decimal | None
    currency_rate: Decimal | None
    reference: str | None
    status: str | None
    payment_type: str | None
    invoice_id: str | None
    batch_payment_id: str | None
    is_reconciled: bool | None
    updated_at: datetime | None

    @property
    def is_deleted(self) -> bool:
        """True when it was reversed; nested payments carry no status and count."""
        return self.status == "DELETED"

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of Payments."""
        batch = entity_id(source, "BatchPaymentID")
        return cls(
            payment_id=_required_id(source, "PaymentID"),
            paid_on=day(source, "Date"),
            amount=number(source, "Amount") or _ZERO,
            bank_amount=number(source, "BankAmount"),
            currency_rate=number(source, "CurrencyRate"),
            reference=text(source, "Reference"),
            status=text(source, "Status"),
            payment_type=text(source, "PaymentType"),
            invoice_id=entity_id(_stub(source, "Invoice"), "InvoiceID"),
            batch_payment_id=batch or entity_id(_stub(source, "BatchPayment"), "BatchPaymentID"),
            is_reconciled=flag(source, "IsReconciled"),
            updated_at=instant(source, "UpdatedDateUTC"),
        )


# kind -> (id member, number member or None), as the documents name themselves.
_CREDIT_MEMBERS: Mapping[str, tuple[str, str | None]] = {
    "credit_note": ("CreditNoteID", "CreditNoteNumber"),
    "overpayment": ("OverpaymentID", None),
    "prepayment": ("PrepaymentID", None),
}


@dataclass(frozen=True, slots=True)
class XeroAllocation:
    """Credit set against an invoice.

    Xero shows the same fact from two sides: inside an invoice (CreditNotes, Overpayments, Prepayments with
    ``AppliedAmount``, no allocation id) and inside the credit document (Allocations with ``Amount``).
    """

    kind: str
    document_id: str
    document_number: str | None
    allocation_id: str | None
    invoice_id: str | None
    amount: Decimal
    allocated_on: date | None
    is_deleted: bool

    @classmethod
    def from_invoice(
        cls, kind: str, source: Mapping[str, Any], invoice_id: str | None = None
    ) -> Self:
        """Read one element of an invoice's CreditNotes, Overpayments or Prepayments.

        Args:
            kind: ``credit_note``, ``overpayment`` or ``prepayment``.
            source: The element.
            invoice_id: The invoice it was found in.
        """
        id_member, number_member = _CREDIT_MEMBERS[kind]
        return cls(
            kind=kind,
            document_id=entity_id(source, id_member) or _required_id(source, "ID"),
            document_number=text(source, number_member) if number_member else None,
            allocation_id=None,
            invoice_id=invoice_id,
            amount=number(source, "AppliedAmount") or _ZERO,
            allocated_on=day(source, "Date"),
            is_deleted=False,
        )

    @classmethod
    def from_document(
        cls, kind: str, document_id: str, document_number: str | None, source: Mapping[str, Any]
    ) -> Self:
        """Read one element of a credit document's Allocations."""
        return cls(
            kind=kind,
            document_id=document_id,
            document_number=document_number,
            allocation_id=entity_id(source, "AllocationID"),
            invoice_id=entity_id(_stub(source, "Invoice"), "InvoiceID"),
            amount=number(source, "Amount") or _ZERO,
            allocated_on=day(source, "Date"),
            is_deleted=flag(source, "IsDeleted") is True,
        )


@dataclass(frozen=True, slots=True)
class XeroCreditDocument:
    """A credit note, overpayment or prepayment with what it was allocated to."""

    kind: str
    document_id: str
    number: str | None
    type: str | None
    status: str | None
    contact: XeroContact | None
    currency: str | None
    total: Decimal | None
    remaining_credit: Decimal | None
    issue_date: date | None
    allocations: tuple[XeroAllocation, ...]
    updated_at: datetime | None

    @classmethod
    def from_json(cls, kind: str, source: Mapping[str, Any]) -> Self:
        """Read one element of CreditNotes, Overpayments or Prepayments (``kind`` as in XeroAllocation)."""
        id_member, number_member = _CREDIT_MEMBERS[kind]
        document_id = _required_id(source, id_member)
        document_number = text(source, number_member) if number_member else None
        contact = source.get("Contact")
        return cls(
            kind=kind,
            document_id=document_id,
            number=document_number,
            type=text(source, "Type"),
            status=text(source, "Status"),
            contact=XeroContact.from_json(mapping(contact, "Contact")) if contact else None,
            currency=text(source, "CurrencyCode"),
            total=number(source, "Total"),
            remaining_credit=number(source, "RemainingCredit"),
            issue_date=day(source, "Date"),
            allocations=tuple(
                XeroAllocation.from_document(kind, document_id, document_number, item)
                for item in members(source.get("Allocations"), "Allocations")
            ),
            updated_at=instant(source, "UpdatedDateUTC"),
        )


@dataclass(frozen=True, slots=True)
class XeroInvoice:
    """An invoice as read from Xero.

    ``lines`` is None when the reply did not carry them (unpaged lists and summaries leave LineItems out), which
    is not the same as an invoice without lines. The same goes for ``payments`` and the three credit lists, and
    for the amounts.
    """

    invoice_id: str
    type: str | None
    invoice_number: str | None
    reference: str | None
    status: str | None
    contact: XeroContact | None
    issue_date: date | None
    due_date: date | None
    line_amount_types: str | None
    currency: str | None
    currency_rate: Decimal | None
    lines: tuple[XeroLine, ...] | None
    sub_total: Decimal | None
    total_tax: Decimal | None
    total: Decimal | None
    amount_due: Decimal | None
    amount_paid: Decimal | None
    amount_credited: Decimal | None
    payments: tuple[XeroPayment, ...] | None
    allocations: tuple[XeroAllocation, ...] | None
    fully_paid_on: date | None
    updated_at: datetime | None

    @classmethod
    def from_json(cls, source: Mapping[str, Any], *, paged: bool = True) -> Self:
        """Read one element of Invoices.

        Args:
            source: The element.
            paged: False for an unpaged list or summaryOnly, whose empty LineItems mean "left out".
        """
        invoice_id = _required_id(source, "InvoiceID")
        contact = source.get("Contact")
        has_lines = "LineItems" in source and (paged or source["LineItems"])
        return cls(
            invoice_id=invoice_id,
            type=text(source, "Type"),
            invoice_number=text(source, "InvoiceNumber"),
            reference=text(source, "Reference"),
            status=text(source, "Status"),
            contact=XeroContact.from_json(mapping(contact, "Contact")) if contact else None,
            issue_date=day(source, "Date"),
            due_date=day(source, "DueDate"),
            line_amount_types=text(source, "LineAmountTypes"),
            currency=text(source, "CurrencyCode"),
            currency_rate=number(source, "CurrencyRate"),
            lines=tuple(
                XeroLine.from_json(item) for item in members(source["LineItems"], "LineItems")
            )
            if has_lines
            else None,
            sub_total=number(source, "SubTotal"),
            total_tax=number(source, "TotalTax"),
            total=number(source, "Total"),
            amount_due=number(source, "AmountDue"),
            amount_paid=number(source, "AmountPaid"),
            amount_credited=number(source, "AmountCredited"),
            payments=tuple(
                XeroPayment.from_json(item) for item in members(source["Payments"], "Payments")
            )
            if "Payments" in source
            else None,
            allocations=_allocations(source, invoice_id),
            fully_paid_on=day(source, "FullyPaidOnDate"),
            updated_at=instant(source, "UpdatedDateUTC"),
        )


def _allocations(source: Mapping[str, Any], invoice_id: str) -> tuple[XeroAllocation, ...] | None:
    lists = {
        "credit_note": "CreditNotes",
        "overpayment": "Overpayments",
        "prepayment": "Prepayments",
    }
    if not any(key in source for key in lists.values()):
        return None
    return tuple(
        XeroAllocation.from_invoice(kind, item, invoice_id)
        for kind, key in lists.items()
        for item in members(source.get(key), key)
    )
