"""What ops-dashboard counts and measures."""

from prometheus_client import Counter, Gauge

UNREADABLE = Counter(
    "ops_dashboard_odd_records_total",
    "Records kept to be shown as they are: dead letters, and what could not be read.",
    ["topic"],
)
BEHIND = Gauge(
    "ops_dashboard_behind_records",
    "Records of a topic that this view has not stored yet, as last measured by any replica.",
    ["topic"],
)
STREAMS = Gauge("ops_dashboard_streams", "Open streams of live updates of this process.")
STREAMS_DROPPED = Counter(
    "ops_dashboard_streams_dropped_total",
    "Streams ended because their reader took nothing for too long.",
)
ACTIONS = Counter(
    "ops_dashboard_actions_total",
    "What people asked of invoice-sync through these pages, by what and how it was answered.",
    ["action", "outcome"],
)
