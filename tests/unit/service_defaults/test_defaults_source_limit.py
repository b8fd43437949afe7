"""One address may ask so often and no more, another is not touched by it, and nobody can pass for somebody else."""

import pytest

from pipeline_service_defaults.source_limit import SourceLimit, source_of

MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_then_at_the_rate() -> None:
    clock = Clock()
    limit = SourceLimit(60, clock=clock)

    assert [limit.wait_of("a") for _ in range(60)] == [0.0] * 60
    assert limit.wait_of("a") == pytest.approx(1.0)
    clock.now += 0.5
    assert limit.wait_of("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.wait_of("a") == 0
    assert limit.wait_of("a") > 0


def test_who_is_refused_is_not_put_off_by_asking_on() -> None:
    clock = Clock()
    limit = SourceLimit(60, clock=clock)
    for _ in range(1000):
        limit.wait_of("a")

    clock.now += 1.0

    assert limit.wait_of("a") == 0


def test_another_source_has_its_own_bucket() -> None:
    limit = SourceLimit(60, clock=Clock())
    for _ in range(100):
        limit.wait_of("a")

    assert limit.wait_of("a") > 0
    assert limit.wait_of("b") == 0


def test_never_more_than_twice_the_rate_in_any_minute() -> None:
    clock = Clock()
    limit = SourceLimit(600, clock=clock)
    let_in: list[float] = []
    for _ in range(40_000):
        clock.now += 0.005
        if limit.wait_of("a") == 0:
            let_in.append(clock.now)

    most = max(sum(start <= at < start + MINUTE for at in let_in) for start in let_in[::100])
    assert 600 < most <= 1201


def test_the_sources_remembered_are_bounded_and_the_one_quiet_longest_goes_first() -> None:
    limit = SourceLimit(60, most_sources=3, clock=Clock())
    for _ in range(60):
        limit.wait_of("noisy")
    for other in ("a", "b"):
        limit.wait_of(other)
        assert limit.wait_of("noisy") > 0

    for other in ("c", "d", "e"):
        limit.wait_of(other)

    assert limit.wait_of("noisy") == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "source"),
    [
        ("192.0.2.7", "", 0, "192.0.2.7"),
        # Nobody is believed about himself.
        ("192.0.2.7", "198.51.100.1", 0, "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1", 1, "198.51.100.1"),
        ("10.0.0.1", "made up, 203.0.113.9 , 198.51.100.1", 1, "198.51.100.1"),
        ("10.0.0.1", "made up, 203.0.113.9, 198.51.100.1", 2, "203.0.113.9"),
        # Fewer entries than proxies: it came past them, from inside.
        ("10.0.0.1", "203.0.113.9", 2, "10.0.0.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1:4711", 1, "198.51.100.1"),
        ("10.0.0.1", "unknown", 1, "10.0.0.1"),
        ("10.0.0.1", "2001:db8:1:2:3:4:5:6", 1, "2001:db8:1:2::/64"),
        ("10.0.0.1", "[2001:db8:1:2::9]:443", 1, "2001:db8:1:2::/64"),
        ("10.0.0.1", "::ffff:198.51.100.1", 1, "198.51.100.1"),
        ("2001:db8::1%eth0", "", 0, "2001:db8::/64"),
        ("testclient", "", 0, "testclient"),
        ("", "", 0, ""),
    ],
)
def test_who_asks(peer: str, forwarded: str, proxies: int, source: str) -> None:
    assert source_of(peer, forwarded, trusted_proxies=proxies) == source
