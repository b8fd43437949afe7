"""The alert rules name metrics that payment-ingest has, and pages that exist."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from payment_ingest import metrics

ROOT = Path(__file__).parents[3]
(GROUP,) = yaml.safe_load((ROOT / "deploy/prometheus/payment-ingest.yaml").read_text())["groups"]
RULES = {rule["alert"]: rule for rule in GROUP["rules"]}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_whole_and_asks_for_what_there_is(name):
    rule = RULES[name]
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert f"`{name}`" in (ROOT / rule["annotations"]["runbook"]).read_text()

    asked = set(re.findall(r"\bpayment_ingest_\w+", rule["expr"]))
    has = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    assert asked
    assert asked <= has
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_every_answer_to_a_webhook_but_200_is_watched():
    watched = {
        outcome
        for rule in RULES.values()
        for matched in re.findall(r'outcome=~?"([^"]+)"', rule["expr"])
        for outcome in matched.split("|")
    }
    answers = {labels[0] for labels in metrics.DELIVERIES._metrics}
    assert watched == answers
