"""Reading an invoice or credit note from a request: fields, lines, totals, locks, numbers."""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from xero_simulator import lines as line_rules
from xero_simulator import messages, money
from xero_simulator.contacts import Scene, contact_for_document
from xero_simulator.lines import LineRules
from xero_simulator.messages import RuleBroken
from xero_simulator.records import Document, HistoryRecord, Organisation
from xero_simulator.wire import Json, parse_day

_AMOUNT_TYPES = {"exclusive": "Exclusive", "inclusive": "Inclusive", "notax": "NoTax"}
_TEXT_LIMITS = {"Reference": 255, "InvoiceNumber": 255, "CreditNoteNumber": 255, "Url": 2000}
_RATE_PLACES = 6


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one accepted element."""

    document: Document
    warnings: tuple[str, ...] = ()


def text(payload: Json, field: str, default: str = "") -> str:
    """Reads a text field, checking its length.

    Raises:
        RuleBroken: It is no text, or too long.
    """
    value = payload.get(field)
    if value is None:
        return default
    if not isinstance(value, str):
        raise RuleBroken(messages.FIELD_INVALID.format(field=field, value=value))
    limit = _TEXT_LIMITS.get(field)
    if limit and len(value) > limit:
        raise RuleBroken(messages.TOO_LONG.format(field=field, limit=limit))
    return value


def day(payload: Json, field: str, default: date | None) -> date | None:
    """Reads a date field in either form; `DateString` style twins are accepted too.

    Raises:
        RuleBroken: It is no date.
    """
    value = payload.get(field)
    if value is None:
        value = payload.get(f"{field}String")
    try:
        parsed = parse_day(value)
    except ValueError as error:
        raise RuleBroken(messages.FIELD_INVALID.format(field=field, value=value)) from error
    return default if parsed is None else parsed


def number(payload: Json, field: str) -> Decimal | None:
    """Reads an amount.

    Raises:
        RuleBroken: It is no number.
    """
    try:
        return money.parse_amount(payload.get(field))
    except ValueError as error:
        value = payload.get(field)
        raise RuleBroken(messages.FIELD_INVALID.format(field=field, value=value)) from error


def check_lock(scene: Scene, moment: date) -> None:
    """Refuses a date in a locked period (the lock date itself is locked).

    What an app sends counts as sent by the person who connected it, and the period lock date does not hold for
    advisers (help.wise-sync.com, "Setting and working with lock dates").

    Raises:
        RuleBroken: The day is on or before a lock date.
    """
    organisation, date_format = scene.books.organisation, scene.lock_date_format
    year_lock, period_lock = organisation.end_of_year_lock_date, organisation.period_lock_date
    if year_lock and moment <= year_lock:
        raise RuleBroken(messages.YEAR_LOCKED.format(lock_date=year_lock.strftime(date_format)))
    if period_lock and moment <= period_lock and not (scene.by_app and scene.is_adviser):
        raise RuleBroken(messages.PERIOD_LOCKED.format(lock_date=period_lock.strftime(date_format)))


def blank_document(scene: Scene, kind: str, type_: str, status: str) -> Document:
    """A document with today's defaults."""
    return Document(
        kind=kind,
        document_id=scene.ids.guid(),
        type=type_,
        contact_id="",
        date=scene.now.date(),
        status=status,
        line_amount_types="Exclusive",
        currency=scene.books.organisation.base_currency,
        currency_rate=Decimal(1),
        updated=scene.now,
        created=scene.now,
        created_by_app=scene.by_app,
    )


def fill(scene: Scene, blank: Document, payload: Json, *, strict: bool) -> Written:
    """Lays a request's fields over a document and recomputes its lines and totals.

    Args:
        scene: The books and the moment.
        blank: The document as it is, or one with defaults for a new one.
        payload: The request's element.
        strict: Whether the rules of an approved document apply.

    Raises:
        RuleBroken: Some field or line is refused.
    """
    organisation = scene.books.organisation
    current = blank.contact_id or None
    contact_id = contact_for_document(scene, payload.get("Contact"), current)
    amounts = _line_amount_types(payload, blank.line_amount_types)
    document = replace(
        blank,
        contact_id=contact_id,
        line_amount_types=amounts,
        date=day(payload, "Date", blank.date) or blank.date,
        due_date=day(payload, "DueDate", blank.due_date),
        expected_payment_date=day(payload, "ExpectedPaymentDate", blank.expected_payment_date),
        planned_payment_date=day(payload, "PlannedPaymentDate", blank.planned_payment_date),
        reference=text(payload, "Reference", blank.reference),
        url=text(payload, "Url", blank.url),
        branding_theme_id=text(payload, "BrandingThemeID", blank.branding_theme_id),
        sent_to_contact=bool(payload.get("SentToContact", blank.sent_to_contact)),
        currency=_currency(payload, blank, organisation),
    )
    document = replace(document, currency_rate=_rate(payload, document, organisation))
    document, warnings = _lines(scene, document, blank, payload, strict=strict)
    _check_totals(document, payload)
    return Written(document, tuple(warnings))


