"""Kafka away, Postgres killed and restarted, webhooks lost: nothing that was acknowledged is lost, and all comes right.

The real broker and the real database are stopped under load, in front of two replicas that nobody restarts. How long
Kafka is away is longer than the relay tries one batch (20 s) and than the broker keeps a silent consumer in its group
(10 s); `KAFKA_AWAY_SECONDS=60` makes it the full minute, `DROPS=100` loses webhooks in a hundred runs.
"""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from ingest_world import XERO_WAITS, ingest_world
from service_processes import until

from pipeline_contracts.envelope import decode
from pipeline_contracts.payment import PaymentRecorded
from pipeline_local_stack.postgres import start_postgres
from pipeline_service_defaults.migrate import directories_of, migrate

KAFKA_AWAY_SECONDS = float(os.environ.get("KAFKA_AWAY_SECONDS", "21"))
DROPS = int(os.environ.get("DROPS", "3"))
INTERVAL = 3.0
IN_FLIGHT = 2
"""Posts that may have been stored just before the database went: one of Xero's and one of the knocker's."""
LEASE = {"WORKER_LEASE_SECONDS": "1"}


@pytest.fixture
async def world(dsn, own_kafka, identities):
    async with ingest_world(dsn, own_kafka.bootstrap_servers, identities) as made:
        yield made


async def test_while_kafka_is_away_every_webhook_is_acknowledged_and_afterwards_all_is_told(
    world, own_kafka
):
    async with world.replica(**LEASE), world.replica(**LEASE):
        async with world.busy():
            await until(lambda: answered(world, 200, 5), "webhooks come in")
            await asyncio.to_thread(own_kafka.child.kill)
            before = len(world.front.posts)
            await asyncio.sleep(KAFKA_AWAY_SECONDS)
            posts, seconds = world.front.posts[before:], world.front.seconds[before:]
            waiting = await world.pool.fetchval("SELECT count(*) FROM outbox")
            await asyncio.to_thread(own_kafka.child.start)
            await asyncio.to_thread(own_kafka.wait_until_ready)
        await world.come_to_rest()
    assert {post.status for post in posts if post.is_genuine} == {200}
    assert max(seconds) < XERO_WAITS
    assert waiting > 0, "nothing waited for Kafka"
    await world.judge()


