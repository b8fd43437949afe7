"""The people and organisations the simulator starts with.

A demo user with two organisations (one in New Zealand dollars, one in US dollars) and a second
user with a single one; codes and rates are those of Xero's demo company.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from xero_simulator.ids import IdSource
from xero_simulator.records import Account, Item, Organisation, TaxRate, TrackingCategory

DEMO_USER = "demo@example.com"
SINGLE_USER = "single@example.com"

_REVENUE_SIDE = frozenset({"REVENUE", "ASSET", "LIABILITY", "EQUITY", "EXPENSE"})

# Code, name, type, class, tax type by country (NZ, other).
_ACCOUNTS = (
    ("090", "Business Bank Account", "BANK", "ASSET", "NONE", "NONE"),
    ("091", "Business Savings Account", "BANK", "ASSET", "NONE", "NONE"),
    ("200", "Sales", "REVENUE", "REVENUE", "OUTPUT2", "OUTPUT"),
    ("260", "Other Revenue", "REVENUE", "REVENUE", "OUTPUT2", "OUTPUT"),
    ("270", "Interest Income", "REVENUE", "REVENUE", "NONE", "NONE"),
    ("310", "Cost of Goods Sold", "DIRECTCOSTS", "EXPENSE", "INPUT2", "INPUT"),
    ("400", "Advertising", "EXPENSE", "EXPENSE", "INPUT2", "INPUT"),
    ("404", "Bank Fees", "EXPENSE", "EXPENSE", "NONE", "NONE"),
    ("425", "Freight & Courier", "EXPENSE", "EXPENSE", "INPUT2", "INPUT"),
    ("429", "General Expenses", "EXPENSE", "EXPENSE", "INPUT2", "INPUT"),
    ("610", "Accounts Receivable", "CURRENT", "ASSET", "NONE", "NONE"),
    ("800", "Accounts Payable", "CURRLIAB", "LIABILITY", "NONE", "NONE"),
    ("820", "GST", "CURRLIAB", "LIABILITY", "NONE", "NONE"),
    ("860", "Rounding", "CURRLIAB", "LIABILITY", "NONE", "NONE"),
    ("877", "Tracking Transfers", "CURRLIAB", "LIABILITY", "NONE", "NONE"),
    ("970", "Owner A Funds Introduced", "EQUITY", "EQUITY", "NONE", "NONE"),
)
_SYSTEM = {"610": "DEBTORS", "800": "CREDITORS", "820": "GST"}
_RATES_NZ = (
    ("OUTPUT2", "15% GST on Income", "15"),
    ("INPUT2", "15% GST on Expenses", "15"),
    ("ZERORATED", "Zero Rated", "0"),
    ("GSTONIMPORTS", "GST on Imports", "0"),
    ("NONE", "No GST", "0"),
)
_RATES_US = (
    ("OUTPUT", "Tax on Sales", "8.25"),
    ("INPUT", "Tax on Purchases", "8.25"),
    ("NONE", "Tax Exempt", "0"),
)


@dataclass(frozen=True, slots=True)
class User:
    """A person who can sign in to Xero and consent for some organisations."""

    user_id: str
    email: str
    given_name: str
    family_name: str
    tenant_ids: tuple[str, ...]


def organisation(
    ids: IdSource,
    name: str,
    country: str,
    currency: str,
    currencies: tuple[str, ...],
    now: datetime,
) -> Organisation:
    """A new organisation with the usual chart of accounts, tax rates, tracking and one item."""
    is_nz = country == "NZ"
    tax_column = 4 if is_nz else 5
    sales_tax = "OUTPUT2" if is_nz else "OUTPUT"
    accounts = {
        row[0]: Account(
            account_id=ids.guid(),
            code=row[0],
            name=row[1],
            type=row[2],
            class_=row[3],
            tax_type=row[tax_column],
            enable_payments=row[0] == "970",
            system_account=_SYSTEM.get(row[0], ""),
            currency=currency,
            bank_account_number="0123-0456-00789" if row[2] == "BANK" else "",
        )
        for row in _ACCOUNTS
    }
    rates = {
        code: TaxRate(code, label, Decimal(rate), _classes(code))
        for code, label, rate in (_RATES_NZ if is_nz else _RATES_US)
    }
    region = TrackingCategory(
        ids.guid(), "Region", tuple((ids.guid(), name) for name in ("North", "South", "East"))
    )
    item = Item(
        ids.guid(), "CD", "Compact disc", "One compact disc", Decimal("12.99"), "200", sales_tax
    )
    return Organisation(
        tenant_id=ids.guid(),
        name=name,
        short_code=f"!{ids.letters(5)}",
        country=country,
        base_currency=currency,
        created=now,
        timezone="NEWZEALANDSTANDARDTIME" if is_nz else "EASTERNSTANDARDTIME",
        currencies=currencies,
        accounts=accounts,
        tax_rates=rates,
        tracking={region.category_id: region},
        items={item.code: item},
        is_demo=True,
    )


def people(ids: IdSource, now: datetime) -> tuple[list[User], list[Organisation]]:
    """The seeded users and organisations."""
    nz = organisation(ids, "Demo Company (NZ)", "NZ", "NZD", ("NZD", "AUD", "USD"), now)
    us = organisation(ids, "Demo Company (US)", "US", "USD", ("USD", "NZD"), now)
    solo = organisation(ids, "Kiwi Records Ltd", "NZ", "NZD", ("NZD", "USD"), now)
    users = [
        User(ids.guid(), DEMO_USER, "Dana", "Demo", (nz.tenant_id, us.tenant_id)),
        User(ids.guid(), SINGLE_USER, "Sol", "Single", (solo.tenant_id,)),
    ]
    return users, [nz, us, solo]


def _classes(code: str) -> frozenset[str]:
    if code.startswith("OUTPUT"):
        return frozenset({"REVENUE", "LIABILITY", "EQUITY", "ASSET"})
    if code.startswith("INPUT"):
        return frozenset({"EXPENSE", "ASSET", "LIABILITY", "EQUITY"})
    return _REVENUE_SIDE
