"""How an account wants its invoices in Xero, and the chain in which changes of it are kept."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum


class InvoiceStatus(StrEnum):
    """Status in which invoices are created."""

    DRAFT = "draft"
    AUTHORISED = "authorised"


class MappingPolicy(StrEnum):
    """What becomes of a customer that is not linked to a contact."""

    STRICT = "strict"
    """Nothing by itself: a person links it."""
    MATCH = "match"
    """It is linked to the one contact with its number, email or name; without doubt only."""
    CREATE = "create"
    """It is linked to the contact with its number; otherwise one is created."""


class EditPolicy(StrEnum):
    """What becomes of an invoice that was changed both in Pipeline and in Xero, in different places."""

    BLOCK = "block"
    """A person decides."""
    MERGE = "merge"
    """Pipeline's changes go to Xero beside those made there; the same place changed on both sides is a person's."""


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """An account's choices; the defaults are what holds until somebody chooses."""

    invoice_status: InvoiceStatus = InvoiceStatus.AUTHORISED
    start_date: date | None = None
    """Invoices issued before are not synced; what is in Xero already goes on."""
    mapping_policy: MappingPolicy = MappingPolicy.CREATE
    default_account_code: str | None = None
    """Xero's account of lines that name none; None leaves it to the service's own setting."""
    default_tax_type: str | None = None
    """Xero's tax type of lines that name no tax, on invoices that carry tax."""
    number_prefix: str = ""
    """Put before the numbers of invoices that are sent for the first time."""
    edit_policy: EditPolicy = EditPolicy.BLOCK
    version: int = 0
    """How often they were changed; 0 is never."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One change of a setting or a code mapping: who, when, of what, from what to what."""

    account_id: str
    sequence: int
    at: datetime
    actor: str
    subject: str
    before: str | None
    after: str | None
    previous_hash: bytes | None


def change_hash(change: SettingChange) -> bytes:
    """The link of one change: SHA-256 over the link before it and the change in canonical form."""
    told = asdict(change) | {"at": change.at.isoformat()}
    del told["previous_hash"]
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256((change.previous_hash or b"") + canonical.encode()).digest()
