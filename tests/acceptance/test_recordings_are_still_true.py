"""The recorded scenarios, played again on the running system: it still tells the same."""

import json

import pytest

from pipeline_contracts import AccountReconciled
from pipeline_contracts.replay import scenario, scenarios
from pipeline_contracts.topics import CHANGES
from pipeline_local_stack.recording.__main__ import account_of, record
from pipeline_local_stack.recording.scenarios import SCENARIOS
from pipeline_local_stack.recording.tape import taping

# How often payment-ingest looks at an invoice depends on when Xero's webhooks come, and the daily comparison of the
# books comes when its hour comes.
_LEFT_OUT = {CHANGES.name}
_BY_THE_CLOCK = AccountReconciled.TYPE


def told_in(records):
    """What was told, topic by topic: the order between topics is nobody's promise."""
    found = {}
    for each in records:
        headers = {name: value.decode() for name, value in each.headers}
        if each.topic not in _LEFT_OUT and headers["ce_type"] != _BY_THE_CLOCK:
            body = json.loads(each.value)
            # The webhook and the sweep run a race; who wins is told, and is not the same each time.
            body.pop("found_by", None)
            found.setdefault((each.topic, each.key), []).append((headers["ce_type"], without_ids(body)))  # fmt: skip
    return found


def without_ids(part):
    """A body without what is numbered in the order of the whole recording."""
    if isinstance(part, dict):
        return {name: without_ids(each) for name, each in part.items() if not is_numbered(name)}
    return [without_ids(each) for each in part] if isinstance(part, list) else part


def is_numbered(name):
    return name.endswith(("_id", "_at", "deep_link", "since")) and name not in {"account_id", "invoice_id", "customer_id"}  # fmt: skip


def test_every_scenario_is_recorded():
    assert scenarios() == sorted(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_running_system_still_tells_the_same(stack, name):
    async with taping(stack.broker.bootstrap_servers) as tape:
        now = await record(stack, tape, name, account_of(name))
    assert told_in(now) == told_in(scenario(name))
