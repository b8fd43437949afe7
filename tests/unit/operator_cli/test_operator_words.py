"""What is shown: sentences, timelines, and whatever others sent without its effect on a terminal."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_operator.commands.keys import next_step as next_key_step
from pipeline_operator.commands.keys import sealed_under
from pipeline_operator.failure import Failure
from pipeline_operator.screen import Screen, ago, clean, shown
from pipeline_operator.session import since
from pipeline_operator.timeline import next_step, story

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SYNC = {
    "state": "pending", "cause": None, "next_attempt_at": None, "queue": None, "in_xero": None,
    "timeline": [
        {"at": "2026-03-01T09:00:00Z", "kind": "InvoiceCreated", "version": 1, "code": None, "detail": None},
        {"at": "2026-03-01T11:00:00Z", "kind": "sync_failed", "version": 1, "code": "C", "detail": "why"},
    ],
}  # fmt: skip
PAYMENTS = {
    "payments": [
        {"kind": "payment", "amount": "15.00", "currency": "NZD", "story": [
            {"rung_at": "2026-03-01T10:00:00Z", "recorded_at": "2026-03-01T10:00:05Z",
             "change": "recorded", "found_by": "webhook", "amount_due": "100.00"}]},
    ]
}  # fmt: skip


@given(st.text())
def test_nothing_that_is_shown_moves_the_cursor(text):
    assert clean(text).isprintable() or not clean(text)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("Zoë [bold] ☕", "Zoë [bold] ☕"),
    ],
)
def test_what_others_sent_is_shown_and_not_obeyed(sent, seen):
    assert clean(sent) == seen


def test_both_services_tell_one_story_in_order():
    told = [(each.told_by, each.what) for each in story(SYNC, PAYMENTS)]
    assert told == [
        ("invoice-sync", "InvoiceCreated version 1"),
        ("payment-ingest", "Xero's webhook about payment of 15.00 NZD"),
        ("payment-ingest", "payment of 15.00 NZD recorded, found by webhook: 100.00 NZD still due"),
        ("invoice-sync", "sync_failed version 1: C: why"),
    ]
    assert len(story(SYNC, None)) == 2


@pytest.mark.parametrize(
    ("changes", "says", "step"),
    [
        ({}, "It is pending.", "it goes on by itself"),
        ({"state": "voided"}, "It is voided.", "Nothing to do."),
        ({"state": "synced", "in_xero": {"invoice_number": "INV-1"}}, "in Xero as INV-1", "Nothing"),
        ({"queue": {"ahead": 3, "is_exact": False, "expected_at": "2026-03-01T12:30:00Z"}},
         "more than 3 invoices are before it, about 2026-03-01 12:30 UTC", "by itself"),
        ({"state": "failed", "cause": {"message": "M.", "hint": "H.", "whose_move": "support"},
          "next_attempt_at": "2026-03-01T13:00:00Z"},
         "M.", "H. (Move: support.) It is tried again at 2026-03-01 13:00 UTC by itself."),
    ],
)  # fmt: skip
def test_an_invoice_says_where_it_stands_and_the_next_step(changes, says, step):
    found = next_step({**SYNC, **changes})
    assert says in found[0]
    assert step in found[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("90m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-03-01T09:30:00+01:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_span_or_a_moment(text, expected):
    assert since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "-1d", "1w", "٣d", "2026-03-01", "99999999999d"])
def test_what_is_no_time_says_what_is(text):
    with pytest.raises(Failure, match="is no time") as told:
        since(text, NOW)
    assert "90m" in told.value.hint


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)  # fmt: skip
def test_how_long_ago(seconds, words):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words
    assert ago(None, NOW) == "never"


def test_a_cell_is_text():
    assert [shown(cell) for cell in (None, "", True, False, 0, NOW)] == [
        "-", "-", "yes", "no", "0", "2026-03-01 12:00:00Z",
    ]  # fmt: skip


def under(**keys):
    return sealed_under(
        {
            f'xero_sealed_values{{key_version="{version}",opens="{opens}"}}': float(number)
            for version, (opens, number) in keys.items()
        }
        | {"xero_breaker_state": 1.0}
    )


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        ({}, "Nothing is sealed yet"),
        ({"v1": ("yes", 4), "v0": ("yes", 0)}, "Everything is under v1"),
        ({"v1": ("yes", 4), "v2": ("yes", 1)}, "a rotation is under way"),
        ({"v1": ("no", 4), "v2": ("yes", 1)}, "The connector lacks v1"),
    ],
)
def test_a_rotation_says_what_comes_next(keys, step):
    assert step in next_key_step(under(**keys))


def test_a_table_without_rows_says_so(capsys):
    Screen(as_json=False).table(("name", "amount"), [])
    assert capsys.readouterr().out == "None.\n"
