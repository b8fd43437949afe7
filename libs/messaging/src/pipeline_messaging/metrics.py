"""Every metric of this library, in one place: the list that dashboards and alerts are written against."""

from typing import Final

from prometheus_client import Counter, Gauge

outbox_oldest_age_seconds: Final = Gauge(
    "outbox_oldest_age_seconds", "Age of the oldest record still to publish. Alert on this one."
)
outbox_pending: Final = Gauge("outbox_pending", "Records still to publish.")
outbox_refused: Final = Gauge(
    "outbox_refused",
    "Records the broker refused for good: kept, and offered again ever more rarely.",
)
outbox_published_total: Final = Counter(
    "outbox_published_total", "Records the broker confirmed.", ["topic"]
)
outbox_publish_failures_total: Final = Counter(
    "outbox_publish_failures_total",
    "Attempts to publish that were not confirmed, by topic and error.",
    ["topic", "error"],
)
dead_letters_total: Final = Counter(
    "dead_letters_total", "Records set aside in a dead letter topic.", ["topic", "code"]
)
inbox_duplicates_total: Final = Counter(
    "inbox_duplicates_total", "Records whose event had been accepted before.", ["topic"]
)
inbox_accepted_total: Final = Counter(
    "inbox_accepted_total", "Events accepted together with their effect.", ["topic"]
)
consumer_lag: Final = Gauge(
    "consumer_lag",
    "Records written to a partition and not yet stored here.",
    ["topic", "partition"],
)
consumer_retries_total: Final = Counter(
    "consumer_retries_total",
    "Batches put back because of the infrastructure, by topic and error.",
    ["topic", "error"],
)
worker_runs_total: Final = Counter(
    "worker_runs_total", "Accounts processed: done, failed or lease_lost.", ["outcome"]
)
worker_running: Final = Gauge("worker_running", "Accounts being processed by this process.")
