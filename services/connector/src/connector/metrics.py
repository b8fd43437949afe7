"""What the connector counts. Labels never name a tenant or an account."""

from prometheus_client import Counter, Gauge, Histogram

REFRESHES = Counter("xero_token_refreshes_total", "Refreshes by outcome", ["outcome"])
CALLS = Counter(
    "xero_gateway_calls_total", "Calls through the gateway", ["caller", "method", "outcome"]
)
CALL_SECONDS = Histogram(
    "xero_gateway_call_seconds",
    "Time of a gateway call, waiting for a slot included",
    ["caller"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SLOT_WAIT_SECONDS = Histogram(
    "xero_gateway_slot_wait_seconds",
    "Time a call waited for a slot",
    ["caller"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
CONNECT_ATTEMPTS = Counter(
    "xero_connect_attempts_total", "Attempts to connect by how they ended", ["outcome"]
)
ORGANISATIONS_HELD = Gauge(
    "xero_organisations_held", "Organisations that count against the app's places at Xero"
)
ORGANISATIONS_LIMIT = Gauge(
    "xero_organisations_limit",
    "Places for organisations that the app has at Xero, where configured",
)
