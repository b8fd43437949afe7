"""A linked contact as Xero just showed it: usable, archived, merged into another one or gone, and what follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from invoice_sync.domain.contact_fields import ContactFields, compare, held, wanted
from invoice_sync.domain.state import ContactMapping, Customer
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroContact

# Restoring a contact in Xero is announced by nothing we hear of.
LOOK_AGAIN = timedelta(hours=1)
# Each costs a call, once; nobody merges more often than that between two looks.
MOST_MERGES = 20


@dataclass(frozen=True, slots=True)
class ContactsRead:
    """What Xero answered about contacts, those that others were merged into among them."""

    found: Mapping[str, XeroContact]
    unreadable: frozenset[str] = frozenset()
    """Contacts Xero has, in a form that could not be read."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one linked contact means: the mapping to keep, what to push, and what to say of it."""

    mapping: ContactMapping
    push: ContactFields = field(default_factory=dict)
    releases: bool = False
    """Whether invoices that waited for the contact go on."""
    moved_from: str | None = None
    """The contact that was merged into the one linked now."""
    happening: str | None = None
    """For the audit; None where nothing is new."""
    detail: str = ""


def look_at(
    mapping: ContactMapping,
    customer: Customer | None,
    read: ContactsRead,
    now: datetime,
    *,
    is_shared: bool,
) -> Look:
    """Judge one linked contact.

    Args:
        mapping: The link as it stands.
        customer: The customer; None if Pipeline never told of it, so that there is nothing to push.
        read: What Xero answered.
        now: The database's time.
        is_shared: Whether other customers are linked to the same contact: none of them owns its name, then.
    """
    path = _path(mapping.contact_id, read.found)
    if not read.unreadable.isdisjoint(path):
        return Look(replace(mapping, check_at=now + LOOK_AGAIN))
    last = read.found.get(path[-1])
    if last is None:
        return _unusable(mapping, ProblemCode.CONTACT_NOT_FOUND, None)
    if last.is_erased:
        return _unusable(mapping, ProblemCode.CONTACT_ERASED, None)
    if last.is_archived or last.merged_to is not None:
        return _unusable(mapping, ProblemCode.CONTACT_ARCHIVED, now + LOOK_AGAIN)
    if len(path) > 1:
        return _moved(mapping, customer, last, path)
    return _usable(mapping, customer, last, now, is_shared=is_shared)


def _path(contact_id: str, found: Mapping[str, XeroContact]) -> list[str]:
    """The contact and those it was merged into, one after the other; merges that go round in a circle end there."""
    path = [contact_id]
    while len(path) <= MOST_MERGES and (contact := found.get(path[-1])) and contact.merged_to:
        if contact.merged_to in path:
            break
        path.append(contact.merged_to)
    return path


def _unusable(mapping: ContactMapping, problem: ProblemCode, check_at: datetime | None) -> Look:
    happening = {
        ProblemCode.CONTACT_NOT_FOUND: "contact_gone",
        ProblemCode.CONTACT_ARCHIVED: "contact_archived",
        ProblemCode.CONTACT_ERASED: "contact_erased",
    }[problem]
    return Look(
        replace(mapping, problem=problem, refused=False, check_at=check_at),
        happening=happening if mapping.problem != problem else None,
        detail=mapping.contact_id,
    )


def _moved(
    mapping: ContactMapping, customer: Customer | None, contact: XeroContact, path: list[str]
) -> Look:
    # As when linked by hand: what the other contact holds stays, until Pipeline changes the customer.
    moved = replace(
        mapping,
        contact_id=contact.contact_id or "",
        contact_name=contact.name,
        agreed=wanted(customer) if customer else None,
        base=held(contact),
        differences=(),
        problem=None,
        refused=False,
        check_at=None,
    )
    return Look(
        moved,
        releases=True,
        moved_from=mapping.contact_id,
        happening="contact_merged",
        detail=" -> ".join(path),
    )


def _usable(
    mapping: ContactMapping,
    customer: Customer | None,
    contact: XeroContact,
    now: datetime,
    *,
    is_shared: bool,
) -> Look:
    was_unusable = mapping.problem is not None or mapping.refused
    healthy = replace(
        mapping,
        contact_name=contact.name,
        problem=None,
        refused=False,
        check_at=None,
        healed_at=now if was_unusable else mapping.healed_at,
    )
    restored = Look(
        healthy,
        releases=was_unusable,
        happening="contact_usable_again" if was_unusable else None,
        detail=mapping.contact_id,
    )
    if customer is None or is_shared or customer.intent_id is not None:
        return restored
    compared = compare(wanted(customer), mapping.agreed, mapping.base, held(contact))
    kept = replace(
        healthy, agreed=compared.agreed, base=compared.base, differences=compared.differences
    )
    look = replace(restored, mapping=kept, push=compared.push)
    if compared.differences and compared.differences != mapping.differences:
        edited = ", ".join(each.field for each in compared.differences)
        return replace(look, happening="contact_edited_in_xero", detail=edited)
    return look
