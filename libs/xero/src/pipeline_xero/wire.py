"""Xero's wire format in one import: reading and writing JSON, documents, reference data, verdicts of writes."""

from pipeline_xero.documents import (
    XeroAllocation,
    XeroContact,
    XeroCreditDocument,
    XeroInvoice,
    XeroLine,
    XeroPayment,
    XeroTracking,
)
from pipeline_xero.json_forms import (
    ZERO_GUID,
    dumps,
    elements,
    format_date,
    format_datetime,
    format_decimal,
    loads,
    parse_date,
    parse_decimal,
    parse_instant,
)
from pipeline_xero.outcomes import ElementResult, ElementStatus, element_result, element_results
from pipeline_xero.reference_data import XeroAccount, XeroOrganisation, XeroTaxRate

__all__ = [
    "ZERO_GUID",
    "ElementResult",
    "ElementStatus",
    "XeroAccount",
    "XeroAllocation",
    "XeroContact",
    "XeroCreditDocument",
    "XeroInvoice",
    "XeroLine",
    "XeroOrganisation",
    "XeroPayment",
    "XeroTaxRate",
    "XeroTracking",
    "dumps",
    "element_result",
    "element_results",
    "elements",
    "format_date",
    "format_datetime",
    "format_decimal",
    "loads",
    "parse_date",
    "parse_decimal",
    "parse_instant",
]
