"""What a reconciliation under way has seen in Xero, and what holding it against our own books shows."""

from collections.abc import Sequence

from invoice_sync.domain.currencies import NO_CURRENCY
from invoice_sync.domain.reconciliation import (
    LEFT_BEHIND,
    NOT_LINKED,
    FindingKind,
    Named,
    Sighting,
    Total,
)
from invoice_sync.store.reconciliations import Reconciliation
from pipeline_messaging.connection import Connection

_MOST_NAMED = 1_000

# Each: the invoices of one kind of finding, of account $1, reconciliation $2 and organisation $3.
_SEEN = "FROM reconciled_invoices s WHERE s.account_id = $1 AND s.number = $2"
# Written or read again after its page was, and by then it was so.
_SINCE = """
    EXISTS (SELECT FROM invoice_links l
             WHERE l.tenant_id = $3 AND l.xero_invoice_id = s.xero_invoice_id AND l.observed_at > s.read_at AND {})
"""
_OTHER_LIVE = """
    EXISTS (SELECT FROM invoice_links l
             WHERE l.account_id = $1 AND l.tenant_id = $3 AND l.invoice_id = s.invoice_id
               AND l.xero_invoice_id <> s.xero_invoice_id
               AND NOT EXISTS (SELECT FROM reconciled_invoices g
                                WHERE g.account_id = $1 AND g.number = $2
                                  AND g.xero_invoice_id = l.xero_invoice_id AND g.verdict IN ('gone', 'withdrawn')))
    OR EXISTS (SELECT FROM reconciled_invoices o
                WHERE o.account_id = $1 AND o.number = $2 AND o.invoice_id = s.invoice_id
                  AND NOT o.is_linked AND o.verdict = 'live' AND o.xero_invoice_id < s.xero_invoice_id)
"""
# Marked as ours, and nobody's: not one whose write is still being looked into.
_STRAY = f"""
    {_SEEN} AND NOT s.is_linked
    AND NOT EXISTS (SELECT FROM invoice_links l WHERE l.tenant_id = $3 AND l.xero_invoice_id = s.xero_invoice_id)
    AND NOT EXISTS (SELECT FROM invoices i
                     WHERE i.account_id = $1 AND i.invoice_id = s.invoice_id AND i.state = 'syncing')
"""  # noqa: S608 - constants
_HERE = "SELECT i.invoice_id, NULL::text AS xero_invoice_id FROM invoices i WHERE i.account_id = $1"
_NO_LINK = """
    NOT EXISTS (SELECT FROM invoice_links l WHERE l.account_id = $1 AND l.invoice_id = i.invoice_id)
"""
_NAMES = "SELECT s.invoice_id, s.xero_invoice_id"
_FOUND = {
    FindingKind.GONE: f"""
        {_NAMES} {_SEEN} AND s.verdict = 'gone'
           AND EXISTS (SELECT FROM invoices i
                        WHERE i.account_id = $1 AND i.invoice_id = s.invoice_id AND i.state <> 'voided')
    """,
    FindingKind.CHANGED: f"{_NAMES} {_SEEN} AND s.is_changed",
    FindingKind.EDITED: f"""
        {_NAMES} {_SEEN} AND s.is_edited AND NOT s.is_changed
           AND NOT {_SINCE.format("l.observed::jsonb = l.base::jsonb")}
           AND EXISTS (SELECT FROM invoices i
                        WHERE i.account_id = $1 AND i.invoice_id = s.invoice_id AND i.state = 'synced')
    """,
    FindingKind.KEPT: f"""
        {_NAMES} {_SEEN} AND s.verdict = 'live' AND NOT s.is_changed AND NOT s.is_edited
           AND EXISTS (SELECT FROM invoice_links l
                        WHERE l.tenant_id = $3 AND l.xero_invoice_id = s.xero_invoice_id AND l.kept <> '[]')
           AND EXISTS (SELECT FROM invoices i
                        WHERE i.account_id = $1 AND i.invoice_id = s.invoice_id AND i.state = 'synced')
    """,  # noqa: S608 - constants
    FindingKind.DOUBLED: f"{_NAMES} {_STRAY} AND ({_OTHER_LIVE})",
    FindingKind.UNKNOWN: f"{_NAMES} {_STRAY} AND NOT ({_OTHER_LIVE})",
    FindingKind.LIVE_THOUGH_VOIDED: f"""
        {_NAMES} {_SEEN} AND s.is_linked AND s.verdict = 'live'
           AND NOT {_SINCE.format("l.xero_status IN ('VOIDED', 'DELETED')")}
           AND EXISTS (SELECT FROM invoices i
                        WHERE i.account_id = $1 AND i.invoice_id = s.invoice_id AND i.state = 'voided')
    """,
    FindingKind.UNREADABLE: f"{_NAMES} {_SEEN} AND s.verdict = 'unreadable'",
    FindingKind.OVERDUE: f"{_HERE} AND i.due_at < now() - interval '1 hour'",
    FindingKind.NEVER_DUE: f"{_HERE} AND i.state IN ('pending', 'waiting_for_budget') AND i.due_at IS NULL",
    FindingKind.SYNCING_WITHOUT_WRITE: f"""
        {_HERE} AND i.state = 'syncing' AND NOT EXISTS (SELECT FROM intents t WHERE t.account_id = $1 AND t.id = i.intent_id)
    """,
    FindingKind.WRITE_WITHOUT_INVOICE: """
        SELECT NULL::text AS invoice_id, NULL::text AS xero_invoice_id FROM intents t
         WHERE t.account_id = $1
           AND NOT EXISTS (SELECT FROM invoices i WHERE i.account_id = $1 AND i.intent_id = t.id)
           AND NOT EXISTS (SELECT FROM customers c WHERE c.account_id = $1 AND c.intent_id = t.id)
    """,
    FindingKind.WAITS_THOUGH_MAPPED: f"""
        {_HERE} AND i.state = 'waiting_for_contact' AND i.due_at IS NULL
           AND EXISTS (SELECT FROM contact_mappings m
                        WHERE m.account_id = $1 AND m.tenant_id = $3 AND m.customer_id = i.customer_id
                          AND m.problem IS NULL AND NOT m.refused AND m.check_at IS NULL)
    """,
    FindingKind.WAITS_THOUGH_CONNECTED: f"""
        {_HERE} AND i.state = 'waiting_for_connection' AND i.due_at IS NULL
           AND NOT EXISTS (SELECT FROM invoice_links l
                            WHERE l.account_id = $1 AND l.invoice_id = i.invoice_id AND l.tenant_id <> $3)
    """,
    # Waiting for a contact that is being made needs no reason: there is nothing anybody would have to do.
    FindingKind.WITHOUT_REASON: f"""
        {_HERE} AND i.block_code IS NULL
           AND (i.state IN ('failed', 'out_of_sync', 'waiting_for_connection', 'waiting_for_budget')
                OR (i.state = 'waiting_for_contact' AND NOT EXISTS (
                        SELECT FROM customers c WHERE c.account_id = $1 AND c.customer_id = i.customer_id
                           AND (c.due_at IS NOT NULL OR c.intent_id IS NOT NULL))))
    """,
    FindingKind.SETTLED_WITHOUT_LINK: f"{_HERE} AND i.state IN ('synced', 'out_of_sync') AND {_NO_LINK}",
}


