"""Invoices as three services speak of them; each merge keeps the newest of its own voice."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ops_dashboard.domain.backlog import Waiting
from ops_dashboard.domain.facts import Kept
from ops_dashboard.domain.invoices import InvoiceKey, Issued, Outcome, Paid
from ops_dashboard.domain.paging import After
from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice as pages show it."""

    account_id: str
    invoice_id: str
    state: str
    changed_at: datetime
    version: int
    invoice_number: str | None
    customer_id: str | None
    customer_name: str | None
    due_date: date | None
    currency: str | None
    total: Decimal | None
    code: str | None
    told: dict[str, Any]
    amount_paid: Decimal | None
    amount_due: Decimal | None
    xero_invoice_id: str | None
    deep_link: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Invoices of one state, or of one cause, in one currency."""

    name: str
    currency: str
    invoices: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invoices: of one state, or whose number, id or customer begins like this."""

    state: str | None = None
    code: str | None = None
    text: str = ""


_COLUMNS = """
    i.account_id, i.invoice_id, i.state, i.changed_at, i.version, i.invoice_number, i.customer_id,
    c.name AS customer_name, i.due_date, i.currency, i.total, i.code, i.told, i.amount_paid, i.amount_due,
    i.xero_invoice_id, i.deep_link"""
_CUSTOMER = (
    " LEFT JOIN customers c ON c.generation = i.generation AND c.account_id = i.account_id"
    " AND c.customer_id = i.customer_id"
)
_FOUND_AT_MOST = 200
"""Customers, or invoices, that a search begins with: beyond it, more letters are needed."""


async def pipeline_said(
    conn: Connection, generation: int, told: Mapping[InvoiceKey, Issued]
) -> None:
    """Merge what Pipeline says."""
    rows = sorted(told.items(), key=lambda item: item[0])
    await conn.execute(
        """
        INSERT INTO invoices AS i (generation, account_id, invoice_id, changed_at, version, is_voided, content_version,
               invoice_number, customer_id, due_date, currency, total)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::boolean[], $7::int[],
               $8::text[], $9::text[], $10::date[], $11::text[], $12::numeric[])
        ON CONFLICT (generation, account_id, invoice_id) DO UPDATE SET
               changed_at = greatest(i.changed_at, excluded.changed_at),
               version = greatest(i.version, excluded.version),
               is_voided = CASE WHEN excluded.version > i.version THEN excluded.is_voided ELSE i.is_voided END,
               content_version = greatest(i.content_version, excluded.content_version),
               (invoice_number, customer_id, due_date, currency, total) = (
                   SELECT n.invoice_number, n.customer_id, n.due_date, n.currency, n.total
                     FROM (VALUES
                       (excluded.content_version > i.content_version, excluded.invoice_number, excluded.customer_id,
                        excluded.due_date, excluded.currency, excluded.total),
                       (excluded.content_version <= i.content_version, i.invoice_number, i.customer_id,
                        i.due_date, i.currency, i.total)
                     ) AS n (is_newer, invoice_number, customer_id, due_date, currency, total)
                    WHERE n.is_newer)
        """,
        generation,
        [key[0] for key, _ in rows],
        [key[1] for key, _ in rows],
        [one.at for _, one in rows],
        [one.version for _, one in rows],
        [one.is_voided for _, one in rows],
        [one.content_version for _, one in rows],
        [one.invoice_number for _, one in rows],
        [one.customer_id for _, one in rows],
        [one.due_date for _, one in rows],
        [one.currency for _, one in rows],
        [one.total for _, one in rows],
    )


