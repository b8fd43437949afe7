"""What happened to whatever a broken promise names: put in, called for, noted and told, in the order of time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline_contracts.envelope import Envelope, Record
from pipeline_local_stack.call_log import Call
from pipeline_local_stack.ledgers import InvoiceKey, Ledgers, histories, readable, tenants_of

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, and when."""

    at: float
    """Seconds since 1970."""
    words: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a sentence is about: an invoice, or else an account or an organisation; nothing if it names none."""

    key: InvoiceKey | None = None
    document_ids: frozenset[str] = field(default_factory=frozenset)
    numbers: frozenset[str] = field(default_factory=frozenset)
    account_id: str | None = None
    tenant_id: str | None = None


def subject_of(words: str, ledgers: Ledgers) -> Subject:
    """The first id that a sentence names, with all ids of the same invoice in the other ledgers."""
    found = histories(ledgers)
    named: list[tuple[int, int, Subject]] = []

    def look_for(name: str, subject: Subject) -> None:
        at = words.find(name) if name else -1
        if at >= 0:
            # Of two names that begin at one place, the longer one is meant.
            named.append((at, -len(name), subject))

    for key, history in found.items():
        ids = frozenset(each.document_id for each in history.documents)
        numbers = frozenset(each.number for each in history.documents)
        subject = Subject(key, ids, numbers, key.account_id)
        for name in (str(key), *ids, *numbers):
            look_for(name, subject)
    for document in ledgers.documents:
        own = Subject(None, frozenset({document.document_id}), frozenset({document.number}))
        look_for(document.document_id, own)
    for account_id, tenant_ids in tenants_of(ledgers.connections).items():
        look_for(account_id, Subject(account_id=account_id))
        for tenant_id in tenant_ids:
            look_for(tenant_id, Subject(account_id=account_id, tenant_id=tenant_id))
    return min(named, key=lambda each: each[:2])[2] if named else Subject()


def timeline(words: str, ledgers: Ledgers, more: Sequence[Happening] = ()) -> list[str]:
    """What happened to what a sentence names, in order of time, and how it stands at the end.

    Args:
        words: the sentence of a `Violation`.
        ledgers: of the run.
        more: what the services noted of it.
    """
    subject = subject_of(words, ledgers)
    happened = sorted(
        (*_records(subject, ledgers), *_calls(subject, ledgers.calls), *more),
        key=lambda each: each.at,
    )
    told = [f"{_time(each.at)} {each.words}" for each in happened]
    if len(told) > _SHOWN:
        half = _SHOWN // 2
        told = [*told[:half], f"… {len(told) - _SHOWN} more …", *told[-half:]]
    return [*told, *_ends(subject, ledgers)]


def _records(subject: Subject, ledgers: Ledgers) -> Iterator[Happening]:
    topics: Iterable[tuple[str, Sequence[Record]]] = (
        ("Pipeline published", ledgers.published),
        ("we announced", ledgers.announced),
        ("we announced", ledgers.payments),
        ("we announced", ledgers.connections),
    )
    for who, records in topics:
        for envelope in readable(records):
            if _concerns(envelope, subject):
                yield Happening(envelope.time.timestamp(), f"{who} {_said(envelope)}")


def _concerns(envelope: Envelope, subject: Subject) -> bool:
    event = envelope.event
    invoice_id = getattr(event, "invoice_id", None)
    if subject.key is not None:
        return (
            invoice_id in (None, subject.key.invoice_id) and event.account_id == subject.account_id
        )
    return invoice_id is None and event.account_id == subject.account_id


def _said(envelope: Envelope) -> str:
    event = envelope.event
    told = {
        name: value
        for name in (
            "version",
            "sequence",
            "code",
            "status",
            "xero_invoice_id",
            "payment_id",
            "amount",
        )
        if (value := getattr(event, name, None)) is not None
    }
    details = ", ".join(f"{name} {value}" for name, value in told.items())
    return f"{type(event).__name__} ({details}) as {envelope.id}"


def _calls(subject: Subject, calls: Sequence[Call]) -> Iterator[Happening]:
    names = {*subject.document_ids, *subject.numbers}
    for call in calls:
        address = f"{call.path}?{call.query}"
        is_about = call.tenant_id == subject.tenant_id or any(name in address for name in names)
        if is_about and call.tenant_id:
            refused = f", refused for its limit {call.limited}" if call.limited else ""
            yield Happening(
                call.time, f"Xero was asked {call.method} {address} and said {call.status}{refused}"
            )


def _ends(subject: Subject, ledgers: Ledgers) -> Iterator[str]:
    for document in ledgers.documents:
        if document.document_id in subject.document_ids:
            yield (
                f"In Xero it is {document.document_id}, {document.number}, {document.status}, {document.total}"
                f" {document.currency}, {document.paid} paid, in organisation {document.tenant_id}"
            )
    if subject.key is not None:
        if not subject.document_ids:
            yield "In Xero it is not"
        if (state := ledgers.states.get(subject.key)) is not None:
            yield f"It is answered to be {state}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
