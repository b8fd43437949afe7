"""History goes by age, in slices; how things stand, and how every account stood last, stays."""

import json
from datetime import UTC, datetime, timedelta

from dashboard_world import snapshot, tell_everything

from ops_dashboard.forget_history import forget_history

NOW = datetime.now(UTC)


async def test_history_goes_and_the_present_stays(world):
    await tell_everything(world)
    await tell_everything(world, "acc-2")
    async with world.running() as url, world.client(url, world.keys.token("acc-1")) as person:
        await world.all_stored()
        pages = ("", "/invoices", "/failures", "/out-of-sync", "/payments", "/connection")
        shown = [(await person.get(f"/accounts/acc-1{page}")).status_code for page in pages]
        async with world.pool.acquire() as conn:
            before = await snapshot(conn, 1)
        assert await forget_history(world.pool, NOW - timedelta(days=36_500)) == 0

        old, older = NOW - timedelta(days=9), NOW - timedelta(days=10)
        age = "UPDATE {} SET {} = CASE account_id WHEN 'acc-1' THEN $1::timestamptz ELSE $2 END"
        await world.pool.execute(age.format("facts", "at"), old, NOW)
        await world.pool.execute(age.format("odd_records", "written_at"), old, NOW)
        await world.pool.execute(
            "INSERT INTO facts SELECT generation, source, 'before ' || account_id, account_id, subject_kind, subject, type, $1, 0,"
            " details FROM facts WHERE subject_kind = 'connection'",
            older,
        )
        gone = await forget_history(world.pool, NOW - timedelta(days=1), slice_rows=3)
        async with world.pool.acquire() as conn:
            after = await snapshot(conn, 1)
        lines = {
            (one["account_id"], one["subject_kind"]) for one in map(json.loads, after["facts"])
        }
        assert {line for line in lines if line[0] == "acc-1"} == {("acc-1", "connection")}
        assert ("acc-2", "invoice") in lines
        assert {json.loads(one)["account_id"] for one in after["odd_records"]} <= {"acc-2", None}
        for table in ("accounts", "customers", "invoices", "payments"):
            assert after[table] == before[table]
        rows = 2 + len(before["facts"]) + len(before["odd_records"])
        assert gone == rows - len(after["facts"]) - len(after["odd_records"]) > 3
        assert [(await person.get(f"/accounts/acc-1{page}")).status_code for page in pages] == shown
        assert "Nothing is kept" in (await person.get("/accounts/acc-1/invoice?id=stuck")).text
        assert await forget_history(world.pool, NOW - timedelta(days=1)) == 0
