"""Read a genuine webhook body leniently: what it says is only a hint to go and look.

The signature was right, so whatever cannot be understood is kept and counted, never refused: Xero
adds categories without notice, and intent-to-receive bodies carry sequence 0 although its own schema
says minimum 1. `resourceUrl` is never read: the address to fetch is ours, only the two ids are taken,
and only when they are UUIDs.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from payment_ingest.domain.ledger import Kind

_UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII
)

# Categories whose resource is not an invoice but whose change can move an invoice's balance. The invoice is not named in
# them, so the resource is read; without its id they ask for an early look at everything changed in the tenant.
_DOCUMENTS = {
    "CREDITNOTE": Kind.CREDIT_NOTE,
    "PREPAYMENT": Kind.PREPAYMENT,
    "OVERPAYMENT": Kind.OVERPAYMENT,
    "PAYMENT": Kind.PAYMENT,
}

_MOST_EVENTS = 10_000
"""More do not fit into a body: a longer range of numbers would hide every hole to come."""


class Outcome(StrEnum):
    """What a delivery turned out to be."""

    RUNG = "rung"
    """It named at least one invoice or a change that can move one."""
    INTENT = "intent_to_receive"
    """No events: Xero testing whether this endpoint checks signatures."""
    NOTHING = "nothing_to_do"
    """Only categories that never move a balance, such as CONTACT."""
    UNREADABLE = "unreadable"
    """Signed, but not the documented JSON; kept for a person to look at."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Something may have changed about this invoice of this tenant."""

    tenant_id: str
    xero_invoice_id: str
    created_at: datetime | None = None
    """When Xero says it was created, if nothing else was said of it; None: anything may have changed."""


@dataclass(frozen=True, slots=True)
class DocumentRing:
    """Something may have changed about what this document of this tenant pays."""

    tenant_id: str
    kind: Kind
    document_id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one delivery asks for.

    `rings` and `documents` are without duplicates, in the body's order; `look_around` names tenants in which something
    other than an invoice changed; `tenants` is everyone the body speaks of.
    """

    outcome: Outcome
    rings: tuple[Ring, ...] = ()
    documents: tuple[DocumentRing, ...] = ()
    look_around: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    events: int = 0
    not_understood: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None

    @property
    def numbers(self) -> tuple[int, int] | None:
        """First and last number of the events, None when they are not numbered as documented.

        Intent to receive carries 0, which is no event's number.
        """
        first, last = self.first_sequence, self.last_sequence
        if not first or last is None or not first <= last < first + _MOST_EVENTS:
            return None
        return first, last


def read(body: bytes) -> Reading:
    """Turn a genuine body into what it asks for; never raises, whatever the bytes are."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Reading(Outcome.UNREADABLE)
    if not isinstance(document, dict) or not isinstance(document.get("events"), list):
        return Reading(Outcome.UNREADABLE)
    events: list[Any] = document["events"]
    sequences = (
        _whole(document.get("firstEventSequence")),
        _whole(document.get("lastEventSequence")),
    )
    if not events:
        return Reading(Outcome.INTENT, first_sequence=sequences[0], last_sequence=sequences[1])
    rings: list[Ring] = []
    documents: list[tuple[str, DocumentRing | None]] = []
    tenants: set[str] = set()
    not_understood = 0
    for event in events:
        tenant_id = _uuid(event, "tenantId")
        category = event.get("eventCategory") if isinstance(event, dict) else None
        if tenant_id is None or not isinstance(category, str):
            not_understood += 1
            continue
        tenants.add(tenant_id)
        match category.upper():
            case "INVOICE":
                resource_id = _uuid(event, "resourceId")
                if resource_id is None:
                    not_understood += 1
                else:
                    rings.append(Ring(tenant_id, resource_id, _created_at(event)))
            case name if name in _DOCUMENTS:
                documents.append((tenant_id, _document(event, tenant_id, _DOCUMENTS[name])))
            case "CONTACT" | "SUBSCRIPTION":
                pass
            case _:
                not_understood += 1
    return Reading(
        outcome=Outcome.RUNG if rings or documents else Outcome.NOTHING,
        rings=together(rings),
        documents=tuple(dict.fromkeys(one for _, one in documents if one is not None)),
        look_around=frozenset(tenant_id for tenant_id, one in documents if one is None),
        tenants=frozenset(tenants),
        events=len(events),
        not_understood=not_understood,
        first_sequence=sequences[0],
        last_sequence=sequences[1],
    )


def _document(event: Any, tenant_id: str, kind: Kind) -> DocumentRing | None:
    """The document an event names; None where that is no id."""
    document_id = _uuid(event, "resourceId")
    return None if document_id is None else DocumentRing(tenant_id, kind, document_id)


def together(rings: Iterable[Ring]) -> tuple[Ring, ...]:
    """One ring for each invoice, in the order in which they were first named."""
    found: dict[tuple[str, str], Ring] = {}
    for ring in rings:
        key = (ring.tenant_id, ring.xero_invoice_id)
        found[key] = _both(found[key], ring) if key in found else ring
    return tuple(found.values())


def _both(one: Ring, other: Ring) -> Ring:
    if one.created_at is None or other.created_at is None:
        return replace(one, created_at=None)
    return replace(one, created_at=max(one.created_at, other.created_at))


def _created_at(event: dict[str, Any]) -> datetime | None:
    at = event.get("eventDateUtc")
    if event.get("eventType") != "CREATE" or not isinstance(at, str):
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    # Xero writes UTC without saying so.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else None


def _uuid(event: Any, field: str) -> str | None:
    value = event.get(field) if isinstance(event, dict) else None
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        return None
    return value.lower()


def _whole(value: Any) -> int | None:
    # Postgres keeps sequences as bigint; anything beyond what Xero documents is no sequence.
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
        else None
    )
