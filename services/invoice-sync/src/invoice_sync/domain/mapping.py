"""Between Pipeline's invoice and Xero's: the payload to send, and both sides as comparable snapshots."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

from invoice_sync.domain.rounding import to_cents, to_unit
from invoice_sync.domain.three_way import LIVE, RATE, STATUS, TOTAL, WITHDRAWN, Snapshot
from pipeline_contracts.invoice import Invoice, InvoiceLine
from pipeline_contracts.money import plain_quantity
from pipeline_contracts.observed import ObservedInvoice, ObservedLine
from pipeline_xero.documents import XeroInvoice, XeroLine
from pipeline_xero.wire import dumps

LINE_AMOUNT_TYPES = {
    "tax_exclusive": "Exclusive",
    "tax_inclusive": "Inclusive",
    "no_tax": "NoTax",
}
_AMOUNTS_ARE = {theirs.lower(): ours for ours, theirs in LINE_AMOUNT_TYPES.items()}
_GONE = frozenset({"VOIDED", "DELETED"})
_CODED = (
    "amounts_are",
    ": account_code",
    ": tax_type",
    ": tax_amount",
    ": item_code",
    ": tracking",
)
_XEROS_LINE = "line xero:"
_ABSENT = "\0"


@dataclass(frozen=True, slots=True)
class WriteSettings:
    """What an invoice needs that its event does not say."""

    pipeline_web_url: str
    """Where Pipeline shows invoices: the root of the marker, and a link back for people."""
    default_account_code: str
    """Revenue account of lines that name none."""
    status: str = "AUTHORISED"
    """Status in which invoices are created."""


def amounts_are(invoice: Invoice) -> str:
    """How the invoice's amounts relate to tax, as Xero is to understand it.

    Amounts "before tax" of an invoice that names no tax anywhere carry none. Left to Xero, each line would get the
    default tax of its account on top, and the customer would owe more than Pipeline's total.
    """
    if invoice.amounts_are == "tax_exclusive" and not any(
        line.tax_code or line.tax_amount is not None for line in invoice.lines
    ):
        return "no_tax"
    return invoice.amounts_are


def marker(pipeline_web_url: str, account_id: str, invoice_id: str) -> str:
    """The ``Url`` that tells our invoice in Xero from a stranger's with the same number.

    Xero requires a real URL there and lets API and people read it, so it is also a useful link back. The user's
    own ``Reference`` stays theirs.
    """
    root = pipeline_web_url.rstrip("/")
    return f"{root}/accounts/{quote(account_id, safe='')}/invoices/{quote(invoice_id, safe='')}"


def is_ours(element: Mapping[str, Any], marker_url: str) -> bool:
    """Whether an invoice read from Xero carries our marker."""
    return str(element.get("Url") or "").strip().rstrip("/").lower() == marker_url.lower()


def other_of(elements: Iterable[Mapping[str, Any]], marker_url: str) -> str | None:
    """Which other invoice of Pipeline's one of these is, in words; None if all are strangers'.

    Two accounts may share an organisation: that it is another account's is said, its name is not.
    """
    folder = marker_url.rpartition("/")[0].lower() + "/"
    root = folder.rpartition("/accounts/")[0] + "/accounts/"
    for element in elements:
        url = str(element.get("Url") or "").strip().rstrip("/")
        if url.lower() == marker_url.lower():
            continue
        if url.lower().startswith(folder):
            return f"Pipeline's own invoice {unquote(url[len(folder) :])}"
        if url.lower().startswith(root):
            return "an invoice of another account in Pipeline"
    return None


def to_xero(invoice: Invoice, contact_id: str, settings: WriteSettings) -> dict[str, Any]:
    """The element of this invoice as a new one.

    Args:
        invoice: What Pipeline wants.
        contact_id: Its customer's contact. Only the id is sent: any further field would edit the contact, and an
            unknown name would create one.
        settings: See ``WriteSettings``.
    """
    element: dict[str, Any] = {
        "Type": "ACCREC",
        "InvoiceNumber": invoice.invoice_number.strip(),
        "Reference": invoice.reference or "",
        "Contact": {"ContactID": contact_id},
        "Date": invoice.issue_date,
        "DueDate": invoice.due_date,
        "LineAmountTypes": LINE_AMOUNT_TYPES.get(amounts_are(invoice), "Exclusive"),
        "CurrencyCode": invoice.currency,
        "Status": settings.status,
        "Url": marker(settings.pipeline_web_url, invoice.account_id, invoice.invoice_id),
        "LineItems": [line_element(line, settings) for line in invoice.lines],
    }
    if invoice.currency_rate is not None:
        element["CurrencyRate"] = invoice.currency_rate
    return element


def line_element(line: InvoiceLine, settings: WriteSettings) -> dict[str, Any]:
    """The element of a line that Xero does not have yet."""
    item: dict[str, Any] = {
        "Description": line.description,
        "Quantity": to_unit(line.quantity),
        "UnitAmount": to_unit(line.unit_amount),
        "AccountCode": line.account_code or settings.default_account_code,
    }
    optional = {
        "DiscountRate": line.discount_rate,
        "TaxType": line.tax_code,
        "TaxAmount": None if line.tax_amount is None else to_cents(line.tax_amount),
        "ItemCode": line.item_code,
    }
    item.update({key: value for key, value in optional.items() if value is not None})
    if line.tracking:
        item["Tracking"] = [
            {"Name": each.category, "Option": each.option} for each in line.tracking
        ]
    return item


def invoices_body(elements: Iterable[Mapping[str, Any]]) -> bytes:
    """The exact bytes of a write with these invoices."""
    return dumps({"Invoices": list(elements)})


def pair_lines(
    line_ids: Sequence[str], line_item_ids: Sequence[str], known: Mapping[str, str]
) -> dict[str, str]:
    """Which of our lines became which of Xero's.

    Kept lines are recognised by their id. The others are new and stand in the order they were sent, before the
    kept ones or after them (Xero puts them first on updates).
    """
    all_ours, all_theirs = set(line_ids), set(line_item_ids)
    kept = {
        ours: theirs for ours, theirs in known.items() if theirs in all_theirs and ours in all_ours
    }
    taken = set(kept.values())
    new_ours = [ours for ours in line_ids if ours not in kept]
    new_theirs = [theirs for theirs in line_item_ids if theirs not in taken]
    return kept | dict(zip(new_ours, new_theirs, strict=False))


def desired_snapshot(invoice: Invoice, contact_id: str | None) -> Snapshot:
    """What Pipeline wants, as a snapshot; ``None`` where Pipeline leaves the choice to Xero."""
    snapshot: dict[str, str | None] = {
        STATUS: LIVE,
        "invoice_number": _text(invoice.invoice_number),
        "reference": _text(invoice.reference),
        "contact": contact_id.lower() if contact_id else None,
        "issue_date": invoice.issue_date.isoformat(),
        "due_date": invoice.due_date.isoformat(),
        "currency": invoice.currency,
        RATE: _number(invoice.currency_rate),
        "amounts_are": amounts_are(invoice),
        TOTAL: plain_quantity(to_cents(invoice.total)),
    }
    for position, line in enumerate(invoice.lines, 1):
        snapshot |= _line_fields(_line_key(line.line_id, position), _desired_line(line))
    return snapshot


def _desired_line(line: InvoiceLine) -> dict[str, str | None]:
    return {
        "description": _text(line.description),
        "quantity": plain_quantity(to_unit(line.quantity)),
        "unit_amount": plain_quantity(to_unit(line.unit_amount)),
        "discount_rate": plain_quantity(line.discount_rate or Decimal(0)),
        "account_code": line.account_code,
        "tax_type": line.tax_code,
        "tax_amount": None
        if line.tax_amount is None
        else plain_quantity(to_cents(line.tax_amount)),
        "item_code": line.item_code,
        "tracking": _tracking((each.category, each.option) for each in line.tracking),
    }


def withdrawn(snapshot: Snapshot) -> Snapshot:
    """The same document, voided."""
    return {**snapshot, STATUS: WITHDRAWN}


def xero_snapshot(invoice: XeroInvoice, line_item_ids: Mapping[str, str]) -> Snapshot:
    """An invoice read from Xero as a snapshot.

    Args:
        invoice: As read, with its lines.
        line_item_ids: Our line ids with Xero's, so that lines are compared with themselves.
    """
    snapshot: dict[str, str | None] = {
        STATUS: WITHDRAWN if invoice.status in _GONE else LIVE,
        "invoice_number": _text(invoice.invoice_number),
        "reference": _text(invoice.reference),
        "contact": invoice.contact.contact_id if invoice.contact else None,
        "issue_date": invoice.issue_date.isoformat() if invoice.issue_date else None,
        "due_date": invoice.due_date.isoformat() if invoice.due_date else None,
        "currency": invoice.currency,
        RATE: _number(invoice.currency_rate),
        "amounts_are": _AMOUNTS_ARE.get((invoice.line_amount_types or "").lower()),
        TOTAL: _number(invoice.total),
    }
    ours = {theirs: line_id for line_id, theirs in line_item_ids.items()}
    for position, line in enumerate(invoice.lines or (), 1):
        theirs = line.line_item_id or ""
        tracking = ((each.name or "", each.option or "") for each in line.tracking)
        fields = _line_in_xero(line, _tracking(tracking))
        snapshot |= _line_fields(_line_key(ours.get(theirs, f"xero:{theirs}"), position), fields)
    return snapshot


def observed_snapshot(invoice: ObservedInvoice, line_item_ids: Mapping[str, str]) -> Snapshot:
    """An invoice another service read from Xero (XeroInvoiceObserved), as a snapshot."""
    snapshot: dict[str, str | None] = {
        STATUS: WITHDRAWN if invoice.status in _GONE else LIVE,
        "invoice_number": _text(invoice.invoice_number),
        "reference": _text(invoice.reference),
        "contact": invoice.contact_id.lower() if invoice.contact_id else None,
        "issue_date": invoice.issue_date.isoformat() if invoice.issue_date else None,
        "due_date": invoice.due_date.isoformat() if invoice.due_date else None,
        "currency": invoice.currency,
        RATE: _number(invoice.currency_rate),
        "amounts_are": invoice.amounts_are,
        TOTAL: _number(invoice.total),
    }
    ours = {theirs: line_id for line_id, theirs in line_item_ids.items()}
    for position, line in enumerate(invoice.lines, 1):
        theirs = (line.line_item_id or "").lower()
        tracking = ((each.category, each.option) for each in line.tracking)
        fields = _line_in_xero(line, _tracking(tracking))
        snapshot |= _line_fields(_line_key(ours.get(theirs, f"xero:{theirs}"), position), fields)
    return snapshot


def _line_in_xero(line: XeroLine | ObservedLine, tracking: str) -> dict[str, str | None]:
    return {
        "description": _text(line.description),
        "quantity": _number(line.quantity),
        "unit_amount": _number(line.unit_amount),
        "discount_rate": _number(line.discount_rate) or "0",
        "account_code": line.account_code,
        "tax_type": line.tax_type,
        "tax_amount": _number(line.tax_amount),
        "item_code": line.item_code,
        "tracking": tracking,
    }


def in_xeros_words(pipeline: Snapshot, agreed: Snapshot, base: Snapshot) -> Snapshot:
    """Pipeline's snapshot with every field it has not changed since the agreement as Xero rendered it then.

    Xero trims texts and fills in defaults; without this, its own rendition of an unchanged field would look like
    a change of ours. Lines that the agreement left to Xero alone, because Pipeline never had or gave up them, stay as they are.
    """
    unchanged = {path for path, value in pipeline.items() if agreed.get(path, _ABSENT) == value}
    theirs = {path for path in base if line_of(path) and path not in {*agreed, *pipeline}}
    ours = {path: value for path, value in pipeline.items() if path not in unchanged}
    return ours | {path: base[path] for path in (unchanged & base.keys()) | theirs}


def as_agreed(wanted: Snapshot, agreed: Snapshot) -> Snapshot:
    """The same version as it was sent: a code mapped anew, or another tax rate, changes no invoice that is in Xero."""
    return {
        path: agreed.get(path, value) if path.endswith(_CODED) else value
        for path, value in wanted.items()
    }


def line_field(line_id: str, name: str) -> str:
    """The path of a line's field in a snapshot."""
    return f"line {line_id}: {name}"


