"""Records once published must be read for ever, and mean what they meant.

The files are history: add one for every new version or oddity met, never edit one.
"""

import json
from pathlib import Path

import pytest

from pipeline_contracts import EVENT_TYPES, decode, encode

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
EVERY = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def load(path):
    golden = json.loads(path.read_text(encoding="utf-8"))
    headers = tuple((name, raw.encode()) for name, raw in golden["headers"])
    return golden, headers, golden["value"].encode()


def assert_still_says(now, then, place=""):
    """Everything it said then it says now; it may say more."""
    if isinstance(then, dict):
        for name, part in then.items():
            assert name in now, f"{place}.{name}"
            assert_still_says(now[name], part, f"{place}.{name}")
    elif isinstance(then, list):
        assert len(now) == len(then), place
        for index, part in enumerate(then):
            assert_still_says(now[index], part, f"{place}.{index}")
    else:
        assert now == then, place


@EVERY
def test_a_golden_record_is_read_and_means_what_it_meant(path):
    golden, headers, value = load(path)
    envelope = decode(key=golden["key"].encode(), value=value, headers=headers)
    assert envelope.subject == golden["key"]
    assert envelope.id == dict(golden["headers"])["ce_id"]
    assert envelope.time.isoformat().startswith("2026-03-01T09:30:00")
    assert_still_says(
        json.loads(envelope.event.model_dump_json(exclude_none=True)), golden["event"]
    )


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_event_has_a_golden_record_whose_bytes_are_still_written(event_type):
    """A consumer that hashes bodies, or compares copies of one event, relies on the bytes."""
    golden, headers, value = load(Path(__file__).parent / "golden" / f"{event_type}.json")
    envelope = decode(key=golden["key"].encode(), value=value, headers=headers)
    again = encode(
        envelope.event,
        id=envelope.id,
        source=envelope.source,
        time=envelope.time,
        traceparent=envelope.traceparent,
    )
    assert again.value == value
    assert again.headers == headers
