"""The payload of a change: only what Pipeline changes, and every line that is to stay as Xero has it now."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from invoice_sync.domain import mapping, merging
from invoice_sync.domain.rounding import to_cents
from invoice_sync.domain.state import Link, Step
from invoice_sync.domain.three_way import RATE, TOTAL, Snapshot
from pipeline_contracts.invoice import Invoice as InvoiceBody
from pipeline_contracts.invoice import InvoiceLine
from pipeline_xero.documents import XeroInvoice, XeroLine

_HEAD = {
    "invoice_number": "InvoiceNumber",
    "reference": "Reference",
    "contact": "Contact",
    "issue_date": "Date",
    "due_date": "DueDate",
    "currency": "CurrencyCode",
    RATE: "CurrencyRate",
    "amounts_are": "LineAmountTypes",
}
# What Xero still lets change once something is paid or credited ("Invoices").
_CHANGEABLE_HEAD = frozenset({"invoice_number", "reference", "due_date", "contact"})
_CHANGEABLE_OF_LINES = (": description", ": account_code", ": tracking")
_OF_FORMER_AMOUNT = frozenset({"DiscountRate", "DiscountAmount", "TaxAmount"})


@dataclass(frozen=True, slots=True)
class Push:
    """Pipeline's changes are to be written.

    Attributes:
        step: The step before sending.
        link: The link, ``observed`` and ``observed_at`` as just read.
        xero: The invoice as just read.
        target: The invoice as it is to be.
        is_paid: Whether something is paid or credited.
    """

    step: Step
    link: Link
    xero: XeroInvoice
    target: Snapshot
    is_paid: bool

    @property
    def changed(self) -> frozenset[str]:
        """What is to change in Xero."""
        return merging.changed(self.link.observed, self.target) - {TOTAL}


def changeable(path: str) -> bool:
    """Whether Xero still lets this field change once something is paid or credited."""
    return path in _CHANGEABLE_HEAD or path.endswith(_CHANGEABLE_OF_LINES)


def void_element(link: Link) -> dict[str, Any]:
    """Voiding: id and status only; Xero refuses a void that carries the rest. A draft is deleted instead."""
    status = "DELETED" if link.xero_status in {"DRAFT", "SUBMITTED"} else "VOIDED"
    return {"InvoiceID": link.xero_invoice_id, "Status": status}


def update_element(
    body: InvoiceBody, contact_id: str, settings: mapping.WriteSettings, push: Push
) -> dict[str, Any]:
    """The change to send: only the fields Pipeline changed.

    Xero has no conditional writes. A field left out keeps what somebody may be writing into it at this moment, and
    the answer then shows it. Lines go together: one left out would be removed, and one sent is overwritten, so those
    that Pipeline did not touch are sent as they were read a moment ago.
    """
    changed = push.changed
    whole = mapping.to_xero(body, contact_id, settings)
    keep = {_HEAD[path] for path in changed if path in _HEAD}
    if "currency" in changed:
        keep.add("CurrencyRate")
    element: dict[str, Any] = {"InvoiceID": push.link.xero_invoice_id}
    element |= {key: value for key, value in whole.items() if key in keep}
    if "amounts_are" in changed or any(path.startswith("line ") for path in changed):
        element["LineItems"] = list(_lines(body, settings, push))
        ours = whole["LineAmountTypes"]
        theirs = mapping.LINE_AMOUNT_TYPES.get(push.target.get("amounts_are") or "", ours)
        element["LineAmountTypes"] = theirs
    if push.is_paid:
        element.pop("LineAmountTypes", None)
    return element


def _lines(
    body: InvoiceBody, settings: mapping.WriteSettings, push: Push
) -> Iterator[dict[str, Any]]:
    """Pipeline's lines in their order, then those that only Xero has; without what is to be removed."""
    stay, changed = mapping.lines_of(push.target), push.changed
    known = push.link.line_item_ids
    in_xero = {line.line_item_id or "": line for line in push.xero.lines or ()}
    retaxed = "amounts_are" in changed
    for line in body.lines:
        key = f"line {line.line_id}"
        theirs = in_xero.pop(known.get(line.line_id, ""), None)
        if key not in stay:
            continue
        if theirs is None:
            yield mapping.line_element(line, settings)
            continue
        names = {merging.name_of(path) for path in changed if mapping.line_of(path) == key}
        item = _as_xero_has_it(theirs, retaxed=retaxed)
        # What stands for the former amount must not stay beside the new one.
        changes = _changes(line, names, stay[key], settings)
        former = _OF_FORMER_AMOUNT if "Quantity" in changes else frozenset()
        yield {name: value for name, value in item.items() if name not in former} | changes
    ours = {theirs: line_id for line_id, theirs in known.items()}
    for line_item_id, left in in_xero.items():
        if f"line {ours.get(line_item_id, f'xero:{line_item_id}')}" in stay:
            yield _as_xero_has_it(left, retaxed=retaxed)


def _as_xero_has_it(line: XeroLine, *, retaxed: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        "LineItemID": line.line_item_id,
        "Description": line.description,
        "Quantity": line.quantity,
        "UnitAmount": line.unit_amount,
        "DiscountRate": line.discount_rate,
        "DiscountAmount": line.discount_amount or None,
        "AccountCode": line.account_code or None,
        "TaxType": line.tax_type or None,
        "TaxAmount": None if retaxed or not line.tax_type else line.tax_amount,
        "ItemCode": line.item_code or None,
        "Tracking": [{"Name": each.name, "Option": each.option} for each in line.tracking] or None,
    }
    return {key: value for key, value in item.items() if value is not None}


def _changes(
    line: InvoiceLine,
    names: Collection[str],
    target: Mapping[str, str | None],
    settings: mapping.WriteSettings,
) -> dict[str, Any]:
    """What Pipeline changes of a line. What makes its amount goes together, each part as it is to be afterwards.

    A part that Pipeline left alone may be somebody's own in Xero, kept by a person's choice.
    """
    changes: dict[str, Any] = {}
    if "description" in names:
        changes["Description"] = line.description
    if "account_code" in names:
        default = target.get("account_code") or settings.default_account_code
        changes["AccountCode"] = line.account_code or default
    if "tracking" in names:
        changes["Tracking"] = [
            {"Name": each.category, "Option": each.option} for each in line.tracking
        ]
    if merging.AMOUNTS.isdisjoint(names):
        return changes
    amounts: dict[str, Any] = {
        "Quantity": Decimal(target["quantity"] or 0),
        "UnitAmount": Decimal(target["unit_amount"] or 0),
        "DiscountRate": Decimal(target.get("discount_rate") or 0)
        or (0 if "discount_rate" in names else None),
        "TaxType": target.get("tax_type") or None,
        "TaxAmount": None if line.tax_amount is None else to_cents(line.tax_amount),
        "ItemCode": target.get("item_code"),
    }
    return changes | {key: value for key, value in amounts.items() if value is not None}
