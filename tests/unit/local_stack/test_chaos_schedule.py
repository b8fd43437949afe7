"""Which faults strike when: repeatable by the seed, and none is left out for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_local_stack.chaos.schedule import FAULTS, LINKS, ROUNDS, dealt, missed, plan
from pipeline_local_stack.chaos.workload import publications
from pipeline_local_stack.ledgers import readable

SECONDS, LEASE = 20.0, 5.0
seeds = st.integers(0, 100_000)


@given(seeds)
def test_a_seed_says_it_all(seed: int) -> None:
    assert plan(seed, SECONDS, LEASE) == plan(seed, SECONDS, LEASE)
    assert plan(seed, SECONDS, LEASE) != plan(seed + ROUNDS, SECONDS, LEASE)


@given(seeds)
def test_every_fault_is_dealt_once_in_a_cycle(cycle: int) -> None:
    met = [fault for turn in range(ROUNDS) for fault in dealt(cycle * ROUNDS + turn)]
    assert sorted(met) == sorted(FAULTS)
    assert missed(met) == []
    assert missed(met[1:]) == [met[0]]


@given(seeds)
def test_a_fault_begins_within_the_run_and_a_frozen_process_outlives_its_lease(seed: int) -> None:
    for step in plan(seed, SECONDS, LEASE):
        assert 0 <= step.at < SECONDS
        assert step.lasts >= (LEASE if step.fault.kind == "freeze" else 1)
        assert 0 <= step.chance < 1


def test_the_faults_of_the_design_are_all_there() -> None:
    named = {(fault.kind, fault.target) for fault in FAULTS}
    assert len(named) == len(FAULTS)
    for link in LINKS:
        for trouble in ("latency", "reset", "black_hole", "half_open", "cut"):
            assert (trouble, link) in named
    for service in ("connector", "invoice-sync", "payment-ingest"):
        for kind in ("kill", "freeze", "roll"):
            assert (kind, service) in named
    assert {("restart", "kafka"), ("restart", "postgres")} <= named


@pytest.mark.parametrize("seed", range(5))
def test_what_is_published_is_said_by_the_seed(seed: int) -> None:
    accounts = ["a", "b"]
    first, again = (publications(seed, accounts, 60) for _ in range(2))
    keys = [(each.due, each.record.key) for each in first]
    assert keys == [(each.due, each.record.key) for each in again]
    poison = [each for each in first if not each.record.headers]
    assert len(poison) == 3
    assert readable(each.record for each in poison) == []
    assert len(readable(each.record for each in first)) == len(first) - len(poison)
