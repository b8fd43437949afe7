from types import SimpleNamespace

import pytest

from pipeline_contracts.envelope import Record
from pipeline_messaging.dead_letter import DeadLetter


def consumed(**changes):
    record = {
        "topic": "t", "partition": 3, "offset": 41, "timestamp": 1_700_000_000_000,
        "key": b"k", "value": b"\xff", "headers": (("ce_id", b"\xfe"), ("x-dlq-code", b"forged")),
    }  # fmt: skip
    return SimpleNamespace(**(record | changes))


def test_the_raw_bytes_are_kept_and_the_place_and_reason_added():
    assert DeadLetter(consumed(), "PAYLOAD_INVALID", "not JSON").to_record() == Record(
        "t.dlq",
        b"k",
        b"\xff",
        (
            ("ce_id", b"\xfe"),
            ("x-dlq-code", b"forged"),
            ("x-dlq-timestamp", b"1700000000000"),
            ("x-dlq-topic", b"t"),
            ("x-dlq-partition", b"3"),
            ("x-dlq-offset", b"41"),
            ("x-dlq-code", b"PAYLOAD_INVALID"),
            ("x-dlq-reason", b"not JSON"),
        ),
    )


def test_a_long_or_odd_reason_fits_a_header():
    reason = dict(DeadLetter(consumed(), "C", "\ud800" + "x" * 5_000).to_record().headers)[
        "x-dlq-reason"
    ]
    assert len(reason) <= 1_000


@pytest.mark.parametrize(
    ("key", "value", "sent"), [(None, None, b""), (b"k", None, None), (None, b"", b"")]
)
def test_what_is_sent_always_has_a_key_or_a_value(key, value, sent):
    record = DeadLetter(consumed(key=key, value=value), "TOMBSTONE", "").to_record()
    assert (record.key, record.value) == (key, sent)


@pytest.mark.parametrize("field", ["topic", "partition", "offset", "timestamp"])
def test_another_place_or_time_is_another_record(field):
    other = consumed(**{field: "u" if field == "topic" else 99})
    assert DeadLetter(consumed(), "C", "").inbox_id == DeadLetter(consumed(), "D", "").inbox_id
    assert DeadLetter(consumed(), "C", "").inbox_id != DeadLetter(other, "C", "").inbox_id
