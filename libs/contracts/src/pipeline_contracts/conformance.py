"""What is wrong with a stream of invoices, in words: whether its writer keeps the contract.

A reader of ours is tolerant; this is not. Each record is looked at by itself (envelope, body, arithmetic), then beside
those before it (versions, ids). A finding names the event, the field and the fix.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from pydantic import ValidationError

from pipeline_contracts.envelope import Envelope, Record, decode, stable_id
from pipeline_contracts.errors import UndecodableRecord
from pipeline_contracts.event import Event
from pipeline_contracts.fields import WRITING
from pipeline_contracts.invoice import (
    Invoice,
    InvoiceCreated,
    InvoiceEvent,
    InvoiceLine,
    InvoiceVoided,
)
from pipeline_contracts.money import plain_money

_CENT: Final = Decimal("0.01")
_UNIT: Final = Decimal("0.0001")
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_UP)
# No sales tax in force anywhere adds half of the price or more: beyond that the total is wrong, not taxed.
_HIGHEST_TAX: Final = Decimal("0.5")
_CODE_LENGTH: Final = 3
_WITH_FIX: Final = {
    "Field required": "missing; send it, every event of this type has it",
    "Input should be an object": "no JSON object; send the event as one object",
}
"""What the decoder's own words lack: the fix."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    place: str
    """Where the record stands."""
    event: str
    """Its `ce_id`, or what there is of it."""
    field: str
    problem: str
    """What is wrong, and the fix."""

    def __str__(self) -> str:
        return f"{self.place}: event {self.event}: {self.field}: {self.problem}"


@dataclass(slots=True)
class _Seen:
    """What was published of one invoice so far."""

    version: int
    voided: bool
    bodies: dict[int, bytes]
    """Of each version a digest."""
    ids: dict[int, str]


