"""The judge of webhooks and payments must be able to find: each fault is planted, and is named."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from planted_ledgers import (
    ELSEWHERE,
    IN_ORDER,
    TENANT,
    booked,
    connection,
    record,
    synced,
)

from pipeline_contracts.envelope import Record
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import Ledgers, Settlement, Webhook, only, settlements_of


def told(sequence: int, event: type = PaymentRecorded, copy: str = "", **changes: object) -> Record:
    """Of the first invoice, 10.00 by payment p-1, if nothing else is said."""
    fields = {
        "account_id": "demo",
        "payment_id": "ours-1",
        "xero_payment_id": "p-1",
        "invoice_id": "inv-00001",
        "xero_invoice_id": "x-1",
        "tenant_id": TENANT,
        "kind": "payment",
        "amount": Decimal("10.00"),
        "currency": "NZD",
        "paid_on": "2026-03-01",
        "reference": None,
        "amount_paid": Decimal("10.00"),
        "amount_due": Decimal("19.33"),
        "invoice_status": "AUTHORISED",
        "found_by": "webhook",
        "sequence": sequence,
    }
    return record(event.model_validate(fields | changes), copy)


def second(sequence: int, event: type = PaymentRecorded, **changes: object) -> Record:
    """9.33 by payment p-2 on the same invoice."""
    fields = {
        "payment_id": "ours-2",
        "xero_payment_id": "p-2",
        "amount": Decimal("9.33"),
        "amount_paid": Decimal("19.33"),
    }
    return told(sequence, event, **fields | changes)


def credited(sequence: int, **changes: object) -> Record:
    """5.00 of credit note c-1 on the fourth invoice."""
    fields = {
        "payment_id": "ours-3",
        "xero_payment_id": "c-1",
        "kind": "credit_note",
        "amount": Decimal("5.00"),
        "amount_paid": Decimal(0),
        "invoice_id": "inv-00004",
        "xero_invoice_id": "x-4",
    }
    return told(sequence, **fields | changes)


def settled(**changes: object) -> Settlement:
    one = Settlement(TENANT, "x-1", "payment", "p-1", Decimal("10.00"), "NZD")
    return replace(one, **changes)  # type: ignore[arg-type]


def dropped(of: Ledgers, at: int) -> Ledgers:
    """Without one record of the payments."""
    return replace(of, payments=[*of.payments[:at], *of.payments[at + 1 :]])


PAID = replace(
    IN_ORDER,
    documents=[booked(1, paid=Decimal("10.00")), *IN_ORDER.documents[1:]],
    payments=[
        told(1),
        second(2),
        credited(1),
        second(3, PaymentReversed, amount_paid=Decimal("10.00")),
    ],
    settlements=[
        settled(),
        # The same credit note twice on one invoice is one payment to everybody else.
        settled(document_id="x-4", kind="credit_note", xero_id="c-1", amount=Decimal("2.00")),
        settled(document_id="x-4", kind="credit_note", xero_id="c-1", amount=Decimal("3.00")),
        settled(document_id="by-a-person", xero_id="p-9"),
    ],
    webhooks=[
        Webhook("a1", is_genuine=True, has_events=True, status=200),
        Webhook("a2", is_genuine=True, has_events=True, status=503),
        Webhook("a3", is_genuine=True, has_events=False, status=200),
        Webhook("f1", is_genuine=False, has_events=True, status=401),
        Webhook("a1", is_genuine=False, has_events=True, status=401),
    ],
    kept=frozenset({"a1"}),
)


def test_payments_in_order_break_nothing():
    assert [str(each) for each in violations(PAID)] == []


PLANTED: dict[str, tuple[Callable[[Ledgers], Ledgers], set[int]]] = {
    "an acknowledged webhook is gone": (lambda of: replace(of, kept=frozenset()), {3}),
    "copies of a payment differ": (
        lambda of: replace(
            of,
            payments=[
                *of.payments,
                replace(of.payments[0], value=(of.payments[0].value or b"") + b" "),
            ],
        ),
        {4},
    ),
    "a payment was recorded again under another event": (
        lambda of: replace(
            of, payments=[*of.payments, told(4, copy="again", amount_paid=Decimal("10.00"))]
        ),
        {5, 11},
    ),
    "a payment was recorded again as another of ours": (
        lambda of: replace(of, payments=[*of.payments, told(4, payment_id="ours-9")]),
        {5, 11},
    ),
    "a payment was never told": (
        lambda of: replace(
            of,
            settlements=[*of.settlements, settled(document_id="x-3", xero_id="p-3")],
        ),
        {5, 11},
    ),
    "a deleted payment was never reversed": (lambda of: dropped(of, 3), {5, 11}),
    "a payment was told that nobody made": (
        lambda of: replace(of, payments=[*of.payments, second(4)]),
        {5, 11},
    ),
    "two payments have each other's amounts": (
        lambda of: replace(
            of,
            payments=[
                told(1, amount=Decimal("9.00")),
                *of.payments[1:2],
                credited(1, amount=Decimal("6.00")),
                of.payments[3],
            ],
        ),
        {5},
    ),
    "another payment was reversed than recorded": (
        lambda of: replace(
            of,
            payments=[
                *of.payments[:3],
                second(3, PaymentReversed, payment_id="ours-8", amount_paid=Decimal("10.00")),
            ],
        ),
        {5},
    ),
    "two payments have one id": (
        lambda of: replace(
            of, payments=[*of.payments[:2], credited(1, payment_id="ours-1"), of.payments[3]]
        ),
        {5},
    ),
    "the last that was told leaves another amount": (
        lambda of: replace(of, documents=[booked(1, paid=Decimal("9.99")), *of.documents[1:]]),
        {5},
    ),
    "a payment of somebody's invoice was told": (
        lambda of: replace(
            of,
            payments=[*of.payments, told(1, invoice_id="inv-00009", xero_invoice_id="by-a-person")],
        ),
        {5},
    ),
    "a payment was told of another invoice": (
        lambda of: replace(
            of, payments=[*of.payments[:2], credited(1, invoice_id="inv-00003"), of.payments[3]]
        ),
        {5},
    ),
    "a sequence has a gap": (
        lambda of: replace(of, payments=[*of.payments[:2], credited(2), of.payments[3]]),
        {6},
    ),
    "a sequence goes back": (
        lambda of: replace(of, payments=[second(2), told(1), *of.payments[2:]]),
        {6},
    ),
    "a payment comes from a stranger's organisation": (
        lambda of: replace(
            of,
            announced=[*of.announced, record(synced(5, tenant_id=ELSEWHERE))],
            payments=[
                *of.payments,
                told(
                    1,
                    payment_id="ours-5",
                    invoice_id="inv-00005",
                    xero_invoice_id="x-5",
                    tenant_id=ELSEWHERE,
                ),
            ],
        ),
        {9},
    ),
    "a forged webhook was acknowledged": (
        lambda of: replace(
            of,
            webhooks=[*of.webhooks, Webhook("f2", is_genuine=False, has_events=True, status=200)],
        ),
        {10},
    ),
    "a forged webhook is kept": (lambda of: replace(of, kept=of.kept | {"f1"}), {10}),
    "an amount is in another currency": (
        lambda of: replace(of, payments=[told(1, currency="AUD"), *of.payments[1:]]),
        {11},
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_of_a_payment_is_found(fault):
    plant, expected = PLANTED[fault]
    found = violations(plant(PAID))
    assert {each.invariant for each in found} == expected, [str(each) for each in found]


ALLOWED: dict[str, Callable[[Ledgers], Ledgers]] = {
    "copies of one event": lambda of: replace(of, payments=[*of.payments, *of.payments]),
    "a payment that came and went again": lambda of: replace(
        of,
        payments=[
            *of.payments,
            second(4),
            second(5, PaymentReversed, amount_paid=Decimal("10.00")),
        ],
    ),
    "payments made while nobody is connected": lambda of: replace(
        of,
        connections=[*of.connections, connection("DISCONNECTED", 2, hours=1)],
        settlements=[*of.settlements, settled(document_id="x-3", xero_id="p-3")],
    ),
    "ids in capital letters": lambda of: replace(
        of, payments=[told(1, xero_invoice_id="X-1", xero_payment_id="P-1"), *of.payments[1:]]
    ),
}


@pytest.mark.parametrize("happening", ALLOWED)
def test_what_may_happen_to_payments_is_no_fault(happening):
    assert [str(each) for each in violations(ALLOWED[happening](PAID))] == []


def test_the_payments_of_one_account_can_be_judged_by_themselves():
    of_another = replace(
        PAID,
        payments=[*PAID.payments, told(7, account_id="other")],
        settlements=[*PAID.settlements, settled(tenant_id=ELSEWHERE)],
    )
    assert violations(of_another) != []
    assert violations(only(of_another, ["demo"])) == []


def test_what_settles_is_read_from_the_simulators_ledger():
    books = {
        "invoices": [
            {"document_id": "x-1", "currency": "NZD", "type": "ACCREC"},
            {"document_id": "bill", "currency": "NZD", "type": "ACCPAY"},
        ],
        "payments": [
            {"payment_id": "p-1", "document_id": "x-1", "amount": "10.00", "status": "AUTHORISED"},
            {"payment_id": "p-2", "document_id": "x-1", "amount": "10.00", "status": "DELETED"},
            {"payment_id": "p-3", "document_id": "bill", "amount": "1.00", "status": "AUTHORISED"},
        ],
        "allocations": [
            {"kind": "credit_note", "invoice_id": "x-1", "source_id": "c-1", "amount": "5.00"}
        ],
    }
    assert settlements_of(books, TENANT) == [
        settled(),
        settled(kind="credit_note", xero_id="c-1", amount=Decimal("5.00")),
    ]
