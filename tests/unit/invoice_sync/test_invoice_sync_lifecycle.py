"""Batches of events, decisions, and the transitions of one invoice."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoice_sync.domain import confirm, lifecycle, update
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.blocks import block
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.intake import reduce_batch
from invoice_sync.domain.mapping import invoices_body, to_xero, withdrawn
from invoice_sync.domain.outcome import Answer, found_in_xero, matches, outcome_of
from invoice_sync.domain.plan import Compare, Create, Known, Stop, decide, read_body
from invoice_sync.domain.state import (
    ContactMapping,
    Customer,
    Intent,
    IntentRef,
    Link,
    Operation,
    State,
)
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import InvoiceVoided
from pipeline_contracts.problems import ProblemCode
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.outcomes import element_result

CONTACT = "5f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"
XERO_ID = "243216c5-369e-4056-ac67-05388f86dc81"
MARKER = "https://app.pipeline.example/accounts/acc-1/invoices/inv-1"


def envelope(event, now) -> Envelope:
    return Envelope("id", "billing", event.TYPE, event.subject, now, None, event)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=8), st.randoms())
def test_a_batch_comes_to_the_highest_version_in_any_order(events, shuffler):
    from datetime import UTC, datetime

    now = datetime(2026, 11, 22, tzinfo=UTC)
    made = dict(events)
    batch = [envelope(_event(version, is_void=is_void), now) for version, is_void in made.items()]
    shuffler.shuffle(batch)
    (state,) = reduce_batch(batch).states
    assert state.version == max(made)
    assert (state.operation is Operation.VOID) == made[max(made)]
    writes = [version for version, is_void in made.items() if not is_void]
    body = json.loads(state.body) if state.body else None
    assert (body["version"] if body else None) == max(writes, default=None)
    voids = [version for version, is_void in made.items() if is_void]
    assert state.void_version == min(voids, default=None)


def _event(version, *, is_void):
    if is_void:
        return InvoiceVoided(account_id="a", invoice_id="i", version=version)
    from pipeline_contracts.invoice import InvoiceUpdated

    return InvoiceUpdated(
        account_id="a",
        invoice_id="i",
        version=version,
        invoice_number="N",
        customer_id="c",
        issue_date="2026-03-01",
        due_date="2026-03-01",
        currency="NZD",
        amounts_are="no_tax",
        lines=[],
        total="0",
    )


def test_a_batch_locks_rows_in_one_order(body_of, now):
    events = [
        envelope(body_of(invoice_id=each, account_id=other), now)
        for each, other in ("ba", "ab", "bb", "aa")
    ]
    batch = reduce_batch(events)
    keys = [(state.account_id, state.invoice_id) for state in batch.states]
    assert keys == sorted(keys)
    assert batch.accounts == ("a", "b")
    assert len(batch.arrivals) == 4


@pytest.fixture
def mapped():
    return ContactMapping("acc-1", "tenant-1", "cust-1", CONTACT, "Kim", "x")


@pytest.fixture
def known(account, settings, mapped, now):
    return Known(
        account, {"cust-1": mapped}, {}, {}, settings, Terms(AccountSettings(), "200"), now
    )


@pytest.fixture
def link(body_of, settings, now):
    return Link(
        "acc-1", "inv-1", "tenant-1", XERO_ID, "INV-1", "AUTHORISED", {"1": "l-1"}, {}, {}, {}, now
    )


def test_a_sound_invoice_with_a_contact_is_created(row_of, known):
    decision = decide(row_of(), known)
    assert isinstance(decision, Create)
    assert decision.element["Contact"] == {"ContactID": CONTACT}


def test_what_is_in_xero_already_is_compared_and_never_created(row_of, known, link):
    in_xero = replace(known, links={"inv-1": link})
    assert isinstance(decide(row_of(version=2, synced_version=1), in_xero), Compare)
    assert isinstance(decide(row_of(operation=Operation.VOID), in_xero), Compare)


STOPS = [
    ({"operation": Operation.VOID, "desired": None}, {}, State.VOIDED, None),
    ({"void_version": 1, "version": 2}, {}, State.FAILED, "UPDATE_AFTER_VOID"),
    ({"desired": "{}"}, {}, State.FAILED, "INTERNAL_ERROR"),
    ({}, {"mappings": {}}, State.WAITING_FOR_CONTACT, "CUSTOMER_NOT_MAPPED"),
]


@pytest.mark.parametrize(
    ("fields", "around", "state", "code"), STOPS, ids=lambda each: str(each)[:25]
)
def test_what_cannot_go_stops_with_its_cause(row_of, known, fields, around, state, code):
    decision = decide(row_of(**fields), replace(known, **around))
    assert isinstance(decision, Stop)
    assert decision.step.row.state is state
    assert decision.step.row.due_at is None
    events = decision.step.events
    assert [each.code for each in events] == ([code] if code else [])
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("operation", list(Operation))
def test_what_is_in_another_organisation_waits_for_it(row_of, known, link, operation):
    elsewhere = replace(known, links={"inv-1": replace(link, tenant_id="tenant-2")})
    row = row_of(version=2, synced_version=1, tenant_id="tenant-2", operation=operation)
    decision = decide(row, elsewhere)
    assert isinstance(decision, Stop)
    assert decision.step.row.state is State.WAITING_FOR_CONNECTION
    assert [each.code for each in decision.step.events] == ["TENANT_CHANGED"]


def test_what_never_was_in_xero_goes_to_the_organisation_connected_now(row_of, known):
    assert isinstance(decide(row_of(tenant_id="tenant-2"), known), Create)


def test_a_contact_being_made_is_waited_for_in_silence_and_a_failed_one_is_told(row_of, known, now):
    making = Customer("acc-1", "cust-1", 1, "Kim", due_at=now)
    quiet = decide(row_of(), replace(known, mappings={}, customers={"cust-1": making}))
    assert quiet.step.row.state is State.WAITING_FOR_CONTACT
    assert quiet.step.events == ()
    why = block(ProblemCode.CONTACT_NAME_TAKEN, name="Kim")
    failed = replace(making, due_at=None, block=why)
    told = decide(row_of(), replace(known, mappings={}, customers={"cust-1": failed}))
    assert [each.code for each in told.step.events] == ["CONTACT_NAME_TAKEN"]


def test_the_same_cause_is_told_once_per_generation(row_of, now):
    why = block(ProblemCode.NOT_CONNECTED, reason="x")
    first = lifecycle.waits(row_of(), State.WAITING_FOR_CONNECTION, why)
    assert len(first.events) == 1
    again = lifecycle.waits(first.row, State.WAITING_FOR_CONNECTION, why)
    assert again.events == ()
    assert again.row.sequence == 1
    anew = lifecycle.waits(replace(first.row, generation=2), State.WAITING_FOR_CONNECTION, why)
    assert [each.sequence for each in anew.events] == [2]
    other = lifecycle.failed(first.row, block(ProblemCode.PERIOD_LOCKED))
    assert [each.sequence for each in other.events] == [2]


def test_a_wait_that_heals_by_itself_is_told_at_the_third_attempt_and_once(row_of, now):
    why = block(ProblemCode.XERO_UNAVAILABLE)
    row = row_of()
    told = []
    for _ in range(5):
        step = lifecycle.postponed(row, State.PENDING, now, why)
        told.append(len(step.events))
        row = step.row
    assert told == [0, 0, 1, 0, 0]
    assert row.attempts == 5


@pytest.fixture
def sent(row_of):
    row = row_of(state=State.SYNCING, intent=IntentRef(1, 0, 1), tenant_id="tenant-1")
    return replace(row, sent=row.desired)


@pytest.fixture
def answer(account, now):
    intent = Intent(
        1, "acc-1", "tenant-1", "create", "PUT", "Invoices", b"", "k", now, False, 0, now
    )
    return Answer(account, intent, "https://go.xero.com", now, "corr-1")


def element(body, settings, **changes):
    found = json.loads(invoices_body([to_xero(body, CONTACT, settings)]), parse_float=Decimal)[
        "Invoices"
    ][0]
    found["LineItems"][0]["LineItemID"] = "l-1"
    return found | {"InvoiceID": XERO_ID, "Total": body.total} | changes


def test_an_accepted_element_is_synced_with_its_facts(sent, answer, body_of, settings):
    found = outcome_of(sent, element_result(element(body_of(), settings), "Invoices"), None, answer)
    (event,) = found.step.events
    assert isinstance(event, InvoiceSynced)
    assert (event.xero_invoice_id, event.total, event.version) == (XERO_ID, Decimal(100), 1)
    assert found.step.row.state is State.SYNCED
    assert found.step.row.intent is None
    assert found.step.link.line_item_ids == {"1": "l-1"}
    assert found.step.notes[0].correlation_id == "corr-1"
    assert not found.look_up


def test_a_newer_version_is_due_at_once_whatever_became_of_the_older(
    sent, answer, body_of, settings, now
):
    behind = replace(sent, version=2)
    good = outcome_of(
        behind, element_result(element(body_of(), settings), "Invoices"), None, answer
    ).step
    assert (good.row.state, good.row.due_at, good.row.synced_version) == (State.PENDING, now, 1)
    errors = {
        "StatusAttributeString": "ERROR",
        "ValidationErrors": [{"Message": "period lock date"}],
    }
    bad = outcome_of(behind, element_result(errors, "Invoices"), None, answer).step
    assert (bad.row.state, bad.row.due_at, bad.events) == (State.PENDING, now, ())


def test_a_taken_number_and_a_missing_verdict_are_looked_up_before_anything_is_said(sent, answer):
    taken = {
        "StatusAttributeString": "ERROR",
        "ValidationErrors": [{"Message": "Invoice # must be unique."}],
    }
    for result in (element_result(taken, "Invoices"), element_result({}, "Invoices"), None):
        found = outcome_of(sent, result, None, answer)
        assert found.look_up
        assert found.step.events == ()
        assert found.step.row.intent == sent.intent


def test_a_refusal_says_why_in_words_and_keeps_xeros_own(sent, answer):
    message = (
        "The document date cannot be before the period lock date, currently set at 31 March 2026"
    )
    refused = {"StatusAttributeString": "ERROR", "ValidationErrors": [{"Message": message}]}
    step = outcome_of(sent, element_result(refused, "Invoices"), None, answer).step
    (event,) = step.events
    assert isinstance(event, SyncFailed)
    assert event.code == "PERIOD_LOCKED"
    assert "31 March 2026" in event.message
    assert event.xero_errors == (message,)


def test_an_archived_contact_waits_for_a_mapping(sent, answer):
    refused = {
        "HasErrors": True,
        "ValidationErrors": [{"Message": "The contact has been archived."}],
    }
    step = outcome_of(sent, element_result(refused, "Invoices"), None, answer).step
    assert step.row.state is State.WAITING_FOR_CONTACT


def settle(row, elements, answer):
    return found_in_xero(row, elements, MARKER, answer, retry_after=timedelta(seconds=1))


def test_looking_up_adopts_only_what_carries_our_marker(sent, answer, body_of, settings, now):
    ours = element(body_of(), settings, Status="AUTHORISED")
    stranger = ours | {"Url": "https://elsewhere.example", "InvoiceID": "x"}
    adopted = settle(sent, [stranger, ours], answer)
    assert [type(each) for each in adopted.events] == [InvoiceSynced]
    assert adopted.notes[0].kind == "adopted"
    assert [each.code for each in settle(sent, [stranger], answer).events] == [
        "INVOICE_NUMBER_TAKEN"
    ]
    absent = settle(sent, [], answer)
    assert (absent.row.state, absent.row.send_alone, absent.row.intent) == (
        State.PENDING,
        True,
        None,
    )
    assert absent.row.due_at == now + timedelta(seconds=1)
    gone = settle(sent, [ours | {"Status": "VOIDED"}], answer)
    assert [each.code for each in gone.events] == ["INVOICE_GONE_FROM_XERO"]
    refused = settle(lifecycle.taken(sent, ["Invoice # must be unique."]).row, [], answer)
    assert [each.code for each in refused.events] == ["INVOICE_NUMBER_TAKEN"]


def test_a_void_that_finds_nothing_has_nothing_to_void(sent, answer):
    assert (
        settle(replace(sent, version=2, operation=Operation.VOID), [], answer).row.state
        is State.VOIDED
    )


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"InvoiceNumber": " inv-1 "}, True),
        ({"InvoiceNumber": "INV-2"}, False),
        ({"Type": "ACCPAY"}, False),
    ],
)
def test_only_sales_invoices_of_that_number_count(changes, same):
    assert matches({"InvoiceNumber": "INV-1", "Type": "ACCREC"} | changes, "INV-1") is same


def seen_of(body, settings, account, now, **changes):
    invoice = XeroInvoice.from_json(element(body, settings, **changes))
    return confirm.Seen(invoice, account, "tenant-1", "https://go.xero.com", now)


def test_a_total_that_differs_is_named_to_the_cent(sent, body_of, settings, account, now):
    seen = seen_of(body_of(), settings, account, now, Total=Decimal("100.01"))
    step = confirm.created(sent, body_of(), 1, seen)
    synced, conflict = step.events
    assert synced.total == Decimal("100.01")
    assert isinstance(conflict, OutOfSync)
    assert "a difference of 0.01" in conflict.message
    assert step.row.state is State.OUT_OF_SYNC
    assert [each.sequence for each in step.events] == [1, 2]


@pytest.fixture
def in_step(sent, body_of, settings, account, now):
    """The row and the link of an invoice both sides agree on."""
    step = confirm.created(sent, body_of(), 1, seen_of(body_of(), settings, account, now))
    return step.row, step.link


def judged(in_step, body, seen, **fields):
    row, link = in_step
    return update.judge(update.look(replace(row, **fields), link, body, CONTACT, seen), seen)


def test_only_what_pipeline_changed_is_sent(in_step, body_of, settings, account, now):
    wanted = body_of(version=2, due_date="2026-04-30")
    verdict = judged(in_step, wanted, seen_of(body_of(), settings, account, now), version=2)
    assert isinstance(verdict, update.Push)
    assert update.update_element(wanted, CONTACT, settings, verdict) == {
        "InvoiceID": XERO_ID,
        "DueDate": wanted.due_date,
    }


def test_changed_lines_go_together_with_their_ids(
    in_step, body_of, line_of, settings, account, now
):
    wanted = body_of(version=2, lines=[line_of("1", quantity="3"), line_of("2")])
    verdict = judged(in_step, wanted, seen_of(body_of(), settings, account, now), version=2)
    sent = update.update_element(wanted, CONTACT, settings, verdict)
    assert set(sent) == {"InvoiceID", "LineItems", "LineAmountTypes"}
    assert [each.get("LineItemID") for each in sent["LineItems"]] == ["l-1", None]


def test_of_a_paid_invoice_only_what_xero_lets_change_goes_out(
    in_step, body_of, line_of, settings, account, now
):
    paid = seen_of(body_of(), settings, account, now, AmountPaid=10)
    words = body_of(version=2, lines=[line_of("1", description="Other words")])
    verdict = judged(in_step, words, paid, version=2)
    assert set(update.update_element(words, CONTACT, settings, verdict)) == {
        "InvoiceID",
        "LineItems",
    }
    more = body_of(version=2, lines=[line_of("1", quantity="3")])
    refused = judged(in_step, more, paid, version=2)
    assert [each.code for each in refused.events] == ["INVOICE_HAS_PAYMENT"]


def test_a_void_is_an_id_and_a_status(in_step, body_of, settings, account, now):
    verdict = judged(
        in_step,
        body_of(),
        seen_of(body_of(), settings, account, now),
        version=2,
        operation=Operation.VOID,
    )
    assert update.void_element(verdict.link) == {"InvoiceID": XERO_ID, "Status": "VOIDED"}
    draft = replace(verdict.link, xero_status="DRAFT")
    assert update.void_element(draft)["Status"] == "DELETED"


def test_a_conflict_is_told_once_and_again_when_it_changes(
    in_step, body_of, settings, account, now
):
    wanted = body_of(version=2, reference="ours")
    first = judged(
        in_step, wanted, seen_of(body_of(), settings, account, now, Reference="theirs"), version=2
    )
    assert [type(each) for each in first.events] == [OutOfSync]
    same = judged(
        (first.row, first.link),
        wanted,
        seen_of(body_of(), settings, account, now, Reference="theirs"),
    )
    assert same.events == ()
    other = judged(
        (first.row, first.link),
        wanted,
        seen_of(body_of(), settings, account, now, Reference="else"),
    )
    assert [type(each) for each in other.events] == [OutOfSync]


def test_an_event_of_a_great_conflict_stays_within_its_limit(in_step, now):
    row, link = in_step
    many = tuple(
        confirm.FieldDifference(f"line {n}: x", "a" * 4000, "b" * 4000, "c" * 4000)
        for n in range(2000)
    )
    why = confirm.conflict_block("INV-1", many, {})
    (event,) = lifecycle.out_of_sync(row, link, many, why, None).events
    assert len(event.model_dump_json()) < 900_000
    assert "and 1997 more" in event.message


def test_a_body_nobody_can_read_is_none():
    assert read_body(None) is None
    assert read_body("{") is None
    assert read_body("[]") is None
    assert withdrawn({"status": "live", "a": "1"}) == {"status": "withdrawn", "a": "1"}
