"""What an import decides about one invoice, from values alone."""

from dataclasses import replace

import pytest

from invoice_sync.domain import importing
from invoice_sync.domain.confirm import Seen
from invoice_sync.domain.importing import Outcome, Wanted
from invoice_sync.domain.state import IntentRef, Operation, State
from pipeline_xero.documents import XeroInvoice

CONTACT = "00000000-0000-0000-0000-0000000000c1"
OTHER = "00000000-0000-0000-0000-0000000000c2"


def element(**fields):
    line = {
        "LineItemID": "00000000-0000-0000-0000-000000000001",
        "Description": "Work",
        "Quantity": 2,
        "UnitAmount": 50,
        "AccountCode": "310",
        "TaxType": "NONE",
        "TaxAmount": 0,
    }
    return {
        "Type": "ACCREC",
        "InvoiceID": "00000000-0000-0000-0000-00000000000a",
        "InvoiceNumber": "INV-1",
        "Status": "PAID",
        "Contact": {"ContactID": CONTACT, "Name": "Kim"},
        "DateString": "2026-03-01T00:00:00",
        "DueDateString": "2026-03-31T00:00:00",
        "CurrencyCode": "NZD",
        "LineAmountTypes": "NoTax",
        "Total": 100,
        "LineItems": [line],
    } | fields


@pytest.fixture
def judged(row_of, body_of, account, now):
    def judge(*shown, taken_as=None, row=None, **changes):
        wanted = replace(Wanted(row or row_of(), body_of(), "", CONTACT, 1), **changes)
        live = importing.live_ones(wanted, shown)
        seen = None
        if len(live) == 1:
            read = XeroInvoice.from_json(live[0])
            seen = Seen(read, account, "tenant-1", "https://go.xero.com", now)
        return importing.judge(wanted, live, seen, taken_as, "user:a")

    return judge


def test_an_equal_one_is_linked_whatever_was_paid_and_whatever_pipeline_leaves_to_xero(judged):
    verdict = judged(element())
    assert verdict.outcome is Outcome.LINKED
    assert verdict.step.row.state is State.SYNCED
    assert verdict.step.link.observed == verdict.step.link.base
    assert [type(each).__name__ for each in verdict.step.events] == ["InvoiceSynced"]


@pytest.mark.parametrize(
    ("shown", "changes", "outcome"),
    [
        ((), {}, Outcome.ABSENT),
        ((element(Status="VOIDED"), element(Status="DELETED")), {}, Outcome.ABSENT),
        ((element(Type="ACCPAY"), element(InvoiceNumber="INV-10")), {}, Outcome.ABSENT),
        ((element(), element(InvoiceNumber="inv-1", InvoiceID=OTHER)), {}, Outcome.AMBIGUOUS),
        ((element(),), {"twins": 2}, Outcome.AMBIGUOUS),
        ((element(),), {"taken_as": "linked to inv-7"}, Outcome.DIFFERENT),
        ((element(),), {"contact_id": OTHER}, Outcome.DIFFERENT),
        ((element(),), {"contact_id": None}, Outcome.DIFFERENT),
        ((element(CurrencyCode="EUR"),), {}, Outcome.DIFFERENT),
        ((element(Total="100.01"),), {}, Outcome.DIFFERENT),
        ((element(LineItems=[]),), {}, Outcome.DIFFERENT),
        ((element(Reference="theirs"),), {}, Outcome.DIFFERENT),
        ((element(Status="VOIDED"), element()), {}, Outcome.LINKED),
        ((element(Type="ACCPAY"), element()), {}, Outcome.LINKED),
    ],
)
def test_in_doubt_nothing_is_linked(judged, shown, changes, outcome):
    verdict = judged(*shown, **changes)
    assert verdict.outcome is outcome
    assert verdict.message.endswith(".")
    is_linked = verdict.step is not None and verdict.step.link is not None
    assert is_linked == (outcome is Outcome.LINKED)


@pytest.mark.parametrize("state", [each for each in State if each is not State.PENDING])
def test_a_difference_is_no_failure_of_what_waits_for_something_else(judged, row_of, state):
    assert judged(element(Reference="theirs"), row=row_of(state=state)).step is None
    assert judged(element(Reference="theirs")).step.row.state is State.FAILED


def test_much_may_have_happened_since_it_was_listed(row_of):
    assert importing.unfit(row_of(), "inv-1") is None
    for unfit in (
        None,
        row_of(operation=Operation.VOID),
        row_of(state=State.VOIDED),
        row_of(synced_version=1),
        row_of(intent=IntentRef(1, 0, 1), state=State.SYNCING),
        row_of(invoice_number="INV-2"),
    ):
        assert importing.unfit(unfit, "inv-1").outcome is Outcome.SKIPPED
    assert importing.unfit(row_of(invoice_number=" "), "").outcome is Outcome.SKIPPED


def test_one_that_xero_showed_twice_is_one(judged):
    """A newcomer pushes it onto the next page, and two ways of writing a number are asked for together."""
    assert judged(element(), element()).outcome is Outcome.LINKED
