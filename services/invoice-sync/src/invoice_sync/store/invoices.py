"""Rows of ``invoices``: what Pipeline wants of each invoice, and where it stands."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from operator import itemgetter

import asyncpg

from invoice_sync.domain.intake import DesiredState
from invoice_sync.domain.state import Block, IntentRef, Invoice, Operation, State
from invoice_sync.domain.turns import Kind
from invoice_sync.store.codes import READABLE
from pipeline_messaging.connection import Connection

_COLUMNS = """
    account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id, void_version,
    tenant_id, generation, attempts, due_at, block_code, block_message, block_hint, block_retryable, xero_errors,
    sequence, intent_id, intent_position, intent_version, synced_version, sent,
    send_alone, told, waits_for, number_prefix, waiting_since, traceparent
"""

# Whoever locks several goes by this order, or two who meet would wait for each other. It is Python's of texts, too.
_ID_ORDER = 'account_id COLLATE "C", invoice_id COLLATE "C"'
_AFRESH = """
    state = 'pending', due_at = now(), generation = generation + 1, attempts = 0, block_code = NULL, updated_at = now()
"""

# Each is the predicate of the kind's own index.
_OF_KIND = {
    Kind.NEW: "synced_version IS NULL",
    Kind.CHANGED: "synced_version IS NOT NULL AND state NOT IN ('synced', 'out_of_sync')",
    Kind.LOOK: "synced_version IS NOT NULL AND state IN ('synced', 'out_of_sync')",
}

_ANY_DUE = ", ".join(
    f"EXISTS (SELECT FROM invoices WHERE account_id = $1 AND due_at <= now() AND {of_kind}) AS {kind}"
    for kind, of_kind in _OF_KIND.items()
)


async def want(conn: Connection, states: Sequence[DesiredState]) -> None:
    """Store desired states; the highest version wins and never goes back.

    A write in flight is left alone (its result finds the newer version), and so is a conflict, which is looked at
    again at once because the new version may have settled it.
    """
    # The organisation by a subquery: a join would read all accounts there are for each batch.
    await conn.execute(
        """
        INSERT INTO invoices AS i (
               account_id, invoice_id, state, version, operation, desired, invoice_number, customer_id, currency,
               total, void_version, traceparent, tenant_id, due_at)
        SELECT d.account_id, d.invoice_id, 'pending', d.version, d.operation, d.body, d.invoice_number,
               d.customer_id, d.currency, d.total, d.void_version, d.traceparent,
               (SELECT tenant_id FROM accounts WHERE account_id = d.account_id), now()
          FROM unnest($1::desired_state[]) AS d
         ORDER BY d.account_id COLLATE "C", d.invoice_id COLLATE "C"
        ON CONFLICT (account_id, invoice_id) DO UPDATE
           SET version = excluded.version,
               operation = excluded.operation,
               desired = coalesce(excluded.desired, i.desired),
               invoice_number = coalesce(excluded.invoice_number, i.invoice_number),
               customer_id = coalesce(excluded.customer_id, i.customer_id),
               currency = coalesce(excluded.currency, i.currency),
               total = coalesce(excluded.total, i.total),
               void_version = least(excluded.void_version, i.void_version),
               traceparent = excluded.traceparent,
               state = CASE WHEN i.state IN ('syncing', 'out_of_sync') THEN i.state ELSE 'pending' END,
               due_at = CASE WHEN i.state = 'syncing' THEN i.due_at ELSE now() END,
               block_code = CASE WHEN i.state IN ('syncing', 'out_of_sync') THEN i.block_code END,
               attempts = 0,
               generation = i.generation + 1,
               updated_at = now(),
               waiting_since = CASE WHEN i.state IN ('synced', 'voided') THEN now() ELSE i.waiting_since END
         WHERE excluded.version > i.version
        """,
        states,
    )


async def lock_due(conn: Connection, account_id: str, *, limit: int) -> list[Invoice]:
    """The account's invoices whose time has come, longest waiting first, locked."""
    return await _lock_due(conn, account_id, "true", limit)


async def _lock_due(conn: Connection, account_id: str, condition: str, limit: int) -> list[Invoice]:
    # A backlog of one account looks small to the planner, which takes for independent that rows are the account's, due, and
    # new: it would read and sort all of it for each fifty. Without bitmaps it walks the index, which is in order.
    await conn.execute("SET LOCAL enable_bitmapscan = off")
    # Chosen by age, but locked in the order of their ids (see `_ID_ORDER`).
    rows = await conn.fetch(
        f"""
        WITH due AS MATERIALIZED (
            SELECT account_id, invoice_id FROM invoices
             WHERE account_id = $1 AND due_at <= now() AND {condition}
             ORDER BY due_at, ordinal LIMIT $2)
        SELECT {_COLUMNS}, ordinal FROM invoices
         WHERE (account_id, invoice_id) IN (SELECT account_id, invoice_id FROM due)
           AND due_at <= now() AND {condition}
         ORDER BY {_ID_ORDER}
           FOR UPDATE
        """,  # noqa: S608 - constants
        account_id,
        limit,
    )
    return [_invoice(row) for row in sorted(rows, key=itemgetter("due_at", "ordinal"))]


async def due_kinds(conn: Connection, account_id: str) -> frozenset[Kind]:
    """The kinds of which this account has anything due."""
    row = await conn.fetchrow(f"SELECT {_ANY_DUE}", account_id)
    return frozenset(kind for kind in Kind if row is not None and row[kind])


async def due_before(
    conn: Connection, account_id: str, invoice_id: str, kind: Kind, *, limit: int
) -> int:
    """How many of the account's invoices of this kind are due before this one, counted up to ``limit``."""
    ahead: int = await conn.fetchval(
        f"""
        SELECT count(*) FROM (
            SELECT FROM invoices i,
                   (SELECT due_at, ordinal FROM invoices WHERE account_id = $1 AND invoice_id = $2) AS asked
             WHERE i.account_id = $1 AND {_OF_KIND[kind]}
               AND (i.due_at, i.ordinal) < (asked.due_at, asked.ordinal)
             LIMIT $3) AS before
        """,  # noqa: S608 - constants
        account_id,
        invoice_id,
        limit,
    )
    return ahead


async def lock_due_of(
    conn: Connection, account_id: str, kind: Kind, *, limit: int
) -> list[Invoice]:
    """The account's due invoices of one kind, longest waiting first, locked."""
    return await _lock_due(conn, account_id, _OF_KIND[kind], limit)


async def lock_invoices(
    conn: Connection, account_id: str, invoice_ids: Sequence[str]
) -> list[Invoice]:
    """These invoices of the account, those that it has, locked."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM invoices
         WHERE account_id = $1 AND invoice_id = ANY($2::text[]) ORDER BY {_ID_ORDER}
           FOR UPDATE
        """,  # noqa: S608 - as above
        account_id,
        invoice_ids,
    )
    return [_invoice(row) for row in rows]


async def lock_many(conn: Connection, keys: Sequence[tuple[str, str]]) -> list[Invoice]:
    """These invoices (account_id, invoice_id) of any accounts, those that there are, locked in one order for all."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM invoices
          JOIN unnest($1::text[], $2::text[]) AS asked (account_id, invoice_id) USING (account_id, invoice_id)
         ORDER BY account_id, invoice_id
           FOR UPDATE OF invoices
        """,  # noqa: S608 - as above
        [account_id for account_id, _ in keys],
        [invoice_id for _, invoice_id in keys],
    )
    return [_invoice(row) for row in rows]


async def lock_of_intent(conn: Connection, intent_id: int) -> list[Invoice]:
    """The invoices that went out with this intent, in the order of its body, locked."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM invoices WHERE intent_id = $1 ORDER BY {_ID_ORDER} FOR UPDATE",  # noqa: S608 - as above
        intent_id,
    )
    return [_invoice(row) for row in sorted(rows, key=itemgetter("intent_position"))]


async def traceparents_of_intent(conn: Connection, intent_id: int) -> list[tuple[str, str | None]]:
    """The ids of the invoices that go out with this intent, in the order of its body, with the traces they are of."""
    rows = await conn.fetch(
        "SELECT invoice_id, traceparent FROM invoices WHERE intent_id = $1 ORDER BY intent_position",
        intent_id,
    )
    return [(row["invoice_id"], row["traceparent"]) for row in rows]


async def lock_invoice(conn: Connection, account_id: str, invoice_id: str) -> Invoice | None:
    """One invoice, locked; None if this account has none of that id."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM invoices WHERE account_id = $1 AND invoice_id = $2 FOR UPDATE",  # noqa: S608 - as above
        account_id,
        invoice_id,
    )
    return None if row is None else _invoice(row)


async def find_invoice(conn: Connection, account_id: str, invoice_id: str) -> Invoice | None:
    """One invoice as it stands, without a lock."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM invoices WHERE account_id = $1 AND invoice_id = $2",  # noqa: S608 - as above
        account_id,
        invoice_id,
    )
    return None if row is None else _invoice(row)


async def compare_again(conn: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Make these invoices due for a comparison, where they rest or are in conflict."""
    await _change(
        conn,
        "due_at = now()",
        """
        (account_id, invoice_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        AND state IN ('synced', 'out_of_sync') AND due_at IS NULL
        """,
        [account_id for account_id, _ in keys],
        [invoice_id for _, invoice_id in keys],
    )


async def next_due(conn: Connection, account_id: str) -> datetime | None:
    """When anything of this account is due next: an invoice, a customer, a contact, an open intent, a comparison."""
    due: datetime | None = await conn.fetchval(
        """
        SELECT least(
            (SELECT min(due_at) FROM invoices WHERE account_id = $1 AND due_at IS NOT NULL),
            (SELECT min(due_at) FROM customers WHERE account_id = $1 AND due_at IS NOT NULL),
            (SELECT min(m.check_at) FROM contact_mappings m JOIN accounts a USING (account_id, tenant_id)
              WHERE m.account_id = $1 AND m.check_at IS NOT NULL),
            (SELECT min(due_at) FROM intents WHERE account_id = $1),
            (SELECT least(codes_due_at, import_due_at, reconcile_due_at) FROM accounts
              WHERE account_id = $1 AND status = 'CONNECTED'))
        """,
        account_id,
    )
    return due


async def release_for_connection(conn: Connection, account_ids: Sequence[str]) -> None:
    """Release what waited for these accounts' connection.

    What is in another organisation than the one now connected stays: it never moves over.
    """
    await _change(
        conn,
        _AFRESH,
        """
        account_id = ANY($1::text[]) AND state = 'waiting_for_connection'
        AND EXISTS (SELECT FROM accounts a WHERE a.account_id = ANY($1::text[]) AND a.account_id = i.account_id AND a.status = 'CONNECTED'
                       AND NOT EXISTS (SELECT FROM invoice_links l
                                        WHERE l.account_id = i.account_id AND l.invoice_id = i.invoice_id
                                          AND l.tenant_id <> a.tenant_id))
        """,
        account_ids,
    )


async def compare_conflicts(conn: Connection, account_ids: Sequence[str]) -> int:
    """Make the conflicts of these accounts due for a comparison; how many those are."""
    return await _change(
        conn,
        "due_at = now()",
        "account_id = ANY($1::text[]) AND block_code = 'OUT_OF_SYNC' AND state = 'out_of_sync'",
        account_ids,
    )


async def compare_conflicts_of(
    conn: Connection, account_id: str, customer_ids: Sequence[str]
) -> None:
    """Make the conflicts of these customers' invoices due for a comparison."""
    await _change(
        conn,
        "due_at = now()",
        """
        account_id = $1 AND block_code = 'OUT_OF_SYNC' AND state = 'out_of_sync' AND customer_id = ANY($2::text[])
        """,
        account_id,
        customer_ids,
    )


async def release_for_contacts(
    conn: Connection, account_id: str, customer_ids: Sequence[str]
) -> int:
    """Release exactly the invoices of these customers that waited for a contact; how many those were."""
    return await _change(
        conn,
        _AFRESH,
        "account_id = $1 AND customer_id = ANY($2::text[]) AND state = 'waiting_for_contact'",
        account_id,
        customer_ids,
    )


async def retell_contacts(
    conn: Connection, account_id: str, problems: Sequence[tuple[str, str]]
) -> None:
    """Have the invoices of these customers that wait for a contact told the problem it has: (customer, problem).

    Those that were told it already go on waiting.
    """
    await _change(
        conn,
        _AFRESH,
        """
        account_id = $1 AND customer_id = ANY($2::text[]) AND state = 'waiting_for_contact'
        AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS p (customer_id, problem)
                     WHERE p.customer_id = i.customer_id AND p.problem IS DISTINCT FROM i.block_code)
        """,
        account_id,
        [customer_id for customer_id, _ in problems],
        [problem for _, problem in problems],
    )


async def release_failed(conn: Connection, account_id: str, code: str) -> int:
    """Start every invoice stopped by this cause afresh; how many those are.

    A write in flight and a conflict are not a failure to retry: they are left alone.
    """
    return await _change(
        conn,
        _AFRESH,
        """
        account_id = $1 AND block_code = $2 AND state NOT IN ('syncing', 'out_of_sync', 'synced', 'voided')
        """,
        account_id,
        code,
    )


