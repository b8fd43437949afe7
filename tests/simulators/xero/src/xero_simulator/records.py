"""The books of one organisation as values; every change makes a new value."""

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal

from xero_simulator.money import ZERO


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the chart of accounts."""

    account_id: str
    code: str
    name: str
    type: str
    class_: str
    tax_type: str
    status: str = "ACTIVE"
    enable_payments: bool = False
    system_account: str = ""
    currency: str = ""
    bank_account_number: str = ""


@dataclass(frozen=True, slots=True)
class TaxRate:
    """One tax rate; `classes` are the account classes it may be used with."""

    tax_type: str
    name: str
    rate: Decimal
    classes: frozenset[str]
    status: str = "ACTIVE"


@dataclass(frozen=True, slots=True)
class TrackingCategory:
    """A tracking category with its options as (id, name) pairs."""

    category_id: str
    name: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A product or service that a line may name by its code."""

    item_id: str
    code: str
    name: str
    description: str
    unit_price: Decimal
    account_code: str
    tax_type: str


@dataclass(frozen=True, slots=True)
class Contact:
    """A customer or supplier. `details` holds plain fields the rules never look at."""

    contact_id: str
    name: str
    updated: dt.datetime
    status: str = "ACTIVE"
    number: str = ""
    account_number: str = ""
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    company_number: str = ""
    tax_number: str = ""
    is_customer: bool = False
    is_supplier: bool = False
    merged_to: str = ""
    phones: tuple[tuple[str, str, str, str], ...] = ()
    addresses: tuple[tuple[tuple[str, str], ...], ...] = ()
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tracking:
    """The choice of one option of one tracking category on a line."""

    category_id: str
    category: str
    option_id: str
    option: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line item, amounts as Xero keeps them."""

    line_id: str
    description: str = ""
    quantity: Decimal | None = None
    unit_amount: Decimal | None = None
    item_code: str = ""
    account_code: str = ""
    tax_type: str = ""
    tax_amount: Decimal = ZERO
    line_amount: Decimal = ZERO
    discount_rate: Decimal | None = None
    discount_amount: Decimal | None = None
    tracking: tuple[Tracking, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice, credit note, overpayment or prepayment (`kind` says which)."""

    kind: str
    document_id: str
    type: str
    contact_id: str
    date: dt.date
    status: str
    line_amount_types: str
    currency: str
    currency_rate: Decimal
    updated: dt.datetime
    created: dt.datetime
    number: str = ""
    reference: str = ""
    due_date: dt.date | None = None
    lines: tuple[Line, ...] = ()
    subtotal: Decimal = ZERO
    total_tax: Decimal = ZERO
    total: Decimal = ZERO
    amount_paid: Decimal = ZERO
    amount_credited: Decimal = ZERO
    url: str = ""
    branding_theme_id: str = ""
    expected_payment_date: dt.date | None = None
    planned_payment_date: dt.date | None = None
    sent_to_contact: bool = False
    fully_paid_on: dt.date | None = None
    created_by_app: bool = False

    @property
    def outstanding(self) -> Decimal:
        """What is still to be paid or, on a credit note, still to be used."""
        return self.total - self.amount_paid - self.amount_credited

    @property
    def touched(self) -> bool:
        """Whether a payment or allocation stands against it."""
        return bool(self.amount_paid or self.amount_credited)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment against one document."""

    payment_id: str
    document_id: str
    account_id: str
    date: dt.date
    amount: Decimal
    bank_amount: Decimal
    currency_rate: Decimal
    payment_type: str
    updated: dt.datetime
    reference: str = ""
    status: str = "AUTHORISED"
    is_reconciled: bool = False
    batch_payment_id: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Credit of `source_id` (credit note, overpayment, prepayment) applied to an invoice."""

    allocation_id: str
    source_id: str
    invoice_id: str
    amount: Decimal
    date: dt.date


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """One line of a document's history."""

    document_id: str
    changes: str
    details: str
    user: str
    moment: dt.datetime


@dataclass(slots=True)
class Organisation:
    """An organisation's settings; a person changes them in Xero, the API never does."""

    tenant_id: str
    name: str
    short_code: str
    country: str
    base_currency: str
    created: dt.datetime
    timezone: str = "NEWZEALANDSTANDARDTIME"
    currencies: tuple[str, ...] = ()
    accounts: dict[str, Account] = field(default_factory=dict)
    tax_rates: dict[str, TaxRate] = field(default_factory=dict)
    tracking: dict[str, TrackingCategory] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    period_lock_date: dt.date | None = None
    end_of_year_lock_date: dt.date | None = None
    class_: str = "PREMIUM"
    is_demo: bool = False
    monthly_approval_limit: int | None = None
    numbers_freed_by: frozenset[str] = frozenset()
