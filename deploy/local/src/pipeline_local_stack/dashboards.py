"""Grafana's dashboards, from code: `python -m pipeline_local_stack.dashboards` writes them to `deploy/grafana`.

Each row of `DASHBOARDS` is a panel: what it answers, its unit, and its queries with their legends. A figure that is rightly
absent while nothing is wrong ends in `or vector(0)`: an empty panel would look like a broken one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from pipeline_local_stack.paths import ROOT

FOLDER = ROOT / "deploy" / "grafana"
_SOURCE = "datasource"
_WIDTH, _HEIGHT = 12, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A question, and the figures that answer it."""

    title: str
    unit: str
    queries: Mapping[str, str]
    """Legend to PromQL."""
    description: str = ""


def _quantile(share: float, name: str, by: str = "") -> str:
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({name}_bucket[$__rate_interval])))"


def _rate(name: str, by: str, matching: str = "") -> str:
    return f"sum by ({by}) (rate({name}{matching}[$__rate_interval]))"


DASHBOARDS: Mapping[str, tuple[str, Mapping[str, Sequence[Panel]]]] = {
    "overview": (
        "Pipeline ↔ Xero",
        {
            "Promises": (
                Panel(
                    "Share outside the objective, over 5 minutes", "percentunit",
                    {
                        "invoices later than 5 min": "slo:invoice_in_xero:error_ratio_5m",
                        "webhooks not acknowledged": "slo:webhook_acknowledged:error_ratio_5m",
                        "payments later than 5 min": "slo:payment_visible:error_ratio_5m",
                    },
                    "Objectives: 1 %, 0.1 % and 1 % in a month. Nothing is shown while nothing happens.",
                ),
                Panel(
                    "Alerts firing", "none",
                    {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
                ),
            ),
            "Invoices": (
                Panel(
                    "From Pipeline's event until in Xero", "s",
                    {
                        "half": _quantile(0.5, "invoice_sync_in_xero_seconds"),
                        "99 %": _quantile(0.99, "invoice_sync_in_xero_seconds"),
                    },
                    "Invoices that waited for no person.",
                ),
                Panel("Into Xero", "ops", {"invoices a second": "sum(rate(invoice_sync_in_xero_seconds_count[$__rate_interval]))"}),
                Panel("Waiting, by state", "none", {"{{state}}": "max by (state) (invoice_sync_waiting)"}),
                Panel("Longest waiting, by state", "s", {"{{state}}": "max by (state) (invoice_sync_oldest_waiting_seconds)"}),
                Panel(
                    "Due and not taken up; writes of unknown outcome", "s",
                    {
                        "oldest due": "max(invoice_sync_oldest_due_seconds)",
                        "oldest open write": "max(invoice_sync_oldest_intent_seconds)",
                    },
                ),
                Panel(
                    "Money that differs between the books", "none",
                    {"{{currency}}": "max by (currency) (invoice_sync_unreconciled_amount) or vector(0)"},
                    "Synced invoices, at each account's last reconciliation.",
                ),
            ),
            "Payments": (
                Panel(
                    "Until a payment is told", "s",
                    {
                        "half, {{found_by}}": _quantile(0.5, "payment_ingest_payment_visible_seconds", "found_by"),
                        "99 %, {{found_by}}": _quantile(0.99, "payment_ingest_payment_visible_seconds", "found_by"),
                    },
                ),
                Panel("Recorded and reversed", "ops", {"{{change}} by {{found_by}}": _rate("payment_ingest_movements_total", "change, found_by")}),
                Panel(
                    "Webhooks, by answer", "ops",
                    {"{{outcome}}": _rate("payment_ingest_deliveries_total", "outcome")},
                ),
                Panel(
                    "Missed by webhooks, in an hour", "none",
                    {"payments": "sum(increase(payment_ingest_missed_by_webhooks_total[1h]))"},
                ),
                Panel(
                    "Waiting to be read", "s",
                    {
                        "oldest webhook": "max(payment_ingest_oldest_unprocessed_delivery_seconds)",
                        "oldest doorbell": "max(payment_ingest_oldest_doorbell_seconds)",
                    },
                ),
                Panel(
                    "Not as in Xero, or nobody's", "none",
                    {
                        "invoices whose payments differ": "max(payment_ingest_differing_invoices)",
                        "paid in Xero, not Pipeline's": "max(payment_ingest_unmatched_invoices)",
                    },
                ),
            ),
        },
    ),
    "xero": (
        "Xero: connections, tokens, limits",
        {
            "Connections": (
                Panel("Connections", "none", {"{{status}} {{reason}}": "max by (status, reason) (xero_connections)"}),
                Panel(
                    "Places at Xero", "none",
                    {"held": "max(xero_organisations_held)", "allowed": "max(xero_organisations_limit)"},
                ),
            ),
            "Tokens": (
                Panel(
                    "Until the nearest runs out", "s",
                    {
                        "access token in use": "min(xero_access_token_nearest_expiry_seconds)",
                        "unused grant": "min(xero_refresh_token_nearest_expiry_seconds)",
                    },
                    "Infinite while no account is connected.",
                ),
                Panel("Refreshes", "ops", {"{{outcome}}": f'{_rate("xero_token_refreshes_total", "outcome")} or vector(0)'}),
                Panel("Overdue refreshes, clean-ups", "none", {"refreshes": "max(xero_token_refreshes_overdue)", "clean-ups": "max(xero_cleanups_pending)"}),
                Panel("Sealed values, by key", "none", {"key {{key_version}}, opens: {{opens}}": "max by (key_version, opens) (xero_sealed_values)"}),
            ),
            "Calls": (
                Panel("Calls", "ops", {"{{caller}} {{outcome}}": _rate("xero_gateway_calls_total", "caller, outcome")}),
                Panel("Time of a call, 99 %", "s", {"{{caller}}": _quantile(0.99, "xero_gateway_call_seconds", "caller")}),
                Panel("Wait for a slot, 99 %", "s", {"{{caller}}": _quantile(0.99, "xero_gateway_slot_wait_seconds", "caller")}),
                Panel(
                    "Turned away, by limit", "ops",
                    {"{{lane}} {{limit}}": f'{_rate("xero_gateway_turned_away_total", "lane, limit")} or vector(0)'},
                ),
                Panel("In line, by lane", "none", {"{{lane}}": "sum by (lane) (xero_gateway_waiting) or vector(0)"}),
                Panel(
                    "The day's calls", "percentunit",
                    {"least left to any organisation": "min(xero_day_left_smallest)"},
                ),
                Panel("Organisations with few calls left", "none", {"organisations": "max(xero_tenants_day_low)"}),
                Panel("Breaker (2: Xero does not answer)", "none", {"state": "max(xero_breaker_state)"}),
            ),
        },
    ),
    "services": (
        "Services, Kafka, Postgres",
        {
            "Kafka": (
                Panel("Behind, by topic", "none", {"{{job}} {{topic}}": "sum by (job, topic) (consumer_lag)"}),
                Panel("Taken in", "ops", {"{{topic}}": _rate("inbox_accepted_total", "topic")}),
                Panel("Published", "ops", {"{{topic}}": _rate("outbox_published_total", "topic")}),
                Panel("Oldest record to publish", "s", {"{{job}}": "max by (job) (outbox_oldest_age_seconds)"}),
                Panel(
                    "Set aside as dead letters, in an hour", "none",
                    {"{{topic}} {{code}}": "sum by (topic, code) ((dead_letters_total unless dead_letters_total offset 1h) or increase(dead_letters_total[1h])) or vector(0)"},
                ),
                Panel(
                    "Batches put back, in ten minutes", "none",
                    {"{{topic}} {{error}}": "sum by (topic, error) (increase(consumer_retries_total[10m])) or vector(0)"},
                ),
            ),
            "Work": (
                Panel("Accounts worked on", "ops", {"{{job}} {{outcome}}": _rate("worker_runs_total", "job, outcome")}),
                Panel("Seconds since each chore succeeded", "s", {"{{chore}}": "time() - max by (chore) (connector_background_done_timestamp_seconds)"}),
            ),
            "HTTP and processes": (
                Panel("Requests", "reqps", {"{{job}} {{status}}": _rate("http_requests_total", "job, status")}),
                Panel("Time of a request, 99 %", "s", {"{{job}}": _quantile(0.99, "http_request_duration_seconds", "job")}),
                Panel("Processor", "percentunit", {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}),
                Panel("Memory", "bytes", {"{{job}} {{instance}}": "process_resident_memory_bytes"}),
            ),
        },
    ),
}  # fmt: skip


def written() -> dict[str, str]:
    """Each file of `deploy/grafana` with what belongs into it."""
    return {
        f"{name}.json": _rendered(name, title, rows) for name, (title, rows) in DASHBOARDS.items()
    }


def expressions() -> list[str]:
    """Every query of every panel, as Grafana sends it."""
    return [
        expr.replace("$__rate_interval", "1m")
        for _, rows in DASHBOARDS.values()
        for panels in rows.values()
        for panel in panels
        for expr in panel.queries.values()
    ]


def _rendered(name: str, title: str, rows: Mapping[str, Sequence[Panel]]) -> str:
    board = (
        dashboard.Dashboard(title)
        .uid(f"pipeline-xero-{name}")
        .tags(["pipeline-xero"])
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable(_SOURCE).type("prometheus").label("Prometheus"))
    )
    for heading, panels in rows.items():
        board = board.with_row(dashboard.Row(heading))
        for panel in panels:
            board = board.with_panel(_panel(panel))
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    source = DataSourceRef(type_val="prometheus", uid=f"${{{_SOURCE}}}")
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .min(0)
        .datasource(source)
        .span(_WIDTH)
        .height(_HEIGHT)
        .legend(common.VizLegendOptions().show_legend(show_legend=True))
    )
    for ref, (legend, expr) in zip("ABCDEF", panel.queries.items(), strict=False):
        query = prometheus.Dataquery().ref_id(ref).expr(expr).legend_format(legend)
        built = built.with_target(query.datasource(source))
    return built


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in written().items():
        (FOLDER / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main()
