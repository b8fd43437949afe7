"""Every figure and command that an alert, or the page it leads to, names is there: a renamed one would never fire."""

import importlib
import re

import pytest
import yaml
from prometheus_client import REGISTRY

from pipeline_local_stack.paths import ROOT

MODULES = (
    "connector.metrics",
    "invoice_sync.metrics",
    "ops_dashboard.metrics",
    "payment_ingest.metrics",
    "pipeline_messaging.metrics",
    "pipeline_service_defaults.middleware",
)
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))
PAGES = [ROOT / "docs" / "runbooks" / name for name in ("alerts.md", "webhooks.md")]
NOT_FIGURES = re.compile(
    r"\{[^}]*\}|\b(?:by|on|without|ignoring)\s*\([^)]*\)|\[[^\]]*\]|slo:[\w:]+"
)
FIGURE = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b(?!\s*\()")
COMMAND = re.compile(r"python -m (\w+) ([a-z][\w-]*)((?: --[\w-]+)*)")


def figures() -> set[str]:
    for name in MODULES:
        importlib.import_module(name)
    found = set()
    for metric in REGISTRY.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum", "")}
        found |= {metric.name + suffix for suffix in suffixes.get(metric.type, ("",))}
    return found


EXPRESSIONS = [
    rule["expr"]
    for file in RULES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]


def named_in(expression: str) -> set[str]:
    return set(FIGURE.findall(NOT_FIGURES.sub(" ", expression)))


def test_every_figure_in_a_rule_is_one_that_a_service_shows():
    named = set().union(*(named_in(each) for each in EXPRESSIONS))
    assert len(named) > 20
    assert named <= figures()


def test_a_figure_that_nobody_shows_is_found():
    assert named_in('sum by (job_name) (rate(outbox_agee{job_name="x"}[5m])) > 1') == {
        "outbox_agee"
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_that_a_page_names_is_there(page):
    prefixes = (
        r"(?:xero_(?!web|client|webhook)|invoice_sync_|payment_ingest_|outbox_|consumer_|worker_)"
    )
    named = {
        text
        for text in re.findall(r"`([a-z0-9_]+)`", page.read_text("utf-8"))
        if re.match(prefixes, text)
    }
    logged = {"xero_call_failed", "xero_called", "xero_is_back", "xero_is_down", "xero_not_read"}
    assert named - logged <= figures()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_understood(page):
    found = COMMAND.findall(page.read_text("utf-8"))
    for service, command, options in found:
        parser = importlib.import_module(f"{service}.__main__").parser()
        subcommands = next(a.choices for a in parser._actions if isinstance(a.choices, dict))
        assert command in subcommands, f"{service} {command}"
        known = {name for a in subcommands[command]._actions for name in a.option_strings}
        assert set(options.split()) <= known, f"{service} {command}{options}"
