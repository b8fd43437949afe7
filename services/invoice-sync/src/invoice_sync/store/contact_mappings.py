"""Rows of ``contact_mappings``: which contact of which organisation a customer is, and what both agreed on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

import asyncpg

from invoice_sync.domain.state import ContactDifference, ContactMapping
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, tenant_id, customer_id, contact_id, contact_name, mapped_by, mapped_at, agreed, base, differences,
    problem, refused, check_at, healed_at
"""


async def mappings_of(
    conn: Connection, account_id: str, tenant_id: str, customer_ids: Sequence[str]
) -> dict[str, ContactMapping]:
    """The mappings of these customers in this organisation, by customer_id."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id = ANY($3::text[])
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        customer_ids,
    )
    return {row["customer_id"]: _mapping(row) for row in rows}


async def list_mappings(
    conn: Connection, account_id: str, tenant_id: str, *, after: str, limit: int
) -> list[ContactMapping]:
    """The mappings of an account in the order of customer ids, from behind ``after``."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id > $3 ORDER BY customer_id LIMIT $4
        """,  # noqa: S608 - as above
        account_id,
        tenant_id,
        after,
        limit,
    )
    return [_mapping(row) for row in rows]


async def linked_to(
    conn: Connection, account_id: str, tenant_id: str, contact_ids: Sequence[str]
) -> dict[str, list[str]]:
    """The customers linked to each of these contacts, by ContactID."""
    rows = await conn.fetch(
        """
        SELECT contact_id, array_agg(customer_id ORDER BY customer_id) AS customers FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND contact_id = ANY($3::text[]) GROUP BY contact_id
        """,
        account_id,
        tenant_id,
        contact_ids,
    )
    return {row["contact_id"]: row["customers"] for row in rows}


async def to_check(
    conn: Connection, account_id: str, tenant_id: str, *, limit: int
) -> list[ContactMapping]:
    """The mappings whose contacts are to be read in Xero now."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM contact_mappings
         WHERE account_id = $1 AND tenant_id = $2 AND check_at <= now()
         ORDER BY check_at, customer_id LIMIT $3
        """,  # noqa: S608 - as above
        account_id,
        tenant_id,
        limit,
    )
    return [_mapping(row) for row in rows]


async def save(conn: Connection, mappings: Sequence[ContactMapping]) -> None:
    """Insert or replace mappings, each with all that is known of its contact."""
    await conn.execute(
        """
        INSERT INTO contact_mappings (account_id, tenant_id, customer_id, contact_id, contact_name, mapped_by, agreed,
                                      base, differences, problem, refused, check_at, healed_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::text[], $11::bool[], $12::timestamptz[],
                             $13::timestamptz[])
        ON CONFLICT (account_id, tenant_id, customer_id) DO UPDATE
           SET contact_id = excluded.contact_id, contact_name = excluded.contact_name,
               mapped_by = excluded.mapped_by, mapped_at = now(), agreed = excluded.agreed, base = excluded.base,
               differences = excluded.differences, problem = excluded.problem, refused = excluded.refused,
               check_at = excluded.check_at, healed_at = excluded.healed_at
        """,
        [mapping.account_id for mapping in mappings],
        [mapping.tenant_id for mapping in mappings],
        [mapping.customer_id for mapping in mappings],
        [mapping.contact_id for mapping in mappings],
        [mapping.contact_name for mapping in mappings],
        [mapping.mapped_by for mapping in mappings],
        *_state_of(mappings),
    )


async def update(conn: Connection, mappings: Sequence[ContactMapping]) -> None:
    """Write back what is known of contacts; who is linked to which stays, and so does one linked anew meanwhile."""
    await conn.execute(
        """
        UPDATE contact_mappings m
           SET contact_name = s.contact_name, agreed = s.agreed, base = s.base, differences = s.differences,
               problem = s.problem, refused = s.refused, check_at = s.check_at, healed_at = s.healed_at
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                      $9::text[], $10::bool[], $11::timestamptz[], $12::timestamptz[])
               AS s (account_id, tenant_id, customer_id, contact_id, contact_name, agreed, base, differences, problem,
                     refused, check_at, healed_at)
         WHERE m.account_id = s.account_id AND m.tenant_id = s.tenant_id AND m.customer_id = s.customer_id
           AND m.contact_id = s.contact_id
        """,
        [mapping.account_id for mapping in mappings],
        [mapping.tenant_id for mapping in mappings],
        [mapping.customer_id for mapping in mappings],
        [mapping.contact_id for mapping in mappings],
        [mapping.contact_name for mapping in mappings],
        *_state_of(mappings),
    )


async def check(
    conn: Connection, account_id: str, tenant_id: str, customer_ids: Sequence[str], at: datetime
) -> None:
    """Have the contacts of these customers read in Xero at ``at``."""
    await conn.execute(
        """
        UPDATE contact_mappings SET check_at = $4
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id = ANY($3::text[])
        """,
        account_id,
        tenant_id,
        customer_ids,
        at,
    )


async def doubt(
    conn: Connection,
    account_id: str,
    tenant_id: str,
    customer_ids: Sequence[str],
    *,
    linked_before: datetime,
) -> None:
    """Xero refused invoices of these customers because of their contacts: have those read.

    One found usable only lately is not read again within the hour: what Xero shows and what it refuses would else go
    on contradicting each other, call by call.
    """
    await conn.execute(
        """
        UPDATE contact_mappings
           SET refused = true, check_at = greatest(now(), healed_at + interval '1 hour')
         WHERE account_id = $1 AND tenant_id = $2 AND customer_id = ANY($3::text[]) AND mapped_at <= $4
        """,
        account_id,
        tenant_id,
        customer_ids,
        linked_before,
    )


async def check_again(
    conn: Connection, account_id: str, *, code: str | None = None, customer_id: str | None = None
) -> None:
    """Look again, by a person's wish, at contacts that took no invoices: those of one problem, or one customer's."""
    await conn.execute(
        """
        UPDATE contact_mappings SET check_at = now()
         WHERE account_id = $1 AND (problem = $2 OR customer_id = $3) AND (problem IS NOT NULL OR refused)
        """,
        account_id,
        code,
        customer_id,
    )


async def remove(conn: Connection, account_id: str, tenant_id: str, customer_id: str) -> str | None:
    """Remove a mapping; the contact it named, or None if there was none."""
    contact_id: str | None = await conn.fetchval(
        """
        DELETE FROM contact_mappings WHERE account_id = $1 AND tenant_id = $2 AND customer_id = $3
        RETURNING contact_id
        """,
        account_id,
        tenant_id,
        customer_id,
    )
    return contact_id


def _state_of(mappings: Sequence[ContactMapping]) -> tuple[list[object], ...]:
    return (
        [_json(mapping.agreed) for mapping in mappings],
        [_json(mapping.base) for mapping in mappings],
        [
            json.dumps([asdict(each) for each in mapping.differences])
            if mapping.differences
            else None
            for mapping in mappings
        ],
        [mapping.problem for mapping in mappings],
        [mapping.refused for mapping in mappings],
        [mapping.check_at for mapping in mappings],
        [mapping.healed_at for mapping in mappings],
    )


def _json(fields: Mapping[str, str] | None) -> str | None:
    return None if fields is None else json.dumps(dict(fields))


def _mapping(row: asyncpg.Record) -> ContactMapping:
    differences = json.loads(row["differences"] or "[]")
    return ContactMapping(
        **{
            **dict(row),
            "agreed": None if row["agreed"] is None else json.loads(row["agreed"]),
            "base": None if row["base"] is None else json.loads(row["base"]),
            "differences": tuple(ContactDifference(**each) for each in differences),
        }
    )
