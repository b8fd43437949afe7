from collections import defaultdict
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pipeline_contracts.envelope import Record
from pipeline_messaging.outbox import OutboxRow
from pipeline_messaging.publishing import lane_of, rounds

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def row(row_id: int, topic: str, key: bytes | None, attempts: int = 0) -> OutboxRow:
    return OutboxRow(row_id, Record(topic, key, b"", ()), NOW, attempts)


rows = st.lists(
    st.tuples(
        st.sampled_from(["t", "u"]), st.sampled_from([None, b"", b"a", b"b"]), st.integers(0, 1)
    )
).map(lambda drawn: [row(n, *one) for n, one in enumerate(drawn)])


def suspect(candidate: OutboxRow) -> bool:
    return candidate.attempts > 0


@given(rows)
def test_every_row_is_in_one_round(given_rows):
    sent = [one.id for together in rounds(given_rows, suspect) for one in together]
    assert sorted(sent) == [one.id for one in given_rows]


@given(rows)
def test_a_key_never_meets_itself_and_keeps_its_order(given_rows):
    seen = defaultdict(list)
    for together in rounds(given_rows, suspect):
        lanes = [lane_of(one) for one in together if lane_of(one) is not None]
        assert len(lanes) == len(set(lanes))
        for one in together:
            seen[lane_of(one)].append(one.id)
    for lane, ids in seen.items():
        assert lane is None or ids == sorted(ids)


@given(rows)
def test_suspects_and_what_follows_them_are_sent_alone_and_last(given_rows):
    cut = rounds(given_rows, suspect)
    singles = [together[0].id for together in cut if len(together) == 1 and suspect(together[0])]
    assert singles == [one.id for one in given_rows if suspect(one)]
    shapes = [any(suspect(one) for one in together) for together in cut]
    first = shapes.index(True) if True in shapes else len(cut)
    assert all(len(together) == 1 for together in cut[first:])


def test_unkeyed_and_unrelated_rows_share_the_first_round():
    given_rows = [row(n, "t", None) for n in range(3)] + [row(9, "t", b"a"), row(10, "u", b"a")]
    assert rounds(given_rows, suspect) == [given_rows]
