"""Lanes, the day's reserve and the app's minute, shared by two replicas on a real database."""

import asyncio
import time
from datetime import timedelta

import pytest

from connector.announce_days import announce_days
from connector.domain.day_budget import Outlook
from connector.domain.lanes import Lane
from connector.store import budgets
from connector.take_slot import OutOfBudget, Slot, slot_in_time

ORGANISATION = "/v1/accounts/acc-1/xero/Organisation"


def lane(name):
    return {"X-Lane": name}


async def tenant_of(stack):
    return (await stack.status("acc-1"))["tenant_id"]


async def fill(stack, tenant, calls, *, lane="invoices", age=30):
    """Calls that ended `age` seconds ago, as other replicas leave them."""
    await stack.db.execute(
        """
        INSERT INTO call_slots (tenant_id, account_id, caller, lane, started_at, lease_until, finished_at)
        SELECT $1, 'acc-1', 'x', $3, clock_timestamp() - $4::interval, clock_timestamp(), clock_timestamp() - $4::interval
          FROM generate_series(1, $2)
        """,
        tenant,
        calls,
        lane,
        timedelta(seconds=age),
    )


async def day_is(stack, tenant, remaining, limit=5000, *, age=0):
    await stack.db.execute(
        """
        UPDATE tenant_budgets SET day_remaining = $2, day_limit = $3, day_limit_at = clock_timestamp(),
               day_seen_at = clock_timestamp() - $4::interval, day_asked_at = NULL
         WHERE tenant_id = $1
        """,
        tenant,
        remaining,
        limit,
        timedelta(seconds=age),
    )


async def ask(stack, tenant, lane, app=0, account_id="acc-1"):
    deps = stack.apps[app].state.deps
    try:
        return await slot_in_time(
            deps, tenant_id=tenant, account_id=account_id, caller="x", lane=lane
        )
    except OutOfBudget as error:
        return error


@pytest.mark.parametrize(
    ("caller", "named", "status"),
    [
        ("invoice-sync", "people", 200),
        ("invoice-sync", "sweeps", 200),
        ("invoice-sync", "payments", 400),
        ("payment-ingest", "sweeps", 200),
        ("payment-ingest", "people", 400),
        ("payment-ingest", "", 400),
        ("payment-ingest", "nonsense", 400),
    ],
)
async def test_a_caller_names_its_lane(stack, caller, named, status):
    await stack.connect("acc-1")
    before = len(stack.calls("/Organisation"))
    async with stack.caller(caller) as client:
        answer = await client.get(ORGANISATION, headers=lane(named))
    assert answer.status_code == status
    assert len(stack.calls("/Organisation")) - before == (status == 200)
    if status == 400:
        assert answer.headers["x-gateway-error"] == "LANE_UNKNOWN"
        assert answer.json()["code"] == "LANE_UNKNOWN"
    else:
        used = await stack.db.fetchval("SELECT lane FROM call_slots ORDER BY id DESC LIMIT 1")
        assert used == named


