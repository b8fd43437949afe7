"""Organisation, accounts, tax rates, currencies, tracking and items as Xero writes them."""

from datetime import datetime

from xero_simulator.money import HUNDRED
from xero_simulator.records import Account, Item, Organisation, TaxRate, TrackingCategory
from xero_simulator.wire import Json, day_stamp, milliseconds, stamp

_CURRENCY_NAMES = {
    "AUD": "Australian Dollar",
    "EUR": "Euro",
    "GBP": "British Pound",
    "NZD": "New Zealand Dollar",
    "USD": "United States Dollar",
}


def organisation(row: Organisation) -> Json:
    """The one element of GET /Organisation."""
    body: Json = {
        "Name": row.name,
        "LegalName": row.name,
        "PaysTax": True,
        "Version": row.country if row.country in {"NZ", "AU", "UK", "US"} else "GLOBAL",
        "OrganisationType": "COMPANY",
        "BaseCurrency": row.base_currency,
        "CountryCode": row.country,
        "IsDemoCompany": row.is_demo,
        "OrganisationStatus": "ACTIVE",
        "FinancialYearEndDay": 31,
        "FinancialYearEndMonth": 3,
        "SalesTaxBasis": "PAYMENTS",
        "SalesTaxPeriod": "TWOMONTHS",
        "DefaultSalesTax": "Remember previous",
        "DefaultPurchasesTax": "Remember previous",
        "CreatedDateUTC": f"/Date({milliseconds(row.created)})/",
        "OrganisationEntityType": "COMPANY",
        "Timezone": row.timezone,
        "ShortCode": row.short_code,
        "OrganisationID": row.tenant_id,
        "Edition": "BUSINESS",
        "Class": row.class_,
        "Addresses": [],
        "Phones": [],
        "ExternalLinks": [],
        "PaymentTerms": {},
    }
    if row.period_lock_date:
        body["PeriodLockDate"] = day_stamp(row.period_lock_date)
    if row.end_of_year_lock_date:
        body["EndOfYearLockDate"] = day_stamp(row.end_of_year_lock_date)
    return body


def account(row: Account, updated: datetime) -> Json:
    """One account."""
    body: Json = {
        "AccountID": row.account_id,
        "Code": row.code,
        "Name": row.name,
        "Status": row.status,
        "Type": row.type,
        "TaxType": row.tax_type,
        "Class": row.class_,
        "EnablePaymentsToAccount": row.enable_payments,
        "ShowInExpenseClaims": False,
        "ReportingCode": "",
        "HasAttachments": False,
        "UpdatedDateUTC": stamp(updated),
        "AddToWatchlist": False,
    }
    if row.type == "BANK":
        body |= {
            "BankAccountNumber": row.bank_account_number,
            "BankAccountType": "BANK",
            "CurrencyCode": row.currency,
        }
    if row.system_account:
        body["SystemAccount"] = row.system_account
    return body


def tax_rate(row: TaxRate) -> Json:
    """One tax rate."""
    return {
        "Name": row.name,
        "TaxType": row.tax_type,
        "ReportTaxType": row.tax_type,
        "CanApplyToAssets": "ASSET" in row.classes,
        "CanApplyToEquity": "EQUITY" in row.classes,
        "CanApplyToExpenses": "EXPENSE" in row.classes,
        "CanApplyToLiabilities": "LIABILITY" in row.classes,
        "CanApplyToRevenue": "REVENUE" in row.classes,
        "DisplayTaxRate": row.rate,
        "EffectiveRate": row.rate,
        "Status": row.status,
        "TaxComponents": [
            {
                "Name": row.name.split(" (")[0],
                "Rate": row.rate,
                "IsCompound": False,
                "IsNonRecoverable": False,
            }
        ]
        if 0 < row.rate < HUNDRED
        else [],
    }


def currency(code: str) -> Json:
    """One currency."""
    return {"Code": code, "Description": _CURRENCY_NAMES.get(code, code)}


def tracking_category(row: TrackingCategory) -> Json:
    """One tracking category with its options."""
    return {
        "Name": row.name,
        "Status": "ACTIVE",
        "TrackingCategoryID": row.category_id,
        "Options": [
            {"TrackingOptionID": option_id, "Name": name, "Status": "ACTIVE"}
            for option_id, name in row.options
        ],
    }


def item(row: Item, updated: datetime) -> Json:
    """One item."""
    return {
        "ItemID": row.item_id,
        "Code": row.code,
        "Name": row.name,
        "Description": row.description,
        "UpdatedDateUTC": stamp(updated),
        "SalesDetails": {
            "UnitPrice": row.unit_price,
            "AccountCode": row.account_code,
            "TaxType": row.tax_type,
        },
        "PurchaseDetails": {},
        "IsTrackedAsInventory": False,
        "IsSold": True,
        "IsPurchased": False,
    }
