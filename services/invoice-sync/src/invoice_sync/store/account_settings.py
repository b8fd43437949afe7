"""Rows of ``account_settings``: how an account wants its invoices in Xero."""

import asyncpg

from invoice_sync.domain.account_settings import (
    AccountSettings,
    EditPolicy,
    InvoiceStatus,
    MappingPolicy,
)
from pipeline_messaging.connection import Connection

_COLUMNS = """
    invoice_status, start_date, mapping_policy, default_account_code, default_tax_type, number_prefix, edit_policy,
    version
"""


async def find(conn: Connection, account_id: str) -> AccountSettings:
    """The account's settings; the defaults where nothing was ever chosen."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM account_settings WHERE account_id = $1",  # noqa: S608 - a constant list of columns
        account_id,
    )
    return AccountSettings() if row is None else _settings(row)


async def every(conn: Connection) -> dict[str, AccountSettings]:
    """The settings of every account that has chosen any."""
    rows = await conn.fetch(f"SELECT account_id, {_COLUMNS} FROM account_settings")  # noqa: S608 - as above
    return {row["account_id"]: _settings(row) for row in rows}


def _settings(row: asyncpg.Record) -> AccountSettings:
    return AccountSettings(
        invoice_status=InvoiceStatus(row["invoice_status"]),
        start_date=row["start_date"],
        mapping_policy=MappingPolicy(row["mapping_policy"]),
        default_account_code=row["default_account_code"],
        default_tax_type=row["default_tax_type"],
        number_prefix=row["number_prefix"],
        edit_policy=EditPolicy(row["edit_policy"]),
        version=row["version"],
    )


async def save(conn: Connection, account_id: str, settings: AccountSettings) -> None:
    """Store the settings; the caller holds the account's lock, under which it read the version before."""
    await conn.execute(
        """
        INSERT INTO account_settings AS s (account_id, invoice_status, start_date, mapping_policy,
               default_account_code, default_tax_type, number_prefix, edit_policy,
               version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (account_id) DO UPDATE
           SET invoice_status = excluded.invoice_status, start_date = excluded.start_date,
               mapping_policy = excluded.mapping_policy,
               default_account_code = excluded.default_account_code, default_tax_type = excluded.default_tax_type,
               number_prefix = excluded.number_prefix, edit_policy = excluded.edit_policy, version = excluded.version
        """,
        account_id,
        settings.invoice_status,
        settings.start_date,
        settings.mapping_policy,
        settings.default_account_code,
        settings.default_tax_type,
        settings.number_prefix,
        settings.edit_policy,
        settings.version,
    )