async def saw(conn: Connection, run: Reconciliation, sightings: Sequence[Sighting]) -> None:
    """Keep what was seen. One seen again (a newcomer pushed it onto the next page) is kept as seen first.

    Only of an invoice at rest a change says anything: another is about to be written, or compared, anyway. And only
    where nothing newer was heard while the page was on its way.
    """
    if not sightings:
        return
    await conn.execute(
        """
        INSERT INTO reconciled_invoices (account_id, number, xero_invoice_id, invoice_id, is_linked, verdict, currency,
                                         total, is_changed, is_edited, read_at)
        SELECT $1, $2, s.xero_invoice_id, s.invoice_id, s.is_linked, s.verdict, s.currency, s.total,
               s.is_changed AND coalesce(i.state IN ('synced', 'out_of_sync'), false)
               AND NOT EXISTS (SELECT FROM invoice_links l
                                WHERE l.tenant_id = $12 AND l.xero_invoice_id = s.xero_invoice_id
                                  AND l.observed_at > s.read_at),
               s.is_edited, s.read_at
          FROM unnest($3::text[], $4::text[], $5::bool[], $6::text[], $7::text[], $8::numeric[], $9::bool[],
                      $10::bool[], $11::timestamptz[])
               AS s (xero_invoice_id, invoice_id, is_linked, verdict, currency, total, is_changed, is_edited, read_at)
          LEFT JOIN invoices i ON i.account_id = $1 AND i.invoice_id = s.invoice_id
        ON CONFLICT DO NOTHING
        """,
        run.account_id,
        run.number,
        [each.xero_invoice_id for each in sightings],
        [each.invoice_id for each in sightings],
        [each.is_linked for each in sightings],
        [each.verdict for each in sightings],
        [each.currency for each in sightings],
        [each.total for each in sightings],
        [each.is_changed and not each.is_recent for each in sightings],
        [each.is_edited and not each.is_recent for each in sightings],
        [each.read_at for each in sightings],
        run.tenant_id,
    )


