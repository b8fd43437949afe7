"""Check the chains of changed settings: every account's changes against each other and against what holds now."""

from itertools import groupby

from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.setting_audit import broken_chain
from invoice_sync.store import account_settings, codes, setting_changes
from pipeline_messaging.connection import Connection


async def verify_audit(conn: Connection) -> tuple[int, list[str]]:
    """How many rows were read, and for each broken chain a sentence that names its first broken row."""
    # One picture of the database: a change recorded while this reads must not look like a broken end.
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        changes = await setting_changes.every(conn)
        settings = await account_settings.every(conn)
        mappings = await codes.every_mapping(conn)
    chains = {
        account_id: [(each.change, each.hash) for each in group]
        for account_id, group in groupby(changes, key=lambda kept: kept.change.account_id)
    }
    found = [
        broken_chain(
            account_id,
            chains.get(account_id, []),
            settings.get(account_id, AccountSettings()),
            mappings.get(account_id, {}),
        )
        for account_id in sorted(chains.keys() | settings.keys() | mappings.keys())
    ]
    return len(changes), [sentence for sentence in found if sentence]