def same_lines(wanted: Snapshot, observed: Snapshot) -> dict[str, str]:
    """Lines that both sides have and nobody linked: our line ids with Xero's.

    Somebody added the same line on the other side, or took it out there and typed it in again, or a write of ours
    landed late: equal in all that Pipeline names.

    Args:
        wanted: What Pipeline wants, in its own words; or what both last agreed on.
        observed: What Xero has.
    """
    if not any(path.startswith(_XEROS_LINE) for path in observed):
        return {}
    ours, theirs = lines_of(wanted), lines_of(observed)
    free = {
        key: each for key, each in theirs.items() if key not in ours and key.startswith(_XEROS_LINE)
    }
    missing = {
        key: each
        for key, each in ours.items()
        if key not in theirs and not key.startswith(_XEROS_LINE)
    }
    return {
        key.removeprefix("line "): other.removeprefix(_XEROS_LINE)
        for key, other in _paired(missing, free).items()
    }


def replaced_lines(wanted: Snapshot, base: Snapshot, observed: Snapshot) -> dict[str, str]:
    """Lines of Xero's that Pipeline knows under another line id than it did: the line ids now with the former ones.

    Whoever types Xero's version into Pipeline may delete the line and add another; and of two lines each side may have
    taken out another one and left the same. The line in Xero is the same.

    Args:
        wanted: What Pipeline wants, in its own words.
        base: What both last agreed on.
        observed: What Xero has.
    """
    ours, theirs, agreed = lines_of(wanted), lines_of(observed), lines_of(base)
    former = {key: each for key, each in theirs.items() if key in agreed and key not in ours}
    missing = {key: each for key, each in ours.items() if key not in theirs}
    return {
        key.removeprefix("line "): other.removeprefix("line ")
        for key, other in _paired(missing, former).items()
    }


