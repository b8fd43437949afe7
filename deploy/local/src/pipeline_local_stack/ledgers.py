"""The three ledgers of a run as values: what was published, what Xero holds and was asked, what was told of it.

Invoices are told apart by account and invoice. What Xero holds is one of ours if its link names the invoice, if it
was announced as it, or if our app made it under the invoice's number.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Envelope, Record, decode
from pipeline_contracts.errors import UndecodableRecord
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import Invoice, InvoiceVoided
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncEvent, SyncFailed, SyncResumed
from pipeline_local_stack.call_log import Call

WITHDRAWN = frozenset({"VOIDED", "DELETED"})
"""The statuses in which an invoice of Xero no longer counts."""


class InvoiceKey(NamedTuple):
    """One invoice of Pipeline."""

    account_id: str
    invoice_id: str

    def __str__(self) -> str:
        return f"{self.invoice_id} of {self.account_id}"


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A line of an invoice in Xero's own books."""

    description: str
    quantity: Decimal
    unit_amount: Decimal
    account_code: str


@dataclass(frozen=True, slots=True)
class Document:
    """A sales invoice in Xero's own books."""

    tenant_id: str
    document_id: str
    number: str
    status: str
    reference: str
    issue_date: date
    due_date: date | None
    currency: str
    total: Decimal
    paid: Decimal
    url: str
    by_app: bool
    lines: tuple[DocumentLine, ...]

    @property
    def is_live(self) -> bool:
        """Whether it counts: neither voided nor deleted."""
        return self.status not in WITHDRAWN


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settles a part of an invoice in Xero's own books: a payment that was not deleted, or a credit allocated."""

    tenant_id: str
    document_id: str
    kind: str
    xero_id: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A body that was posted to the webhook endpoint, and what was answered; its hash is SHA-256 in hex."""

    body_hash: str
    is_genuine: bool
    has_events: bool
    status: int


@dataclass(frozen=True, slots=True)
class Ledgers:
    """All that is known of a run, from the three sides."""

    published: Sequence[Record]
    """The records of `pipeline.invoices.v1`, in order per key; what cannot be read counts as never accepted."""
    announced: Sequence[Record]
    """The records of `pipeline.xero.sync.v1`, in order per key, copies included."""
    connections: Sequence[Record]
    """The records of `pipeline.xero.connections.v1`, in order per key, copies included."""
    documents: Sequence[Document]
    """The sales invoices of every organisation."""
    calls: Sequence[Call]
    """Xero's log of calls to its Accounting API."""
    states: Mapping[InvoiceKey, str] = field(default_factory=dict)
    """The states that `GET …/sync` told, of all invoices or some."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The number of invoices in each state by account, as `GET …/summary` told; of all accounts or some."""
    edited_in_xero: frozenset[str] = frozenset()
    """The InvoiceIDs of what people changed in Xero: it may differ from Pipeline's without being a fault."""
    payments: Sequence[Record] = ()
    """The records of `pipeline.payments.v1`, in order per key, copies included."""
    settlements: Sequence[Settlement] = ()
    """What settles the invoices of every organisation."""
    webhooks: Sequence[Webhook] = ()
    """What was posted to the webhook endpoint; of all posts or some."""
    kept: frozenset[str] = frozenset()
    """The hashes of the bodies that payment-ingest keeps."""


@dataclass(slots=True)
class History:
    """One invoice through all ledgers, every event once."""

    versions: dict[int, Invoice | InvoiceVoided] = field(default_factory=dict)
    told: list[SyncEvent] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)

    @property
    def newest(self) -> int:
        """The highest version published."""
        return max(self.versions)

    @property
    def is_cancelled(self) -> bool:
        """Whether Pipeline voided it; nothing that is published afterwards takes that back."""
        return any(isinstance(event, InvoiceVoided) for event in self.versions.values())

    @property
    def synced(self) -> InvoiceSynced | None:
        """The last InvoiceSynced."""
        return next((each for each in reversed(self.told) if isinstance(each, InvoiceSynced)), None)

    @property
    def failure(self) -> SyncFailed | None:
        """The SyncFailed that is open: nothing said since that the invoice went on."""
        last = self.told[-1] if self.told else None
        return last if isinstance(last, SyncFailed) else None

    @property
    def is_flagged(self) -> bool:
        """Whether OutOfSync was told, and nothing since that both agree again."""
        for event in reversed(self.told):
            if isinstance(event, OutOfSync | SyncResumed | InvoiceSynced):
                return isinstance(event, OutOfSync)
        return False

    @property
    def keeps_xeros(self) -> bool:
        """Whether a person chose Xero's version, and Pipeline has published nothing since that was written there."""
        last = next((e for e in reversed(self.told) if not isinstance(e, SyncFailed)), None)
        return isinstance(last, SyncResumed) and last.invoice is not None

    @property
    def live(self) -> list[Document]:
        """What Xero holds of it and counts."""
        return [document for document in self.documents if document.is_live]

    @property
    def in_step(self) -> tuple[Invoice, InvoiceSynced] | None:
        """What Pipeline wants and what was announced of it, if Xero is to hold just that."""
        synced = self.synced
        if synced is None or synced.xero_status in WITHDRAWN:
            return None
        if self.is_flagged or self.keeps_xeros:
            return None
        wanted = self.versions.get(synced.version)
        return (wanted, synced) if isinstance(wanted, Invoice) else None


