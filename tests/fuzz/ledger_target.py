"""Coverage-guided fuzzing of the diff: `python ledger_target.py -max_total_time=30 <folder of seeds>`.

An input is a life of one invoice, a line for each look at Xero: what its payments and allocations are then, as JSON in
Xero's form. What cannot be read is passed over; after what can, the ledger must say what Xero said, every payment and
every event once.
"""

import json
import random
import sys
import uuid
from collections import Counter
from decimal import Decimal

import atheris
from json_mutator import mutate

with atheris.instrument_imports(
    include=["payment_ingest.domain", "pipeline_xero.documents", "pipeline_xero.json_forms"]
):
    from payment_ingest.domain.ledger import Change, LedgerPayment, difference
    from payment_ingest.domain.observation import UnusableInvoiceError, observe
    from pipeline_xero.documents import XeroInvoice
    from pipeline_xero.errors import UnexpectedAnswer

TENANT = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
INVOICE = "44aa0707-f718-4f1c-8d53-f2da9ca59533"
LOOKS = 12
WORDS = (
    "AUTHORISED", "PAID", "VOIDED", "DELETED", "DRAFT", "ACCPAY", "NZD", "", "\0", "/Date(1795305600000+0000)/",
    "2026-11-20T00:00:00", "0116af77-be35-462b-9e76-dc7e8a718b00", "0116af77-be35-462b-9e76-dc7e8a718b01",
    0, 1, 30, 40, 60, 100, -1, 0.01, 1e15, 1e308, 0.00000000001, None, True, [], {},
)  # fmt: skip


def try_one(data: bytes) -> None:
    """Live one life and judge the ledger after every look."""
    ledger: dict[uuid.UUID, LedgerPayment] = {}
    events: set[uuid.UUID] = set()
    for line in data.split(b"\n")[:LOOKS]:
        seen = _look(line)
        if seen is None:
            continue
        before = _live(ledger)
        movements = difference(list(ledger.values()), seen)
        turns = [movement.change is Change.RECORDED for movement in movements]
        assert turns == sorted(turns), "a reversal behind a new payment"
        for movement in movements:
            assert movement.event_id not in events, "an event twice"
            events.add(movement.event_id)
            _apply(ledger, movement)
        shown: Counter[tuple[str, str]] = Counter()
        for one in seen.settlements:
            shown[one.kind, one.xero_id] += one.amount
        if seen.complete:
            settled = {key: amount for key, amount in shown.items() if amount}
            assert {key: amount for key, amount in _live(ledger).items() if amount} == settled
            assert difference(list(ledger.values()), seen) == (), (
                "the same look again moves something"
            )
        else:
            assert _live(ledger).items() >= before.items(), (
                "reversed by an answer that left something out"
            )


def _look(line: bytes):
    try:
        document = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    try:
        return observe(TENANT, XeroInvoice.from_json({**document, "InvoiceID": INVOICE}))
    except (UnexpectedAnswer, UnusableInvoiceError):
        return None


def _apply(ledger: dict[uuid.UUID, LedgerPayment], movement) -> None:
    one = movement.settlement
    known = ledger.get(movement.payment_id)
    if movement.change is Change.RECORDED:
        assert known is None, "recorded twice"
    else:
        assert known is not None, "reversed and never recorded"
        assert not known.reversed, "reversed twice"
        assert known.amount == one.amount, "reversed with another amount"
    ledger[movement.payment_id] = LedgerPayment(
        movement.payment_id,
        one.kind,
        one.xero_id,
        movement.occurrence,
        one.amount,
        reversed=movement.change is Change.REVERSED,
    )


def _live(ledger: dict[uuid.UUID, LedgerPayment]) -> dict[tuple[str, str], Decimal]:
    return {(one.kind, one.xero_id): one.amount for one in ledger.values() if not one.reversed}


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Another input much like this one: a look changed, repeated, moved or left out; now and then other bytes."""
    rng = random.Random(seed)
    lines = data.split(b"\n")
    number, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(10):
        case 0:
            lines.insert(other, lines[number])
        case 1:
            lines[number], lines[other] = lines[other], lines[number]
        case 2:
            del lines[number]
        case 3:
            return atheris.Mutate(data, most)
        case _:
            lines[number] = mutate(lines[number], WORDS, rng) or lines[other]
    changed = b"\n".join(lines)
    return changed if len(changed) <= most else atheris.Mutate(data, most)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one, custom_mutator=mutated)
    atheris.Fuzz()
