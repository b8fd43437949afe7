"""What changed between the ledger and what Xero shows: the diff of payments and allocations.

Xero's invoice lists its live payments in `Payments`, and allocations of credit in `CreditNotes`,
`Prepayments` and `Overpayments`; a deleted payment or a removed allocation is simply no longer there
(developer.xero.com/documentation/api/accounting/payments, …/invoices). So the ledger is compared with
the whole list, and whatever is missing from it was reversed.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

_MOST_OCCURRENCES = 1_000
LONGEST_LAG: Final = timedelta(seconds=30)
"""For so long after an answer, one that shows an older version is taken for the word of a server that lags behind.

Xero documents neither that its servers lag nor that they never do.
"""
_NAMESPACE = uuid.UUID("b8f9a4c6-0f0e-5b53-9a56-5d0a6f2c7f11")


class Kind(StrEnum):
    """What reduced the invoice's balance."""

    PAYMENT = "payment"
    CREDIT_NOTE = "credit_note"
    OVERPAYMENT = "overpayment"
    PREPAYMENT = "prepayment"


class FoundBy(StrEnum):
    """How a change came to our knowledge."""

    WEBHOOK = "webhook"
    SWEEP = "sweep"


class Change(StrEnum):
    """The two things that can happen to a payment."""

    RECORDED = "recorded"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class Settlement:
    """One live payment or allocation as Xero shows it on an invoice.

    `xero_id` is the PaymentID, or the id of the credit note, prepayment or overpayment allocated.
    """

    kind: Kind
    xero_id: str
    amount: Decimal
    paid_on: date | None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """An invoice as read from Xero, reduced to what moves its balance."""

    tenant_id: str
    xero_invoice_id: str
    updated_at: datetime | None
    status: str
    currency: str
    amount_paid: Decimal
    amount_due: Decimal
    amount_credited: Decimal
    settlements: tuple[Settlement, ...]

    @property
    def complete(self) -> bool:
        """Whether the listed settlements explain the balance Xero states in the same answer.

        A list shorter than the balance says (an unpaged or summarised answer) must never be read as
        "the payment was deleted".
        """
        listed = sum((one.amount for one in self.settlements), Decimal(0))
        return listed >= self.amount_paid + self.amount_credited


@dataclass(frozen=True, slots=True)
class LedgerPayment:
    """A payment the ledger knows. `occurrence` counts how often the same Xero id was applied here."""

    payment_id: uuid.UUID
    kind: Kind
    xero_id: str
    occurrence: int
    amount: Decimal
    reversed: bool


@dataclass(frozen=True, slots=True)
class Movement:
    """A change to be written to the ledger and told, in this order."""

    change: Change
    payment_id: uuid.UUID
    event_id: uuid.UUID
    settlement: Settlement
    occurrence: int


def payment_id(
    tenant_id: str, xero_invoice_id: str, kind: Kind, xero_id: str, occurrence: int
) -> uuid.UUID:
    """The stable id of one payment: the same from any replica, at any time, on any retry.

    The invoice belongs to it because one credit note may be allocated to many invoices; the occurrence
    because an allocation may be removed and made again, which is a new payment to everyone downstream.
    """
    return uuid.uuid5(
        _NAMESPACE, "/".join((tenant_id, xero_invoice_id, kind, xero_id, str(occurrence)))
    )


def event_id(payment: uuid.UUID, change: Change) -> uuid.UUID:
    """The stable CloudEvents id of a payment's being recorded or reversed: each happens once."""
    return uuid.uuid5(payment, change)


def occurrence_of(
    payment: uuid.UUID, tenant_id: str, xero_invoice_id: str, kind: Kind, xero_id: str
) -> int | None:
    """Which occurrence the id of a payment speaks of; None when it is no id of ours for this."""
    return next(
        (
            number
            for number in range(1, _MOST_OCCURRENCES)
            if payment_id(tenant_id, xero_invoice_id, kind, xero_id, number) == payment
        ),
        None,
    )


def observation_id(
    tenant_id: str, xero_invoice_id: str, number: int, fingerprint: bytes
) -> uuid.UUID:
    """The stable CloudEvents id of the `number`-th different snapshot of an invoice.

    What it shows belongs to it: after a ledger was rebuilt the numbers begin anew, and news must not pass for old.
    """
    name = f"observed/{tenant_id}/{xero_invoice_id}/{number}/{fingerprint.hex()}"
    return uuid.uuid5(_NAMESPACE, name)


