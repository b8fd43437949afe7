"""Check the audit's chains of hashes: every account's changes against each other and against its connection."""

from itertools import groupby

from connector.domain.audit import broken_account, broken_rotation
from connector.store import audit, key_rotations
from pipeline_messaging.connection import Connection as Db


async def verify_audit(conn: Db) -> tuple[int, list[str]]:
    """How many rows were read, and for each broken chain a sentence that names its first broken row."""
    found: list[str] = []
    read = 0
    # One picture of the database: a change recorded while this reads must not look like a broken end.
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        heads = {head.account_id: head for head in await audit.heads(conn)}
        changes = await audit.changes(conn)
        rotations = await key_rotations.every(conn)
    for account_id, group in groupby(changes, key=lambda change: change.account_id):
        chain = list(group)
        read += len(chain)
        found.append(broken_account(chain, heads.pop(account_id, None)) or "")
    found += [broken_account([], head) or "" for head in heads.values()]
    found.append(broken_rotation(rotations) or "")
    return read + len(rotations), [sentence for sentence in found if sentence]