def renamed(snapshot: Snapshot, pairs: Mapping[str, str]) -> Snapshot:
    """The snapshot with these lines of Xero's under our line ids."""
    return with_lines_named(
        snapshot,
        {f"{_XEROS_LINE}{theirs}": f"line {line_id}" for line_id, theirs in pairs.items()},
    )


def with_lines_named(snapshot: Snapshot, ours: Mapping[str, str]) -> Snapshot:
    """The snapshot with lines under other keys; a line that had the new key of one before is no more."""
    ceded = {ours[key] for key in map(line_of, snapshot) if key in ours} - ours.keys()
    return {
        f"{ours[key]}: {path.rpartition(': ')[2]}" if key in ours else path: value
        for path, value in snapshot.items()
        if (key := line_of(path)) not in ceded
    }


def is_xeros_line(snapshot: Snapshot, line_item_id: str) -> bool:
    """Whether the snapshot has this line of Xero's as one that is none of Pipeline's."""
    return f"{_XEROS_LINE}{line_item_id}: description" in snapshot


def line_of(path: str) -> str:
    """The key of the line a path belongs to; empty for a field of the invoice."""
    return path.rpartition(": ")[0] if path.startswith("line ") else ""


def lines_of(snapshot: Snapshot) -> dict[str, dict[str, str | None]]:
    """The lines of a snapshot by key, each with its fields by name."""
    lines: dict[str, dict[str, str | None]] = {}
    for path, value in snapshot.items():
        if key := line_of(path):
            lines.setdefault(key, {})[path.rpartition(": ")[2]] = value
    return lines


