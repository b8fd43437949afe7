from datetime import UTC, datetime, timedelta
from decimal import Decimal

from payment_ingest.domain.ledger import Kind, Observation, occurrence_of, payment_id
from payment_ingest.domain.reconciliation import Kept, Sums, absent, compared, sums

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def invoice(number, *, paid="10.00", credited="0", currency="NZD", updated=NOW):
    return Observation(
        tenant_id="t",
        xero_invoice_id=f"i-{number}",
        updated_at=updated,
        status="AUTHORISED",
        currency=currency,
        amount_paid=Decimal(paid),
        amount_due=Decimal(0),
        amount_credited=Decimal(credited),
        settlements=(),
    )


def kept(ledger="10.00", published="10.00", updated=NOW):
    return Kept(updated, Decimal(ledger), Decimal(published))


def test_paid_and_credited_are_added_up_by_currency():
    seen = [invoice(1), invoice(2, paid="1.10", credited="2.20"), invoice(3, currency="USD")]
    found = sums(compared(seen, {"i-1": kept(), "i-2": kept("3.30", "3.30"), "i-3": kept()}))
    assert found == (
        Sums("NZD", 2, Decimal("13.30"), Decimal("13.30"), Decimal("13.30"), 0, None),
        Sums("USD", 1, Decimal("10.00"), Decimal("10.00"), Decimal("10.00"), 0, None),
    )


def test_a_cent_is_a_difference_even_where_the_sums_agree():
    seen = [invoice(1, paid="10.01"), invoice(2, paid="9.99")]
    (found,) = sums(compared(seen, {"i-1": kept(), "i-2": kept()}))
    assert found.in_xero == found.in_ledger == found.published
    assert (found.differing, found.example) == (2, "i-1")
    (found,) = sums(compared([invoice(1)], {"i-1": kept(published="9.99")}))
    assert found.differing == 1


def test_invoices_of_others_and_versions_of_yesterday_do_not_count():
    later = NOW + timedelta(seconds=1)
    assert compared([invoice(1), invoice(2)], {"i-2": kept("5", updated=later)}) == ()


def test_payments_on_what_xero_does_not_list_are_a_difference():
    (found,) = sums(absent({"i-1": "NZD"}, {"i-1": kept()}))
    assert found == Sums("NZD", 1, Decimal(0), Decimal("10.00"), Decimal("10.00"), 1, "i-1")


def test_the_id_of_a_payment_tells_which_occurrence_it_is():
    for number in (1, 2, 37):
        identity = payment_id("t", "i", Kind.PREPAYMENT, "x", number)
        assert occurrence_of(identity, "t", "i", Kind.PREPAYMENT, "x") == number
    assert occurrence_of(identity, "t", "other", Kind.PREPAYMENT, "x") is None