async def test_two_replicas_with_mixed_lanes_keep_every_limit(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    stack.sim.world.switches.base_latency_seconds = 0.02
    tenant = await tenant_of(stack)
    clients = [
        (stack.caller("invoice-sync", 0), "invoices"),
        (stack.caller("invoice-sync", 1), "sweeps"),
        (stack.caller("payment-ingest", 1), "payments"),
        (stack.caller("invoice-sync", 0), "people"),
    ]
    answers = await asyncio.gather(
        *(
            client.get(ORGANISATION, headers=lane(name), timeout=60)
            for _ in range(30)
            for client, name in clients
        )
    )
    for client, _ in clients:
        await client.aclose()
    summary = stack.sim.world.calls.summary()["tenants"][tenant]
    assert summary["limited"] == 0
    assert summary["max_in_flight"] <= 5
    assert summary["max_per_minute"] <= 60
    assert {answer.status_code for answer in answers} == {200, 429}
    had = dict(await stack.db.fetch("SELECT lane, count(*) FROM call_slots GROUP BY lane"))
    # Connecting took one more call in the lane of people.
    assert had["people"] == 31
    assert min(had["payments"], had["invoices"]) >= 5
    assert sum(had.values()) <= 60


async def test_a_waiting_lane_gets_what_it_is_sure_of_and_people_the_rest(make_stack):
    stack = await make_stack(replicas=2, gateway_slot_wait_seconds=0.1)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    await stack.db.execute("DELETE FROM call_slots")
    await fill(stack, tenant, 60)
    for each in Lane:
        assert isinstance(await ask(stack, tenant, each, app=1), OutOfBudget)
    # Three places come free, and each of the other lanes waits for one.
    await stack.db.execute("DELETE FROM call_slots WHERE id IN (SELECT id FROM call_slots LIMIT 3)")
    assert (await ask(stack, tenant, Lane.INVOICES)).problem == "minute"
    for each in (Lane.SWEEPS, Lane.PAYMENTS, Lane.PEOPLE):
        assert isinstance(await ask(stack, tenant, each), Slot), each


async def test_people_get_through_a_flood_of_invoices_within_a_moment(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    stop = asyncio.Event()

    async def flood(app):
        async with stack.caller(app=app) as client:
            while not stop.is_set():
                await client.get(ORGANISATION, timeout=30)

    floods = [asyncio.create_task(flood(n % 2)) for n in range(8)]
    tenant = await tenant_of(stack)
    # The flood has taken all but the minute's last few places, and goes on.
    while await stack.db.fetchval("SELECT count(*) FROM call_slots") < 50:  # noqa: ASYNC110 - in a database
        await asyncio.sleep(0.01)
    async with stack.caller(app=1) as person:
        for _ in range(5):
            asked = time.monotonic()
            answer = await person.get(ORGANISATION, headers=lane("people"), timeout=30)
            assert answer.status_code == 200
            assert time.monotonic() - asked < 3
    stop.set()
    await asyncio.gather(*floods)
    summary = stack.sim.world.calls.summary()["tenants"][tenant]
    assert (summary["limited"], summary["max_per_minute"] <= 60) == (0, True)


async def test_one_of_the_calls_at_once_is_kept_for_a_person_who_waits(make_stack):
    stack = await make_stack(replicas=2, gateway_slot_wait_seconds=0.1)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    slots = [await ask(stack, tenant, Lane.SWEEPS) for _ in range(5)]
    assert (await ask(stack, tenant, Lane.PEOPLE)).problem == "concurrent"
    async with stack.apps[0].state.deps.pool.acquire() as conn:
        await budgets.void_slot(conn, slots[0].id)
    assert (await ask(stack, tenant, Lane.SWEEPS, app=1)).problem == "concurrent"
    assert isinstance(await ask(stack, tenant, Lane.PEOPLE, app=1), Slot)


async def test_a_wish_nobody_comes_back_for_keeps_nothing(make_stack):
    stack = await make_stack(gateway_slot_wait_seconds=0.1)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    await fill(stack, tenant, 58)
    await stack.db.execute(
        "INSERT INTO lane_wishes VALUES ($1, 'people', 9, clock_timestamp() + interval '1 hour')",
        tenant,
    )
    assert (await ask(stack, tenant, Lane.SWEEPS)).problem == "minute"
    await stack.db.execute("UPDATE lane_wishes SET until = clock_timestamp()")
    await stack.db.execute("UPDATE call_slots SET started_at = started_at - interval '1 minute'")
    assert isinstance(await ask(stack, tenant, Lane.SWEEPS), Slot)


async def test_many_at_once_claim_one_place_only_once(make_stack):
    stack = await make_stack(replicas=2, gateway_slot_wait_seconds=0.3)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    await stack.db.execute("DELETE FROM call_slots")
    await fill(stack, tenant, 59)
    found = await asyncio.gather(
        *(ask(stack, tenant, each, app) for each in Lane for app in (0, 1) for _ in range(3))
    )
    assert sum(isinstance(each, Slot) for each in found) <= 1
    assert await stack.db.fetchval("SELECT count(*) FROM call_slots") <= 60


async def test_a_slot_given_out_by_the_former_release_is_noticed(stack):
    """It takes the tenant's row lock, counts, inserts without a lane, and knows nothing of versions."""
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    async with stack.apps[0].state.deps.pool.acquire() as ours:
        looked = await budgets.look(ours, tenant)
        async with stack.db.transaction():
            await stack.db.execute(
                "SELECT FROM tenant_budgets WHERE tenant_id = $1 FOR UPDATE", tenant
            )
            await stack.db.execute(
                """
                INSERT INTO call_slots (tenant_id, account_id, caller, started_at, lease_until)
                VALUES ($1, 'acc-1', 'x', clock_timestamp(), clock_timestamp() + interval '1 minute')
                """,
                tenant,
            )
            claiming = asyncio.create_task(
                budgets.claim_slot(
                    ours,
                    looked.version,
                    tenant_id=tenant,
                    account_id="acc-1",
                    caller="x",
                    lane=Lane.PEOPLE,
                    lease=timedelta(minutes=1),
                    asks_for_day=False,
                )
            )
            await asyncio.sleep(0.05)  # it waits for the row, or would be done
        claim = await claiming
        assert (claim.current, claim.slot_id) == (False, None)
        assert (await budgets.look(ours, tenant)).usage.in_minute[Lane.INVOICES] == 1


async def test_the_days_reserve_stops_sweeps_then_invoices_and_never_people(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    async with stack.caller() as client, stack.caller("payment-ingest", app=1) as payments:
        await day_is(stack, tenant, 1400)
        swept = await client.get(ORGANISATION, headers=lane("sweeps"))
        assert swept.status_code == 429
        assert swept.headers["x-rate-limit-problem"] == "day"
        assert 290 <= int(swept.headers["retry-after"]) <= 300
        assert swept.content == b""
        await day_is(stack, tenant, 900)
        assert (await client.get(ORGANISATION)).headers["x-rate-limit-problem"] == "day"
        assert (await client.get(ORGANISATION, headers=lane("people"))).status_code == 200
        await day_is(stack, tenant, 900)
        assert (await payments.get(ORGANISATION)).status_code == 200
        # Their replies said how many are left in truth.
        assert (await client.get(ORGANISATION)).status_code == 200


async def test_one_call_at_a_time_learns_an_old_figure_anew(make_stack):
    stack = await make_stack(replicas=2, gateway_slot_wait_seconds=0.3)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    await day_is(stack, tenant, 10, age=600)
    found = await asyncio.gather(
        *(ask(stack, tenant, Lane.INVOICES, app) for app in (0, 1) for _ in range(4))
    )
    assert sum(isinstance(each, Slot) for each in found) == 1
    # That call died with its process: nobody learnt anything, and some minutes later the next one may try.
    assert (await ask(stack, tenant, Lane.INVOICES)).problem == "day"
    await stack.db.execute(
        "UPDATE tenant_budgets SET day_asked_at = day_asked_at - interval '6 minutes'"
    )
    async with stack.caller() as client:
        assert (await client.get(ORGANISATION)).status_code == 200
        assert (await client.get(ORGANISATION)).status_code == 200


async def test_the_days_limit_is_the_most_that_was_left_lately(stack):
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)

    async def learn(remaining):
        async with stack.apps[0].state.deps.pool.acquire() as conn:
            await budgets.finish_call(conn, 0, tenant, remaining, None, None)
        return await stack.db.fetchval(
            "SELECT day_limit FROM tenant_budgets WHERE tenant_id = $1", tenant
        )

    await stack.db.execute("UPDATE tenant_budgets SET day_limit = NULL, day_limit_at = NULL")
    assert await learn(800) == 801
    assert await learn(999) == 1000
    assert await learn(3) == 1000
    assert await learn(1_000_000) == 5000
    assert await learn(None) == 5000
    assert await learn(700) == 5000
    await stack.db.execute("UPDATE tenant_budgets SET day_limit_at = now() - interval '3 days'")
    assert await learn(700) == 701


async def test_a_low_day_is_announced_once_and_its_end_once(make_stack):
    stack = await make_stack(replicas=2)
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    both = [app.state.deps for app in stack.apps]

    async def race():
        await asyncio.gather(*(announce_days(deps) for deps in both for _ in range(5)))
        return [(event.reason, event.status) for event in await stack.events("acc-1")][1:]

    assert await race() == []
    low, restored = ("DAY_BUDGET_LOW", "CONNECTED"), ("DAY_BUDGET_RESTORED", "CONNECTED")
    await day_is(stack, tenant, 1700)
    assert await race() == [low]
    await day_is(stack, tenant, 2000)
    assert await race() == [low]
    await day_is(stack, tenant, 4000)
    assert await race() == [low, restored]
    await day_is(stack, tenant, 100)
    assert await race() == [low, restored, low]
    events = await stack.events("acc-1")
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    status = await stack.status("acc-1")
    assert (status["status"], status["reason"]) == ("CONNECTED", "DAY_BUDGET_LOW")


async def test_nothing_is_announced_while_calls_cannot_be_made(stack):
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    await day_is(stack, tenant, 100)
    await stack.db.execute("UPDATE connections SET fenced_at = now()")
    await announce_days(stack.apps[0].state.deps)
    await stack.db.execute("UPDATE connections SET fenced_at = NULL")
    await day_is(stack, tenant, 100, age=90_000)
    await announce_days(stack.apps[0].state.deps)
    assert len(await stack.events("acc-1")) == 1


async def test_the_announcement_waits_for_no_call_and_no_call_for_it(make_stack):
    stack = await make_stack()
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    async with stack.caller() as client:
        for _ in range(15):
            await day_is(stack, tenant, 100)
            await asyncio.gather(
                announce_days(stack.apps[0].state.deps),
                *(client.get(ORGANISATION, headers=lane("people")) for _ in range(3)),
            )
            await stack.db.execute("UPDATE connections SET reason = 'REFRESHED'")
    statuses = [call.status for call in stack.calls("/Organisation")]
    assert statuses == [200] * 46


async def test_the_forecast_counts_the_last_hour(stack):
    await stack.connect("acc-1")
    tenant = await tenant_of(stack)
    async with stack.apps[0].state.deps.pool.acquire() as conn:
        fresh = await budgets.outlook(conn, tenant)
        assert (fresh.day_remaining, fresh.spent_last_hour, fresh.empty_at) == (4999, 1, None)
        await fill(stack, tenant, 20, age=300)
        await fill(stack, tenant, 30, age=7000)
        assert (await budgets.outlook(conn, tenant)).spent_last_hour == 21
        # Forgotten as slots, the calls are counted as before, whoever forgets them and however often.
        await asyncio.gather(*(forget(stack) for _ in range(4)))
        assert await stack.db.fetchval("SELECT count(*) FROM call_slots") == 1
        assert await stack.db.fetchval("SELECT sum(calls) FROM call_counts") == 50
        await day_is(stack, tenant, 42)
        found = await budgets.outlook(conn, tenant)
        assert found.spent_last_hour == 21
        now = await conn.fetchval("SELECT clock_timestamp()")
        assert abs((found.empty_at - now) - timedelta(hours=2)) < timedelta(seconds=5)
        assert await budgets.outlook(conn, "unheard-of") == Outlook(None, None, 0, None)
        await stack.db.execute("UPDATE call_counts SET since = since - interval '2 days'")
        await budgets.forget_finished(conn)
        assert await stack.db.fetchval("SELECT count(*) FROM call_counts") == 0


async def forget(stack):
    async with stack.apps[0].state.deps.pool.acquire() as conn:
        await budgets.forget_finished(conn)


async def test_replicas_share_the_apps_minute(make_stack):
    stack = await make_stack(
        replicas=2, xero_app_minute_limit=30, xero_minute_limit=1000, gateway_slot_wait_seconds=5
    )
    await stack.connect("acc-1")
    tenants = [f"tenant-{n}" for n in range(20)]
    found = await asyncio.gather(
        *(
            ask(stack, tenant, Lane.PAYMENTS, app, account_id=None)
            for tenant in tenants
            for app in (0, 1)
            for _ in range(2)
        )
    )
    granted = sum(isinstance(each, Slot) for each in found)
    assert granted <= 29
    assert granted >= 20
    refused = {each.problem for each in found if isinstance(each, OutOfBudget)}
    assert refused == {"appminute"}
    assert all(each.retry_after >= 30 for each in found if isinstance(each, OutOfBudget))
    # A minute and the permits' life later all of them are there again, unspent ones of killed replicas as well.
    await stack.db.execute("UPDATE app_permits SET counts_until = clock_timestamp()")
    assert isinstance(await ask(stack, tenants[0], Lane.PAYMENTS, account_id=None), Slot)


async def test_what_a_block_did_not_spend_comes_back(stack):
    async with stack.apps[0].state.deps.pool.acquire() as conn:
        first = await budgets.take_permits(conn, 8, 10, 60.0, None, 0)
        assert (first.permits, first.left) == (8, 2)
        second = await budgets.take_permits(conn, 8, 10, 60.0, first.id, 3)
        assert (second.permits, second.left) == (7, 0)
        # Said again, because the answer was lost: nothing more comes back.
        third = await budgets.take_permits(conn, 8, 10, 60.0, first.id, 3)
        assert (third.permits, third.left) == (0, 0)
        assert 55 < third.frees_in <= 60


async def test_xeros_own_count_of_the_apps_minute_is_believed(stack):
    await stack.connect("acc-1")
    stack.sim.world.limits.settings.app_minute = 4
    async with stack.caller() as client:
        answers = [await client.get(ORGANISATION) for _ in range(6)]
    assert [each.status_code for each in answers[:3]] == [200] * 3
    assert {each.headers["x-rate-limit-problem"] for each in answers[3:]} == {"appminute"}


async def test_a_granted_call_takes_two_statements_and_its_end_one(stack, monkeypatch):
    await stack.connect("acc-1")
    deps = stack.apps[0].state.deps
    statements = []

    def seen(record):
        statements.append(record.query)

    tenant = await tenant_of(stack)
    await ask(stack, tenant, Lane.PEOPLE)
    async with deps.pool.acquire() as conn:
        raw = conn._con
    raw.add_query_logger(seen)
    try:
        slot = await ask(stack, tenant, Lane.PEOPLE)
        ours = [text for text in statements if "take_app_permits" not in text]
        assert len(ours) == 2
        async with deps.pool.acquire() as conn:
            await budgets.finish_call(conn, slot.id, tenant, 4000, "acc-1", None)
        assert len([text for text in statements if "take_app_permits" not in text]) == 3
    finally:
        raw.remove_query_logger(seen)
