"""Figures of this service for `/metrics`."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from invoice_sync.domain.state import State
from pipeline_messaging.connection import Connection

DUE = Gauge("invoice_sync_due", "Invoices whose time has come")
OLDEST_DUE_SECONDS = Gauge(
    "invoice_sync_oldest_due_seconds", "Age of the longest waiting due invoice"
)
OPEN_INTENTS = Gauge("invoice_sync_open_intents", "Writes to Xero whose outcome is not recorded")
OLDEST_INTENT_SECONDS = Gauge(
    "invoice_sync_oldest_intent_seconds", "Age of the oldest write whose outcome is not recorded"
)

IN_XERO_SECONDS = Histogram(
    "invoice_sync_in_xero_seconds",
    "Time from Pipeline's event until Xero was like it, of invoices that waited for no person",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 120, 300, 600, 1800, 3600, 21_600),
)
WAITING = Gauge(
    "invoice_sync_waiting", "Invoices not in Xero as Pipeline wishes, by state", ["state"]
)
OLDEST_WAITING_SECONDS = Gauge(
    "invoice_sync_oldest_waiting_seconds", "Age of the longest waiting of them", ["state"]
)
UNRECONCILED = Gauge(
    "invoice_sync_unreconciled_amount",
    "Sum of what synced invoices come to in one book and not in the other, at each account's last reconciliation",
    ["currency"],
)
_OPEN = [state for state in State if state not in {State.SYNCED, State.VOIDED}]

RECONCILIATIONS = Counter(
    "invoice_sync_reconciliations_total", "Comparisons of an account's whole books", ["outcome"]
)
RECONCILIATION_FINDINGS = Counter(
    "invoice_sync_reconciliation_findings_total",
    "Invoices that reconciliations found out of place",
    ["kind"],
)
OPEN_RECONCILIATIONS = Gauge(
    "invoice_sync_open_reconciliations", "Reconciliations that have begun and are not done"
)
OLDEST_RECONCILIATION_SECONDS = Gauge(
    "invoice_sync_oldest_reconciliation_seconds", "Age of the oldest reconciliation not done"
)


async def measure(conn: Connection) -> None:
    """Read the figures; each from an index that holds only what is open."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM invoices WHERE due_at IS NOT NULL) AS due,
               (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0)
                  FROM invoices WHERE due_at IS NOT NULL) AS oldest_due,
               (SELECT count(*) FROM intents) AS intents,
               (SELECT coalesce(extract(epoch FROM now() - min(first_sent_at)), 0) FROM intents) AS oldest_intent,
               (SELECT count(*) FROM reconciliations WHERE finished_at IS NULL) AS runs,
               (SELECT coalesce(extract(epoch FROM now() - min(began_at)), 0)
                  FROM reconciliations WHERE finished_at IS NULL) AS oldest_run
        """
    )
    if row is None:
        return
    DUE.set(row["due"])
    OLDEST_DUE_SECONDS.set(max(0, row["oldest_due"]))
    OPEN_INTENTS.set(row["intents"])
    OLDEST_INTENT_SECONDS.set(row["oldest_intent"])
    OPEN_RECONCILIATIONS.set(row["runs"])
    OLDEST_RECONCILIATION_SECONDS.set(max(0, row["oldest_run"]))
    await _measure_waiting(conn)
    await _measure_unreconciled(conn)


async def _measure_waiting(conn: Connection) -> None:
    rows = await conn.fetch(
        """
        SELECT state, count(*) AS invoices, extract(epoch FROM now() - min(waiting_since)) AS oldest
          FROM invoices WHERE state NOT IN ('synced', 'voided') GROUP BY state
        """
    )
    found = {row["state"]: row for row in rows}
    for state in _OPEN:
        row = found.get(state)
        WAITING.labels(state).set(row["invoices"] if row else 0)
        OLDEST_WAITING_SECONDS.labels(state).set(max(0, row["oldest"]) if row else 0)


async def _measure_unreconciled(conn: Connection) -> None:
    rows = await conn.fetch(
        """
        SELECT currency, sum(abs(total - xero_total)) AS amount
          FROM reconciliation_totals t
         WHERE state = 'synced' AND total <> xero_total
           AND NOT EXISTS (SELECT FROM reconciliations r
                            WHERE r.account_id = t.account_id AND r.number > t.number AND r.outcome <> 'stopped')
         GROUP BY currency
        """
    )
    UNRECONCILED.clear()
    for row in rows:
        UNRECONCILED.labels(row["currency"]).set(row["amount"])


def count_in_xero(seconds: Iterable[float]) -> None:
    """Count invoices that came into Xero, each with the time it took; called once that is committed."""
    for each in seconds:
        IN_XERO_SECONDS.observe(each)
