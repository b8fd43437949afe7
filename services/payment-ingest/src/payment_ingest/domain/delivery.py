"""Read a genuine webhook body leniently: what it says is only a hint to go and look.

The signature was right, so whatever cannot be understood is kept and counted, never refused: Xero
adds categories without notice, and intent-to-receive bodies carry sequence 0 although its own schema
says minimum 1. `resourceUrl` is never read: the address to fetch is ours, only the two ids are taken,
and only when they are UUIDs.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII
)

# Categories whose resource is not an invoice but whose change can move an invoice's balance. The
# invoice is not named in them, so they ask for an early look at everything changed in the tenant.
_BALANCE_CATEGORIES = frozenset({"CREDITNOTE", "PREPAYMENT", "OVERPAYMENT", "PAYMENT"})


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


@dataclass(frozen=True, slots=True)
class Reading:
    """What one delivery asks for.

    `rings` is without duplicates, in the body's order; `look_around` names tenants in which something
    other than an invoice changed; `tenants` is everyone the body speaks of.
    """

    outcome: Outcome
    rings: tuple[Ring, ...] = ()
    look_around: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    events: int = 0
    not_understood: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None


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
    rings: dict[Ring, None] = {}
    look_around: set[str] = set()
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
                    rings[Ring(tenant_id, resource_id)] = None
            case name if name in _BALANCE_CATEGORIES:
                look_around.add(tenant_id)
            case "CONTACT" | "SUBSCRIPTION":
                pass
            case _:
                not_understood += 1
    return Reading(
        outcome=Outcome.RUNG if rings or look_around else Outcome.NOTHING,
        rings=tuple(rings),
        look_around=frozenset(look_around),
        tenants=frozenset(tenants),
        events=len(events),
        not_understood=not_understood,
        first_sequence=sequences[0],
        last_sequence=sequences[1],
    )


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
