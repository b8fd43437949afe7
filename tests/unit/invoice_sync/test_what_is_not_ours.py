"""Of an invoice in Xero only the fields we own can differ: nothing else is ever a conflict, a change or an event."""

import dataclasses
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from invoice_sync.domain import confirm, update
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.mapping import to_xero
from invoice_sync.domain.state import IntentRef, State
from pipeline_xero.documents import XeroAllocation, XeroContact, XeroInvoice, XeroLine, XeroPayment
from pipeline_xero.wire import dumps, loads

CONTACT = "5f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"
OURS = {"invoice_number", "reference", "issue_date", "due_date", "currency", "line_amount_types", "total"}  # fmt: skip
# Told apart within: a status only as withdrawn or not, a contact by its id, a line by what an invoice's line names.
PARTLY_OURS = {"invoice_id", "status", "contact", "lines"}

amounts = st.none() | st.decimals(min_value=0, max_value=10**6, places=2)
times = st.none() | st.integers(0, 2 * 10**9).map(lambda each: datetime.fromtimestamp(each, UTC))
days = st.none() | st.dates(min_value=date(2020, 1, 1), max_value=date(2040, 1, 1))
texts = st.none() | st.text(max_size=8)
payments = st.builds(
    XeroPayment, payment_id=st.uuids().map(str), paid_on=days, amount=amounts.map(lambda each: each or Decimal(0)),
    bank_amount=amounts, currency_rate=amounts, reference=texts, status=texts, payment_type=texts, invoice_id=texts,
    batch_payment_id=texts, is_reconciled=st.none() | st.booleans(), updated_at=times,
)  # fmt: skip
allocations = st.builds(
    XeroAllocation, kind=st.sampled_from(["credit_note", "overpayment", "prepayment"]), document_id=st.uuids().map(str),
    document_number=texts, allocation_id=texts, invoice_id=texts, amount=amounts.map(lambda each: each or Decimal(0)),
    allocated_on=days, is_deleted=st.booleans(),
)  # fmt: skip
NOT_OURS = {
    "type": st.sampled_from([None, "ACCREC"]),
    "currency_rate": amounts,
    "sub_total": amounts,
    "total_tax": amounts,
    "amount_due": amounts,
    "amount_paid": amounts,
    "amount_credited": amounts,
    "payments": st.none() | st.lists(payments, max_size=3).map(tuple),
    "allocations": st.none() | st.lists(allocations, max_size=3).map(tuple),
    "fully_paid_on": days,
    "updated_at": times,
}
OF_CONTACT = {"name": texts, "status": texts, "contact_number": texts, "account_number": texts, "email": texts,
              "tax_number": texts, "merged_to": texts, "updated_at": times, "phone": texts}  # fmt: skip
OF_LINES = {"line_amount": amounts, "discount_amount": amounts}


def test_every_field_is_either_ours_or_not():
    assert {each.name for each in dataclasses.fields(XeroInvoice)} == OURS | PARTLY_OURS | set(NOT_OURS)  # fmt: skip
    assert {each.name for each in dataclasses.fields(XeroContact)} == {"contact_id", *OF_CONTACT}
    owned = {"line_item_id", "description", "quantity", "unit_amount", "discount_rate", "account_code", "tax_type",
             "tax_amount", "item_code", "tracking"}  # fmt: skip
    assert {each.name for each in dataclasses.fields(XeroLine)} == owned | set(OF_LINES)


class World:
    def __init__(self, body_of, line_of, row_of, settings, account, now) -> None:
        self.account, self.now = account, now
        self.first = body_of(reference="one", lines=[line_of("1"), line_of("2", quantity="3")])
        self.second = self.first.model_copy(update={"version": 2, "reference": "two"})
        self.settings = settings
        sent = row_of(state=State.SYNCING, intent=IntentRef(1, 0, 1))
        step = confirm.created(sent, self.first, 1, self.seen(self.read(self.first)))
        self.row, self.link = step.row, step.link

    def read(self, body):
        element = loads(dumps(to_xero(body, CONTACT, self.settings)))
        for number, line in enumerate(element["LineItems"], 1):
            line["LineItemID"] = f"l-{number}"
        return XeroInvoice.from_json(
            element | {"InvoiceID": "243216c5-369e-4056-ac67-05388f86dc81", "Total": body.total}
        )

    def seen(self, invoice, policy=EditPolicy.BLOCK):
        web = "https://go.xero.com"
        return confirm.Seen(invoice, self.account, "t", web, self.now, None, policy)


@pytest.fixture
def world(body_of, line_of, row_of, settings, account, now):
    return World(body_of, line_of, row_of, settings, account, now)