async def expect_many(conn: Connection) -> None:
    """Have the rest of the transaction planned for a large account.

    Its sightings were written a moment ago, and no statistics know of them: the planner takes 90,000 for one, and a
    nested loop over them takes minutes. Joined by hash, a small account costs no more than its own rows either.
    """
    await conn.execute("SET LOCAL enable_nestloop = off")


async def not_seen(conn: Connection, run: Reconciliation, *, limit: int) -> list[str]:
    """Linked invoices (by our id) that Xero's list did not show, though it should have.

    What was read in Xero since the reconciliation began is there; what Xero said is voided or deleted stays so
    ("Invoices": both are final).
    """
    rows = await conn.fetch(
        """
        SELECT l.invoice_id FROM invoice_links l
         WHERE l.account_id = $1 AND l.tenant_id = $3 AND l.observed_at < $4
           AND l.xero_status NOT IN ('VOIDED', 'DELETED')
           AND NOT EXISTS (SELECT FROM reconciled_invoices s
                            WHERE s.account_id = $1 AND s.number = $2 AND s.xero_invoice_id = l.xero_invoice_id)
         ORDER BY l.invoice_id LIMIT $5
        """,
        run.account_id,
        run.number,
        run.tenant_id,
        run.began_at,
        limit,
    )
    return [row["invoice_id"] for row in rows]


async def find(conn: Connection, run: Reconciliation) -> dict[str, int]:
    """Hold both books against each other and keep what is not as it should be; how many of each kind there are."""
    counts: dict[str, int] = {}
    for kind, found in _FOUND.items():
        count: int = await conn.fetchval(
            f"""
            WITH found AS ({found}),
                 named AS (INSERT INTO reconciliation_findings (account_id, number, kind, invoice_id, xero_invoice_id)
                           SELECT $1, $2, $4, f.invoice_id, f.xero_invoice_id FROM found f
                            WHERE $3::text IS NOT NULL
                            ORDER BY f.invoice_id, f.xero_invoice_id LIMIT $5)
            SELECT count(*) FROM found
            """,  # noqa: S608 - constants
            run.account_id,
            run.number,
            run.tenant_id,
            kind.value,
            _MOST_NAMED,
        )
        if count:
            counts[kind.value] = count
    if counts:
        await _tell_apart(conn, run)
    return counts


async def _tell_apart(conn: Connection, run: Reconciliation) -> None:
    """Keep what each finding is told with, of this moment: numbers, and what the invoice comes to on both sides."""
    await conn.execute(
        """
        UPDATE reconciliation_findings f
           SET xero_invoice_id = t.xero_invoice_id, invoice_number = t.invoice_number, currency = t.currency,
               total = t.total, xero_total = t.xero_total, kept_by = t.kept_by
          FROM (SELECT n.id, coalesce(n.xero_invoice_id, l.xero_invoice_id) AS xero_invoice_id,
                       coalesce(l.xero_number, i.invoice_number) AS invoice_number,
                       coalesce(i.currency, s.currency) AS currency,
                       CASE WHEN i.state = 'voided' OR i.operation = 'void' THEN 0 ELSE i.total END AS total,
                       CASE WHEN s.verdict = 'gone' THEN NULL
                            WHEN s.read_at IS NULL OR l.observed_at > s.read_at THEN (l.observed::jsonb ->> 'total')::numeric
                            ELSE s.total END AS xero_total,
                       CASE WHEN n.kind = $4 THEN l.kept_by END AS kept_by
                  FROM reconciliation_findings n
                  LEFT JOIN invoices i ON i.account_id = $1 AND i.invoice_id = n.invoice_id
                  LEFT JOIN reconciled_invoices s
                    ON s.account_id = $1 AND s.number = $2 AND s.xero_invoice_id = n.xero_invoice_id
                  LEFT JOIN invoice_links l
                    ON l.account_id = $1 AND l.tenant_id = $3 AND l.invoice_id = n.invoice_id
                   AND l.xero_invoice_id = coalesce(n.xero_invoice_id, l.xero_invoice_id)
                 WHERE n.account_id = $1 AND n.number = $2) t
         WHERE f.account_id = $1 AND f.number = $2 AND f.id = t.id
        """,
        run.account_id,
        run.number,
        run.tenant_id,
        FindingKind.KEPT.value,
    )


