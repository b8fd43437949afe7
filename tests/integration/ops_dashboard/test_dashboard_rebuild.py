"""The projection made anew beside the running service."""

import asyncio
from types import SimpleNamespace

import pytest
from dashboard_world import Telling, snapshot, tell_everything

from ops_dashboard import project_records, rebuild_projection
from ops_dashboard.rebuild_projection import _LOCK, AlreadyRebuilding, rebuild
from ops_dashboard.store import generations
from ops_dashboard.store.generations import RebuildOvertaken
from pipeline_messaging.broker import KafkaSettings


class KilledError(Exception):
    pass


async def test_rebuilt_equals_the_old_while_events_come_in(world):
    await tell_everything(world)
    kafka = KafkaSettings(world.bootstrap)
    said: list[str] = []
    async with world.running() as url, world.client(url, world.keys.token("acc-1")) as person:
        await world.all_stored()
        async with world.pool.acquire() as conn:
            assert await generations.current(conn) == 1
            before = await snapshot(conn, 1)

        def dies(line: str) -> None:
            raise KilledError(line)

        with pytest.raises(KilledError):
            await rebuild(world.pool, kafka, world.topics, dies)
        assert (await person.get("/accounts/acc-1/invoice?id=stuck")).status_code == 200

        later = Telling("acc-9")
        running = asyncio.create_task(rebuild(world.pool, kafka, world.topics, said.append))
        for number in range(40):
            await world.send(later.issued(f"late-{number}"))
        await running
        await world.all_stored()
        async with world.pool.acquire() as conn:
            number = await generations.current(conn)
            assert number > 1
            after = await snapshot(conn, number)
            left = await conn.fetchval("SELECT count(*) FROM facts WHERE generation <> $1", number)
        assert left == 0
        mine = {t: [row for row in rows if "acc-9" not in row] for t, rows in after.items()}
        assert mine == before
        assert len(after["invoices"]) == len(before["invoices"]) + 40
        # What somebody broke in the tables is mended by it, too.
        await world.pool.execute("UPDATE invoices SET total = 0, sequence = 99")
        await world.pool.execute("DELETE FROM facts")
        await rebuild(world.pool, kafka, world.topics, said.append)
        async with world.pool.acquire() as conn:
            assert await snapshot(conn, await generations.current(conn)) == after


async def test_what_cannot_be_stored_does_not_stop_a_rebuild(world, monkeypatch):
    def fact_of(envelope):
        if envelope.event.invoice_id == "guilty":
            raise ValueError("nobody expected this")
        return told_of(envelope)

    told_of = project_records.fact_of
    monkeypatch.setattr(project_records, "fact_of", fact_of)
    told = Telling("acc-1")
    await world.send(told.issued("a"), told.issued("guilty"), told.issued("b"))
    async with world.running():
        await world.all_stored()
    await rebuild(world.pool, KafkaSettings(world.bootstrap), world.topics, print)
    async with world.pool.acquire() as conn:
        number = await generations.current(conn)
        found = await snapshot(conn, number)
    assert number > 1
    assert len(found["invoices"]) == 2
    assert len(found["odd_records"]) == 1


async def test_large_records_are_taken_in_small_batches(monkeypatch):
    """A record may have 3 MB, and a topic be full of them."""
    batches = []

    async def consumed(kafka, topic):
        for number in range(40):
            yield SimpleNamespace(offset=number, value=bytes(3_000_000 if number < 20 else 10))

    async def project(pool, generation, records):
        batches.append([record.offset for record in records])

    monkeypatch.setattr(rebuild_projection, "consumed", consumed)
    monkeypatch.setattr(rebuild_projection, "_project", project)
    assert await rebuild_projection._read_again(None, None, None, 2) == 40
    assert [one for batch in batches for one in batch] == list(range(40))
    assert max(len([one for one in batch if one < 20]) for batch in batches) <= 6


async def test_whoever_lost_the_lock_does_not_switch(world):
    """Another rebuild has begun meanwhile and forgotten ours: switching to it would leave nothing to show."""
    async with world.pool.acquire() as conn:
        lost = await generations.begin(conn)
        await generations.begin(conn)
        with pytest.raises(RebuildOvertaken):
            async with conn.transaction():
                await generations.switch_to(conn, lost)
        assert await generations.current(conn) == 1


async def test_only_one_rebuild_at_a_time(world):
    async with world.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", _LOCK)
        with pytest.raises(AlreadyRebuilding):
            await rebuild(world.pool, KafkaSettings(world.bootstrap), world.topics, print)
        await other.execute("SELECT pg_advisory_unlock($1)", _LOCK)