class Inspector:
    """Looks at the records of a stream one after another, in their order."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.looked_at = 0
        self._invoices: dict[tuple[str, str], _Seen] = {}
        self._ids: dict[tuple[str, str], bytes] = {}

    def look(self, record: Record, place: str) -> list[Finding]:
        """What is wrong with the next record; nothing if its writer keeps the contract."""
        self.looked_at += 1
        try:
            told = decode(key=record.key, value=record.value, headers=record.headers)
        except UndecodableRecord as error:
            field, _, problem = str(error).partition(": ")
            told_so = _WITH_FIX.get(problem, problem) or str(error)
            return [Finding(place, _id_of(record), error.field or field, told_so)]
        found = [("topic", each) for each in _wrong_topic(record, told)]
        found += _looseness(record.value or b"", told.event)
        if isinstance(told.event, Invoice):
            found += _invoice_faults(told.event)
        found += self._beside_those_before(told)
        return [Finding(place, told.id, field, problem) for field, problem in found]

    def _beside_those_before(self, told: Envelope) -> Iterator[tuple[str, str]]:
        event = told.event
        body = _digest(event.model_dump_json())
        fact = _digest(told.type, body.hex())
        if self._ids.setdefault(told.identity, fact) != fact:
            yield (
                "ce_id",
                (
                    "another event had this id before; readers take this one for a copy and drop it: "
                    "derive the id from the event's type, account, invoice and version"
                ),
            )
        if isinstance(event, InvoiceEvent):
            yield from self._history(told, event, body)

    def _history(
        self, told: Envelope, event: InvoiceEvent, body: bytes
    ) -> Iterator[tuple[str, str]]:
        key = (event.account_id, event.invoice_id)
        seen = self._invoices.get(key)
        if isinstance(event, InvoiceCreated) and event.version != 1:
            yield (
                "version",
                f"an invoice begins with version 1, this is {event.version}; start at 1",
            )
        if seen is None:
            # A topic forgets after 30 days, so a stream may begin in the middle of an invoice's life.
            self._invoices[key] = _Seen(
                event.version,
                isinstance(event, InvoiceVoided),
                {event.version: body},
                {event.version: told.id},
            )
            return
        if event.version in seen.bodies:
            yield from _same_version(told, event, body, seen)
            return
        yield from _next_version(event, seen)
        seen.bodies[event.version], seen.ids[event.version] = body, told.id
        seen.version = max(seen.version, event.version)
        seen.voided = seen.voided or isinstance(event, InvoiceVoided)


def _digest(*texts: str) -> bytes:
    """What tells contents apart in little memory: a topic holds millions of events."""
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).digest()


def _id_of(record: Record) -> str:
    raw = dict(record.headers).get("ce_id")
    return "without ce_id" if raw is None else raw.decode(errors="replace")


def _wrong_topic(record: Record, told: Envelope) -> Iterator[str]:
    meant = type(told.event).TOPIC
    if record.topic != meant:
        yield f"{record.topic}, but {told.type} belongs to {meant}; publish it there"


def _looseness(value: bytes, event: Event) -> Iterator[tuple[str, str]]:
    """What a tolerant reader passes over and a writer must not send."""
    try:
        type(event).__pydantic_validator__.validate_json(value, context=WRITING, extra="forbid")
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            field = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                yield (
                    field,
                    "no field of this event, readers ignore it; check its spelling, or leave it out",
                )
            else:
                yield (
                    field,
                    f"{fault['msg'].removeprefix('Value error, ')}; send one of the listed words",
                )
    yield from _numbers(json.loads(value), json.loads(event.model_dump_json()), "")


def _numbers(sent: Any, meant: Any, place: str) -> Iterator[tuple[str, str]]:
    """Amounts that were sent as JSON numbers: what is meant is a text where a number was sent."""
    if isinstance(sent, dict) and isinstance(meant, dict):
        for name in sent.keys() & meant.keys():
            yield from _numbers(sent[name], meant[name], f"{place}.{name}" if place else name)
    elif isinstance(sent, list) and isinstance(meant, list):
        for index, (one, other) in enumerate(zip(sent, meant, strict=False)):
            yield from _numbers(one, other, f"{place}.{index}")
    elif isinstance(meant, str) and isinstance(sent, int | float):
        yield place, f'a JSON number, which loses digits on its way; send the string "{meant}"'


def _invoice_faults(invoice: Invoice) -> Iterator[tuple[str, str]]:
    """What invoice-sync would refuse whatever is in Xero."""
    if invoice.due_date < invoice.issue_date:
        yield "due_date", f"{invoice.due_date} is before the issue date {invoice.issue_date}"
    if not _is_currency(invoice.currency):
        yield "currency", f'"{invoice.currency}" is no ISO 4217 code; send one such as "NZD"'
    if not invoice.invoice_number.strip():
        yield "invoice_number", "empty; send the number printed on the invoice"
    if not invoice.lines:
        yield "lines", "none; send at least one line"
        return
    known: set[str] = set()
    for index, line in enumerate(invoice.lines):
        yield from _line_faults(f"lines.{index}", line, known)
    yield from _total_faults(invoice)


def _is_currency(code: str) -> bool:
    return len(code) == _CODE_LENGTH and code.isascii() and code.isalpha() and code.isupper()


def _line_faults(place: str, line: InvoiceLine, known: set[str]) -> Iterator[tuple[str, str]]:
    if line.line_id in known:
        yield (
            f"{place}.line_id",
            f'"{line.line_id}" is the id of another line too; give each its own',
        )
    known.add(line.line_id)
    if not line.description.strip():
        yield f"{place}.description", "empty; say what was sold"
    if line.quantity < 0:
        yield f"{place}.quantity", "negative; send a negative unit_amount instead"


def _total_faults(invoice: Invoice) -> Iterator[tuple[str, str]]:
    if invoice.total < 0:
        yield "total", "negative; a credit is no invoice"
    low, high = possible_total(invoice)
    if low <= invoice.total <= high:
        return
    lines = (
        plain_money(low) if low == high else f"{plain_money(low)} to {plain_money(high)} with tax"
    )
    yield (
        "total",
        f"is {plain_money(invoice.total)}, but the lines come to {lines}; "
        "round each line to cents, halves away from zero, and add them up"
        + (", with their tax" if _is_taxed(invoice) else ""),
    )


def possible_total(invoice: Invoice) -> tuple[Decimal, Decimal]:
    """The lowest and the highest total the lines can come to; they differ where the tax of a line is not named."""
    low = high = Decimal(0)
    taxed = _is_taxed(invoice)
    for line in invoice.lines:
        amount = _amount(line)
        low, high = low + amount, high + amount
        if not taxed:
            continue
        if line.tax_amount is not None:
            tax = line.tax_amount.quantize(_CENT, context=_EXACT)
            low, high = low + tax, high + tax
        else:
            most = _EXACT.multiply(amount, _HIGHEST_TAX).quantize(_CENT, context=_EXACT)
            low, high = low + min(most, Decimal(0)), high + max(most, Decimal(0))
    return low, high


def _is_taxed(invoice: Invoice) -> bool:
    """Whether tax comes on top; amounts "before tax" of an invoice that names no tax anywhere carry none."""
    return invoice.amounts_are == "tax_exclusive" and any(
        line.tax_code or line.tax_amount is not None for line in invoice.lines
    )


def _amount(line: InvoiceLine) -> Decimal:
    """A line in cents, after its discount: Xero keeps four decimals of quantity and price."""
    quantity = line.quantity.quantize(_UNIT, context=_EXACT)
    amount = _EXACT.multiply(quantity, line.unit_amount.quantize(_UNIT, context=_EXACT))
    if line.discount_rate:
        kept = _EXACT.subtract(Decimal(100), line.discount_rate)
        amount = _EXACT.divide(_EXACT.multiply(amount, kept), Decimal(100))
    return amount.quantize(_CENT, context=_EXACT)


def _same_version(
    told: Envelope, event: InvoiceEvent, body: bytes, seen: _Seen
) -> Iterator[tuple[str, str]]:
    if seen.bodies[event.version] != body:
        yield (
            "version",
            f"{event.version} was published before with other content; a change needs the next version",
        )
    elif seen.ids[event.version] != told.id:
        yield (
            "ce_id",
            (
                f"the same version was published before as {seen.ids[event.version]}; "
                f"the same event keeps its id, for example {stable_id(event)}"
            ),
        )


def _next_version(event: InvoiceEvent, seen: _Seen) -> Iterator[tuple[str, str]]:
    if isinstance(event, InvoiceCreated):
        yield "ce_type", "this invoice was created before; send an InvoiceUpdated"
    if seen.voided:
        yield "version", "the invoice was voided before; nothing follows an InvoiceVoided"
    if event.version < seen.version:
        yield (
            "version",
            f"{event.version} comes after {seen.version}; publish versions in order, one after the other",
        )
    elif event.version > seen.version + 1:
        yield (
            "version",
            f"{event.version} follows {seen.version}; leave none out: {seen.version + 1} is missing",
        )
