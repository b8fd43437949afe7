"""A change of which nobody knows whether it arrived, judged by what Xero shows now."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from invoice_sync.domain import confirm, lifecycle, update
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.mapping import invoices_body, to_xero
from invoice_sync.domain.outcome import answer_to
from invoice_sync.domain.state import IntentRef, Operation, State
from pipeline_contracts.sync import InvoiceSynced, OutOfSync
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.outcomes import element_result

CONTACT = "5f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"
XERO_ID = "243216c5-369e-4056-ac67-05388f86dc81"
OTHER_ID = "343216c5-369e-4056-ac67-05388f86dc82"
REFERENCES = ("one", "two", "theirs")
TERMS = Terms(AccountSettings(), "200")
DUE_DATES = ("2026-03-31", "2026-05-31")


class World:
    """An invoice in step at version 1, and its change to version 2 under way."""

    def __init__(self, body_of, row_of, settings, account, now) -> None:
        self.body_of, self.settings, self.account, self.now = body_of, settings, account, now
        first = body_of(reference="one")
        row = row_of(
            state=State.SYNCING, intent=IntentRef(1, 0, 1), desired=first.model_dump_json()
        )
        row = replace(row, sent=row.desired, tenant_id="tenant-1")
        step = confirm.created(row, first, 1, self.seen(first))
        second = body_of(version=2, reference="two")
        row = replace(step.row, version=2, desired=second.model_dump_json())
        push = update.resolve(row, step.link, CONTACT, self.seen(first), settings, TERMS)
        assert isinstance(push, update.Change)
        self.element = json.loads(invoices_body([push.element]))["Invoices"][0]
        assert set(self.element) == {"InvoiceID", "Reference"}
        self.link = push.push.link
        sending = lifecycle.sending(push.push.step.row, IntentRef(2, 0, 2), "tenant-1", None, "")
        self.row = replace(sending.row, sent=row.desired)

    def seen(self, body, **changes):
        element = json.loads(
            invoices_body([to_xero(body, CONTACT, self.settings)]), parse_float=Decimal
        )["Invoices"][0]
        for number, line in enumerate(element["LineItems"], 1):
            line["LineItemID"] = f"l-{number}"
        found = element | {"InvoiceID": XERO_ID, "Total": body.total} | changes
        invoice = XeroInvoice.from_json(found)
        return confirm.Seen(invoice, self.account, "tenant-1", "https://go.xero.com", self.now)

    def settle(self, seen, row=None, element=None):
        return update.after_unknown(
            row or self.row, self.link, element or self.element, CONTACT, seen, self.settings, TERMS
        )


@pytest.fixture
def world(body_of, row_of, settings, account, now):
    return World(body_of, row_of, settings, account, now)


def test_as_before_nothing_has_arrived(world):
    assert world.settle(world.seen(world.body_of(reference="one"))) is None


def test_a_payment_or_a_time_stamp_is_no_edit(world):
    paid = world.seen(
        world.body_of(reference="one"),
        AmountPaid=Decimal(10),
        UpdatedDateUTC="/Date(1795000000000+0000)/",
    )
    assert world.settle(paid) is None


def test_what_was_sent_is_there_so_it_arrived(world):
    step = world.settle(world.seen(world.body_of(reference="two")))
    (event,) = step.events
    assert isinstance(event, InvoiceSynced)
    assert (event.version, step.row.state, step.row.intent) == (2, State.SYNCED, None)
    assert step.link.base["reference"] == "two"


def test_an_edit_of_the_very_same_field_is_told_and_not_overwritten(world):
    step = world.settle(world.seen(world.body_of(reference="theirs")))
    (event,) = step.events
    assert isinstance(event, OutOfSync)
    (difference,) = event.differences
    assert (difference.field, difference.base, difference.pipeline, difference.xero) == (
        "reference",
        "one",
        "two",
        "theirs",
    )
    assert (step.row.state, step.row.intent) == (State.OUT_OF_SYNC, None)


def test_an_arrived_change_with_a_newer_version_waiting_is_no_conflict(world):
    third = world.body_of(version=3, reference="three")
    row = replace(world.row, version=3, desired=third.model_dump_json())
    step = world.settle(world.seen(world.body_of(reference="two")), row)
    assert [type(each) for each in step.events] == [InvoiceSynced]
    assert (step.row.state, step.row.synced_version) == (State.PENDING, 2)
    assert step.row.due_at == world.now


def test_an_arrived_line_is_known_by_its_place(world, line_of):
    lines = [line_of("1"), line_of("2")]
    second = world.body_of(version=2, reference="two", lines=lines)
    row = replace(world.row, sent=second.model_dump_json(), desired=second.model_dump_json())
    step = world.settle(world.seen(second), row)
    assert [type(each) for each in step.events] == [InvoiceSynced]
    assert step.link.line_item_ids == {"1": "l-1", "2": "l-2"}


def test_a_line_that_both_sides_have_added_is_no_conflict(world, line_of):
    lines = [line_of("1"), line_of("2")]
    wanted = world.body_of(version=2, reference="one", lines=lines)
    row = replace(
        world.row, state=State.PENDING, intent=None, sent=None, desired=wanted.model_dump_json()
    )
    step = update.resolve(row, world.link, CONTACT, world.seen(wanted), world.settings, TERMS)
    assert [type(each) for each in step.events] == [InvoiceSynced]
    assert step.link.line_item_ids == {"1": "l-1", "2": "l-2"}
    other = world.body_of(lines=[line_of("1"), line_of("2", quantity="9")])
    step = update.resolve(row, world.link, CONTACT, world.seen(other), world.settings, TERMS)
    assert [type(each) for each in step.events] == [OutOfSync]


def test_a_void_has_arrived_once_the_invoice_is_withdrawn(world):
    row = replace(world.row, operation=Operation.VOID)
    void = update.void_element(world.link)
    gone = world.seen(world.body_of(reference="one"), Status="VOIDED")
    assert world.settle(gone, row, void).row.state is State.VOIDED
    assert world.settle(world.seen(world.body_of(reference="one")), row, void) is None


def test_withdrawn_by_somebody_else_is_a_conflict_of_a_change(world):
    gone = world.seen(world.body_of(reference="one"), Status="VOIDED")
    assert world.settle(gone).row.state is State.OUT_OF_SYNC


def test_gone_from_xero_is_said(world):
    step = world.settle(None)
    assert step.row.block.code == "INVOICE_GONE_FROM_XERO"
    assert step.row.intent is None


@profile(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reference=st.sampled_from(REFERENCES),
    due_date=st.sampled_from(DUE_DATES),
    newest=st.none() | st.sampled_from(REFERENCES),
)
def test_whatever_xero_shows_only_the_unchanged_invoice_is_ever_sent_again(
    world, reference, due_date, newest
):
    xero = (reference, due_date)
    row = world.row
    if newest is not None:
        body = world.body_of(version=3, reference=newest)
        row = replace(row, version=3, desired=body.model_dump_json())
    step = world.settle(world.seen(world.body_of(reference=reference, due_date=due_date)), row)
    if xero == ("one", DUE_DATES[0]):
        assert step is None
    elif xero == ("two", DUE_DATES[0]):
        assert step.row.synced_version == 2
    else:
        wanted = (newest or "two", DUE_DATES[0])
        calm = wanted in {xero, ("one", DUE_DATES[0])}
        assert step.row.state is (State.SYNCED if calm else State.OUT_OF_SYNC)
        assert step.row.intent is None
        assert step.link.observed["reference"] == reference


def answered(*ids):
    return [element_result({"InvoiceID": each}, "Invoices") for each in ids]


def test_an_answer_is_known_by_its_id_in_any_place(world):
    mine, other = answered(XERO_ID, OTHER_ID)
    at_second = replace(world.row, intent=IntentRef(2, 1, 2))
    for row in (world.row, at_second):
        assert answer_to(row, world.link, [other, mine], [other, mine]) is mine
        assert answer_to(row, world.link, [mine], ()) is mine


def test_an_answer_that_names_another_invoice_is_not_ours(world):
    (other,) = answered(OTHER_ID)
    assert answer_to(world.row, world.link, [other], [other]) is None


@pytest.mark.parametrize("nameless", ["", "00000000-0000-0000-0000-000000000000"])
def test_a_nameless_answer_is_known_by_its_place_if_places_can_be_trusted(world, nameless):
    (found,) = answered(nameless)
    assert answer_to(world.row, world.link, [found], [found]) is found
    assert answer_to(world.row, world.link, [found], ()) is None
