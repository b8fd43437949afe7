"""Reading invoice-sync's summary: only what it promises is believed."""

import json

import pytest

from connector.clients.invoice_sync import Counts, read_counts

GOOD = {
    "account_id": "a",
    "states": {"pending": 3, "synced": 6, "failed": 7, "out_of_sync": 8, "new_state": 5},
    "waiting": 3,
    "failed": 7,
    "synced": 6,
    "something_new": [],
}


def test_a_summary_is_read_and_what_is_new_in_it_is_ignored():
    assert read_counts(json.dumps(GOOD).encode()) == Counts(waiting=3, synced=6, needing_help=15)


@pytest.mark.parametrize(
    "wrong",
    [
        {"waiting": None},
        {"waiting": -1},
        {"waiting": "3"},
        {"waiting": True},
        {"waiting": 1.5},
        {"synced": None},
        {"states": None},
        {"states": []},
        {"states": {"failed": 1}},
        {"states": {"failed": "1", "out_of_sync": 1}},
    ],
)
def test_a_summary_that_does_not_count_is_no_summary(wrong):
    assert read_counts(json.dumps(GOOD | wrong).encode()) is None


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"1", b"<html>", b"\xff\xfe", b"[" * 100_000]
)
def test_anything_else_is_no_summary(body):
    assert read_counts(body) is None
