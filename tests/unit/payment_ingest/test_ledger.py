"""The diff against the ledger: whatever is read in whatever order, each payment is told once and it adds up."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from payment_ingest.domain.ledger import (
    Change,
    Kind,
    LedgerPayment,
    Observation,
    Settlement,
    Weight,
    difference,
    event_id,
    is_stale,
    observation_id,
    payment_id,
    weigh,
)

TENANT = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
INVOICE = "44aa0707-f718-4f1c-8d53-f2da9ca59533"
START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def paid(xero_id, amount, kind=Kind.PAYMENT, paid_on=date(2026, 11, 22)):
    return Settlement(kind, xero_id, Decimal(amount), paid_on, None)


def observed(*settlements, updated_at=START, total="100", amount_paid=None, amount_credited=None):
    by_money = sum((one.amount for one in settlements if one.kind is Kind.PAYMENT), Decimal(0))
    by_credit = sum((one.amount for one in settlements if one.kind is not Kind.PAYMENT), Decimal(0))
    return Observation(
        tenant_id=TENANT,
        xero_invoice_id=INVOICE,
        updated_at=updated_at,
        status="AUTHORISED",
        currency="NZD",
        amount_paid=by_money if amount_paid is None else Decimal(amount_paid),
        amount_due=Decimal(total) - by_money - by_credit,
        amount_credited=by_credit if amount_credited is None else Decimal(amount_credited),
        settlements=settlements,
    )


def apply(ledger, movements):
    """What the store does with movements."""
    for one in movements:
        if one.change is Change.RECORDED:
            assert one.payment_id not in ledger
            ledger[one.payment_id] = LedgerPayment(
                one.payment_id,
                one.settlement.kind,
                one.settlement.xero_id,
                one.occurrence,
                one.settlement.amount,
                reversed=False,
            )
        else:
            known = ledger[one.payment_id]
            assert not known.reversed
            ledger[one.payment_id] = LedgerPayment(
                known.payment_id,
                known.kind,
                known.xero_id,
                known.occurrence,
                known.amount,
                reversed=True,
            )


def test_a_new_payment_is_recorded_and_the_same_read_again_says_nothing():
    ledger = {}
    seen = observed(paid("a", "10"))
    (movement,) = difference([], seen)
    assert movement.change is Change.RECORDED
    assert movement.payment_id == payment_id(TENANT, INVOICE, Kind.PAYMENT, "a", 1)
    apply(ledger, [movement])
    assert difference(list(ledger.values()), seen) == ()


def test_a_payment_no_longer_shown_is_reversed():
    ledger = {}
    apply(ledger, difference([], observed(paid("a", "10"), paid("b", "20"))))
    (movement,) = difference(list(ledger.values()), observed(paid("b", "20")))
    assert (movement.change, movement.settlement.xero_id) == (Change.REVERSED, "a")
    assert movement.settlement.amount == 10


def test_an_allocation_removed_and_made_again_is_a_new_payment():
    ledger = {}
    note = paid("note", "30", Kind.CREDIT_NOTE)
    first = difference([], observed(note))
    apply(ledger, first)
    apply(ledger, difference(list(ledger.values()), observed()))
    again = difference(list(ledger.values()), observed(note))
    assert again[0].occurrence == 2
    assert again[0].payment_id != first[0].payment_id


def test_an_allocation_of_another_amount_reverses_the_old_and_records_the_new():
    ledger = {}
    apply(ledger, difference([], observed(paid("note", "30", Kind.CREDIT_NOTE))))
    movements = difference(list(ledger.values()), observed(paid("note", "45", Kind.CREDIT_NOTE)))
    assert [(one.change, one.settlement.amount) for one in movements] == [
        (Change.REVERSED, 30),
        (Change.RECORDED, 45),
    ]


def test_one_credit_note_allocated_twice_to_an_invoice_counts_once_summed():
    seen = observed(paid("note", "10", Kind.CREDIT_NOTE), paid("note", "5", Kind.CREDIT_NOTE))
    (movement,) = difference([], seen)
    assert movement.settlement.amount == 15


def test_the_same_id_in_two_kinds_is_two_payments():
    seen = observed(paid("x", "1", Kind.OVERPAYMENT), paid("x", "1", Kind.PREPAYMENT))
    assert len({one.payment_id for one in difference([], seen)}) == 2


def test_a_list_shorter_than_its_balance_reverses_nothing_but_still_records():
    ledger = {}
    apply(ledger, difference([], observed(paid("a", "10"))))
    seen = observed(paid("b", "20"), amount_paid="30")
    assert not seen.complete
    (movement,) = difference(list(ledger.values()), seen)
    assert (movement.change, movement.settlement.xero_id) == (Change.RECORDED, "b")


def test_a_payment_of_nothing_is_no_payment():
    assert difference([], observed(paid("a", "0"))) == ()


def test_new_payments_come_in_the_order_of_their_dates():
    seen = observed(
        paid("b", "1", paid_on=date(2026, 11, 3)),
        paid("a", "2", paid_on=date(2026, 11, 4)),
        paid("c", "3", paid_on=date(2026, 11, 2)),
    )
    assert [one.settlement.xero_id for one in difference([], seen)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("now", "before", "stale"),
    [
        (START, None, False),
        (None, START, False),
        (START, START, False),
        (START + timedelta(milliseconds=1), START, False),
        (START, START + timedelta(milliseconds=1), True),
    ],
)
def test_only_an_older_version_is_stale(now, before, stale):
    assert is_stale(now, before) is stale


@pytest.mark.parametrize(
    ("updated", "observed", "last_updated", "last_observed", "weight"),
    [
        (5, 10, 5, 10, Weight.NEWS),
        (5, 11, 5, 10, Weight.NEWS),
        (5, 9, None, None, Weight.NEWS),
        (6, 9, 5, 10, Weight.NEWS),  # newer, whatever the clocks say
        # Given before what is known: it cannot show what came since.
        (5, 9, 5, 10, Weight.DOUBTFUL),
        (None, 9, 5, 10, Weight.DOUBTFUL),
        (4, 9, 5, 10, Weight.OLD),
        # Given later, and yet an older version: a server that lags behind, or times of change that went back.
        (4, 10, 5, 10, Weight.DOUBTFUL),
        (4, 40, 5, 10, Weight.DOUBTFUL),
        (4, 41, 5, 10, Weight.NEWS),
        (4, 41, 5, None, Weight.OLD),
    ],
)
def test_what_an_answer_is_worth(updated, observed, last_updated, last_observed, weight):
    def at(second):
        return None if second is None else datetime(2026, 11, 22, 10, 0, second, tzinfo=UTC)

    assert weigh(at(updated), at(observed), at(last_updated), at(last_observed)) is weight


def test_ids_are_stable_for_ever():
    # A changed derivation would tell every payment again under a new id.
    identity = payment_id(TENANT, INVOICE, Kind.PAYMENT, "0d666415-cf77-43fa-80c7-56775591d426", 1)
    assert str(identity) == "c0e2d369-b6ca-52b7-960a-bb0aca2e246e"
    assert str(event_id(identity, Change.RECORDED)) == "b7dff5d8-3118-5ae2-be35-7be63726770c"
    assert str(event_id(identity, Change.REVERSED)) == "f5bd4e40-d7ac-5ec4-abd9-62091dcf12e8"
    assert (
        str(observation_id(TENANT, INVOICE, 3, b"seen")) == "c6f7f458-b49c-5248-b7bf-98327148127b"
    )


class Books(RuleBasedStateMachine):
    """Someone works in Xero while reads happen at any time and arrive late, repeated or in another order."""

    TOTAL = Decimal(1000)

    def __init__(self):
        super().__init__()
        self.live: dict[tuple[Kind, str], Decimal] = {}
        self.counter = 0
        self.clock = START
        self.reads: list[Observation] = []
        self.ledger: dict = {}
        self.last_seen: datetime | None = None
        self.told: list = []
        self._change()

    def _change(self):
        self.clock += timedelta(milliseconds=1)
        self.reads.append(self._snapshot())

    def _snapshot(self):
        return observed(
            *(paid(xero_id, amount, kind) for (kind, xero_id), amount in self.live.items()),
            updated_at=self.clock,
            total=self.TOTAL,
        )

    @property
    def due(self):
        return self.TOTAL - sum(self.live.values(), Decimal(0))

    @precondition(lambda self: self.due > 0)
    @rule(share=st.integers(1, 100))
    def pay(self, share):
        self.counter += 1
        amount = max((self.due * share / 100).quantize(Decimal("0.01")), Decimal("0.01"))
        self.live[Kind.PAYMENT, f"payment-{self.counter}"] = amount
        self._change()

    @precondition(lambda self: self.due > 0)
    @rule(
        kind=st.sampled_from([Kind.CREDIT_NOTE, Kind.OVERPAYMENT, Kind.PREPAYMENT]),
        document=st.integers(1, 3),
        share=st.integers(1, 100),
    )
    def allocate(self, kind, document, share):
        amount = max((self.due * share / 100).quantize(Decimal("0.01")), Decimal("0.01"))
        key = kind, f"document-{document}"
        self.live[key] = self.live.get(key, Decimal(0)) + amount
        self._change()

    @precondition(lambda self: self.live)
    @rule(which=st.integers(min_value=0))
    def remove(self, which):
        del self.live[sorted(self.live)[which % len(self.live)]]
        self._change()

    @rule()
    def edit_something_else(self):
        self._change()

    @rule(which=st.integers(min_value=0))
    def read_arrives(self, which):
        self._take(self.reads[which % len(self.reads)])

    @rule()
    def read_now(self):
        self._take(self._snapshot())

    @rule()
    def read_now_truncated(self):
        """An answer that leaves the payments out, as an unpaged list does."""
        whole = self._snapshot()
        self._take(
            Observation(
                whole.tenant_id,
                whole.xero_invoice_id,
                whole.updated_at,
                whole.status,
                whole.currency,
                whole.amount_paid,
                whole.amount_due,
                whole.amount_credited,
                whole.settlements[:1],
            ),
            remember=False,
        )

    def _take(self, seen, *, remember=True):
        if is_stale(seen.updated_at, self.last_seen):
            return
        movements = difference(list(self.ledger.values()), seen)
        apply(self.ledger, movements)
        self.told += movements
        self.last_seen = seen.updated_at
        if remember and seen.complete:
            assert self._sum() == seen.amount_paid + seen.amount_credited

    def _sum(self):
        sign = {Change.RECORDED: 1, Change.REVERSED: -1}
        return sum((sign[one.change] * one.settlement.amount for one in self.told), Decimal(0))

    @invariant()
    def each_is_told_once(self):
        assert all(count == 1 for count in Counter(one.event_id for one in self.told).values())

    @invariant()
    def nothing_is_reversed_before_it_was_recorded(self):
        recorded = set()
        for one in self.told:
            if one.change is Change.RECORDED:
                recorded.add(one.payment_id)
            else:
                assert one.payment_id in recorded

    def teardown(self):
        self._take(self._snapshot())
        live = {
            (one.kind, one.xero_id): one.amount for one in self.ledger.values() if not one.reversed
        }
        assert live == self.live
        assert self._sum() == sum(self.live.values(), Decimal(0))


Books.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase
