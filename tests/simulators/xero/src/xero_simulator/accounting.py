"""Which route answers which call of /api.xro/2.0, and the scope it needs."""

from collections.abc import Callable

from xero_simulator.idempotency import Answer
from xero_simulator.routes import contacts, credit_notes, invoices, payments, settings
from xero_simulator.routes.request import (
    JSON,
    TEXT,
    ApiError,
    ApiRequest,
    not_found,
)
from xero_simulator.wire import dumps

Route = Callable[[ApiRequest], Answer]

_SCOPES = {
    "Invoices": "accounting.invoices",
    "CreditNotes": "accounting.invoices",
    "Items": "accounting.invoices",
    "Payments": "accounting.payments",
    "Prepayments": "accounting.payments",
    "Overpayments": "accounting.payments",
    "Contacts": "accounting.contacts",
    "Organisation": "accounting.settings",
    "Organisations": "accounting.settings",
    "Accounts": "accounting.settings",
    "TaxRates": "accounting.settings",
    "Currencies": "accounting.settings",
    "TrackingCategories": "accounting.settings",
}
_READ = frozenset({"GET"})
_ALL = frozenset({"GET", "PUT", "POST"})
_ONE = frozenset({"GET", "POST"})

# The path as a tuple; `*` stands for one segment.
_ROUTES: dict[tuple[str, ...], tuple[frozenset[str], Route]] = {
    ("Invoices",): (_ALL, invoices.collection),
    ("Invoices", "*"): (_ONE, invoices.single),
    ("Invoices", "*", "History"): (frozenset({"GET", "PUT"}), invoices.history),
    ("Invoices", "*", "OnlineInvoice"): (_READ, invoices.online),
    ("Invoices", "*", "Email"): (frozenset({"POST"}), invoices.email),
    ("Contacts",): (_ALL, contacts.collection),
    ("Contacts", "*"): (_ONE, contacts.single),
    ("Payments",): (_ALL, payments.collection),
    ("Payments", "*"): (_ONE, payments.single),
    ("CreditNotes",): (_ALL, credit_notes.collection),
    ("CreditNotes", "*"): (_READ, credit_notes.single),
    ("CreditNotes", "*", "Allocations"): (frozenset({"PUT"}), credit_notes.allocations),
    ("CreditNotes", "*", "Allocations", "*"): (frozenset({"DELETE"}), credit_notes.allocation),
    ("Prepayments", "*"): (_READ, credit_notes.prepayment),
    ("Overpayments", "*"): (_READ, credit_notes.overpayment),
    ("Organisation",): (_READ, settings.organisation),
    ("Organisations",): (_READ, settings.organisation),
    ("Accounts",): (_READ, settings.accounts),
    ("Accounts", "*"): (_READ, settings.accounts),
    ("TaxRates",): (_READ, settings.tax_rates),
    ("TaxRates", "*"): (_READ, settings.tax_rates),
    ("Currencies",): (_READ, settings.currencies),
    ("TrackingCategories",): (_READ, settings.tracking_categories),
    ("TrackingCategories", "*"): (_READ, settings.tracking_categories),
    ("Items",): (_READ, settings.items),
    ("Items", "*"): (_READ, settings.items),
}
_CANONICAL = {name.lower(): name for path in _ROUTES for name in path}


def canonical(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Writes resource names the way the table has them; Xero's paths ignore case."""
    return tuple(
        _CANONICAL.get(part.lower(), part) if place % 2 == 0 else part
        for place, part in enumerate(segments)
    )


def allowed(path: tuple[str, ...], method: str, scopes: frozenset[str]) -> bool:
    """Whether a token's scopes cover the call; an unknown resource is left to the 404."""
    scope = _SCOPES.get(path[0]) if path else None
    return scope is None or scope in scopes or (method == "GET" and f"{scope}.read" in scopes)


def dispatch(request: ApiRequest) -> Answer:
    """Answers one call that was let in."""
    pattern = tuple("*" if place % 2 else part for place, part in enumerate(request.path))
    found = _ROUTES.get(pattern)
    if found is None:
        # /Invoices/{id}/History has its name in an even place, like /Invoices itself.
        return not_found()
    methods, route = found
    if request.method not in methods:
        text = b"The method is not implemented"
        return Answer(501, (TEXT,), text)
    if not _wants_json(request):
        return Answer(406, (TEXT,), b"Xero would answer in XML here; this stand-in has JSON only: "
                                    b"send Accept: application/json")  # fmt: skip
    if request.method in {"PUT", "POST"} and _is_xml(request):
        body = {"Title": "Unsupported Media Type", "Detail": "This stand-in reads JSON only"}
        return Answer(415, (JSON,), dumps(body))
    try:
        return route(request)
    except ApiError as error:
        return error.answer


def _wants_json(request: ApiRequest) -> bool:
    return "json" in request.headers.get("accept", "").lower()


def _is_xml(request: ApiRequest) -> bool:
    return "xml" in request.headers.get("content-type", "").lower()
