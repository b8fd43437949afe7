"""What an organisation says about itself: who it is, its accounts, its tax rates, its currencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Self

from pipeline_xero.json_forms import day, entity_id, flag, number, required_text, text


@dataclass(frozen=True, slots=True)
class XeroOrganisation:
    """The organisation behind a tenant."""

    organisation_id: str | None
    name: str | None
    short_code: str | None
    base_currency: str | None
    country_code: str | None
    time_zone: str | None
    is_demo: bool
    period_lock_date: date | None
    end_of_year_lock_date: date | None

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read the one element of Organisations."""
        return cls(
            organisation_id=entity_id(source, "OrganisationID"),
            name=text(source, "Name"),
            short_code=text(source, "ShortCode"),
            base_currency=text(source, "BaseCurrency"),
            country_code=text(source, "CountryCode"),
            time_zone=text(source, "Timezone"),
            is_demo=flag(source, "IsDemoCompany") is True,
            period_lock_date=day(source, "PeriodLockDate"),
            end_of_year_lock_date=day(source, "EndOfYearLockDate"),
        )


@dataclass(frozen=True, slots=True)
class XeroAccount:
    """One row of the chart of accounts. Bank accounts may have no code."""

    account_id: str | None
    code: str | None
    name: str | None
    type: str | None
    status: str | None
    tax_type: str | None
    takes_payments: bool

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of Accounts."""
        account_type = text(source, "Type")
        return cls(
            account_id=entity_id(source, "AccountID"),
            code=text(source, "Code"),
            name=text(source, "Name"),
            type=account_type,
            status=text(source, "Status"),
            tax_type=text(source, "TaxType"),
            takes_payments=account_type == "BANK"
            or flag(source, "EnablePaymentsToAccount") is True,
        )


@dataclass(frozen=True, slots=True)
class XeroTaxRate:
    """One tax rate; ``effective_rate`` is a percentage."""

    tax_type: str
    name: str | None
    status: str | None
    effective_rate: Decimal | None
    applies_to_revenue: bool

    @classmethod
    def from_json(cls, source: Mapping[str, Any]) -> Self:
        """Read one element of TaxRates."""
        return cls(
            tax_type=required_text(source, "TaxType"),
            name=text(source, "Name"),
            status=text(source, "Status"),
            effective_rate=number(source, "EffectiveRate"),
            applies_to_revenue=flag(source, "CanApplyToRevenue") is not False,
        )
