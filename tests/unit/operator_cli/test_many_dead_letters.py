"""A flood of dead letters is what operators list them for: as many as are shown are held, and all are counted."""

import tracemalloc
from types import SimpleNamespace

import pytest

from pipeline_contracts import topics
from pipeline_messaging.stored_letters import StoredLetter
from pipeline_operator.commands import dead_letters

FLOOD = 2_000
SIZE = 20_000


@pytest.fixture(autouse=True)
def _flooded(monkeypatch):
    async def stored_letters(kafka, origin, *, since=None):
        if origin is not topics.INVOICES:
            return
        for number in range(FLOOD):
            yield StoredLetter.of(
                SimpleNamespace(
                    topic=origin.dead_letters, partition=number % 6, offset=number // 6,
                    timestamp=1_700_000_000_000 + number, key=b"k", value=bytes(SIZE), headers=(),
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
