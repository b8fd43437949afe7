import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_ingest.domain.ledger import Kind, LedgerPayment
from payment_ingest.domain.sweeping import (
    FIRST,
    ListedPayment,
    Part,
    Place,
    SweepKind,
    SweepTimes,
    after,
    is_last_page,
    smaller,
    unlike_ledger,
    was_missed,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TIMES = SweepTimes(timedelta(minutes=15), timedelta(minutes=10), timedelta(minutes=1))


def test_a_recent_sweep_reads_invoices_then_payments_and_a_deep_one_invoices():
    assert after(SweepKind.RECENT, FIRST, is_last_page=False) == Place(Part.INVOICES, 2, 1000)
    payments = after(SweepKind.RECENT, Place(Part.INVOICES, 7, 100), is_last_page=True)
    assert payments == Place(Part.PAYMENTS, 1, 100)
    assert after(SweepKind.RECENT, payments, is_last_page=True) is None
    assert after(SweepKind.DEEP, FIRST, is_last_page=True) is None


@given(page=st.integers(1, 500), size=st.sampled_from([1000, 100]))
def test_smaller_pages_begin_exactly_where_the_large_one_did(page, size):
    place = smaller(Place(Part.INVOICES, page, size))
    assert (place.page - 1) * place.size == (page - 1) * size
    assert place.size < size


def test_pages_do_not_shrink_for_ever():
    assert smaller(Place(Part.INVOICES, 3, 10)) is None


@given(moment=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_the_next_deep_sweep_is_in_a_coming_night(moment):
    tenant = str(uuid.UUID(int=int(moment.timestamp())))
    times = SweepTimes(timedelta(1), timedelta(1), timedelta(1), 22, timedelta(hours=5))
    at = times.next_deep(tenant, moment)
    assert timedelta(hours=12) <= at - moment < timedelta(hours=36)
    assert (at - timedelta(hours=22)).hour < 5
    assert times.next_deep(tenant, at) - at == timedelta(days=1)


def test_the_tenants_of_a_night_are_spread_over_it():
    moments = [TIMES.next_deep(str(uuid.UUID(int=one)), NOW) for one in range(600)]
    hours = [sum(one.hour == hour for one in moments) for hour in range(6)]
    assert sum(hours) == 600
    assert min(hours) > 60


def test_a_sweep_looks_behind_its_watermark():
    assert TIMES.since(NOW) == NOW - timedelta(minutes=10)
    assert TIMES.since(None) is None
    assert TIMES.after_a_miss() == timedelta(minutes=3)


LIVE = LedgerPayment(uuid.uuid4(), Kind.PAYMENT, "p", 1, Decimal(10), reversed=False)
GONE = LedgerPayment(uuid.uuid4(), Kind.PAYMENT, "p", 1, Decimal(10), reversed=True)
CREDIT = LedgerPayment(uuid.uuid4(), Kind.CREDIT_NOTE, "p", 1, Decimal(10), reversed=False)


@pytest.mark.parametrize(
    ("amount", "is_deleted", "ledger", "is_suspect"),
    [
        ("10.00", False, [LIVE], False),
        ("10.00", True, [LIVE], True),
        ("10.00", False, [GONE], True),
        ("10.00", True, [GONE], False),
        ("11.00", False, [LIVE], True),
        ("10.00", False, [], True),
        ("10.00", True, [], False),
        ("10.00", False, [CREDIT], True),
    ],
)
def test_an_invoice_is_worth_a_look_when_its_ledger_says_otherwise(
    amount, is_deleted, ledger, is_suspect
):
    listed = ListedPayment("p", "i", Decimal(amount), is_deleted)
    assert unlike_ledger([listed], {"i": ledger}) == ({"i"} if is_suspect else set())


@pytest.mark.parametrize(
    ("updated", "is_missed"),
    [(None, True), (timedelta(hours=-3), False), (timedelta(hours=-1), True), (timedelta(), False)],
)
def test_a_webhook_should_have_told_of_what_happened_while_connected(updated, is_missed):
    updated_at = None if updated is None else NOW + updated
    assert was_missed(updated_at, NOW, NOW - timedelta(hours=2)) == is_missed


@pytest.mark.parametrize(
    ("pagination", "page", "listed", "is_last"),
    [
        ({"page": 1, "pageSize": 3, "pageCount": 2, "itemCount": 4}, 1, 2, False),
        ({"page": 2, "pageSize": 3, "pageCount": 2, "itemCount": 4}, 2, 3, True),
        ({"pageCount": 9}, 2, 0, True),  # they are gone meanwhile; asking on would never end
        ({"pageCount": 0}, 1, 0, True),
        # It lists more than it counts: the count is wrong.
        ({"pageCount": 0}, 1, 5, False),
        ({"pageCount": 2}, 3, 5, False),
        ({"pageCount": "9"}, 1, 5, False),
        (None, 1, 1, False),
        (None, 2, 0, True),
    ],
)
def test_a_page_is_the_last_when_xero_says_so_or_it_is_empty(pagination, page, listed, is_last):
    assert is_last_page(pagination, page, listed) is is_last