def histories(ledgers: Ledgers) -> dict[InvoiceKey, History]:
    """Every invoice that was published, with all that became of it."""
    found: dict[InvoiceKey, History] = defaultdict(History)
    for event in distinct(readable(ledgers.published)):
        if isinstance(event, Invoice | InvoiceVoided):
            key = InvoiceKey(event.account_id, event.invoice_id)
            found[key].versions.setdefault(event.version, event)
    for event in distinct(readable(ledgers.announced)):
        if isinstance(event, SyncEvent):
            found[InvoiceKey(event.account_id, event.invoice_id)].told.append(event)
    for key, document in _owned(ledgers, found):
        found[key].documents.append(document)
    return {key: history for key, history in found.items() if history.versions}


def strangers(ledgers: Ledgers) -> list[Document]:
    """What our app made in Xero although it belongs to no invoice that was published."""
    found = histories(ledgers)
    ours = {each.document_id for history in found.values() for each in history.documents}
    return [each for each in ledgers.documents if each.by_app and each.document_id not in ours]


def _owned(
    ledgers: Ledgers, found: Mapping[InvoiceKey, History]
) -> Iterable[tuple[InvoiceKey, Document]]:
    by_link = {link_of(key): key for key in found}
    by_id = {
        event.xero_invoice_id: key
        for key, history in found.items()
        for event in history.told
        if isinstance(event, InvoiceSynced)
    }
    by_number: dict[tuple[str, str], InvoiceKey] = {}
    tenants = tenants_of(ledgers.connections)
    for key, history in found.items():
        for event in history.versions.values():
            if isinstance(event, Invoice):
                for tenant_id in tenants.get(key.account_id, ()):
                    by_number.setdefault((tenant_id, event.invoice_number.strip()), key)
    for document in ledgers.documents:
        link = "/accounts/" + document.url.partition("/accounts/")[2]
        numbered = by_number.get((document.tenant_id, document.number))
        owner = (
            by_id.get(document.document_id)
            or by_link.get(link)
            or (numbered if document.by_app else None)
        )
        if owner is not None:
            yield owner, document


def only(ledgers: Ledgers, accounts: Collection[str]) -> Ledgers:
    """What concerns these accounts: their records, what is in their organisations, and what links back to them."""

    def theirs(records: Sequence[Record]) -> list[Record]:
        return [
            record
            for record in records
            if any(each.event.account_id in accounts for each in readable([record]))
        ]

    connections = theirs(ledgers.connections)
    tenants = set().union(*tenants_of(connections).values())
    links = tuple(f"/accounts/{quote(account_id, safe='')}/" for account_id in accounts)
    return replace(
        ledgers,
        published=theirs(ledgers.published),
        announced=theirs(ledgers.announced),
        connections=connections,
        payments=theirs(ledgers.payments),
        settlements=[each for each in ledgers.settlements if each.tenant_id in tenants],
        documents=[
            each
            for each in ledgers.documents
            if each.tenant_id in tenants or any(link in each.url for link in links)
        ],
        calls=[call for call in ledgers.calls if call.tenant_id in tenants],
    )


def without(ledgers: Ledgers, left_out: Mapping[InvoiceKey, str]) -> Ledgers:
    """All but some invoices: the state in which each of these is answered to be."""

    def others(records: Sequence[Record]) -> list[Record]:
        return [record for record in records if not any(map(_is_left_out, readable([record])))]

    def _is_left_out(envelope: Envelope) -> bool:
        event = envelope.event
        return InvoiceKey(event.account_id, getattr(event, "invoice_id", "")) in left_out

    links = tuple(map(link_of, left_out))
    counts = {account_id: Counter(counted) for account_id, counted in ledgers.counts.items()}
    for key, state in left_out.items():
        counts.get(key.account_id, Counter())[state] -= 1
    return replace(
        ledgers,
        published=others(ledgers.published),
        announced=others(ledgers.announced),
        payments=others(ledgers.payments),
        documents=[each for each in ledgers.documents if not (links and each.url.endswith(links))],
        states={key: state for key, state in ledgers.states.items() if key not in left_out},
        counts=counts,
    )