async def answered(world, status, count) -> bool:
    return sum(post.status == status for post in world.front.posts) >= count


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    """A server that tests may kill."""
    server = start_postgres("postgres-of-payments", tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


@pytest.fixture
async def mortal_world(own_postgres, own_kafka, identities):
    admin = await asyncpg.connect(own_postgres.dsn)
    await admin.execute("DROP DATABASE IF EXISTS payments WITH (FORCE)")
    await admin.execute("CREATE DATABASE payments")
    await admin.close()
    dsn = urlunsplit(urlsplit(own_postgres.dsn)._replace(path="/payments"))
    migrate(dsn, *directories_of("payment_ingest"))
    async with ingest_world(dsn, own_kafka.bootstrap_servers, identities) as made:
        yield made


async def test_a_restarted_and_a_killed_postgres_cost_nothing_that_was_acknowledged(
    mortal_world, own_postgres
):
    world = mortal_world
    async with world.replica(**LEASE) as (first, _), world.replica(**LEASE) as (second, _):
        async with world.busy():
            for end in (signal.SIGINT, signal.SIGKILL):
                await refused_while_down(world, own_postgres, end)
        await world.come_to_rest()
        assert (first.returncode, second.returncode) == (None, None)
    await world.judge()


async def refused_while_down(world, server, end) -> None:
    before = len(world.front.posts)
    await until(lambda: answered_since(world, before, 200), "webhooks come in")
    await asyncio.to_thread(end_process, server.child, end)
    down = len(world.front.posts) + IN_FLIGHT
    await until(lambda: answered_since(world, down, 503, 5), "webhooks are refused")
    assert not await answered_since(world, down, 200)
    await asyncio.to_thread(start_again, server)


async def answered_since(world, position, status, count=1) -> bool:
    return sum(post.status == status for post in world.front.posts[position:]) >= count


def end_process(child, how) -> None:
    """Not `stop`, which would take the data away."""
    child.process.send_signal(how)
    child.process.wait(30)


def start_again(server) -> None:
    """A new postmaster refuses to start until the last process of a killed one has noticed and gone."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        server.child.start()
        while server.child.is_running() and time.monotonic() < deadline:
            if asyncio.run(takes_queries(server.dsn)):
                return
            time.sleep(0.1)
        time.sleep(0.2)
    pytest.fail(f"Postgres did not come back: {server.child.last_words()}")


async def takes_queries(dsn) -> bool:
    try:
        conn = await asyncpg.connect(dsn, timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await conn.close()
    return True


@pytest.mark.parametrize(
    "lost",
    [
        *(pytest.param(0.3, id=f"30% run {run + 1}") for run in range(DROPS)),
        pytest.param(1.0, id="all"),
    ],
)
async def test_what_no_webhook_told_is_found_by_the_sweep_at_most_one_interval_late(world, lost):
    """The bound: a sweep begins an interval after the last one ended, and tells all that was paid before it began.

    So nothing is later than the interval and twice the time of a whole sweep: the one that was under way and missed
    it, and the one that finds it. How long sweeps take here is measured.
    """
    await world.xero.disturb(drop_probability=lost)
    often = {"SWEEP_INTERVAL_SECONDS": str(int(INTERVAL)), "SWEEP_PAUSE_SECONDS": "1"}
    sweeps = []
    async with world.replica(**often, **LEASE) as (_, client):
        watching = asyncio.create_task(watch_sweeps(world, sweeps))
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 2 * INTERVAL:
            await world.pay(world.invoices[len(world.payments) % len(world.invoices)], "1.00")
            await asyncio.sleep(0.2)
        await until(lambda: all_told(world), "all payments are told")
        watching.cancel()
        await world.come_to_rest()
        figures = (await client.get("/metrics")).text
    ledgers = await world.judge()
    told = recorded(ledgers)
    by_sweep = {event.xero_payment_id for event, _ in told if event.found_by == "sweep"}
    if lost == 1.0:
        assert by_sweep == set(world.payments)
    assert by_sweep, "no webhook was lost"
    counted = 'payment_ingest_movements_total{change="recorded",found_by="sweep"} '
    assert f"{counted}{float(len(by_sweep))}" in figures
    longest = max((ended - due).total_seconds() for due, ended in sweeps)
    bound = INTERVAL + 2 * longest
    late = {
        event.xero_payment_id: at.timestamp() - world.made_at[event.xero_payment_id]
        for event, at in told
    }
    assert max(late.values()) <= bound, (bound, late)


async def watch_sweeps(world, sweeps) -> None:
    """When each sweep was under way: from when it was due until it was complete."""
    query = "SELECT completed_at, next_at FROM tenant_sweeps WHERE kind = 'recent'"
    completed_at, due = await world.pool.fetchrow(query)
    while True:
        ended, next_at = await world.pool.fetchrow(query)
        if ended != completed_at:
            sweeps.append((due, ended))
        completed_at, due = ended, next_at
        await asyncio.sleep(0.05)


async def all_told(world) -> bool:
    return await world.pool.fetchval("SELECT count(*) FROM payments") == len(world.payments)


def recorded(ledgers) -> list[tuple[PaymentRecorded, datetime]]:
    found = {}
    for record in ledgers.payments:
        envelope = decode(key=record.key, value=record.value, headers=record.headers)
        if isinstance(envelope.event, PaymentRecorded):
            found[envelope.id] = (envelope.event, envelope.time.astimezone(UTC))
    return list(found.values())
