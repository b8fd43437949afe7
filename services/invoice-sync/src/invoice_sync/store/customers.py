"""Rows of ``customers``: customers of Pipeline, and where each stands on its way to being a contact in Xero."""

from collections.abc import Sequence
from operator import itemgetter

import asyncpg

from invoice_sync.domain.state import Block, Customer
from pipeline_contracts.customer import Customer as CustomerEvent
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, customer_id, version, name, email, phone, tax_number, tenant_id, due_at, attempts, block_code,
    block_message, block_hint, intent_id, intent_position, unlinked, traceparent
"""

# Whoever locks several goes by this order, or two who meet would wait for each other. It is Python's of texts, too.
_ID_ORDER = 'account_id COLLATE "C", customer_id COLLATE "C"'

# Of any other row only its being unlinked is known.
_TOLD_OF = "version > 0"


async def want(
    conn: Connection, events: Sequence[CustomerEvent], traceparents: Sequence[str | None]
) -> None:
    """Store customers, each with its trace, the highest version winning. What is new is due: it becomes a contact, or changes the one it has."""
    await conn.execute(
        """
        INSERT INTO customers AS c (account_id, customer_id, version, name, email, phone, tax_number, tenant_id, due_at,
                                    traceparent)
        SELECT d.account_id, d.customer_id, d.version, d.name, d.email, d.phone, d.tax_number, a.tenant_id, now(),
               d.traceparent
          FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
                      $8::text[])
               AS d (account_id, customer_id, version, name, email, phone, tax_number, traceparent)
          LEFT JOIN accounts a USING (account_id)
         ORDER BY d.account_id COLLATE "C", d.customer_id COLLATE "C"
        ON CONFLICT (account_id, customer_id) DO UPDATE
           SET version = excluded.version, name = excluded.name, email = excluded.email, phone = excluded.phone,
               tax_number = excluded.tax_number, traceparent = excluded.traceparent, attempts = 0, updated_at = now(),
               due_at = CASE WHEN c.intent_id IS NULL THEN excluded.due_at END,
               block_code = CASE WHEN c.intent_id IS NULL THEN NULL ELSE c.block_code END
         WHERE excluded.version > c.version
        """,
        [event.account_id for event in events],
        [event.customer_id for event in events],
        [event.version for event in events],
        [event.name for event in events],
        [event.email for event in events],
        [event.phone for event in events],
        [event.tax_number for event in events],
        traceparents,
    )


async def lock_due(conn: Connection, account_id: str, *, limit: int) -> list[Customer]:
    """The account's customers that are to become contacts now, locked."""
    # Chosen by age, but locked in the order of their ids (see `_ID_ORDER`).
    rows = await conn.fetch(
        f"""
        WITH due AS MATERIALIZED (
            SELECT account_id, customer_id FROM customers WHERE account_id = $1 AND due_at <= now()
             ORDER BY due_at, customer_id LIMIT $2)
        SELECT {_COLUMNS} FROM customers
         WHERE (account_id, customer_id) IN (SELECT account_id, customer_id FROM due) AND due_at <= now()
         ORDER BY {_ID_ORDER} FOR UPDATE
        """,  # noqa: S608 - constants
        account_id,
        limit,
    )
    return [_customer(row) for row in sorted(rows, key=itemgetter("due_at", "customer_id"))]


async def lock_of_intent(conn: Connection, intent_id: int) -> list[Customer]:
    """The customers that went out with this intent, in the order of its body, locked."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM customers WHERE intent_id = $1 ORDER BY {_ID_ORDER} FOR UPDATE",  # noqa: S608 - as above
        intent_id,
    )
    return [_customer(row) for row in sorted(rows, key=itemgetter("intent_position"))]


async def traceparents_of_intent(conn: Connection, intent_id: int) -> list[tuple[str, str | None]]:
    """The ids of the customers that go out with this intent, in the order of its body, with the traces they are of."""
    rows = await conn.fetch(
        "SELECT customer_id, traceparent FROM customers WHERE intent_id = $1 ORDER BY intent_position",
        intent_id,
    )
    return [(row["customer_id"], row["traceparent"]) for row in rows]


async def customers_of(
    conn: Connection, account_id: str, customer_ids: Sequence[str]
) -> dict[str, Customer]:
    """The customers known of these ids."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM customers WHERE account_id = $1 AND customer_id = ANY($2::text[]) AND {_TOLD_OF}",  # noqa: S608 - as above
        account_id,
        customer_ids,
    )
    return {row["customer_id"]: _customer(row) for row in rows}


