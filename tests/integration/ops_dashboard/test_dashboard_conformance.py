"""The dashboard is a subscriber like others': it passes the conformance kit that they are given."""

from types import SimpleNamespace

import asyncpg
import pytest
from dashboard_world import snapshot

from ops_dashboard.project_records import project, read
from pipeline_contracts.replay import scenario, scenarios, varied
from pipeline_contracts.variations import VARIATIONS
from pipeline_service_defaults.migrate import directories_of


@pytest.fixture(scope="module")
async def dsn(make_database):
    return await make_database(*directories_of("ops_dashboard"))


async def told(conn, generation: int, records) -> dict[str, list]:
    read_at = [
        SimpleNamespace(
            topic=each.topic, partition=0, offset=at, timestamp=at,
            key=each.key, value=each.value, headers=each.headers,
        )
        for at, each in enumerate(records)
    ]  # fmt: skip
    for start in range(0, len(read_at), 7):
        await project(conn, generation, read(read_at[start : start + 7]))
    return await snapshot(conn, generation)


async def test_no_variation_of_any_scenario_changes_what_is_shown(dsn):
    conn = await asyncpg.connect(dsn)
    try:
        for at, name in enumerate(scenarios()):
            plain = await told(conn, 10 * at + 10, scenario(name))
            assert plain["facts"]
            assert plain["odd_records"] == []
            for number, variation in enumerate(
                [[each] for each in VARIATIONS] + [list(VARIATIONS)]
            ):
                records = varied(scenario(name), variation)
                found = await told(conn, 10 * at + 11 + number, records)
                odd = found.pop("odd_records")
                assert found == {table: rows for table, rows in plain.items() if table != "odd_records"}, (name, variation)  # fmt: skip
                assert bool(odd) == bool({"unknown-type", "unreadable"} & set(variation))
    finally:
        await conn.close()
