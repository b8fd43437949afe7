"""Audit chains: each link's hash covers the link before it, so that no row can be altered or taken out unnoticed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change of a connection as the audit keeps it."""

    account_id: str
    sequence: int
    at: datetime | None
    actor: str | None
    actor_name: str | None
    from_status: str | None
    to_status: str
    reason: str
    tenant_id: str | None
    tenant_name: str | None
    previous_hash: bytes | None
    hash: bytes


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """One step of a key rotation as the audit keeps it."""

    sequence: int
    at: datetime
    happening: str
    key_version: str
    values_left: int
    previous_hash: bytes | None
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """A connection's own row, as far as it must agree with the last link of its chain."""

    account_id: str
    sequence: int
    status: str
    reason: str


def change_hash(record: ChangeRecord) -> bytes:
    """The link of one change: SHA-256 over the previous link and the change in canonical form."""
    return _link(
        record.previous_hash,
        {
            "account_id": record.account_id,
            "sequence": record.sequence,
            "at": record.at.isoformat() if record.at else None,
            "actor": record.actor,
            "actor_name": record.actor_name,
            "from": record.from_status,
            "to": record.to_status,
            "reason": record.reason,
            "tenant_id": record.tenant_id,
            "tenant_name": record.tenant_name,
        },
    )


def rotation_hash(record: RotationRecord) -> bytes:
    """The link of one step of a key rotation."""
    return _link(
        record.previous_hash,
        {
            "sequence": record.sequence,
            "at": record.at.isoformat(),
            "happening": record.happening,
            "key_version": record.key_version,
            "values_left": record.values_left,
        },
    )


def broken_account(changes: Sequence[ChangeRecord], head: Head | None) -> str | None:
    """What is wrong with one account's chain, naming the first broken row; None when it holds.

    `changes` are the account's, the oldest first; `head` is its connection. The end of a chain is only as sure as its
    head: whoever deletes the last rows and sets the connection back as well is not found here, but by comparing with
    the newest ConnectionStatusChanged of the account, whose `sequence` would be ahead.
    """
    previous: bytes | None = None
    for expected, record in enumerate(changes, start=1):
        row = f"account {record.account_id!r}, change {record.sequence}"
        if record.sequence != expected:
            return f"{row}: change {expected} is missing before it"
        if record.previous_hash != previous or record.hash != change_hash(record):
            return f"{row}: altered, or not the row that was written"
        previous = record.hash
    return _broken_end(changes[-1] if changes else None, head)


def _broken_end(last: ChangeRecord | None, head: Head | None) -> str | None:
    if head is None:
        return f"account {last.account_id!r}: the connection is missing" if last else None
    if last is None or last.sequence < head.sequence:
        missing = last.sequence + 1 if last else 1
        return f"account {head.account_id!r}, change {missing}: missing at the end"
    if (last.sequence, last.to_status, last.reason) != (head.sequence, head.status, head.reason):
        return f"account {head.account_id!r}: the connection is not what change {last.sequence} made it"
    return None


def broken_rotation(records: Sequence[RotationRecord]) -> str | None:
    """What is wrong with the chain of key rotations; None when it holds. Rows missing at its end are not noticed."""
    previous: bytes | None = None
    for expected, record in enumerate(records, start=1):
        row = f"key rotation {record.sequence}"
        if record.sequence != expected:
            return f"{row}: row {expected} is missing before it"
        if record.previous_hash != previous or record.hash != rotation_hash(record):
            return f"{row}: altered, or not the row that was written"
        previous = record.hash
    return None


def _link(previous: bytes | None, record: Mapping[str, object]) -> bytes:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256((previous or b"") + canonical.encode()).digest()