async def save(conn: Connection, customers: Sequence[Customer]) -> None:
    """Write back where customers stand; the caller's transaction holds their locks."""
    if not customers:
        return
    blocks = [customer.block for customer in customers]
    await conn.execute(
        """
        UPDATE customers c
           SET due_at = s.due_at, attempts = s.attempts, block_code = s.block_code, block_message = s.block_message,
               block_hint = s.block_hint, intent_id = s.intent_id, intent_position = s.intent_position,
               tenant_id = s.tenant_id, unlinked = s.unlinked, updated_at = now()
          FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::text[],
                      $8::bigint[], $9::int[], $10::text[], $11::bool[])
               AS s (account_id, customer_id, due_at, attempts, block_code, block_message, block_hint, intent_id,
                     intent_position, tenant_id, unlinked)
         WHERE c.account_id = s.account_id AND c.customer_id = s.customer_id
        """,
        [customer.account_id for customer in customers],
        [customer.customer_id for customer in customers],
        [customer.due_at for customer in customers],
        [customer.attempts for customer in customers],
        [block and block.code for block in blocks],
        [block and block.message for block in blocks],
        [block and block.hint for block in blocks],
        [customer.intent_id for customer in customers],
        [customer.intent_position for customer in customers],
        [customer.tenant_id for customer in customers],
        [customer.unlinked for customer in customers],
    )


async def lock_of(
    conn: Connection, account_id: str, customer_ids: Sequence[str]
) -> dict[str, Customer]:
    """The customers known of these ids, locked."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM customers
         WHERE account_id = $1 AND customer_id = ANY($2::text[]) AND {_TOLD_OF} ORDER BY {_ID_ORDER} FOR UPDATE
        """,  # noqa: S608 - as above
        account_id,
        customer_ids,
    )
    return {row["customer_id"]: _customer(row) for row in rows}


async def unlink(conn: Connection, account_id: str, customer_id: str) -> None:
    """Remember that a person unlinked this customer; one that Pipeline has not told of yet as its version 0."""
    await conn.execute(
        """
        INSERT INTO customers (account_id, customer_id, version, name, unlinked) VALUES ($1, $2, 0, '', true)
        ON CONFLICT (account_id, customer_id) DO UPDATE SET unlinked = true, updated_at = now()
        """,
        account_id,
        customer_id,
    )


async def forget_unlinked(conn: Connection, account_id: str, customer_id: str) -> None:
    """A customer that Pipeline has not told of was linked again."""
    await conn.execute(
        "DELETE FROM customers WHERE account_id = $1 AND customer_id = $2 AND version = 0",
        account_id,
        customer_id,
    )


