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

ACCESS_EXPIRY_SECONDS = Gauge(
    "xero_access_token_nearest_expiry_seconds",
    "Until the nearest access token in use runs out; below 0 it has",
)
REFRESH_EXPIRY_SECONDS = Gauge(
    "xero_refresh_token_nearest_expiry_seconds",
    "Until the first unused grant would be dead (60 days after its last refresh)",
)
REFRESHES_OVERDUE = Gauge(
    "xero_token_refreshes_overdue", "Grants whose renewal is late by more than two minutes"
)
CONNECTIONS = Gauge("xero_connections", "Connections by state", ["status", "reason"])
SEALED_VALUES = Gauge(
    "xero_sealed_values",
    "Stored secrets by the version of their key, and whether that key is configured here",
    ["key_version", "opens"],
)
CLEANUPS_PENDING = Gauge("xero_cleanups_pending", "Work still to be undone at Xero")
CLEANUPS_OLDEST_SECONDS = Gauge("xero_cleanups_oldest_seconds", "Age of the oldest such work")
BACKGROUND_DONE = Gauge(
    "connector_background_done_timestamp_seconds",
    "When each background chore last succeeded, or this process began",
    ["chore"],
)
WAITING = Gauge("xero_gateway_waiting", "Calls in line for a slot", ["lane"])
GRANTED = Counter("xero_gateway_slots_granted_total", "Calls that got a slot", ["lane"])
TURNED_AWAY = Counter(
    "xero_gateway_turned_away_total",
    "Calls that got no slot in time, by the limit in the way",
    ["lane", "limit"],
)
APP_PERMITS_LEFT = Gauge(
    "xero_app_minute_left", "Calls left to the app in this minute, at the last look"
)
TENANTS_LOW = Gauge("xero_tenants_day_low", "Connected organisations with few calls left today")
DAY_LEFT = Gauge(
    "xero_day_left_smallest",
    "Smallest share of a day's calls that any connected organisation has left, 0 to 1",
)

XERO_BREAKER = Gauge(
    "xero_breaker_state", "0 calls go to Xero, 1 one of them tries whether it is back, 2 none"
)
XERO_BREAKER_OPENED = Counter("xero_breaker_openings_total", "How often Xero was found to be down")
