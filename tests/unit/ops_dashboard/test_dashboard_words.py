"""The dashboard's decisions: freshness, colours, marks of pages, bytes that are shown."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_dashboard.domain import paging
from ops_dashboard.domain.connections import tone
from ops_dashboard.domain.freshness import Sample, freshness
from ops_dashboard.domain.odd_records import account_named, clean, hex_lines, readable
from ops_dashboard.domain.paging import After
from ops_dashboard.domain.telling import by_line, safe_link
from ops_dashboard.handlers.overview import odd_words

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("behind", "seen", "complete", "samples", "is_fresh", "words"),
    [
        (None, None, None, [], False, "only begun"),
        (0, ago(5), ago(10), [], True, "Up to date"),
        (900, ago(5), ago(10), [], True, "Up to date"),
        (1, ago(5), None, [], True, "Up to date"),
        (1, ago(5), ago(7300), [], False, "not taken in everything for 2 hours: 1 record waits"),
        (900, ago(5), ago(120), [], False, "for 2 minutes: 900 records wait"),
        (1_000_000, ago(5), ago(900), [], False, "1,000,000 records behind"),
        (
            1_000_000,
            ago(5),
            ago(900),
            [(60, 1_600_000), (0, 1_000_000)],
            False,
            "in about 1 minute",
        ),
        (
            1_000_000,
            ago(5),
            ago(900),
            [(60, 900_000), (0, 1_000_000)],
            False,
            "does not get nearer",
        ),
        (5, ago(300), ago(310), [], False, "Kafka has not answered for 5 minutes"),
    ],
)
def test_freshness_is_said_in_words(behind, seen, complete, samples, is_fresh, words):
    told = [Sample(ago(at), number) for at, number in samples]
    found = freshness(behind, seen, complete, told, NOW)
    assert found.is_fresh is is_fresh
    assert words in found.words


@pytest.mark.parametrize(
    ("status", "reason", "can_refresh", "expected"),
    [
        ("CONNECTED", "REFRESHED", False, "good"),
        ("CONNECTED", "DAY_BUDGET_LOW", False, "warn"),
        ("CONNECTED", "DAY_BUDGET_RESTORED", False, "good"),
        ("TOKEN_EXPIRED", "CLIENT_REJECTED", True, "warn"),
        ("TOKEN_EXPIRED", "EXPIRED_UNUSED", False, "bad"),
        ("DISCONNECTED", "REVOKED_IN_XERO", False, "bad"),
        ("DISCONNECTED", "NEVER_CONNECTED", False, "never"),
        ("SOMETHING_NEW", "X", False, "warn"),
    ],
)
def test_each_state_has_its_colour(status, reason, can_refresh, expected):
    assert tone(status, reason, can_refresh=can_refresh) == expected


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("https://go.xero.com/app/x", True),
        ("https://xero.com/", True),
        ("http://go.xero.com/", False),
        ("javascript:alert(1)//xero.com", False),
        ("https://xero.com.evil.example/", False),
        ("https://evilxero.com/", False),
        # Browsers take the first backslash for the end of the host.
        ("https://evil.example\\.xero.com/", False),
        ("https://evil.example\\@go.xero.com/", False),
        ("https://evil.example%2f.xero.com/", False),
        ("https://x@go.xero.com/", False),
        ("https://go.xero.com:8443/", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_only_xeros_addresses_are_links(address, safe):
    assert (safe_link(address) == address) is (safe and address != "")
    assert safe or safe_link(address) is None


@given(st.binary(max_size=3_000))
def test_any_bytes_can_be_shown_and_stored(content):
    for text in (
        readable(content) or "",
        clean(content.decode(errors="replace")),
        *hex_lines(content),
    ):
        assert "\0" not in text
        text.encode()
    account_named(content)


@given(st.text(max_size=300))
def test_any_mark_of_a_page_is_read(text):
    paging.read(text)
    after = After(NOW, text.replace("\0", ""))
    assert paging.read(paging.written(after)) == after


def test_accounts_are_named_only_as_ids_may_be():
    assert account_named(b'{"account_id": "acc-1"}') == "acc-1"
    for body in (b"", b"[]", b'{"account_id": 7}', b'{"account_id": ""}', b"[" * 100_000,
                 b'{"account_id": "a\\u0000"}', b'{"account_id": "\\ud800"}'):  # fmt: skip
        assert account_named(body) is None


def test_what_could_not_be_used_is_counted_no_further_than_it_is_said():
    assert [odd_words(count) for count in (0, 1, 999, 1_000)] == [
        "",
        "1 record could not be used",
        "999 records could not be used",
        "1,000 or more records could not be used",
    ]


def test_differences_stand_line_by_line_behind_the_invoice():
    found = by_line(
        [{"field": "lines[a].unit_amount"}, {"field": "due_date"}, {"field": "lines[a]"}]
    )
    assert [(title, [each["field"] for each in rows]) for title, rows in found] == [
        ("The invoice", ["due date"]),
        ("Line a", ["unit amount", "the whole line"]),
    ]