class Weight(StrEnum):
    """What an answer of Xero's is worth beside what is known already."""

    NEWS = "news"
    """It shows how the invoice stands now."""
    OLD = "old"
    """What is known was given later, and shows a later version: there is nothing to learn."""
    DOUBTFUL = "doubtful"
    """Its two times contradict each other: the invoice has to be read again."""


def is_stale(observed_at: datetime | None, last: datetime | None) -> bool:
    """Whether a newer version of the invoice was already recorded.

    Compared on Xero's own UpdatedDateUTC. Equal is not stale: some changes do not move it.
    """
    return observed_at is not None and last is not None and observed_at < last


def weigh(
    updated_at: datetime | None,
    observed_at: datetime,
    last_updated: datetime | None,
    last_observed: datetime | None,
) -> Weight:
    """What an answer is worth beside what was recorded last of the invoice.

    Two accounts of one organisation, as around a switch, read without waiting for each other, and servers of Xero's may lag
    behind each other: what such an answer does not show yet would be taken for gone. But times of change may go back at
    Xero, too, when a clock of theirs was wrong; an answer must not be passed over for that, or a payment is lost for good.

    Args:
        updated_at: UpdatedDateUTC of the answer.
        observed_at: When the answer was given, by Xero's clock.
        last_updated: UpdatedDateUTC of what was recorded.
        last_observed: When that was given.
    """
    given_before = last_observed is not None and observed_at < last_observed
    if is_stale(updated_at, last_updated):
        if last_observed is None or given_before:
            return Weight.OLD
        return Weight.NEWS if observed_at - last_observed > LONGEST_LAG else Weight.DOUBTFUL
    is_newer = updated_at is not None and last_updated is not None and updated_at > last_updated
    return Weight.DOUBTFUL if given_before and not is_newer else Weight.NEWS


def difference(ledger: Sequence[LedgerPayment], seen: Observation) -> tuple[Movement, ...]:
    """The movements that bring `ledger` to what `seen` shows: reversals first, then new payments.

    An amount that changed is a reversal of the old payment and a new one. When the answer does not
    explain its own balance (`Observation.complete`) nothing is reversed.
    """
    live = {(one.kind, one.xero_id): one for one in ledger if not one.reversed}
    shown = {(one.kind, one.xero_id): one for one in _merged(seen.settlements)}
    changed = {key for key in live.keys() & shown.keys() if live[key].amount != shown[key].amount}
    gone = (live.keys() - shown.keys()) | changed
    if not seen.complete:
        gone, changed = set(), set()
    reversals = [_reversal(live[key]) for key in sorted(gone)]
    fresh = [one for key, one in shown.items() if key not in live or key in changed]
    fresh.sort(key=lambda one: (one.paid_on or date.min, one.kind, one.xero_id))
    return (*reversals, *(_recording(ledger, seen, one) for one in fresh))


def _merged(settlements: Iterable[Settlement]) -> list[Settlement]:
    """One settlement per kind and id: a credit note allocated twice to an invoice counts once, summed."""
    merged: dict[tuple[Kind, str], Settlement] = {}
    for one in settlements:
        if one.amount == 0:
            continue
        earlier = merged.get((one.kind, one.xero_id))
        amount = one.amount if earlier is None else earlier.amount + one.amount
        merged[one.kind, one.xero_id] = Settlement(
            kind=one.kind,
            xero_id=one.xero_id,
            amount=amount,
            paid_on=one.paid_on if earlier is None else earlier.paid_on,
            reference=one.reference if earlier is None else earlier.reference,
        )
    return list(merged.values())


def _reversal(payment: LedgerPayment) -> Movement:
    settlement = Settlement(payment.kind, payment.xero_id, payment.amount, None)
    return Movement(
        Change.REVERSED,
        payment.payment_id,
        event_id(payment.payment_id, Change.REVERSED),
        settlement,
        payment.occurrence,
    )


def _recording(
    ledger: Sequence[LedgerPayment], seen: Observation, settlement: Settlement
) -> Movement:
    earlier = [
        one.occurrence
        for one in ledger
        if (one.kind, one.xero_id) == (settlement.kind, settlement.xero_id)
    ]
    occurrence = max(earlier, default=0) + 1
    identity = payment_id(
        seen.tenant_id, seen.xero_invoice_id, settlement.kind, settlement.xero_id, occurrence
    )
    return Movement(
        Change.RECORDED, identity, event_id(identity, Change.RECORDED), settlement, occurrence
    )