_Lines = Mapping[str, Mapping[str, str | None]]


def _paired(ours: _Lines, theirs: _Lines) -> dict[str, str]:
    """Each of our lines, in order, with the first of theirs still free that is equal in all that ours names.

    An invoice may have thousands of lines: theirs are looked up by what a line names, of which there are few kinds.
    """
    alike: dict[tuple[str, ...], dict[tuple[str | None, ...], deque[str]]] = {}
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for key, wanted in ours.items():
        names = tuple(name for name, value in wanted.items() if value is not None)
        if names not in alike:
            alike[names] = _by_values(names, theirs)
        free = alike[names].get(tuple(wanted[name] for name in names), deque())
        while free and free[0] in taken:
            free.popleft()
        if free:
            pairs[key] = free.popleft()
            taken.add(pairs[key])
    return pairs


def _by_values(names: tuple[str, ...], lines: _Lines) -> dict[tuple[str | None, ...], deque[str]]:
    found: dict[tuple[str | None, ...], deque[str]] = {}
    for key, each in lines.items():
        found.setdefault(tuple(each.get(name) for name in names), deque()).append(key)
    return found


def own_amounts(invoice: XeroInvoice) -> dict[str, Decimal]:
    """The amount of each line, by the key that it has while it is Xero's own."""
    return {
        _line_key(f"xero:{line.line_item_id or ''}", place): line.line_amount
        for place, line in enumerate(invoice.lines or (), 1)
        if line.line_amount is not None
    }


def _line_key(line_id: str, position: int) -> str:
    return f"line {line_id}" if line_id else f"line #{position}"


def _line_fields(key: str, fields: Mapping[str, str | None]) -> dict[str, str | None]:
    return {f"{key}: {name}": value for name, value in fields.items()}


def _text(value: str | None) -> str:
    """Texts compare without the white space Xero trims, and an absent one equals an empty one."""
    return " ".join((value or "").split())


def _number(value: Decimal | None) -> str | None:
    return None if value is None else plain_quantity(value)


def _tracking(options: Iterable[tuple[str, str]]) -> str:
    return "; ".join(sorted(f"{category}={option}" for category, option in options))
