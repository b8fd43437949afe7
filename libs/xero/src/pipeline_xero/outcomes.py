"""What became of each element of a write sent with ``summarizeErrors=false``.

Xero answers 200 even when every element failed. A failed create carries the zero GUID; a failed update echoes
what was *asked for*, so the values of a failed element prove nothing. ``StatusAttributeString`` is believed
first, ``HasErrors`` where it is missing, and a plain success may leave both out (recorded replies).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline_xero.errors import RejectedElement, UnexpectedAnswer
from pipeline_xero.json_forms import elements, entity_id, flag, members, text

# Collection of a reply -> the member that holds an element's own id.
ID_MEMBERS: Mapping[str, str] = {
    "Invoices": "InvoiceID",
    "Contacts": "ContactID",
    "Payments": "PaymentID",
    "CreditNotes": "CreditNoteID",
    "Overpayments": "OverpaymentID",
    "Prepayments": "PrepaymentID",
}


class ElementStatus(StrEnum):
    """Xero's verdict on one element; UNCLEAR when its answer contradicts itself."""

    OK = "OK"
    WARNING = "WARNING"
    ERROR = "ERROR"
    UNCLEAR = "UNCLEAR"


@dataclass(frozen=True, slots=True)
class ElementResult:
    """One element of a write's reply.

    ``entity_id`` is None unless the element was stored. ``source`` holds the element as sent back; read values
    from it only when ``accepted``.
    """

    status: ElementStatus
    entity_id: str | None
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    source: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        """True when Xero stored the element, with or without warnings."""
        return self.status in {ElementStatus.OK, ElementStatus.WARNING}


def element_results(
    reply: Any, collection: str, *, expected: int | None = None
) -> tuple[ElementResult, ...]:
    """Read the verdicts of a write, in the order the elements were sent.

    Args:
        reply: The decoded reply.
        collection: ``Invoices``, ``Contacts``, ``Payments``, …
        expected: How many elements were sent; results are matched by position, so the count must agree.

    Raises:
        UnexpectedAnswer: Not such a reply, or another number of elements than ``expected``.
    """
    found = elements(reply, collection)
    if expected is not None and len(found) != expected:
        raise UnexpectedAnswer(f"{collection}: {expected} sent, {len(found)} answered")
    return tuple(element_result(item, collection) for item in found)


def element_result(source: Mapping[str, Any], collection: str) -> ElementResult:
    """Read the verdict on one element.

    Raises:
        UnexpectedAnswer: A member has the wrong type.
    """
    errors = messages(source, "ValidationErrors")
    identity = entity_id(source, ID_MEMBERS[collection]) if collection in ID_MEMBERS else None
    status = _status(source, errors, identity)
    return ElementResult(
        status=status,
        entity_id=None if status in {ElementStatus.ERROR, ElementStatus.UNCLEAR} else identity,
        errors=errors,
        warnings=messages(source, "Warnings"),
        source=source,
    )


def _status(
    source: Mapping[str, Any], errors: Sequence[str], identity: str | None
) -> ElementStatus:
    said = (text(source, "StatusAttributeString") or "").upper()
    if said == "ERROR":
        return ElementStatus.ERROR
    # Where Xero gave a verdict it outranks the flags and lists beside it; an accepted element always has an id.
    if said in {"OK", "WARNING"}:
        return ElementStatus.UNCLEAR if identity is None else ElementStatus(said)
    if said == "" and not errors and not _is_flagged(source):
        return ElementStatus.UNCLEAR if identity is None else ElementStatus.OK
    return ElementStatus.UNCLEAR if said else ElementStatus.ERROR


def _is_flagged(source: Mapping[str, Any]) -> bool:
    # Contacts and payments call the flag HasValidationErrors.
    return any(flag(source, key) is True for key in ("HasErrors", "HasValidationErrors"))


def messages(source: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of ``ValidationErrors`` or ``Warnings``, in order, without repeats.

    Raises:
        UnexpectedAnswer: The member is not a list of objects with text.
    """
    texts = (text(item, "Message") for item in members(source.get(key), key))
    return tuple(dict.fromkeys(item for item in texts if item))


def rejected_elements(problem: Mapping[str, Any]) -> tuple[RejectedElement, ...]:
    """The refused elements of a 400 answer's ``Elements``.

    Raises:
        UnexpectedAnswer: ``Elements`` has another form.
    """
    return tuple(
        RejectedElement(_any_id(item), messages(item, "ValidationErrors"))
        for item in members(problem.get("Elements"), "Elements")
    )


def _any_id(source: Mapping[str, Any]) -> str | None:
    return next((found for key in ID_MEMBERS.values() if (found := entity_id(source, key))), None)
