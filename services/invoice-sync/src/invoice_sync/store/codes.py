"""Rows of ``code_mappings`` and ``code_lists``: codes by Xero's names, and what the organisation was read to have."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from invoice_sync.domain.codes import PROBLEM_OF, CodeKind, CodeList, CodeListing, Terms, fix
from invoice_sync.store import account_settings, lock_dates
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection

CODED = tuple(problem.value for problem in PROBLEM_OF.values())
# The causes whose end a reading of the organisation may show.
READABLE = (*CODED, ProblemCode.PERIOD_LOCKED.value)


@dataclass(frozen=True, slots=True)
class CodeMapping:
    """What a code of Pipeline's is called in Xero, and by whose word."""

    kind: CodeKind
    code: str
    xero_code: str
    mapped_by: str
    mapped_at: datetime


async def terms_of(
    conn: Connection, account_id: str, tenant_id: str | None, default_account_code: str
) -> Terms:
    """Settings, mappings and lists of an account; a list of another organisation counts as never read."""
    settings = await account_settings.find(conn, account_id)
    mapped = await conn.fetch(
        "SELECT kind, code, xero_code FROM code_mappings WHERE account_id = $1", account_id
    )
    listed = await conn.fetch(
        """
        SELECT kind, entries, rates, read_at, tried_at FROM code_lists
         WHERE account_id = $1 AND tenant_id = $2 AND read_at IS NOT NULL
        """,
        account_id,
        tenant_id,
    )
    organisation = await conn.fetchrow(
        f"""
        SELECT base_currency, {lock_dates.COLUMNS} FROM accounts LEFT JOIN lock_dates USING (account_id, tenant_id)
         WHERE account_id = $1 AND tenant_id = $2
        """,  # noqa: S608 - a constant list of columns
        account_id,
        tenant_id,
    )
    return Terms(
        settings,
        settings.default_account_code or default_account_code,
        {(CodeKind(row["kind"]), row["code"]): row["xero_code"] for row in mapped},
        {
            CodeKind(row["kind"]): CodeList(
                {code: tuple(classes) for code, classes in json.loads(row["entries"]).items()},
                row["read_at"],
                row["tried_at"],
                {code: Decimal(rate) for code, rate in json.loads(row["rates"] or "{}").items()},
            )
            for row in listed
        },
        organisation["base_currency"] if organisation else None,
        lock_dates.of_row(organisation),
    )


async def list_mappings(
    conn: Connection, account_id: str, kind: CodeKind, *, after: str, limit: int
) -> list[CodeMapping]:
    """The account's mappings of a kind in the order of codes, from behind ``after``."""
    rows = await conn.fetch(
        """
        SELECT kind, code, xero_code, mapped_by, mapped_at FROM code_mappings
         WHERE account_id = $1 AND kind = $2 AND code > $3 ORDER BY code LIMIT $4
        """,
        account_id,
        kind,
        after,
        limit,
    )
    return [CodeMapping(**{**dict(row), "kind": CodeKind(row["kind"])}) for row in rows]


async def find_mapping(
    conn: Connection, account_id: str, kind: CodeKind, code: str
) -> CodeMapping | None:
    """One mapping; None if the code is the same in both."""
    row = await conn.fetchrow(
        """
        SELECT kind, code, xero_code, mapped_by, mapped_at FROM code_mappings
         WHERE account_id = $1 AND kind = $2 AND code = $3
        """,
        account_id,
        kind,
        code,
    )
    return None if row is None else CodeMapping(**{**dict(row), "kind": kind})


async def every_mapping(conn: Connection) -> dict[str, dict[str, str]]:
    """Every account's mappings: Xero's code by ``kind:code``."""
    rows = await conn.fetch("SELECT account_id, kind, code, xero_code FROM code_mappings")
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        subject = fix(CodeKind(row["kind"]), row["code"])
        found.setdefault(row["account_id"], {})[subject] = row["xero_code"]
    return found


async def save_mapping(
    conn: Connection, account_id: str, kind: CodeKind, code: str, xero_code: str, actor: str
) -> None:
    """Map a code, over what it was mapped to."""
    await conn.execute(
        """
        INSERT INTO code_mappings (account_id, kind, code, xero_code, mapped_by) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_id, kind, code) DO UPDATE
           SET xero_code = excluded.xero_code, mapped_by = excluded.mapped_by, mapped_at = now()
        """,
        account_id,
        kind,
        code,
        xero_code,
        actor,
    )


async def remove_mapping(conn: Connection, account_id: str, kind: CodeKind, code: str) -> None:
    """Forget a mapping."""
    await conn.execute(
        "DELETE FROM code_mappings WHERE account_id = $1 AND kind = $2 AND code = $3",
        account_id,
        kind,
        code,
    )


async def save_list(
    conn: Connection,
    account_id: str,
    tenant_id: str,
    kind: CodeKind,
    found: CodeListing | None,
) -> None:
    """Keep what was read of a kind; None was not readable, and what was read before stays."""
    await conn.execute(
        """
        INSERT INTO code_lists AS l (account_id, kind, tenant_id, entries, rates, read_at, tried_at)
        VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, CASE WHEN $4 IS NULL THEN NULL ELSE now() END, now())
        ON CONFLICT (account_id, kind) DO UPDATE
           SET tenant_id = excluded.tenant_id, tried_at = excluded.tried_at,
               entries = CASE WHEN $4 IS NULL AND l.tenant_id = $3 THEN l.entries ELSE excluded.entries END,
               rates = CASE WHEN $4 IS NULL AND l.tenant_id = $3 THEN l.rates ELSE excluded.rates END,
               read_at = CASE WHEN $4 IS NULL AND l.tenant_id = $3 THEN l.read_at ELSE excluded.read_at END
        """,
        account_id,
        kind,
        tenant_id,
        None if found is None else json.dumps(found.entries),
        None if found is None else json.dumps(found.rates, default=str),
    )


async def waited_for(conn: Connection, account_id: str) -> dict[str, list[str]]:
    """The fixes that any invoice of the account waits for, by the causes that name them."""
    rows = await conn.fetch(
        """
        SELECT block_code, array_agg(DISTINCT name) AS names
          FROM invoices, jsonb_array_elements_text(waits_for) AS name
         WHERE account_id = $1 AND block_code = ANY($2::text[]) AND state = 'failed'
         GROUP BY block_code
        """,
        account_id,
        READABLE,
    )
    return {row["block_code"]: list(row["names"]) for row in rows}


async def read_at(conn: Connection, account_id: str, at: datetime | None) -> None:
    """Have the organisation's codes read at ``at``; None when an invoice asks for it."""
    await conn.execute(
        "UPDATE accounts SET codes_due_at = $2 WHERE account_id = $1", account_id, at
    )


async def read_by(conn: Connection, account_id: str, at: datetime) -> None:
    """Have the organisation's codes read at ``at`` or before."""
    await conn.execute(
        "UPDATE accounts SET codes_due_at = least(codes_due_at, $2) WHERE account_id = $1",
        account_id,
        at,
    )
