"""What payment-ingest counts and measures."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter(
    "payment_ingest_deliveries_total",
    "Webhook requests by what was answered: accepted, refused, too_large, too_slow, unavailable, bad_request, gone.",
    ["outcome"],
)
for _outcome in (
    "accepted",
    "refused",
    "too_large",
    "too_slow",
    "unavailable",
    "bad_request",
    "gone",
):
    # Shown from the start: "nothing was accepted for minutes" must be askable before anything was.
    DELIVERIES.labels(_outcome)
DELIVERY_ACK = Histogram(
    "payment_ingest_delivery_ack_seconds",
    "Time from the whole body received to its row being durable.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
READINGS = Counter(
    "payment_ingest_readings_total",
    "Stored deliveries by what they turned out to be.",
    ["outcome"],
)
NOT_UNDERSTOOD = Counter(
    "payment_ingest_events_not_understood_total",
    "Events inside genuine deliveries that could not be understood; they are kept.",
)
MOVEMENTS = Counter(
    "payment_ingest_movements_total",
    "Payments recorded and reversed in the ledger.",
    ["change", "found_by"],
)
DOORBELL_TO_EVENT = Histogram(
    "payment_ingest_doorbell_to_event_seconds",
    "Time from a webhook's arrival to its payment event being committed to the outbox.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 15, 60, 300, 900),
)
VISIBLE_SECONDS = Histogram(
    "payment_ingest_payment_visible_seconds",
    "Time until a payment's event was committed: from its webhook, or from Xero's own time of it where none came.",
    ["found_by"],
    buckets=(0.1, 0.3, 1, 2, 5, 15, 60, 120, 300, 600, 900, 1800, 3600, 21_600),
)
for _found_by in ("webhook", "sweep"):
    VISIBLE_SECONDS.labels(_found_by)
FETCHES = Counter(
    "payment_ingest_fetches_total",
    "Reads from Xero by reason and result.",
    ["reason", "result"],
)
INCOMPLETE = Counter(
    "payment_ingest_incomplete_answers_total",
    "Invoices whose listed payments did not explain their balance; nothing was reversed from them.",
)
SNAPSHOTS_LEFT_OUT = Counter(
    "payment_ingest_snapshots_left_out_total",
    "Invoices read from Xero that could not be told as XeroInvoiceObserved.",
)
OWN_CREATIONS = Counter(
    "payment_ingest_own_creations_total",
    "Webhooks that told of nothing but an invoice which invoice-sync created: Xero was not asked about them.",
)
SWEEPS = Counter(
    "payment_ingest_sweeps_total",
    "Sweeps that reached their last page, by kind: recent, deep.",
    ["kind"],
)
MISSED = Counter(
    "payment_ingest_missed_by_webhooks_total",
    "Payments and reversals found by a sweep of which a webhook should have told, and none did.",
)
LOST_EVENTS = Counter(
    "payment_ingest_webhook_events_lost_total",
    "Webhook events whose sequence numbers never arrived; every tenant was swept because of them.",
)
LINK_CONFLICTS = Counter(
    "payment_ingest_link_conflicts_total",
    "InvoiceSynced events that claim a Xero invoice already linked to another invoice; the first stays.",
)
OLDEST_UNPROCESSED = Gauge(
    "payment_ingest_oldest_unprocessed_delivery_seconds",
    "Age of the oldest delivery not yet read.",
)
OLDEST_DOORBELL = Gauge(
    "payment_ingest_oldest_doorbell_seconds",
    "Age of the longest-waiting doorbell whose time has come.",
)
OLDEST_SWEEP = Gauge(
    "payment_ingest_oldest_sweep_seconds",
    "Time since a connected organisation was last looked through for changes, of the one that waits longest.",
)
UNMATCHED = Gauge(
    "payment_ingest_unmatched_invoices",
    "Invoices in Xero with payments that no Pipeline invoice is known for.",
)
DIFFERING = Gauge(
    "payment_ingest_differing_invoices",
    "Invoices about which Xero, the ledger and the published events differed when all were last compared.",
)
