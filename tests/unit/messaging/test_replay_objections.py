from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from pipeline_contracts import topics
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import encode
from pipeline_messaging.dead_letter import DeadLetter
from pipeline_messaging.replay import SAFE_AGE, Replay, Why, objections
from pipeline_messaging.stored_letters import Place, StoredLetter

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ORIGIN = topics.CUSTOMERS


def a_letter(*, value=None, published=NOW, origin=ORIGIN):
    event = CustomerCreated(account_id="acc-1", customer_id="c-1", version=1, name="Somebody")
    record = encode(event, id="1", source="test", time=NOW)
    read = SimpleNamespace(
        topic=origin.name, partition=2, offset=10, timestamp=int(published.timestamp() * 1000),
        key=record.key, value=value or record.value, headers=record.headers,
    )  # fmt: skip
    stored = DeadLetter(read, "HANDLER_FAILED", "why").to_record()
    return StoredLetter.of(
        SimpleNamespace(
            topic=stored.topic, partition=0, offset=5, timestamp=int(NOW.timestamp() * 1000),
            key=stored.key, value=stored.value, headers=stored.headers,
        )
    )  # fmt: skip


def whys(letter, *, past=(), newest=None, now=NOW, origin=ORIGIN):
    found = objections(letter, origin=origin, past=past, newest=newest or {}, now=now)
    return [one.why for one in found]


def done(step):
    return Replay(Place(ORIGIN.dead_letters, 0, 5), step, "ann", NOW)


def test_nothing_speaks_against_a_readable_letter_that_was_never_replayed():
    assert whys(a_letter()) == []


def test_bytes_that_break_the_contract_would_be_refused_again_and_why():
    letter = a_letter(value=b"{}")
    (one,) = objections(letter, origin=ORIGIN, past=[], newest={}, now=NOW)
    assert one.why == Why.WOULD_BE_REFUSED
    assert one.sentence.startswith("it would be refused again: PAYLOAD_INVALID: account_id: ")


def test_a_replay_is_noticed_and_a_broken_off_one_is_finished():
    assert whys(a_letter(), past=[done("begun")]) == []
    assert whys(a_letter(), past=[done("begun"), done("published")]) == [Why.REPLAYED_ALREADY]


@pytest.mark.parametrize(
    ("published", "later", "expected"),
    [
        (NOW, SAFE_AGE, []),
        (NOW, SAFE_AGE + timedelta(seconds=1), [Why.TOO_OLD]),
        (NOW - SAFE_AGE, timedelta(seconds=1), [Why.TOO_OLD]),  # taken by another long before
    ],
)
def test_what_consumers_may_have_forgotten_is_too_old(published, later, expected):
    assert whys(a_letter(published=published), now=NOW + later) == expected


def test_without_the_time_of_the_record_that_of_the_letter_counts():
    letter = a_letter(published=NOW - SAFE_AGE)
    letter = replace(letter, refused=replace(letter.refused, published_at=None))
    assert whys(letter, now=NOW + SAFE_AGE) == []
    assert whys(letter, now=NOW + SAFE_AGE + timedelta(seconds=1)) == [Why.TOO_OLD]


def test_what_nobody_can_have_taken_is_never_too_old():
    assert whys(a_letter(value=b"{}"), now=NOW + 2 * SAFE_AGE) == [Why.WOULD_BE_REFUSED]


def test_an_old_state_never_takes_the_place_of_a_newer_one():
    assert whys(a_letter(), newest={b"c-1": 10, b"c-2": 99}) == []
    assert whys(a_letter(), newest={b"c-1": 11}) == [Why.SUPERSEDED]


def test_a_letter_goes_to_no_other_topic_than_that_of_its_queue():
    forged = a_letter(origin=topics.PAYMENTS)
    in_another_queue = replace(forged, place=Place(ORIGIN.dead_letters, 0, 5))
    assert whys(in_another_queue) == [Why.NOT_OURS]
    assert whys(in_another_queue, origin=topics.PAYMENTS) == [Why.NOT_OURS]
    assert whys(replace(a_letter(), refused=None)) == [Why.NOT_OURS]


def test_a_letter_from_a_partition_that_its_topic_has_not_is_not_ours():
    """Anybody who may write there can write the headers; sending to such a partition would only fail."""
    letter = a_letter()
    for partition in (ORIGIN.partitions, 10**17):
        forged = replace(letter, refused=replace(letter.refused, partition=partition))
        assert whys(forged) == [Why.NOT_OURS]
    last = replace(letter, refused=replace(letter.refused, partition=ORIGIN.partitions - 1))
    assert whys(last) == []


def test_what_would_harm_cannot_be_forced():
    assert {why for why in Why if not why.can_be_forced} == {Why.NOT_OURS, Why.SUPERSEDED}