def note(scene: Scene, document_id: str, changes: str, details: str) -> None:
    """Adds a line to the document's history, as Xero does on every change."""
    user = "System Generated" if scene.by_app else "Pat Person"
    scene.books.add_history(HistoryRecord(document_id, changes, details, user, scene.now))


def _lines(
    scene: Scene, document: Document, blank: Document, payload: Json, *, strict: bool
) -> tuple[Document, list[str]]:
    rules = LineRules(
        organisation=scene.books.organisation,
        line_amount_types=document.line_amount_types,
        strict=strict,
        unit_places=scene.unit_places,
        new_id=scene.ids.guid,
        sales=document.type.startswith("ACCREC"),
    )
    warnings: list[str] = []
    rows = blank.lines
    if payload.get("LineItems") is not None:
        rows, warnings = line_rules.read_lines(payload["LineItems"], blank.lines, rules)
    elif document.line_amount_types != blank.line_amount_types:
        rows = line_rules.recompute(blank.lines, rules)
    if strict and not rows:
        raise RuleBroken(messages.LINES_REQUIRED)
    if strict and rows is blank.lines:
        _recheck(rows)
    sums = money.totals(
        [(row.line_amount, row.tax_amount) for row in rows], document.line_amount_types
    )
    subtotal, total_tax, total = sums
    return replace(
        document, lines=rows, subtotal=subtotal, total_tax=total_tax, total=total
    ), warnings


def _recheck(rows: Any) -> None:
    """A draft's lines may lack what approval needs."""
    if any(row.quantity is not None and not row.account_code for row in rows):
        raise RuleBroken(messages.ACCOUNT_REQUIRED)


def _line_amount_types(payload: Json, default: str) -> str:
    given = text(payload, "LineAmountTypes", default)
    known = _AMOUNT_TYPES.get(given.lower())
    if known is None:
        raise RuleBroken(messages.FIELD_INVALID.format(field="LineAmountTypes", value=given))
    return known


def _currency(payload: Json, blank: Document, organisation: Organisation) -> str:
    currency = text(payload, "CurrencyCode", blank.currency).upper()
    if currency != organisation.base_currency and currency not in organisation.currencies:
        raise RuleBroken(messages.CURRENCY_NOT_SUBSCRIBED.format(currency=currency))
    return currency


def _rate(payload: Json, document: Document, organisation: Organisation) -> Decimal:
    if document.currency == organisation.base_currency:
        return Decimal(1)
    given = number(payload, "CurrencyRate")
    if given is not None and given > 0:
        return money.round_to(given, _RATE_PLACES)
    if document.currency_rate != 1:
        return document.currency_rate
    return day_rate(organisation.base_currency, document.currency)


_PER_NZD = {
    "NZD": Decimal(1),
    "USD": Decimal("0.5873"),
    "AUD": Decimal("0.9125"),
    "GBP": Decimal("0.4437"),
    "EUR": Decimal("0.5061"),
}


def day_rate(base: str, currency: str) -> Decimal:
    """The simulator's one day rate: units of `currency` for one of `base`, six places."""
    rate = _PER_NZD.get(currency, Decimal(1)) / _PER_NZD.get(base, Decimal(1))
    return money.round_to(rate, _RATE_PLACES)


def _check_totals(document: Document, payload: Json) -> None:
    for field, value in (
        ("SubTotal", document.subtotal),
        ("TotalTax", document.total_tax),
        ("Total", document.total),
    ):
        given = number(payload, field)
        # An update without lines may carry the totals it read; they are only compared with lines.
        if given is not None and payload.get("LineItems") is not None and given != value:
            raise RuleBroken(messages.DOCUMENT_TOTAL)
    if document.total < 0:
        raise RuleBroken(messages.NEGATIVE_TOTAL)