async def sync_said(conn: Connection, generation: int, told: Mapping[InvoiceKey, Outcome]) -> None:
    """Merge what invoice-sync says."""
    rows = sorted(told.items(), key=lambda item: item[0])
    await conn.execute(
        """
        INSERT INTO invoices AS i (generation, account_id, invoice_id, changed_at, sequence, outcome, outcome_version,
               code, retryable, told, link_sequence, xero_invoice_id, deep_link)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::text[], $7::int[],
               $8::text[], $9::boolean[], $10::jsonb[], $11::int[], $12::text[], $13::text[])
        ON CONFLICT (generation, account_id, invoice_id) DO UPDATE SET
               changed_at = greatest(i.changed_at, excluded.changed_at),
               sequence = greatest(i.sequence, excluded.sequence),
               (outcome, outcome_version, code, retryable, told) = (
                   SELECT n.outcome, n.outcome_version, n.code, n.retryable, n.told
                     FROM (VALUES
                       (excluded.sequence > i.sequence, excluded.outcome, excluded.outcome_version, excluded.code,
                        excluded.retryable, excluded.told),
                       (excluded.sequence <= i.sequence, i.outcome, i.outcome_version, i.code, i.retryable, i.told)
                     ) AS n (is_newer, outcome, outcome_version, code, retryable, told)
                    WHERE n.is_newer),
               link_sequence = greatest(i.link_sequence, excluded.link_sequence),
               xero_invoice_id = CASE WHEN excluded.link_sequence > i.link_sequence
                   THEN excluded.xero_invoice_id ELSE i.xero_invoice_id END,
               deep_link = CASE WHEN excluded.link_sequence > i.link_sequence
                   THEN excluded.deep_link ELSE i.deep_link END
        """,
        generation,
        [key[0] for key, _ in rows],
        [key[1] for key, _ in rows],
        [one.at for _, one in rows],
        [one.sequence for _, one in rows],
        [one.outcome for _, one in rows],
        [one.version for _, one in rows],
        [one.code for _, one in rows],
        [one.retryable for _, one in rows],
        [json.dumps(one.told) for _, one in rows],
        [one.link_sequence for _, one in rows],
        [one.xero_invoice_id for _, one in rows],
        [one.deep_link for _, one in rows],
    )


async def payments_said(conn: Connection, generation: int, told: Mapping[InvoiceKey, Paid]) -> None:
    """Merge what payment-ingest says."""
    rows = sorted(told.items(), key=lambda item: item[0])
    await conn.execute(
        """
        INSERT INTO invoices AS i (generation, account_id, invoice_id, changed_at, paid_sequence, amount_paid,
               amount_due)
        SELECT $1, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::numeric[], $7::numeric[])
        ON CONFLICT (generation, account_id, invoice_id) DO UPDATE SET
               changed_at = greatest(i.changed_at, excluded.changed_at),
               paid_sequence = greatest(i.paid_sequence, excluded.paid_sequence),
               amount_paid = CASE WHEN excluded.paid_sequence > i.paid_sequence
                   THEN excluded.amount_paid ELSE i.amount_paid END,
               amount_due = CASE WHEN excluded.paid_sequence > i.paid_sequence
                   THEN excluded.amount_due ELSE i.amount_due END
        """,
        generation,
        [key[0] for key, _ in rows],
        [key[1] for key, _ in rows],
        [one.at for _, one in rows],
        [one.sequence for _, one in rows],
        [one.amount_paid for _, one in rows],
        [one.amount_due for _, one in rows],
    )


