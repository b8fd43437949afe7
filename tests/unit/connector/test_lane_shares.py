"""Who gets a tenant's calls: strict priority for the common part, a sure share for everybody, and none of it wasted."""

import heapq
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.budget import (
    ONE_EACH,
    Full,
    Granted,
    Limits,
    Usage,
    Wait,
    minute_sure,
    next_slot,
    retry_after_seconds,
    room,
    spread_until,
)
from connector.domain.lanes import Lane, lane_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE, PAYMENTS, INVOICES, SWEEPS = Lane
SURE = minute_sure(Limits())
PATIENCE = 2.0

counts = st.dictionaries(st.sampled_from(Lane), st.integers(0, 20))


def seconds(value):
    return NOW + timedelta(seconds=value)


@pytest.mark.parametrize(
    ("caller", "named", "lane"),
    [
        ("invoice-sync", None, INVOICES),
        ("invoice-sync", "people", PEOPLE),
        ("invoice-sync", "sweeps", SWEEPS),
        ("invoice-sync", "payments", None),
        ("invoice-sync", "", None),
        ("invoice-sync", "PEOPLE", None),
        ("payment-ingest", None, PAYMENTS),
        ("payment-ingest", "sweeps", SWEEPS),
        ("payment-ingest", "people", None),
        ("payment-ingest", "invoices", None),
        ("pipeline-backend", None, None),
        ("nobody", "people", None),
    ],
)
def test_each_caller_has_its_lanes(caller, named, lane):
    assert lane_of(caller, named) is lane


def test_alone_a_lane_can_use_everything():
    for lane in Lane:
        assert room(lane, 60, {lane: 59}, SURE, {lane: 7}) == 1
        assert room(lane, 5, {lane: 4}, ONE_EACH, {}) == 1


def test_the_common_part_goes_by_strict_priority():
    used = {PAYMENTS: 12, INVOICES: 12, SWEEPS: 12, PEOPLE: 12}
    # Twelve places are free; seven people wait and have had their share.
    assert room(PEOPLE, 60, used, SURE, {PEOPLE: 7}) == 12
    assert room(PAYMENTS, 60, used, SURE, {PEOPLE: 7}) == 5
    assert room(SWEEPS, 60, used, SURE, {PEOPLE: 7, INVOICES: 5}) == 0
    assert room(PEOPLE, 60, used, SURE, {SWEEPS: 30}) == 12


def test_what_a_lane_is_sure_of_is_kept_from_everybody():
    used = {PEOPLE: 40, PAYMENTS: 15}
    assert room(PEOPLE, 60, used, SURE, {SWEEPS: 3}) == 2
    assert room(PEOPLE, 60, used, SURE, {SWEEPS: 30, INVOICES: 30}) == -10
    # The lane itself has to stand back only for what those before it are sure of.
    assert room(SWEEPS, 60, used, SURE, {PEOPLE: 30, PAYMENTS: 30, INVOICES: 3}) == 2


def test_one_call_at_once_is_kept_for_whoever_waits():
    assert room(SWEEPS, 5, {SWEEPS: 4}, ONE_EACH, {PEOPLE: 1}) == 0
    assert room(PEOPLE, 5, {PEOPLE: 4}, ONE_EACH, {SWEEPS: 9}) == 0
    assert room(SWEEPS, 5, {PEOPLE: 4}, ONE_EACH, {PEOPLE: 9}) == 1


@given(used=counts, waiting=counts)
def test_while_places_are_free_somebody_who_waits_may_have_one(used, waiting):
    asking = [lane for lane in Lane if waiting.get(lane)]
    if asking and sum(used.values()) < 60:
        assert any(room(lane, 60, used, SURE, waiting) > 0 for lane in asking)


def test_the_last_places_are_spread_except_for_people():
    usage = Usage(last_start=NOW, next_free=seconds(50))
    assert spread_until(INVOICES, 10, usage, NOW) == seconds(4.5)
    assert spread_until(INVOICES, 1, usage, NOW) == seconds(45)
    assert spread_until(PEOPLE, 1, usage, NOW) == NOW
    soon = Usage(last_start=NOW, next_free=seconds(2.5))
    assert spread_until(INVOICES, 1, soon, NOW) == NOW
    assert spread_until(INVOICES, 1, Usage(), NOW) == NOW
    assert spread_until(INVOICES, 1, Usage(waiting={PAYMENTS: 1}), NOW) > NOW
    assert spread_until(INVOICES, 1, Usage(waiting={SWEEPS: 1}), NOW) == NOW


def test_only_the_minutes_last_few_places_are_spread_and_only_beyond_the_sure_share():
    soon, now = seconds(50), seconds(1)

    def decided(lane, used, waiting=None):
        usage = Usage(recent=used, waiting=waiting or {}, last_start=NOW, next_free=soon)
        return next_slot(lane, usage, [], Limits(), now)

    assert decided(INVOICES, {INVOICES: 49}) == Granted()
    assert decided(INVOICES, {INVOICES: 50}) == Wait(seconds(4.5), "minute")
    assert decided(PEOPLE, {INVOICES: 50}) == Granted()
    assert decided(PAYMENTS, {INVOICES: 50}) == Granted()
    assert decided(SWEEPS, {INVOICES: 45, SWEEPS: 6}, {INVOICES: 1}).problem == "minute"
    assert decided(SWEEPS, {INVOICES: 47, SWEEPS: 4}, {INVOICES: 1}) == Granted()


