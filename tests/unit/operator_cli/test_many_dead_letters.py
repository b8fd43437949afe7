"""A flood of dead letters is what operators list and replay them for: as many as are shown are held, all are counted and sent."""

import tracemalloc
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from pipeline_contracts import topics
from pipeline_messaging.dead_letter import ABOUT
from pipeline_messaging.replay import Replay
from pipeline_messaging.stored_letters import StoredLetter
from pipeline_operator.commands import dead_letters

FLOOD = 2_000
SIZE = 20_000


def _about(number):
    texts = (topics.INVOICES.name, str(number % 6), str(number // 6), "HANDLER_FAILED", "it broke")
    return tuple((name, text.encode()) for name, text in zip(ABOUT, texts, strict=True))


@pytest.fixture(autouse=True)
def _flooded(monkeypatch):
    async def stored_letters(kafka, origin, *, since=None):
        if origin is not topics.INVOICES:
            return
        for number in range(FLOOD):
            yield StoredLetter.of(
                SimpleNamespace(
                    topic=origin.dead_letters, partition=number % 6, offset=number // 6,
                    timestamp=1_700_000_000_000 + number, key=b"k", value=bytes(SIZE), headers=_about(number),
                )
            )  # fmt: skip

    monkeypatch.setattr(dead_letters, "stored_letters", stored_letters)


def test_of_a_flood_the_newest_are_listed_and_all_are_counted(run, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    tracemalloc.start()
    try:
        ran = run(lambda _: None, "dead-letters", "list", "--limit", "3", "--json")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ran.document["found"] == FLOOD
    places = [each["place"] for each in ran.document["dead_letters"]]
    assert places == [
        f"{topics.INVOICES.dead_letters}/{number % 6}/{number // 6}"
        for number in range(FLOOD - 3, FLOOD)
    ]
    assert most < FLOOD * SIZE / 4


def test_of_a_flood_each_is_sent_whole_and_none_is_held(run, monkeypatch):
    sent = []

    async def replay(kafka, letters, *, by, forced):
        async for letter in letters:
            sent.append((letter.place, len(letter.value)))
            yield Replay(letter.place, "published", by, datetime.now(UTC))

    async def past_replays(kafka):
        return {}

    monkeypatch.setattr(dead_letters, "replay", replay)
    monkeypatch.setattr(dead_letters, "past_replays", past_replays)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    arguments = ("dead-letters", "replay", "--topic", topics.INVOICES.name, "--force", "--yes")
    shown = run(lambda _: None, *arguments, "--json")
    assert (shown.document["dry_run"], len(shown.document["letters"]), sent) == (True, FLOOD, [])
    tracemalloc.start()
    try:
        ran = run(lambda _: None, *arguments, "--do", "--json")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ran.document["replayed"]) == len({place for place, _ in sent}) == FLOOD
    assert {size for _, size in sent} == {SIZE}
    assert most < FLOOD * SIZE / 3
