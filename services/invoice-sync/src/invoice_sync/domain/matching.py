"""Which contact in Xero a customer is: by what is the same in both, never by a guess between several."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from invoice_sync.domain.contacts import contact_number
from invoice_sync.domain.state import Customer
from pipeline_xero.documents import XeroContact


class Reason(StrEnum):
    """Why a contact may be a customer; the strongest first."""

    SAME_NUMBER = "same_contact_number"
    SAME_EMAIL = "same_email"
    SAME_TAX_NUMBER = "same_tax_number"
    SAME_NAME = "same_name"
    SIMILAR_NAME = "similar_name"


@dataclass(frozen=True, slots=True)
class Matched:
    """The one contact the customer is."""

    contact: XeroContact


@dataclass(frozen=True, slots=True)
class Unmatched:
    """No contact fits, or (``candidates``) there is no telling which."""

    candidates: tuple[XeroContact, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A contact a person may link a customer to, and why."""

    contact: XeroContact
    reasons: tuple[Reason, ...]


_CERTAIN = frozenset({Reason.SAME_EMAIL, Reason.SAME_NAME})
_MOST_SUGGESTIONS = 10
_WORD = re.compile(r"\w+")
# Forms of companies and small words say nothing about who it is.
_COMMON_WORDS = frozenset(
    {
        "and",
        "co",
        "company",
        "corp",
        "corporation",
        "gmbh",
        "group",
        "inc",
        "incorporated",
        "limited",
    }
    | {"llc", "ltd", "of", "plc", "pty", "the"}
)


def normal(text: str | None) -> str:
    """A text as it is compared: without case, width of letters and surplus blanks."""
    return " ".join(unicodedata.normalize("NFKC", text or "").casefold().split())


def reasons(customer: Customer, contact: XeroContact) -> tuple[Reason, ...]:
    """Why this contact may be this customer; none if nothing speaks for it."""
    found = []
    if contact.contact_number == contact_number(customer.customer_id):
        found.append(Reason.SAME_NUMBER)
    if _same(customer.email, contact.email):
        found.append(Reason.SAME_EMAIL)
    if _same(customer.tax_number, contact.tax_number):
        found.append(Reason.SAME_TAX_NUMBER)
    if _same(customer.name, contact.name):
        found.append(Reason.SAME_NAME)
    elif _similar(customer.name, contact.name):
        found.append(Reason.SIMILAR_NAME)
    return tuple(found)


def match_all(
    customers: Sequence[Customer],
    contacts: Collection[XeroContact],
    linked: Mapping[str, Collection[str]],
) -> dict[str, Matched | Unmatched]:
    """Match customers to contacts, by customer_id; the order of neither matters.

    The number is ours and decides alone. By email and name only a contact that is active, carries no other number, is
    nobody's yet and says nothing to the contrary can be meant, and only if it is the only one. A contact that several
    customers may be is none's.

    Args:
        customers: The customers, each once; those that are not to be linked now, but may be one of the contacts, too.
        contacts: Every contact of Xero with one of their numbers, emails or names.
        linked: The customers each contact is linked to already, by ContactID.
    """
    verdicts = {each.customer_id: _match(each, contacts, linked) for each in customers}
    claims = Counter(
        contact.contact_id for verdict in verdicts.values() for contact in _meant(verdict)
    )
    return {
        each.customer_id: _unless_claimed(each, verdicts[each.customer_id], claims)
        for each in customers
    }


def _meant(verdict: Matched | Unmatched) -> tuple[XeroContact, ...]:
    return (verdict.contact,) if isinstance(verdict, Matched) else verdict.candidates


def _unless_claimed(
    customer: Customer, verdict: Matched | Unmatched, claims: Mapping[str | None, int]
) -> Matched | Unmatched:
    if isinstance(verdict, Unmatched) or claims[verdict.contact.contact_id] == 1:
        return verdict
    is_ours = Reason.SAME_NUMBER in reasons(customer, verdict.contact)
    return verdict if is_ours else Unmatched((verdict.contact,))


def _match(
    customer: Customer,
    contacts: Collection[XeroContact],
    linked: Mapping[str, Collection[str]],
) -> Matched | Unmatched:
    why = {each.contact_id: (each, reasons(customer, each)) for each in contacts}
    ours = [contact for contact, found in why.values() if Reason.SAME_NUMBER in found]
    if ours:
        return Matched(ours[0]) if len(ours) == 1 else Unmatched(_in_order(ours))
    candidates = _in_order(
        contact
        for contact, found in why.values()
        if not contact.is_archived and not _CERTAIN.isdisjoint(found)
    )
    if len(candidates) != 1:
        return Unmatched(candidates)
    (only,) = candidates
    is_taken = only.contact_number or linked.get(only.contact_id or "")
    if is_taken or _contradicts(customer, only):
        return Unmatched(candidates)
    return Matched(only)


def _contradicts(customer: Customer, contact: XeroContact) -> bool:
    """Whether something that both have speaks against a match: namesakes of another email, or another tax number."""
    if _differ(_digits(customer.tax_number), _digits(contact.tax_number)):
        return True
    return _differ(normal(customer.email), normal(contact.email))


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other


def _digits(number: str | None) -> str:
    # "GST 123-456-789" and "123456789" are one number.
    return "".join(each for each in normal(number) if each.isdigit())


def suggest(customer: Customer, contacts: Collection[XeroContact]) -> list[Suggestion]:
    """The contacts a person may link this customer to, the likeliest first. Archived ones take no invoices: left out."""
    once = {each.contact_id: each for each in contacts if not each.is_archived}
    found = [Suggestion(each, why) for each in once.values() if (why := reasons(customer, each))]
    order = list(Reason)
    found.sort(
        key=lambda each: (
            [order.index(reason) for reason in each.reasons],
            -len(each.reasons),
            normal(each.contact.name),
            each.contact.contact_id or "",
        )
    )
    return found[:_MOST_SUGGESTIONS]


def search_word(name: str) -> str | None:
    """The word of a name that finds contacts of similar names: its longest telling one."""
    words = sorted(_telling_words(name), key=lambda word: (-len(word), word))
    return words[0] if words else None


def _same(one: str | None, other: str | None) -> bool:
    return bool(normal(one)) and normal(one) == normal(other)


def _similar(one: str | None, other: str | None) -> bool:
    """Whether at least half of the telling words of both names are the same."""
    ours, theirs = _telling_words(one or ""), _telling_words(other or "")
    return bool(ours & theirs) and 2 * len(ours & theirs) >= len(ours | theirs)


def _telling_words(name: str) -> set[str]:
    return set(_WORD.findall(normal(name))) - _COMMON_WORDS


def _in_order(contacts: Iterable[XeroContact]) -> tuple[XeroContact, ...]:
    return tuple(sorted(contacts, key=lambda each: each.contact_id or ""))
