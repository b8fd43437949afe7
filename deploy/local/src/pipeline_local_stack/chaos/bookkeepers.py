"""What people do in Xero while faults strike: they pay, take back, credit, edit, and enter invoices of their own.

What they enter and edit is noted, for nobody's work may be overwritten.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal

import httpx

from pipeline_contracts.invoice import InvoiceCreated, InvoiceUpdated
from pipeline_local_stack.books import XeroInvoice
from pipeline_local_stack.chaos.verdict import WorkOfPeople
from pipeline_local_stack.chaos.workload import Publication
from pipeline_local_stack.ledgers import readable
from pipeline_local_stack.xero_admin import XeroAdmin

_PART, _TAKEN_BACK, _CREDITED = 0.1, 0.05, 0.05
_LOOK_SECONDS = 0.5
_TAKEN_BACK_AFTER = 3.0
"""Seconds: long enough for most payments to have been told of by then."""
_BY_HAND = 2
"""Invoices in each organisation that a person enters under a number which Pipeline then publishes."""
_MOVED_BY = timedelta(days=3)


@dataclass(slots=True)
class Bookkeepers:
    """Pay in Xero whatever appears there, each invoice once; some in part, taken back or credited."""

    books: Sequence[XeroAdmin]
    seed: int
    paid: set[str] = field(default_factory=set)
    """The InvoiceIDs of what was paid."""
    notes: WorkOfPeople = field(default_factory=WorkOfPeople)
    _to_edit: dict[str, date] = field(default_factory=dict)
    """By number: what Pipeline will change, and the due date that a person sets meanwhile."""
    _to_take_back: list[tuple[float, XeroAdmin, str]] = field(default_factory=list)
    """From when, where, and the PaymentID."""
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 - must be repeatable, not secret

    @property
    def is_busy(self) -> bool:
        """Whether a payment is still to be taken back."""
        return bool(self._to_take_back)

    def enter_by_hand(self, wanted: Sequence[Publication]) -> None:
        """Before the run: some numbers are taken in Xero already, and what Pipeline will change is to be edited."""
        events = [each.event for each in readable(one.record for one in wanted)]
        changed = {each.invoice_id for each in events if isinstance(each, InvoiceUpdated)}
        created = {each.invoice_id: each for each in events if isinstance(each, InvoiceCreated)}
        for event in created.values():
            if event.invoice_id in changed and event.due_date is not None:
                self._to_edit[event.invoice_number] = event.due_date + _MOVED_BY
        for number, xero in enumerate(self.books):
            account_id = f"chaos-{self.seed}-{number + 1}"
            own = [each for each in created.values() if each.account_id == account_id]
            for event in [each for each in own if each.invoice_id not in changed][:_BY_HAND]:
                row = xero.enter(event.invoice_number, "Entered by hand", Decimal("7.00"))
                self.notes.entered[row.document_id] = row

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            await self.pay_what_is_there()
            await asyncio.sleep(_LOOK_SECONDS)

    async def pay_what_is_there(self) -> int:
        """One look at all books; how many invoices were paid."""
        before = len(self.paid)
        await self._take_back_what_is_due()
        for xero in self.books:
            for invoice in await asyncio.to_thread(xero.invoices):
                if invoice.status != "AUTHORISED" or invoice.invoice_id in self.notes.entered:
                    continue
                if invoice.invoice_id not in self.paid:
                    # Marked first: whoever is cancelled in between has paid once, and pays no second time.
                    self.paid.add(invoice.invoice_id)
                    await asyncio.to_thread(self._edit, xero, invoice)
                    await asyncio.to_thread(self._settle, xero, invoice)
        return len(self.paid) - before

    async def _take_back_what_is_due(self) -> None:
        while self._to_take_back and self._to_take_back[0][0] <= time.monotonic():
            _, xero, payment_id = self._to_take_back[0]
            await asyncio.to_thread(xero.take_back, payment_id)
            del self._to_take_back[0]

    def _edit(self, xero: XeroAdmin, invoice: XeroInvoice) -> None:
        due_date = self._to_edit.get(invoice.number)
        if due_date is None:
            return
        xero.move_due_date(invoice.invoice_id, due_date)
        self.notes.due_dates[invoice.invoice_id] = due_date

    def _settle(self, xero: XeroAdmin, invoice: XeroInvoice) -> None:
        half = (invoice.total / 2).quantize(Decimal("0.01"), ROUND_DOWN)
        drawn = self._chance.random()
        try:
            payment_id = xero.pay(invoice.invoice_id, half if drawn < _PART else invoice.total)
        except httpx.HTTPStatusError:
            return  # voided by Pipeline since the look: nobody can pay that
        if drawn > 1 - _TAKEN_BACK:
            self._to_take_back.append((time.monotonic() + _TAKEN_BACK_AFTER, xero, payment_id))
        elif drawn < _CREDITED:
            xero.credit(invoice.invoice_id, Decimal("0.01"))
