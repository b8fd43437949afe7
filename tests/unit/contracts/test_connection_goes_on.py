"""News about the day's calls is no reconnection, unless something may have happened in between."""

from datetime import UTC, datetime

import pytest

from pipeline_contracts.connection import ConnectionStatusChanged


def told(**fields):
    given = {
        "account_id": "acc-1",
        "status": "CONNECTED",
        "reason": "DAY_BUDGET_LOW",
        "since": datetime(2026, 3, 1, tzinfo=UTC),
        "message": "m",
        "hint": "",
        "can_refresh": True,
        "tenant_id": "TENANT",
        "sequence": 5,
    }
    return ConnectionStatusChanged(**(given | fields))


def goes_on(event, status="CONNECTED", sequence=4, tenant_id="tenant"):
    return event.goes_on(status=status, sequence=sequence, tenant_id=tenant_id)


def test_a_connection_goes_on_while_its_days_calls_run_low_and_come_back():
    assert goes_on(told())
    assert goes_on(told(reason="DAY_BUDGET_RESTORED"))


@pytest.mark.parametrize(
    ("event", "known"),
    [
        ({"reason": "CONNECTED_BY_USER"}, {}),
        ({}, {"status": "DISCONNECTED"}),
        ({}, {"status": None, "sequence": 0}),
        ({}, {"sequence": 3}),  # what came in between was compacted away
        ({}, {"sequence": 5}),
        ({}, {"tenant_id": "another"}),
        ({}, {"tenant_id": None}),
        ({"status": "TOKEN_EXPIRED"}, {}),
    ],
)
def test_anything_else_may_be_a_reconnection(event, known):
    assert not goes_on(told(**event), **known)
