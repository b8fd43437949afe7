"""What a contact holds of a customer, as values: read from either side, and compared with what both last agreed on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from invoice_sync.domain.state import ContactDifference, Customer
from pipeline_xero.documents import XeroContact

ContactFields = Mapping[str, str]
"""The fields of a contact that Pipeline owns, by our names; an empty text where nothing is set."""

FIELDS: Final = ("name", "email", "phone", "tax_number")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be pushed, what is not because Xero's edit would be lost, and what both sides agree on now."""

    push: ContactFields
    differences: tuple[ContactDifference, ...]
    agreed: ContactFields
    base: ContactFields


def wanted(customer: Customer) -> ContactFields:
    """What Pipeline wants the contact to hold."""
    return {
        "name": " ".join(customer.name.split()),
        "email": (customer.email or "").strip(),
        "phone": (customer.phone or "").strip(),
        "tax_number": (customer.tax_number or "").strip(),
    }


def held(contact: XeroContact) -> ContactFields:
    """What the contact holds in Xero."""
    return {
        "name": (contact.name or "").strip(),
        "email": (contact.email or "").strip(),
        "phone": (contact.phone or "").strip(),
        "tax_number": (contact.tax_number or "").strip(),
    }


def compare(
    desired: ContactFields,
    agreed: ContactFields | None,
    base: ContactFields | None,
    observed: ContactFields,
) -> Comparison:
    """Compare field by field.

    A field Pipeline did not change since both agreed is left as Xero has it. One it did change is pushed if Xero still
    holds what it held then; otherwise somebody edited it in Xero, and that edit is not overwritten.

    Args:
        desired: What Pipeline wants now.
        agreed: What Pipeline wanted when both last agreed; None if that is not known: nothing is pushed then.
        base: What Xero held then; None if not known: what was agreed.
        observed: What Xero holds now.
    """
    known = desired if agreed is None else agreed
    before = (observed if agreed is None else agreed) if base is None else base
    push: dict[str, str] = {}
    differences: list[ContactDifference] = []
    now_agreed, now_base = dict(known), dict(before)
    for field in FIELDS:
        ours, theirs = desired[field], observed[field]
        if ours == theirs:
            now_agreed[field], now_base[field] = ours, theirs
        elif ours == known[field]:
            continue
        elif theirs == before[field]:
            push[field] = ours
        else:
            differences.append(ContactDifference(field, before[field], ours, theirs))
    return Comparison(push, tuple(differences), now_agreed, now_base)


def element_of(fields: ContactFields) -> dict[str, Any]:
    """These fields in Xero's words; an empty text takes a value away."""
    element: dict[str, Any] = {}
    if "name" in fields:
        element["Name"] = fields["name"]
    if "email" in fields:
        element["EmailAddress"] = fields["email"]
    if "tax_number" in fields:
        element["TaxNumber"] = fields["tax_number"]
    if "phone" in fields:
        # The whole number in one member: Xero would keep former country and area codes beside a new number.
        element["Phones"] = [
            {
                "PhoneType": "DEFAULT",
                "PhoneCountryCode": "",
                "PhoneAreaCode": "",
                "PhoneNumber": fields["phone"],
            }
        ]
    return element


def fields_of(element: Mapping[str, Any]) -> ContactFields:
    """The fields of an element that was sent, by our names."""
    found: dict[str, str] = {}
    for name, member in (("name", "Name"), ("email", "EmailAddress"), ("tax_number", "TaxNumber")):
        if member in element:
            found[name] = element[member]
    if phones := element.get("Phones"):
        found["phone"] = phones[0]["PhoneNumber"]
    return found


def landed(sent: ContactFields, base: ContactFields, observed: ContactFields) -> bool:
    """Whether a write of ``sent`` is in Xero: it holds all of it, or at least a part that it did not hold before."""
    changed = [field for field in sent if sent[field] != base.get(field, "")]
    return not changed or any(observed[field] == sent[field] for field in changed)
