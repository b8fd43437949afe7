"""`POST …/invoices/{id}/sync/preview`."""

import json
from typing import Any

from fastapi import APIRouter, Request

from invoice_sync.domain.blocks import mover_of
from invoice_sync.domain.forecast import Finding, Forecast
from invoice_sync.domain.rounding import to_unit
from invoice_sync.domain.taxes import LineSum
from invoice_sync.handlers.access import Writer, deps_of
from invoice_sync.handlers.sync_status import no_invoice
from invoice_sync.handlers.views import (
    DifferenceView,
    FindingView,
    LeftApartView,
    LineSumView,
    PreviewView,
    TotalsView,
    WriteView,
)
from invoice_sync.preview_sync import preview_sync
from invoice_sync.send_intent import PARAMS
from pipeline_contracts.fields import Id
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_service_defaults.problems import Problem

router = APIRouter(tags=["invoices"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"description": "Nothing is published under this id, and no invoice was given."},
    422: {"description": "The given invoice is another one's, or cannot be read."},
    429: {
        "description": "The account's previews are used up: sixty at once, then one each three minutes."
    },
}


@router.post(
    "/v1/accounts/{account_id}/invoices/{invoice_id}/sync/preview",
    summary="What would be sent to Xero, and what is in the way",
    responses=_ERRORS,
)
async def post_preview(
    request: Request,
    account_id: Id,
    invoice_id: Id,
    _: Writer,
    invoice: InvoiceCreated | None = None,
) -> PreviewView:
    """The exact payload, each line's rounding and every check that fails. Nothing changes.

    Without a body it is about the newest version Pipeline published; with one, about that invoice, published or not.
    Xero is read for it (at most twice, in the lane of people), never written to; as that spends calls, viewers may not,
    and sixty at once, then one each three minutes, is what an account has.
    """
    if invoice is not None and (invoice.account_id, invoice.invoice_id) != (account_id, invoice_id):
        raise Problem(
            422,
            "INVOICE_MISMATCH",
            "Another invoice",
            "The invoice in the body names another account or id than the address.",
            hint="Send the invoice to its own address.",
        )
    found = await preview_sync(deps_of(request), account_id, invoice_id, invoice)
    if found is None:
        raise no_invoice()
    return _view(found)


def _view(found: Forecast) -> PreviewView:
    row, figures = found.invoice, found.figures
    return PreviewView(
        account_id=row.account_id,
        invoice_id=row.invoice_id,
        version=row.version,
        state=row.state,
        ahead=found.ahead,
        findings=[_finding(each) for each in found.findings],
        request=None
        if found.request is None
        else WriteView(
            method=found.request.method,
            path=found.request.path,
            params=PARAMS,
            body=json.loads(found.request.body),
            text=found.request.body.decode(),
        ),
        lines=[_line(each) for each in figures.lines] if figures else [],
        totals=None
        if figures is None
        else TotalsView(
            pipeline=figures.pipeline,
            xero_at_least=figures.xero.lowest,
            xero_at_most=figures.xero.highest,
            difference=figures.difference if found.difference is None else found.difference,
            in_xero_now=found.in_xero.total if found.in_xero else None,
        ),
        changed=list(found.changed),
        differences=[DifferenceView.of(each) for each in found.differences],
        left_apart=LeftApartView.of(found.left_apart) if found.left_apart else None,
    )


def _finding(found: Finding) -> FindingView:
    why = found.block
    return FindingView(
        code=why.code,
        message=why.message,
        hint=why.hint,
        whose_move=mover_of(why.code),
        by_xero=found.by_xero,
        is_certain=found.is_certain,
    )


def _line(found: LineSum) -> LineSumView:
    line = found.line
    return LineSumView(
        line_id=line.line_id,
        description=line.description,
        quantity=to_unit(line.quantity),
        unit_amount=to_unit(line.unit_amount),
        discount_rate=line.discount_rate,
        account_code=line.account_code,
        tax_type=line.tax_code,
        line_amount=found.amount,
        tax_amount=found.tax,
        carried=found.carried,
    )
