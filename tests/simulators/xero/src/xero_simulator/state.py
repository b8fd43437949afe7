"""The books of one organisation in memory: tables, their indexes, and an undo journal.

Rules live beside this file; they read tables and call `put`. Nothing here does I/O or reads a clock.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from xero_simulator.records import (
    Allocation,
    Contact,
    Document,
    HistoryRecord,
    Organisation,
    Payment,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A committed change that Xero announces: `kind` is a record's kind."""

    kind: str
    record_id: str
    created: bool


Row = TypeVar("Row")

Index = dict[str, dict[str, None]]
"""Key to an ordered set of ids."""

Mark = Callable[[Index, str, str], None]
"""Puts an id under a key of an index, or takes it away."""


def _index() -> Index:
    return defaultdict(dict)


@dataclass(slots=True)
class Books:
    """Every record of one organisation, found by id, number, contact or document."""

    organisation: Organisation
    contacts: dict[str, Contact] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    history: dict[str, list[HistoryRecord]] = field(default_factory=lambda: defaultdict(list))
    contacts_by_name: Index = field(default_factory=_index)
    contacts_by_number: Index = field(default_factory=_index)
    documents_by_number: Index = field(default_factory=_index)
    documents_by_contact: Index = field(default_factory=_index)
    payments_by_document: Index = field(default_factory=_index)
    allocations_by_invoice: Index = field(default_factory=_index)
    allocations_by_source: Index = field(default_factory=_index)
    next_invoice_number: int = 1
    next_credit_note_number: int = 1
    approvals: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _changes: list[Change] = field(default_factory=list)

    @contextmanager
    def atomic(self) -> Iterator[Callable[[], None]]:
        """Takes back every write of the block if it raises, or when it calls what it is given."""
        mark, changes = len(self._undo), len(self._changes)

        def undo() -> None:
            while len(self._undo) > mark:
                self._undo.pop()()
            del self._changes[changes:]

        try:
            yield undo
        except BaseException:
            undo()
            raise

    def commit(self) -> list[Change]:
        """Makes all writes final and returns what to announce, one entry per record."""
        merged: dict[tuple[str, str], Change] = {}
        for change in self._changes:
            seen = merged.get((change.kind, change.record_id))
            created = change.created or (seen is not None and seen.created)
            merged[change.kind, change.record_id] = Change(change.kind, change.record_id, created)
        self._undo.clear()
        self._changes.clear()
        return list(merged.values())

    def announce(self, kind: str, record_id: str, *, created: bool) -> None:
        """Notes a change for the webhooks of this write."""
        self._changes.append(Change(kind, record_id, created))

    def put_contact(self, new: Contact, *, silent: bool = False) -> None:
        """Stores a contact; `silent` for bookkeeping that Xero does not announce."""
        old = self.contacts.get(new.contact_id)
        self._store(self.contacts, new.contact_id, old, new, self._index_contact)
        if not silent:
            self.announce("contact", new.contact_id, created=old is None)

    def drop_contact(self, contact: Contact) -> None:
        """Removes a contact; Xero announces nothing of it."""
        self._store(self.contacts, contact.contact_id, contact, None, self._index_contact)

    def put_document(self, new: Document) -> None:
        """Stores an invoice or credit note."""
        old = self.documents.get(new.document_id)
        self._store(self.documents, new.document_id, old, new, self._index_document)
        self.announce(new.kind, new.document_id, created=old is None)

    def put_payment(self, new: Payment) -> None:
        """Stores a payment."""
        old = self.payments.get(new.payment_id)
        self._store(self.payments, new.payment_id, old, new, self._index_payment)

    def put_allocation(self, new: Allocation) -> None:
        """Stores an allocation."""
        old = self.allocations.get(new.allocation_id)
        self._store(self.allocations, new.allocation_id, old, new, self._index_allocation)

    def drop_allocation(self, allocation: Allocation) -> None:
        """Removes an allocation."""
        self._store(
            self.allocations, allocation.allocation_id, allocation, None, self._index_allocation
        )

    def add_history(self, record: HistoryRecord) -> None:
        """Appends to a document's history."""
        rows = self.history[record.document_id]
        rows.append(record)

        def undo() -> None:
            rows.pop()

        self._undo.append(undo)

    def take_number(self, counter: str) -> int:
        """Draws from an automatic numbering counter; like Xero's, it leaves gaps on failure."""
        number: int = getattr(self, counter)
        setattr(self, counter, number + 1)
        return number

    def count_approval(self, month: str) -> None:
        """Counts one approved sales invoice in `month`."""
        self.approvals[month] += 1

        def undo() -> None:
            self.approvals[month] -= 1

        self._undo.append(undo)

    def invoices_numbered(self, number: str) -> list[Document]:
        """Invoices (any type and status) that carry `number`, oldest first."""
        return self._numbered("invoice", number)

    def credit_notes_numbered(self, number: str) -> list[Document]:
        """Credit notes that carry `number`."""
        return self._numbered("credit_note", number)

    def live_payments(self, document_id: str) -> list[Payment]:
        """Payments of a document that are not deleted."""
        rows = (self.payments[key] for key in self.payments_by_document.get(document_id, ()))
        return [row for row in rows if row.status != "DELETED"]

    def allocations_to(self, invoice_id: str) -> list[Allocation]:
        """Credit applied to an invoice."""
        return [self.allocations[key] for key in self.allocations_by_invoice.get(invoice_id, ())]

    def allocations_from(self, source_id: str) -> list[Allocation]:
        """Where the credit of a document went."""
        return [self.allocations[key] for key in self.allocations_by_source.get(source_id, ())]

    def _numbered(self, kind: str, number: str) -> list[Document]:
        keys = self.documents_by_number.get(f"{kind}:{number.lower()}", ())
        return [self.documents[key] for key in keys]

    def _store(
        self,
        table: dict[str, Row],
        key: str,
        old: Row | None,
        new: Row | None,
        index: Callable[[Row, Mark], None],
    ) -> None:
        self._swap(table, key, old, new, index)
        self._undo.append(lambda: self._swap(table, key, new, old, index))

    def _swap(
        self,
        table: dict[str, Row],
        key: str,
        old: Row | None,
        new: Row | None,
        index: Callable[[Row, Mark], None],
    ) -> None:
        if old is not None:
            index(old, _remove)
        if new is None:
            table.pop(key, None)
        else:
            table[key] = new
            index(new, _add)

    def _index_contact(self, row: Contact, mark: Mark) -> None:
        mark(self.contacts_by_name, row.name.lower(), row.contact_id)
        if row.number:
            mark(self.contacts_by_number, row.number.lower(), row.contact_id)

    def _index_document(self, row: Document, mark: Mark) -> None:
        if row.number:
            key = f"{row.kind}:{row.number.lower()}"
            mark(self.documents_by_number, key, row.document_id)
        mark(self.documents_by_contact, row.contact_id, row.document_id)

    def _index_payment(self, row: Payment, mark: Mark) -> None:
        mark(self.payments_by_document, row.document_id, row.payment_id)

    def _index_allocation(self, row: Allocation, mark: Mark) -> None:
        mark(self.allocations_by_invoice, row.invoice_id, row.allocation_id)
        mark(self.allocations_by_source, row.source_id, row.allocation_id)


def _add(index: Index, key: str, record_id: str) -> None:
    index[key][record_id] = None


def _remove(index: Index, key: str, record_id: str) -> None:
    index[key].pop(record_id, None)
