"""kill -9 at every named step, with one replica and with two, while people keep the books and webhooks come.

Each replica is armed to die at one step. Whoever dies is followed by a replica armed for the next step, which has to end
what the dead one left. When all are dead the last one is left alive, and the judge compares the three ledgers.
What dies while it takes in the topics is in the tests of the messaging library.
"""

import asyncio
import re
import signal
from pathlib import Path

import pytest
from ingest_world import ingest_world

import payment_ingest
import pipeline_messaging

SOURCES = Path(payment_ingest.__file__).parent
LIBRARY = Path(pipeline_messaging.__file__).parent
FROM_XERO_AND_TO_KAFKA = [
    "relay:after_lock",
    "relay:after_read",
    "relay:after_send",
    "relay:before_delete",
    "relay:after_delete",
    "delivery:after_verify",
    "delivery:before_commit",
    "delivery:after_commit",
    "delivery:after_answer",
    "doorbell:after_claim",
    "doorbell:before_commit",
    "doorbell:after_commit",
]
READING_XERO = [
    "worker:after_claim",
    "payment:after_claim",
    "payment:after_fetch",
    "payment:before_commit",
    "payment:after_commit",
    "document:after_fetch",
    "document:before_commit",
    "document:after_commit",
    "worker:after_process",
    "worker:after_release",
    "sweep:after_fetch",
    "sweep:after_fetch@2",
    "sweep:after_portion@2",
    "sweep:before_commit@2",
    "sweep:after_commit",
    "sweep:before_commit@3",
    "reconcile:after_sums@2",
    "reconcile:after_complete",
]
STEPS = {"webhooks_and_events": FROM_XERO_AND_TO_KAFKA, "reading_xero": READING_XERO}
FLOWS = ("delivery", "doorbell", "payment", "document", "sweep", "reconcile", "retention")
KILLED_ELSEWHERE = {"retention:before_commit"}
"""In `test_delivery_retention.py`: only a database of a former release passes it."""
OFTEN = {"SWEEP_INTERVAL_SECONDS": "1", "SWEEP_PAUSE_SECONDS": "1", "WORKER_LEASE_SECONDS": "1"}


@pytest.fixture
async def world(dsn, own_kafka, identities):
    async with ingest_world(dsn, own_kafka.bootstrap_servers, identities) as made:
        yield made


async def sweeping(world) -> None:
    """Everything is read whole over and over, by pages of three invoices."""
    small = "UPDATE tenant_sweeps SET page_size = 3 WHERE kind = 'deep' AND began_at IS NULL"
    while True:
        await world.pool.execute(small)
        await world.sweep_all_now()
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("flow", STEPS)
async def test_whoever_dies_is_followed_and_nothing_is_lost_or_doubled(world, flow, replicas):
    await world.link_by_kafka()
    waiting = iter(STEPS[flow])

    async def die_in_turn() -> None:
        for step in waiting:
            async with world.replica(failpoint=step, **OFTEN) as (process, _):
                try:
                    ended = await asyncio.wait_for(process.wait(), 60)
                except TimeoutError:
                    pytest.fail(f"{step} was not passed")
                assert ended == -signal.SIGKILL

    async with world.busy():
        nights = asyncio.create_task(sweeping(world))
        try:
            async with asyncio.TaskGroup() as lives:
                for _ in range(replicas):
                    lives.create_task(die_in_turn())
        finally:
            nights.cancel()
    async with world.replica():
        assert await world.forge() == 401
        await world.come_to_rest()
    ledgers = await world.judge()
    assert {post.status for post in ledgers.webhooks} >= {200, 502}


def named_in(folder: Path, *flows: str) -> set[str]:
    found = {
        step
        for path in folder.rglob("*.py")
        for step in re.findall(r'failpoint\(\s*"([^"]+)"', path.read_text())
    }
    return {step for step in found if step.partition(":")[0] in flows}


def test_every_step_named_in_the_code_of_payments_is_killed_here():
    named = named_in(SOURCES, *FLOWS) | named_in(LIBRARY, "worker", "relay")
    killed = {step.partition("@")[0] for step in (*FROM_XERO_AND_TO_KAFKA, *READING_XERO)}
    killed |= KILLED_ELSEWHERE
    missing, unknown = sorted(named - killed), sorted(killed - named)
    assert not missing, (
        f"no test kills at {missing}: add them to the lists here, and see that they are passed"
    )
    assert not unknown, f"the code has no failpoint {unknown}: take them off the lists here"
