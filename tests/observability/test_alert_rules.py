"""Every alert is silent while all is well, fires when its trouble is there, and leads to a page that says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline_local_stack.paths import ROOT

RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))
TESTS = sorted(Path(__file__).parent.glob("*.test.yaml"))


def alerts_of(document) -> list[dict]:
    return [rule for group in document["groups"] for rule in group["rules"] if "alert" in rule]


ALERTS = [alert for file in RULES for alert in alerts_of(yaml.safe_load(file.read_text()))]


def run_promtool(promtool, tests: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, "test", "rules", *tests], capture_output=True, text=True, check=False
    )


def planted(tmp_path: Path, expression: str) -> list[Path]:
    """The same tests against the same alerts, each with this expression in place of its own."""
    for file in RULES:
        document = yaml.safe_load(file.read_text())
        for alert in alerts_of(document):
            alert["expr"] = expression
            alert.pop("for", None)
        (tmp_path / file.name).write_text(yaml.safe_dump(document))
    copies = [tmp_path / tests.name for tests in TESTS]
    for tests, copy in zip(TESTS, copies, strict=True):
        copy.write_text(tests.read_text().replace("../../deploy/prometheus/", ""))
    return copies


def test_each_alert_is_silent_when_all_is_well_and_fires_when_it_is_not(promtool):
    ran = run_promtool(promtool, TESTS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    checked = subprocess.run(
        [promtool, "check", "rules", *RULES], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_an_alert_that_never_or_always_fires_is_caught(promtool, tmp_path, expression):
    ran = run_promtool(promtool, planted(tmp_path, expression))
    assert ran.returncode != 0
    caught = set(re.findall(r"alertname: ?(\w+)", ran.stdout + ran.stderr))
    assert caught >= {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_leads_to_what_to_do(alert):
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text("utf-8")
    if anchor:
        headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
        assert anchor in headings
    else:
        assert f"`{alert['alert']}`" in text
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
