from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_messaging.dead_letter import DeadLetter
from pipeline_messaging.stored_letters import Place, StoredLetter

AT = 1_700_000_000_000
headers = st.lists(
    st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=40)), max_size=6
).map(tuple)


def consumed(**changes):
    record = {
        "topic": "t", "partition": 3, "offset": 41, "timestamp": AT,
        "key": b"k", "value": b'{"account_id": "acc-1"}', "headers": (("ce_id", b"\xfe"),),
    }  # fmt: skip
    return SimpleNamespace(**(record | changes))


def lying(record, offset=7):
    """A record as it then lies in the dead letter topic."""
    return SimpleNamespace(
        topic=record.topic,
        partition=0,
        offset=offset,
        timestamp=AT,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )


@given(headers, st.binary(max_size=20), st.none() | st.binary(max_size=200))
def test_a_letter_gives_back_the_very_record_and_what_was_noted(sent, key, value):
    record = consumed(headers=sent, key=key, value=value)
    letter = StoredLetter.of(lying(DeadLetter(record, "PAYLOAD_INVALID", "not JSON").to_record()))
    assert (letter.key, letter.value, letter.headers) == (key, value, sent)
    assert (letter.refused.topic, letter.refused.partition, letter.refused.offset) == ("t", 3, 41)
    assert (letter.refused.code, letter.refused.reason) == ("PAYLOAD_INVALID", "not JSON")
    assert letter.refused.published_at == datetime.fromtimestamp(AT / 1000, UTC)
    assert letter.place == Place("t.dlq", 0, 7)
    assert letter.replayed_from is None


@pytest.mark.parametrize("timestamp", [-1, 2**62, -(2**62)])
def test_a_record_of_any_time_is_taken_apart(timestamp):
    record = lying(DeadLetter(consumed(), "C", "why").to_record())
    record.timestamp = timestamp
    letter = StoredLetter.of(record)
    assert letter.at.year < 1971
    assert letter.original.value == record.value


@pytest.mark.parametrize("time", [b"soon", b"9" * 30, None])
def test_a_letter_of_an_earlier_release_has_no_time_of_its_record(time):
    record = DeadLetter(consumed(headers=()), "C", "why").to_record()
    without = record.headers[1:]
    assert StoredLetter.of(lying(replace(record, headers=without))).refused.published_at is None
    odd = StoredLetter.of(lying(replace(record, headers=(("x-dlq-timestamp", time), *without))))
    assert odd.headers == (("x-dlq-timestamp", time),)  # not ours, so it is part of what was read


@given(headers)
def test_a_letter_that_comes_back_names_the_one_before_and_never_grows(sent):
    first = StoredLetter.of(lying(DeadLetter(consumed(headers=sent), "C", "why").to_record()))
    letter = first
    for offset in (8, 9):
        again = letter.replayed("ann")
        assert again.headers == (
            *sent,
            ("x-dlq-replay-of", str(letter.place).encode()),
            ("x-dlq-replay-by", b"ann"),
        )
        came_back = DeadLetter(consumed(headers=again.headers), "C", "why").to_record()
        before, letter = letter, StoredLetter.of(lying(came_back, offset))
        assert letter.replayed_from == str(before.place)
        assert letter.headers == sent


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (("x-dlq-topic", b"t"),),
        (("x-dlq-topic", b"t"), ("x-dlq-partition", b"one"), ("x-dlq-offset", b"1"),
         ("x-dlq-code", b"C"), ("x-dlq-reason", b"why")),
        (("x-dlq-topic", b"t"), ("x-dlq-partition", b"1"), ("x-dlq-offset", None),
         ("x-dlq-code", b"C"), ("x-dlq-reason", b"why")),
        (("x-dlq-topic", b"t"), ("x-dlq-partition", "²".encode()), ("x-dlq-offset", b"1"),
         ("x-dlq-code", b"C"), ("x-dlq-reason", b"why")),
    ],
)  # fmt: skip
def test_what_somebody_else_put_there_is_no_letter_of_ours(sent):
    letter = StoredLetter.of(lying(consumed(topic="t.dlq", headers=sent)))
    assert letter.refused is None
    assert letter.headers == sent


@pytest.mark.parametrize(
    ("value", "account"),
    [
        (b'{"account_id": "acc-1"}', "acc-1"),
        (b'{"account_id": 7}', None),
        (b"[1]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (None, None),
    ],
)
def test_the_account_is_told_where_it_can_be_read(value, account):
    letter = StoredLetter.of(lying(DeadLetter(consumed(value=value), "C", "").to_record()))
    assert letter.account_id == account


def test_a_place_is_written_and_read_the_same_way():
    place = Place("pipeline.invoices.v1.dlq", 0, 17)
    assert str(place) == "pipeline.invoices.v1.dlq/0/17"
    assert Place.parse(f" {place}\n") == place


@pytest.mark.parametrize(
    "text",
    ["", "t", "t/1", "t/1/", "t/-1/2", "t/1/2/3", "/1/2", "t/1/x", "t/1/²", "t/1/" + "9" * 30],
)
def test_what_is_no_place_is_refused_with_the_form_expected(text):
    with pytest.raises(ValueError, match=r"pipeline\.invoices\.v1\.dlq/0/17"):
        Place.parse(text)