async def release_for_codes(conn: Connection, account_id: str, fixes: Sequence[str]) -> int:
    """Release exactly the invoices that waited for one of these codes, or days, to become usable; how many those were."""
    return await _change(
        conn,
        _AFRESH,
        "account_id = $1 AND block_code = ANY($2::text[]) AND state = 'failed' AND waits_for ?| $3::text[]",
        account_id,
        READABLE,
        fixes,
    )


async def release_from_date(conn: Connection, account_id: str, start_date: date | None) -> int:
    """Release exactly the invoices that an earlier start date (None: none at all) lets in; how many those were."""
    return await _change(
        conn,
        _AFRESH,
        """
        account_id = $1 AND block_code = 'BEFORE_START_DATE' AND state = 'failed'
        AND ($2::date IS NULL OR (desired::jsonb ->> 'issue_date')::date >= $2)
        """,
        account_id,
        start_date,
    )


async def hold_before_date(conn: Connection, account_id: str, start_date: date) -> None:
    """Take up what waits for something else, or failed, and is too old by a later start date: it then says that.

    What it waited for may come about without anybody's sending it. What is under way, or was in Xero once, goes on.
    """
    await conn.execute(
        """
        UPDATE invoices
           SET state = 'pending', due_at = now(), generation = generation + 1, attempts = 0, block_code = NULL,
               updated_at = now()
         WHERE account_id = $1 AND state IN ('waiting_for_contact', 'failed') AND operation = 'write'
           AND block_code IS DISTINCT FROM 'BEFORE_START_DATE'
           AND synced_version IS NULL AND intent_id IS NULL
           AND (desired::jsonb ->> 'issue_date')::date < $2
        """,
        account_id,
        start_date,
    )


async def retell_start_date(conn: Connection, account_id: str) -> None:
    """Have the invoices that are still too old told the start date there is now: no failure anew, only its words."""
    await _change(
        conn,
        "due_at = now()",
        "account_id = $1 AND block_code = 'BEFORE_START_DATE' AND state = 'failed'",
        account_id,
    )


async def count_by_state(conn: Connection, account_id: str) -> dict[State, int]:
    """How many of the account's invoices are in each state that any is in."""
    rows = await conn.fetch(
        "SELECT state, count(*) AS invoices FROM invoices WHERE account_id = $1 GROUP BY state",
        account_id,
    )
    return {State(row["state"]): row["invoices"] for row in rows}


async def restart(conn: Connection, account_id: str, invoice_id: str) -> None:
    """Start one invoice afresh, whatever it waits for; the caller holds its lock."""
    await _change(conn, _AFRESH, "account_id = $1 AND invoice_id = $2", account_id, invoice_id)


async def _change(conn: Connection, change: str, condition: str, *args: object) -> int:
    """Change the invoices of a condition, locked first in the order of their ids; how many those were."""
    status: str = await conn.execute(
        f"""
        UPDATE invoices SET {change}
         WHERE (account_id, invoice_id) IN (
               SELECT account_id, invoice_id FROM invoices i WHERE {condition} ORDER BY {_ID_ORDER} FOR UPDATE)
        """,  # noqa: S608 - constants
        *args,
    )
    return int(status.rpartition(" ")[2])


def _invoice(row: asyncpg.Record) -> Invoice:
    block = intent = None
    if row["block_code"] is not None:
        block = Block(
            row["block_code"],
            row["block_message"] or "",
            row["block_hint"] or "",
            bool(row["block_retryable"]),
            tuple(json.loads(row["xero_errors"] or "[]")),
            tuple(json.loads(row["waits_for"] or "[]")),
        )
    if row["intent_id"] is not None:
        intent = IntentRef(row["intent_id"], row["intent_position"], row["intent_version"])
    return Invoice(
        account_id=row["account_id"],
        invoice_id=row["invoice_id"],
        state=State(row["state"]),
        version=row["version"],
        operation=Operation(row["operation"]),
        desired=row["desired"],
        invoice_number=row["invoice_number"],
        customer_id=row["customer_id"],
        void_version=row["void_version"],
        tenant_id=row["tenant_id"],
        generation=row["generation"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        block=block,
        sequence=row["sequence"],
        intent=intent,
        synced_version=row["synced_version"],
        sent=row["sent"],
        send_alone=row["send_alone"],
        told=row["told"],
        number_prefix=row["number_prefix"],
        waiting_since=row["waiting_since"],
        traceparent=row["traceparent"],
    )
