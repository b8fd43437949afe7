"""Figures of this service for `/metrics`."""

from prometheus_client import Counter, Gauge

from pipeline_messaging.connection import Connection

DUE = Gauge("invoice_sync_due", "Invoices whose time has come")
OLDEST_DUE_SECONDS = Gauge(
    "invoice_sync_oldest_due_seconds", "Age of the longest waiting due invoice"
)
OPEN_INTENTS = Gauge("invoice_sync_open_intents", "Writes to Xero whose outcome is not recorded")
OLDEST_INTENT_SECONDS = Gauge(
    "invoice_sync_oldest_intent_seconds", "Age of the oldest write whose outcome is not recorded"
)

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