async def unlinked_like(
    conn: Connection, account_id: str, tenant_id: str, alike: Sequence[Customer]
) -> list[Customer]:
    """Further customers of the account with the name or email of one of these, and no contact either."""
    rows = await conn.fetch(
        rf"""
        SELECT {_COLUMNS} FROM customers c
         WHERE account_id = $1 AND customer_id <> ALL($3::text[]) AND {_TOLD_OF}
           AND (md5(lower(btrim(regexp_replace(name, '\s+', ' ', 'g')))) = ANY(ARRAY(
                   SELECT md5(lower(btrim(regexp_replace(n, '\s+', ' ', 'g')))) FROM unnest($4::text[]) AS n))
                OR md5(lower(btrim(email))) = ANY(ARRAY(
                   SELECT md5(lower(btrim(e))) FROM unnest($5::text[]) AS e)))
           AND NOT EXISTS (SELECT FROM contact_mappings m
                            WHERE m.account_id = $1 AND m.tenant_id = $2 AND m.customer_id = c.customer_id)
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
        [each.customer_id for each in alike],
        [each.name for each in alike],
        [each.email for each in alike if each.email],
    )
    return [_customer(row) for row in rows]


async def unlinked_waiting(conn: Connection, account_id: str, *, limit: int) -> list[Customer]:
    """Customers whose invoices wait until they are linked to a contact, those with the most invoices first."""
    rows = await conn.fetch(
        f"""
        SELECT {", ".join(f"c.{each.strip()}" for each in _COLUMNS.split(","))}
          FROM (SELECT customer_id, count(*) AS waiting FROM invoices
                 WHERE account_id = $1 AND state = 'waiting_for_contact' GROUP BY customer_id) i
          JOIN customers c ON c.account_id = $1 AND c.customer_id = i.customer_id AND {_TOLD_OF}
          JOIN accounts a ON a.account_id = $1
         WHERE NOT EXISTS (SELECT FROM contact_mappings m
                            WHERE m.account_id = $1 AND m.tenant_id = a.tenant_id AND m.customer_id = c.customer_id
                              AND m.problem IS NULL)
         ORDER BY i.waiting DESC, c.customer_id LIMIT $2
        """,  # noqa: S608 - as above
        account_id,
        limit,
    )
    return [_customer(row) for row in rows]


async def release_for_policy(conn: Connection, account_id: str) -> None:
    """The account's mapping policy changed: what it left to a person is looked at under the new one."""
    await _take_up(
        conn,
        """
        account_id = $1 AND block_code = ANY($2::text[]) AND NOT unlinked AND due_at IS NULL AND intent_id IS NULL
        """,
        account_id,
        ["CUSTOMER_NOT_MAPPED", "CONTACT_AMBIGUOUS", "CONTACT_NAME_TAKEN"],
    )


async def release_for_connection(conn: Connection, account_ids: Sequence[str]) -> None:
    """Take up the customers that waited for these accounts' connection (those without mapping, failure or write).

    Among them those whose next try is a while off: what failed, failed with the former connection.
    """
    await _take_up(
        conn,
        """
        account_id = ANY($1::text[]) AND intent_id IS NULL
        AND (due_at > now() OR due_at IS NULL AND block_code IN ('NOT_CONNECTED', 'TENANT_CHANGED'))
        AND EXISTS (SELECT FROM accounts a WHERE a.account_id = ANY($1::text[]) AND a.account_id = c.account_id AND a.status = 'CONNECTED')
        """,
        account_ids,
    )


async def retry(
    conn: Connection,
    account_id: str,
    *,
    code: str | None = None,
    customer_id: str | None = None,
) -> None:
    """Try again to make contacts of customers that were refused: those of one cause, or one customer."""
    await _take_up(
        conn,
        """
        account_id = $1 AND (block_code = $2 OR customer_id = $3)
        AND block_code IS NOT NULL AND due_at IS NULL AND intent_id IS NULL
        """,
        account_id,
        code,
        customer_id,
    )


async def _take_up(conn: Connection, condition: str, *args: object) -> None:
    """Start the customers of a condition afresh, locked first in the order of their ids."""
    await conn.execute(
        f"""
        UPDATE customers SET due_at = now(), block_code = NULL, attempts = 0, updated_at = now()
         WHERE (account_id, customer_id) IN (
               SELECT account_id, customer_id FROM customers c WHERE {condition} ORDER BY {_ID_ORDER} FOR UPDATE)
        """,  # noqa: S608 - constants
        *args,
    )


def _customer(row: asyncpg.Record) -> Customer:
    block = None
    if row["block_code"] is not None:
        block = Block(
            row["block_code"], row["block_message"] or "", row["block_hint"] or "", retryable=False
        )
    return Customer(
        account_id=row["account_id"],
        customer_id=row["customer_id"],
        version=row["version"],
        name=row["name"],
        email=row["email"],
        phone=row["phone"],
        tax_number=row["tax_number"],
        tenant_id=row["tenant_id"],
        due_at=row["due_at"],
        attempts=row["attempts"],
        block=block,
        intent_id=row["intent_id"],
        intent_position=row["intent_position"],
        unlinked=row["unlinked"],
        traceparent=row["traceparent"],
    )