@st.composite
def disguises(draw):
    """Everything that is not ours, in any state; the statuses of a document that is not withdrawn."""
    chosen = {name: draw(each) for name, each in NOT_OURS.items()}
    status = draw(st.sampled_from(["DRAFT", "SUBMITTED", "AUTHORISED", "PAID"]))
    contact = {name: draw(each) for name, each in OF_CONTACT.items()}
    line = {name: draw(each) for name, each in OF_LINES.items()}

    def disguise(invoice):
        lines = tuple(replace(each, **line) for each in invoice.lines)
        known = replace(invoice.contact, **contact)
        return replace(invoice, status=status, contact=known, lines=lines, **chosen)

    return disguise


FIXTURES = profile(suppress_health_check=[HealthCheck.function_scoped_fixture])


@FIXTURES
@given(disguise=disguises(), policy=st.sampled_from(EditPolicy))
def test_at_rest_nothing_else_is_a_change(world, disguise, policy):
    seen = world.seen(disguise(world.read(world.first)), policy)
    found = update.look(world.row, world.link, world.first, CONTACT, seen)
    assert found.differences == ()
    step = update.judge(found, seen)
    assert (step.events, step.notes, step.row.state) == ((), (), State.SYNCED)
    # The rate that Pipeline leaves to Xero is the one that Xero has.
    assert step.link.base | {"currency_rate": None} == world.link.base


@FIXTURES
@given(disguise=disguises(), policy=st.sampled_from(EditPolicy))
def test_before_a_push_nothing_else_is_a_conflict(world, disguise, policy):
    seen = world.seen(disguise(world.read(world.first)), policy)
    row = replace(world.row, version=2, state=State.PENDING)
    push = update.judge(update.look(row, world.link, world.second, CONTACT, seen), seen)
    assert isinstance(push, update.Push)
    assert push.changed == {"reference"}


@FIXTURES
@given(before=disguises(), after=disguises(), policy=st.sampled_from(EditPolicy))
def test_around_a_push_nothing_else_has_raced_with_it(world, before, after, policy):
    seen = world.seen(before(world.read(world.first)), policy)
    row = replace(world.row, version=2, state=State.PENDING)
    push = update.judge(update.look(row, world.link, world.second, CONTACT, seen), seen)
    element = update.update_element(world.second, CONTACT, world.settings, push)
    answered = world.seen(after(world.read(world.second)), policy)
    step = confirm.updated(row, world.second, 2, answered, push.link, element)
    assert [type(each).__name__ for each in step.events] == ["InvoiceSynced"]
    assert step.row.state is State.SYNCED
    again = update.look(step.row, step.link, world.second, CONTACT, answered)
    assert again.differences == ()


OWNED_EDITS = st.sampled_from(
    [
        {"due_date": date(2027, 1, 1)},
        {"issue_date": date(2026, 2, 1)},
        {"invoice_number": "OTHER"},
        {"description": "Theirs"},
        {"account_code": "260"},
        {"quantity": Decimal(9), "total": Decimal(1100)},
        {"contact_id": "6f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"},
        {"drop": True, "total": Decimal(100)},
        {"add": True, "total": Decimal(250)},
        {"add": True},
    ]
)


def edited(invoice, edit):
    head = {key: value for key, value in edit.items() if key in OURS}
    of_line = {key: value for key, value in edit.items() if key in {"description", "account_code", "quantity"}}  # fmt: skip
    first, *rest = invoice.lines
    lines = (replace(first, **of_line), *rest)
    lines = lines[:1] if edit.get("drop") else lines
    if edit.get("add"):
        lines += (replace(first, line_item_id="l-9", description="Added"),)
    contact = replace(
        invoice.contact, contact_id=edit.get("contact_id", invoice.contact.contact_id)
    )
    return replace(invoice, lines=lines, contact=contact, **head)


@FIXTURES
@given(edit=OWNED_EDITS, policy=st.sampled_from(EditPolicy), is_behind=st.booleans())
def test_whatever_of_ours_raced_with_a_push_is_noticed_and_never_pushed_over_later(
    world, edit, policy, is_behind
):
    """We send the reference; somebody edits anything else in between. The next version of ours does not undo it."""
    seen = world.seen(world.read(world.first), policy)
    row = replace(world.row, version=2, state=State.PENDING)
    push = update.judge(update.look(row, world.link, world.second, CONTACT, seen), seen)
    element = update.update_element(world.second, CONTACT, world.settings, push)
    answered = world.seen(edited(world.read(world.second), edit), policy)
    row = replace(row, version=3 if is_behind else 2)
    step = confirm.updated(row, world.second, 2, answered, push.link, element)
    assert {"merged"} <= {note.kind for note in step.notes}
    if policy is EditPolicy.BLOCK and not is_behind:
        assert step.row.state is State.OUT_OF_SYNC
        assert step.events[-1].differences
    third = world.second.model_copy(update={"version": 3, "reference": "three"})
    later = replace(step.row, version=3)
    verdict = update.judge(update.look(later, step.link, third, CONTACT, answered), answered)
    if policy is EditPolicy.BLOCK:
        assert verdict.row.state is State.OUT_OF_SYNC
    elif isinstance(verdict, update.Push):
        assert verdict.changed == {"reference"}
    else:
        assert verdict.row.state is State.OUT_OF_SYNC