async def add_up(conn: Connection, run: Reconciliation) -> list[Total]:
    """Add up both books by state and currency, exactly, and keep the sums.

    One statement, so that both sides are of one moment. An invoice that was written or read after its page was is
    counted as it was then. A cancelled one is worth nothing in Pipeline, and in Xero what it still says there. What stayed
    in an organisation connected before counts by itself.
    """
    rows = await conn.fetch(
        """
        WITH xero AS (
            SELECT i.state,
                   CASE WHEN l.observed_at > s.read_at OR s.read_at IS NULL
                        THEN coalesce(l.observed::jsonb ->> 'currency', $6) ELSE s.currency END AS currency,
                   CASE WHEN l.observed_at > s.read_at OR s.read_at IS NULL
                        THEN coalesce((l.observed::jsonb ->> 'total')::numeric, 0) ELSE s.total END AS total
              FROM invoice_links l
              JOIN invoices i ON i.account_id = $1 AND i.invoice_id = l.invoice_id
              LEFT JOIN reconciled_invoices s
                ON s.account_id = $1 AND s.number = $2 AND s.xero_invoice_id = l.xero_invoice_id
             WHERE l.account_id = $1 AND l.tenant_id = $3
               AND CASE WHEN l.observed_at > s.read_at OR s.read_at IS NULL
                        THEN l.xero_status NOT IN ('VOIDED', 'DELETED')
                        ELSE s.verdict IN ('live', 'unreadable') END
            UNION ALL
            SELECT $4, s.currency, s.total
              FROM reconciled_invoices s
             WHERE s.account_id = $1 AND s.number = $2 AND NOT s.is_linked
               AND NOT EXISTS (SELECT FROM invoice_links l
                                WHERE l.tenant_id = $3 AND l.xero_invoice_id = s.xero_invoice_id)
        ), both_books AS (
            SELECT CASE WHEN l.invoice_id IS NULL THEN i.state ELSE $5 END AS state,
                   coalesce(i.currency, $6) AS currency, 1 AS invoices,
                   CASE WHEN i.state = 'voided' OR i.operation = 'void' THEN 0 ELSE coalesce(i.total, 0) END AS total,
                   0 AS in_xero, 0::numeric AS xero_total
              FROM invoices i
              LEFT JOIN invoice_links l
                ON l.account_id = $1 AND l.invoice_id = i.invoice_id AND l.tenant_id <> $3
             WHERE i.account_id = $1
            UNION ALL
            SELECT state, currency, 0, 0, 1, total FROM xero
        ), kept AS (
            INSERT INTO reconciliation_totals (account_id, number, state, currency, invoices, total, in_xero, xero_total)
            SELECT $1, $2, state, currency, sum(invoices), sum(total), sum(in_xero), sum(xero_total)
              FROM both_books GROUP BY state, currency
            RETURNING state, currency, invoices, total, in_xero, xero_total
        )
        SELECT * FROM kept ORDER BY currency, state
        """,
        run.account_id,
        run.number,
        run.tenant_id,
        NOT_LINKED,
        LEFT_BEHIND,
        NO_CURRENCY,
    )
    return [Total(**row) for row in rows]


async def named(
    conn: Connection, account_id: str, number: int, *, after: int, limit: int
) -> list[Named]:
    """What a reconciliation found, one by one, from behind an id."""
    rows = await conn.fetch(
        """
        SELECT id, kind, invoice_id, xero_invoice_id, invoice_number, currency, total, xero_total, kept_by
          FROM reconciliation_findings
         WHERE account_id = $1 AND number = $2 AND id > $3 ORDER BY id LIMIT $4
        """,
        account_id,
        number,
        after,
        limit,
    )
    return [Named(**row) for row in rows]
