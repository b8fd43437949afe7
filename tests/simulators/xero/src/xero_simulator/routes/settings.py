"""/Organisation, /Accounts, /TaxRates, /Currencies, /TrackingCategories, /Items: read only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xero_simulator import settings_shapes as shapes
from xero_simulator.idempotency import Answer
from xero_simulator.routes import listing
from xero_simulator.routes.request import ApiRequest, not_found
from xero_simulator.where import Getter
from xero_simulator.wire import Json

_ACCOUNT_FIELDS: Mapping[str, Getter] = {
    "code": lambda row: row.code,
    "name": lambda row: row.name,
    "type": lambda row: row.type,
    "class": lambda row: row.class_,
    "status": lambda row: row.status,
    "taxtype": lambda row: row.tax_type,
    "enablepaymentstoaccount": lambda row: row.enable_payments,
}
_TAX_FIELDS: Mapping[str, Getter] = {
    "taxtype": lambda row: row.tax_type,
    "name": lambda row: row.name,
    "status": lambda row: row.status,
}
_CODE_FIELDS: Mapping[str, Getter] = {
    "code": lambda row: getattr(row, "code", row),
    "name": lambda row: row.name,
}


def organisation(request: ApiRequest) -> Answer:
    """GET /Organisation."""
    return request.reply({"Organisations": [shapes.organisation(request.books.organisation)]})


def accounts(request: ApiRequest) -> Answer:
    """GET /Accounts and /Accounts/{id or code}."""
    created = request.books.organisation.created
    rows = list(request.books.organisation.accounts.values())
    return _answer(
        request,
        "Accounts",
        rows,
        _ACCOUNT_FIELDS,
        lambda row: shapes.account(row, created),
        lambda row: (row.account_id, row.code),
    )


def tax_rates(request: ApiRequest) -> Answer:
    """GET /TaxRates and /TaxRates/{TaxType}."""
    rows = list(request.books.organisation.tax_rates.values())
    return _answer(
        request, "TaxRates", rows, _TAX_FIELDS, shapes.tax_rate, lambda row: (row.tax_type,)
    )


def currencies(request: ApiRequest) -> Answer:
    """GET /Currencies."""
    rows = list(request.books.organisation.currencies)
    return _answer(request, "Currencies", rows, _CODE_FIELDS, shapes.currency, lambda row: (row,))


def tracking_categories(request: ApiRequest) -> Answer:
    """GET /TrackingCategories and /TrackingCategories/{id}."""
    rows = list(request.books.organisation.tracking.values())
    return _answer(
        request,
        "TrackingCategories",
        rows,
        _CODE_FIELDS,
        shapes.tracking_category,
        lambda row: (row.category_id,),
    )


def items(request: ApiRequest) -> Answer:
    """GET /Items and /Items/{id or code}."""
    created = request.books.organisation.created
    rows = list(request.books.organisation.items.values())
    return _answer(
        request,
        "Items",
        rows,
        _CODE_FIELDS,
        lambda row: shapes.item(row, created),
        lambda row: (row.item_id, row.code),
    )


def _answer(
    request: ApiRequest,
    plural: str,
    rows: Sequence[Any],
    fields: Mapping[str, Getter],
    show: Callable[[Any], Json],
    keys: Callable[[Any], tuple[str, ...]],
) -> Answer:
    if len(request.path) > 1:
        rows = [row for row in rows if request.path[1] in keys(row)]
        if not rows:
            return not_found()
    where = listing.condition(request, fields)
    return request.reply({plural: [show(row) for row in rows if where.matches(row)]})
