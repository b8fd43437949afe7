"""The judge of a run of faults must be able to find: each fault is planted into evidence that is in order."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from planted_ledgers import IN_ORDER, NOW, TENANT

from pipeline_local_stack.call_log import Call
from pipeline_local_stack.chaos.verdict import DeadLetter, Evidence, WorkOfPeople, broken_promises
from pipeline_local_stack.ledgers import Document, InvoiceKey, without

POISON = b"nobody can read this"
LETTER = DeadLetter("pipeline.invoices.v1/3/17", POISON)
BY_HAND = next(each for each in IN_ORDER.documents if each.document_id == "by-a-person")
BY_PIPELINE = next(each for each in IN_ORDER.documents if each.document_id == "x-4")
GOOD = Evidence(
    ledgers=replace(IN_ORDER, calls=()),
    dead_letters=(LETTER,),
    poison=frozenset({POISON}),
    statuses={"demo": "CONNECTED"},
    broken_audits=(),
    audited={("demo", 1, "CONNECTED")},
    undecided=0,
    people=WorkOfPeople({BY_HAND.document_id: BY_HAND}, {"x-4": BY_PIPELINE.due_date}),
    asked={"GET /v1/accounts/demo/summary": 0},
)


def calls(count: int, **changes: object) -> list[Call]:
    at = NOW.timestamp() + 60
    return [replace(Call(TENANT, at + n / 100, 0.001, 200), **changes) for n in range(count)]  # type: ignore[arg-type]


def with_calls(of: Evidence, found: list[Call]) -> Evidence:
    return replace(of, ledgers=replace(of.ledgers, calls=found))


def with_document(of: Evidence, changed: Document) -> Evidence:
    documents = [
        changed if d.document_id == changed.document_id else d for d in of.ledgers.documents
    ]
    return replace(of, ledgers=replace(of.ledgers, documents=documents))


PLANTED: dict[str, tuple[Callable[[Evidence], Evidence], set[int]]] = {
    "poison was dropped": (lambda of: replace(of, dead_letters=()), {7}),
    "poison was set aside twice": (lambda of: replace(of, dead_letters=(LETTER, LETTER)), {7}),
    "a good record was set aside": (
        lambda of: replace(of, dead_letters=(LETTER, DeadLetter("t/0/1", b"{}"))),
        {7},
    ),
    "a consent was lost": (lambda of: replace(of, statuses={"demo": "EXPIRED"}), {8}),
    "61 calls in a minute": (lambda of: with_calls(of, calls(61)), {13}),
    "6 calls at once": (lambda of: with_calls(of, calls(6, seconds=5.0)), {13}),
    "Xero refused a call for a limit": (lambda of: with_calls(of, calls(1, limited="minute")), {13}),
    "a chain was rewritten": (lambda of: replace(of, broken_audits=("row 3 was changed",)), {14}),
    "a change of a connection is not in its audit": (lambda of: replace(of, audited=()), {14}),
    "another change is in its audit": (
        lambda of: replace(of, audited={("demo", 1, "TOKEN_EXPIRED")}),
        {14},
    ),
    "what a person entered was overwritten": (
        lambda of: with_document(of, replace(BY_HAND, reference="by us")), {2},
    ),
    "a due date that a person set was overwritten": (
        lambda of: with_document(of, replace(BY_PIPELINE, due_date=date(2030, 1, 1))), {2},
    ),
    "a stranger was answered": (
        lambda of: replace(of, asked={"GET /v1/accounts/demo/summary": 200}), {10},
    ),
    "an invoice was lost": (
        lambda of: replace(of, ledgers=replace(of.ledgers, documents=of.ledgers.documents[1:])),
        {2, 9, 11},
    ),
}  # fmt: skip


def test_evidence_in_order_breaks_nothing():
    assert broken_promises(GOOD) == []


@pytest.mark.parametrize("fault", PLANTED)
def test_each_fault_is_found(fault):
    plant, numbers = PLANTED[fault]
    assert {each.invariant for each in broken_promises(plant(GOOD))} == numbers


def test_what_a_test_had_refused_breaks_no_limit():
    refused = calls(3, limited="minute", status=429, is_scripted=True)
    assert broken_promises(with_calls(GOOD, refused)) == []


def test_an_invoice_that_nobody_can_decide_yet_is_left_out_of_every_ledger():
    key = InvoiceKey("demo", "inv-00001")
    left = without(IN_ORDER, {key: "syncing"})
    assert not [document for document in left.documents if document.document_id == "x-1"]
    assert len(left.published) == len(IN_ORDER.published) - 1