def link_of(key: InvoiceKey) -> str:
    """How the link of an invoice in Xero ends that leads back to Pipeline's."""
    return f"/accounts/{quote(key.account_id, safe='')}/invoices/{quote(key.invoice_id, safe='')}"


def tenants_of(connections: Sequence[Record]) -> dict[str, set[str]]:
    """The organisations to which each account was ever connected."""
    found: dict[str, set[str]] = defaultdict(set)
    for event in distinct(readable(connections)):
        if isinstance(event, ConnectionStatusChanged) and event.tenant_id:
            found[event.account_id].add(event.tenant_id)
    return found


def connected_now(connections: Sequence[Record]) -> dict[str, str]:
    """The organisation to which each account is connected at the end; none where it is not."""
    newest: dict[str, ConnectionStatusChanged] = {}
    for event in distinct(readable(connections)):
        if isinstance(event, ConnectionStatusChanged):
            newest[event.account_id] = event
    return {
        account_id: event.tenant_id or ""
        for account_id, event in newest.items()
        if event.status == "CONNECTED"
    }


def readable(records: Iterable[Record]) -> list[Envelope]:
    """The records that can be read, in their order."""
    found = []
    for record in records:
        try:
            found.append(decode(key=record.key, value=record.value, headers=record.headers))
        except UndecodableRecord:
            continue
    return found


def distinct(envelopes: Iterable[Envelope]) -> list[Event]:
    """The events in their order, each once: copies have the same source and id, as every consumer must read them."""
    seen: set[tuple[str, str]] = set()
    events: list[Event] = []
    for envelope in envelopes:
        if (envelope.source, envelope.id) not in seen:
            seen.add((envelope.source, envelope.id))
            events.append(envelope.event)
    return events


def broken_sequences(events: Iterable[Event]) -> Iterator[str]:
    """Where the sequence of an invoice's events has a gap or goes back; events without one are passed over."""
    last: Counter[InvoiceKey] = Counter()
    for event in events:
        invoice_id, sequence = getattr(event, "invoice_id", None), getattr(event, "sequence", None)
        if invoice_id is None or sequence is None:
            continue
        key = InvoiceKey(event.account_id, invoice_id)
        if sequence != last[key] + 1:
            yield f"{key}: sequence {sequence} of {type(event).__name__} follows {last[key]}"
        last[key] = sequence


def document_of(row: Mapping[str, Any], tenant_id: str) -> Document:
    """A sales invoice as the simulator's ledger tells it."""
    return Document(
        tenant_id=tenant_id,
        document_id=row["document_id"],
        number=row["number"],
        status=row["status"],
        reference=row["reference"] or "",
        issue_date=date.fromisoformat(row["date"]),
        due_date=date.fromisoformat(row["due_date"]) if row["due_date"] else None,
        currency=row["currency"],
        total=Decimal(row["total"]),
        paid=Decimal(row["amount_paid"]),
        url=row["url"] or "",
        by_app=row["created_by_app"],
        lines=tuple(
            DocumentLine(
                line["description"] or "",
                Decimal(line["quantity"] or 0),
                Decimal(line["unit_amount"] or 0),
                line["account_code"] or "",
            )
            for line in row["lines"]
        ),
    )


def documents_of(books: Mapping[str, Any], tenant_id: str) -> list[Document]:
    """An organisation's sales invoices, as the simulator's ledger tells them."""
    return [document_of(row, tenant_id) for row in books["invoices"] if row["type"] == "ACCREC"]


def settlements_of(books: Mapping[str, Any], tenant_id: str) -> list[Settlement]:
    """What settles an organisation's invoices, as the simulator's ledger tells it."""
    currencies = {
        row["document_id"]: row["currency"] for row in books["invoices"] if row["type"] == "ACCREC"
    }
    paid = [
        ("payment", row["document_id"], row["payment_id"], row["amount"])
        for row in books["payments"]
        if row["status"] not in WITHDRAWN
    ]
    credited = [
        (row["kind"], row["invoice_id"], row["source_id"], row["amount"])
        for row in books["allocations"]
    ]
    return [
        Settlement(tenant_id, document_id, kind, xero_id, Decimal(amount), currencies[document_id])
        for kind, document_id, xero_id, amount in (*paid, *credited)
        if document_id in currencies
    ]