@dataclass
class Model:
    """Two replicas and one tenant in a time of its own; every call takes 30 ms."""

    random: random.Random
    starts: list = field(default_factory=list)
    ends: list = field(default_factory=list)
    wishes: dict = field(default_factory=dict)
    lines: dict = field(default_factory=dict)
    delays: dict = field(default_factory=lambda: {lane: [] for lane in Lane})
    TAKES = 0.03

    def usage(self, now):
        self.ends = [(end, lane) for end, lane in self.ends if end + 60 > now]
        recent = [(end, lane) for end, lane in self.ends if end <= now]
        return Usage(
            running={x: sum(lane is x and end > now for end, lane in self.ends) for x in Lane},
            recent={x: sum(lane is x for _, lane in recent) for x in Lane},
            waiting={x: n for x, (n, until) in self.wishes.items() if until > now and n},
            last_start=seconds(self.starts[-1][0]) if self.starts else None,
            next_free=seconds(min(end for end, _ in recent) + 60) if recent else None,
        )

    def ask(self, worker, lane, now):
        """None when the call starts; else the moment to try again: from the line, or sent away and back."""
        line = self.lines.setdefault((worker % 2, lane), set())
        line.add(worker)
        usage = self.usage(now)
        decision = next_slot(lane, usage, [], Limits(), seconds(now))
        if isinstance(decision, Granted):
            self.starts.append((now, lane))
            self.ends.append((now + self.TAKES, lane))
            callers, until = self.wishes.get(lane, (0, 0))
            self.wishes[lane] = (max(0, callers - 1), until)
            line.remove(worker)
            return None
        until = seconds(now + 60)
        if isinstance(decision, Full):
            recent = sorted(end for end, _ in self.ends if end <= now)
            until = seconds(recent[decision.leaving - 1] + 60)
        elif isinstance(decision, Wait):
            until = decision.until
        wait = (until - seconds(now)).total_seconds()
        told = retry_after_seconds(until, seconds(now), PATIENCE)
        away = wait > PATIENCE
        known, known_until = self.wishes.get(lane, (0, 0.0))
        callers = max(len(line), known if known_until > now else 0)
        stays = (min(told, 60) if away else PATIENCE) + 1
        self.wishes[lane] = (callers, max(known_until, now + stays))
        if away:
            line.remove(worker)
        return now + (told + self.random.uniform(0.001, 0.2) if away else wait + 0.01)

    def run(self, workers, until):
        """`workers`: (lane, first moment, pause after each call)."""
        queue = [(at, n, lane, pause, at) for n, (lane, at, pause) in enumerate(workers)]
        heapq.heapify(queue)
        while queue and queue[0][0] < until:
            now, n, lane, pause, wanted = heapq.heappop(queue)
            again = self.ask(n, lane, now)
            if again is None:
                self.delays[lane].append((wanted, now - wanted))
                again = wanted = now + self.TAKES + pause
            heapq.heappush(queue, (max(again, now + 0.001), n, lane, pause, wanted))

    def busiest_minute(self):
        times = [at for at, _ in self.starts]
        return max(sum(first <= at < first + 60 for at in times) for first in times)

    def count(self, lane, since, until):
        return sum(since <= at < until and x is lane for at, x in self.starts)


@pytest.mark.parametrize("seed", range(3))
def test_one_lane_alone_uses_the_minute_to_the_full(seed):
    model = Model(random.Random(seed))
    model.run([(INVOICES, 0.001 * n, 0.0) for n in range(6)], 600)
    assert model.busiest_minute() <= 60
    assert len(model.starts) >= 600 * 0.98


@pytest.mark.parametrize("seed", range(3))
def test_people_get_through_a_flood_within_a_moment(seed):
    model = Model(random.Random(seed))
    flood = [(INVOICES, 0.001 * n, 0.0) for n in range(4)] + [(SWEEPS, 0.002, 0.0)] * 2
    model.run([*flood, (PEOPLE, 5.0, 11.0)], 600)
    assert model.busiest_minute() <= 60
    assert len(model.starts) >= 600 * 0.98
    assert max(delay for _, delay in model.delays[PEOPLE]) <= 4


@pytest.mark.parametrize("seed", range(3))
def test_every_waiting_lane_has_its_share_and_the_first_has_the_rest(seed):
    model = Model(random.Random(seed))
    model.run([(lane, 0.001, 0.0) for lane in Lane for _ in range(6)], 600)
    assert model.busiest_minute() <= 60
    assert len(model.starts) >= 600 * 0.98
    for minute in range(2, 10):
        had = {lane: model.count(lane, 60 * minute, 60 * minute + 60) for lane in Lane}
        assert all(had[lane] >= SURE[lane] - 1 for lane in Lane), had
        assert had[PEOPLE] >= had[PAYMENTS], had
