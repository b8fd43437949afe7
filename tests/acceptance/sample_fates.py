"""What happens to each sale of the sample, chosen by a seed, and so what must have become of its invoice at the end."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from pipeline_contracts.invoice import InvoiceCreated, InvoiceUpdated, InvoiceVoided
from pipeline_local_stack.sales import Sale, invoice_of

ACCOUNT = "cdnow"
SEED = 1998


class Fate(Enum):
    """What happens to an invoice after it was published."""

    PLAIN = "nothing"
    SAME_EDIT = "the same edit in Xero and in Pipeline"
    CONFLICT = "different edits, and nobody aligns them"
    CONFLICT_ENDED_IN_XERO = "different edits, aligned in Xero"
    CONFLICT_ENDED_IN_PIPELINE = "different edits, aligned in Pipeline"
    VOIDED = "voided when it was in Xero"
    ANNOUNCED_LATE = "its customer is announced late"
    LINKED_LATE = "its customer is linked by hand, late"
    VOIDED_WAITING = "voided while it waited for its customer"


EDITED = (
    Fate.SAME_EDIT,
    Fate.CONFLICT,
    Fate.CONFLICT_ENDED_IN_XERO,
    Fate.CONFLICT_ENDED_IN_PIPELINE,
)
UNMAPPED = (Fate.ANNOUNCED_LATE, Fate.LINKED_LATE, Fate.VOIDED_WAITING)

TOLD = {
    Fate.PLAIN: ("InvoiceSynced 1",),
    Fate.SAME_EDIT: ("InvoiceSynced 1", "InvoiceSynced 2"),
    Fate.CONFLICT: ("InvoiceSynced 1", "OutOfSync 2"),
    Fate.CONFLICT_ENDED_IN_XERO: (
        "InvoiceSynced 1",
        "OutOfSync 2",
        "SyncResumed 2",
        "InvoiceSynced 2",
    ),
    Fate.CONFLICT_ENDED_IN_PIPELINE: (
        "InvoiceSynced 1",
        "OutOfSync 2",
        "SyncResumed 3",
        "InvoiceSynced 3",
    ),
    Fate.VOIDED: ("InvoiceSynced 1", "InvoiceSynced 2"),
    Fate.ANNOUNCED_LATE: ("SyncFailed 1", "InvoiceSynced 1"),
    Fate.LINKED_LATE: ("SyncFailed 1", "InvoiceSynced 1"),
    Fate.VOIDED_WAITING: ("SyncFailed 1",),
}
"""Every event, in its order, that is told of an invoice of each fate: the kind and the version."""

STATE = dict.fromkeys(Fate, "synced") | {
    Fate.CONFLICT: "out_of_sync",
    Fate.VOIDED: "voided",
    Fate.VOIDED_WAITING: "voided",
}
"""Where an invoice of each fate stands at the end."""


@dataclass(frozen=True, slots=True)
class Fated:
    """A sale and its fate."""

    sale: Sale
    fate: Fate

    @property
    def created(self) -> InvoiceCreated:
        """The invoice as it was issued."""
        return invoice_of(self.sale, ACCOUNT)

    @property
    def price_in_pipeline(self) -> Decimal:
        """The price of one that Pipeline changes it to."""
        return Decimal(self.sale.row % 90 + 10)

    @property
    def price_in_xero(self) -> Decimal:
        """The price of one that a person in Xero changes it to."""
        same = self.fate is Fate.SAME_EDIT
        return self.price_in_pipeline if same else self.price_in_pipeline + Decimal("0.01")

    def updated(self, version: int, price: Decimal) -> InvoiceUpdated:
        """The invoice at another price."""
        created = self.created
        (line,) = created.lines
        changes = {
            "version": version,
            "lines": (line.model_copy(update={"unit_amount": price}),),
            "total": price * self.sale.quantity,
        }
        return InvoiceUpdated.model_validate(created.model_dump() | changes)

    @property
    def voided(self) -> InvoiceVoided:
        """Its cancellation."""
        return InvoiceVoided(account_id=ACCOUNT, invoice_id=self.sale.invoice_id, version=2)

    @property
    def booked(self) -> Decimal | None:
        """The total that counts in Xero at the end; None if nothing of it is there."""
        match self.fate:
            case Fate.VOIDED | Fate.VOIDED_WAITING:
                return None
            case Fate.CONFLICT | Fate.CONFLICT_ENDED_IN_PIPELINE:
                return self.price_in_xero * self.sale.quantity
            case Fate.SAME_EDIT | Fate.CONFLICT_ENDED_IN_XERO:
                return self.price_in_pipeline * self.sale.quantity
            case _:
                return self.sale.amount


def fates_of(sales: list[Sale], seed: int = SEED) -> list[Fated]:
    """1 % edited on both sides, half of them alike; 1 % voided, some before they were sent; 2 % unmapped at first."""
    chance = random.Random(seed)
    hundredth = len(sales) // 100
    unmapped = _customers_with(sales, 2 * hundredth, chance)
    waiting = [sale for sale in sales if sale.customer_id in unmapped]
    others = [sale for sale in sales if sale.customer_id not in unmapped]
    chance.shuffle(others)
    fates = _shared(others[:hundredth], dict.fromkeys(EDITED[1:], hundredth // 6), Fate.SAME_EDIT)
    never_sent = chance.sample(waiting, hundredth // 10)
    fates |= dict.fromkeys(others[hundredth : 2 * hundredth - len(never_sent)], Fate.VOIDED)
    linked = set(chance.sample(sorted(unmapped), len(unmapped) // 2))
    fates |= {
        sale: Fate.LINKED_LATE if sale.customer_id in linked else Fate.ANNOUNCED_LATE
        for sale in waiting
    }
    fates |= dict.fromkeys(never_sent, Fate.VOIDED_WAITING)
    return [Fated(sale, fates.get(sale, Fate.PLAIN)) for sale in sales]


def customers_of(fated: Iterable[Fated], *fates: Fate) -> list[Sale]:
    """A sale of each customer of these invoices."""
    return list({each.sale.customer_id: each.sale for each in fated if each.fate in fates}.values())


def _customers_with(sales: list[Sale], count: int, chance: random.Random) -> set[str]:
    """Customers whose sales are exactly so many."""
    sizes = Counter(sale.customer_id for sale in sales)
    order = sorted(sizes)
    chance.shuffle(order)
    chosen: set[str] = set()
    for customer_id in order:
        if sizes[customer_id] <= count:
            chosen.add(customer_id)
            count -= sizes[customer_id]
    assert count == 0
    return chosen


def _shared(sales: list[Sale], sizes: dict[Fate, int], rest: Fate) -> dict[Sale, Fate]:
    """These sales with these fates, so many of each, and the rest."""
    fates = [fate for fate, size in sizes.items() for _ in range(size)]
    return dict(zip(sales, fates + [rest] * (len(sales) - len(fates)), strict=True))
