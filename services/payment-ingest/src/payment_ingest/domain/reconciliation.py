"""Do Xero, the ledger and what was published say the same? To the cent, per currency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from payment_ingest.domain.ledger import Observation, is_stale


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one of Pipeline's invoices: its version, and what is settled by the ledger and by the events."""

    updated_at: datetime | None
    in_ledger: Decimal
    published: Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """Some invoices of one currency: what is paid and credited on them by each account of it."""

    currency: str
    invoices: int
    in_xero: Decimal
    in_ledger: Decimal
    published: Decimal
    differing: int
    example: str | None
    """One of the invoices about which the three differ."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What the three accounts say is settled on one of Pipeline's invoices."""

    xero_invoice_id: str
    currency: str
    in_xero: Decimal
    in_ledger: Decimal
    published: Decimal


def compared(seen: Iterable[Observation], kept: Mapping[str, Kept]) -> tuple[Compared, ...]:
    """The invoices of `seen` that are Pipeline's, which are those in `kept`.

    Left out is one whose later version was taken in meanwhile: what was seen of it is true no more.
    """
    return tuple(
        Compared(
            one.xero_invoice_id,
            one.currency,
            one.amount_paid + one.amount_credited,
            ours.in_ledger,
            ours.published,
        )
        for one in seen
        if (ours := kept.get(one.xero_invoice_id)) is not None
        and not is_stale(one.updated_at, ours.updated_at)
    )


def absent(currencies: Mapping[str, str], kept: Mapping[str, Kept]) -> tuple[Compared, ...]:
    """Invoices that Xero does not list, by id with their currency: nothing is settled on them there."""
    return tuple(
        Compared(each, currency, Decimal(0), kept[each].in_ledger, kept[each].published)
        for each, currency in currencies.items()
    )


def sums(invoices: Iterable[Compared]) -> tuple[Sums, ...]:
    """Add up, per currency."""
    found: dict[str, Sums] = {}
    for one in invoices:
        differs = not one.in_xero == one.in_ledger == one.published
        before = found.get(one.currency) or Sums(
            one.currency, 0, Decimal(0), Decimal(0), Decimal(0), 0, None
        )
        found[one.currency] = Sums(
            currency=one.currency,
            invoices=before.invoices + 1,
            in_xero=before.in_xero + one.in_xero,
            in_ledger=before.in_ledger + one.in_ledger,
            published=before.published + one.published,
            differing=before.differing + differs,
            example=before.example or (one.xero_invoice_id if differs else None),
        )
    return tuple(found.values())