async def find(
    conn: Connection, generation: int, account_id: str, invoice_id: str
) -> Invoice | None:
    """One invoice; None if nothing was heard of it."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM invoices i {_CUSTOMER}"  # noqa: S608 - our own names
        " WHERE i.generation = $1 AND i.account_id = $2 AND i.invoice_id = $3",
        generation,
        account_id,
        invoice_id,
    )
    return _invoice(row) if row else None


async def page(
    conn: Connection,
    generation: int,
    account_id: str,
    wanted: Wanted,
    after: After | None,
    limit: int,
) -> Sequence[Invoice]:
    """Invoices, those in which something happened last first, from behind `after` on."""
    sought = ""
    values: list[object] = [generation, account_id, *_place(after), limit]

    def value(given: object) -> str:
        values.append(given)
        return f"${len(values)}"

    if wanted.state:
        sought += f" AND i.state = {value(wanted.state)}"
    if wanted.code:
        sought += f" AND i.state IN ('failed', 'retrying') AND i.code = {value(wanted.code)}"
    if wanted.text:
        ids = await _matching(conn, generation, account_id, wanted.text)
        sought += f" AND i.invoice_id = ANY({value(ids)}::text[])"
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM invoices i {_CUSTOMER}"  # noqa: S608 - our own names; values are parameters
        " WHERE i.generation = $1 AND i.account_id = $2"
        " AND ($3::timestamptz IS NULL OR (i.changed_at, i.invoice_id) < ($3, $4))"
        f"{sought} ORDER BY i.changed_at DESC, i.invoice_id DESC LIMIT $5",
        *values,
    )
    return [_invoice(row) for row in rows]


async def _matching(conn: Connection, generation: int, account_id: str, text: str) -> list[str]:
    """Ids of invoices that are called so, or whose number or customer's name begins so; each by an index."""
    rows = await conn.fetch(
        """
        (SELECT invoice_id FROM invoices WHERE generation = $1 AND account_id = $2 AND invoice_id = $3)
        UNION
        (SELECT invoice_id FROM invoices WHERE generation = $1 AND account_id = $2
            AND lower(left(invoice_number, 100)) LIKE $4 LIMIT $5)
        UNION
        (SELECT i.invoice_id
           FROM (SELECT customer_id FROM customers WHERE generation = $1 AND account_id = $2
                    AND (lower(left(name, 100)) LIKE $4 OR customer_id = $3) LIMIT $5) c
           JOIN invoices i ON i.generation = $1 AND i.account_id = $2 AND i.customer_id = c.customer_id
          LIMIT $5)
        """,
        generation,
        account_id,
        text,
        _pattern(text),
        _FOUND_AT_MOST,
    )
    return [row["invoice_id"] for row in rows]


def _pattern(text: str) -> str:
    escaped = text[:100].lower()
    for special in ("\\", "%", "_"):
        escaped = escaped.replace(special, f"\\{special}")
    return f"{escaped}%"


async def by_state(conn: Connection, generation: int, account_id: str) -> Sequence[Tally]:
    """How many invoices and how much money is in which state."""
    rows = await conn.fetch(
        """
        SELECT state AS name, coalesce(currency, '') AS currency, count(*) AS invoices, coalesce(sum(total), 0) AS total
          FROM invoices WHERE generation = $1 AND account_id = $2 GROUP BY 1, 2 ORDER BY 1, 2
        """,
        generation,
        account_id,
    )
    return [Tally(**row) for row in rows]


async def by_cause(conn: Connection, generation: int, account_id: str) -> Sequence[Tally]:
    """How many invoices and how much money each cause keeps from Xero."""
    rows = await conn.fetch(
        """
        SELECT coalesce(code, '') AS name, coalesce(currency, '') AS currency, count(*) AS invoices,
               coalesce(sum(total), 0) AS total
          FROM invoices WHERE generation = $1 AND account_id = $2 AND state IN ('failed', 'retrying')
         GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
        """,
        generation,
        account_id,
    )
    return [Tally(**row) for row in rows]


def _place(after: After | None) -> tuple[datetime | None, str | None]:
    return (after.at, after.id) if after else (None, None)


def _invoice(row: Any) -> Invoice:
    return Invoice(**{**row, "told": Kept(json.loads(row["told"] or "{}"))})


async def waiting(
    conn: Connection, generation: int, account_ids: Sequence[str], *, most: int
) -> dict[str, Waiting]:
    """What is on its way in these accounts, the oldest `most` of each counted; those with nothing are left out."""
    rows = await conn.fetch(
        """
        SELECT a.account_id, count(*) AS invoices, min(w.changed_at) AS oldest
          FROM unnest($2::text[]) AS a (account_id)
         CROSS JOIN LATERAL (
               SELECT changed_at FROM invoices i
                WHERE i.generation = $1 AND i.account_id = a.account_id AND i.state = 'waiting'
                ORDER BY i.changed_at, i.invoice_id LIMIT $3) w
         GROUP BY a.account_id
        """,
        generation,
        account_ids,
        most,
    )
    return {row["account_id"]: Waiting(row["invoices"], row["oldest"]) for row in rows}
