"""What must hold once everything has come to rest, whatever happened on the way: three ledgers in, violations out.

1. Each invoice that was published is in Xero, or its SyncFailed is open and final, or it waits for a connection that
   is not there.
2. What was announced as synced is in Xero exactly once, as it was published or flagged as out of sync; nothing else is.
4. One event of Pipeline has one effect; copies of one event of ours are the same, byte for byte.
6. The sequence of an invoice's events is 1, 2, … n in the order of the topic.
9. Nothing is asked of an organisation after its disconnect was recorded, and nothing is in another organisation than
   the one its account is connected to.
11. The totals by organisation and currency are the same in what was published, announced, and booked.

Webhooks and payments have their own, some under the same numbers: `payment_invariants`.

Each number stands for one promise, and a fault may break several. The functions are pure and trust no counter of the
system they judge.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Record
from pipeline_contracts.event import Event
from pipeline_contracts.invoice import Invoice, InvoiceLine
from pipeline_contracts.problems import ProblemCode
from pipeline_contracts.sync import InvoiceSynced, SyncFailed
from pipeline_local_stack.call_log import calls_outside
from pipeline_local_stack.ledgers import (
    WITHDRAWN,
    Document,
    DocumentLine,
    History,
    InvoiceKey,
    Ledgers,
    broken_sequences,
    connected_now,
    distinct,
    histories,
    readable,
    strangers,
    tenants_of,
)
from pipeline_local_stack.payment_invariants import CHECKS as PAYMENT_CHECKS

STOPPED = frozenset({"failed", "waiting_for_contact", "waiting_for_connection"})
"""The states of an invoice whose SyncFailed is open."""
_ASKED_WHILE_CONNECTING = "/Organisation"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and how."""

    invariant: int
    words: str

    def __str__(self) -> str:
        return f"invariant {self.invariant}: {self.words}"


Histories = Mapping[InvoiceKey, History]


def violations(ledgers: Ledgers) -> list[Violation]:
    """Everything that does not hold, in words; empty is good."""
    found = histories(ledgers)
    checks: dict[int, Callable[[Ledgers, Histories], Iterable[str]]] = {
        1: _dispositions,
        2: _books,
        4: _effects,
        6: _sequences,
        9: _connections,
        11: _sums,
    }
    of_invoices = [
        Violation(number, words)
        for number, check in checks.items()
        for words in check(ledgers, found)
    ]
    of_payments = [
        Violation(number, words)
        for number, check in PAYMENT_CHECKS.items()
        for words in check(ledgers)
    ]
    return sorted((*of_invoices, *of_payments), key=lambda each: each.invariant)


def _dispositions(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    connected = connected_now(ledgers.connections)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for key, history in found.items():
        state = disposition(history)
        told[key.account_id][state] += 1
        yield from _why_not_at_rest(key, history, state, parked=key.account_id not in connected)
        shown = ledgers.states.get(key)
        if shown is not None and _grouped(shown) != state:
            yield f"{key} is {state} by what was announced, and {shown} by what is answered"
    for account_id, counts in ledgers.counts.items():
        shown_counts: Counter[str] = Counter()
        for state, count in counts.items():
            shown_counts[_grouped(state)] += count
        if +shown_counts != told[account_id]:
            yield f"{account_id} has {dict(told[account_id])} by what was announced, and {dict(+shown_counts)} by its summary"


def disposition(history: History) -> str:
    """Where an invoice stands by what was announced: `synced, out_of_sync, voided, stopped` or `unexplained`."""
    synced, failure = history.synced, history.failure
    if history.is_cancelled and (synced is None or synced.xero_status in WITHDRAWN):
        # Cancelled before anything was sent is announced by nothing, and ends what was said before; what Pipeline
        # asks for afterwards is refused.
        late = failure is not None and failure.code == ProblemCode.UPDATE_AFTER_VOID
        return "stopped" if late else "voided"
    if failure is not None:
        return "stopped"
    if history.is_flagged:
        return "out_of_sync"
    return "synced" if synced is not None else "unexplained"


def _grouped(state: str) -> str:
    return "stopped" if state in STOPPED else state


def _why_not_at_rest(
    key: InvoiceKey, history: History, state: str, *, parked: bool
) -> Iterator[str]:
    failure, synced = history.failure, history.synced
    match state:
        case "unexplained" if not parked:
            yield f"{key} was accepted, and is neither in Xero nor explained"
        case "stopped" if failure is not None and failure.code == ProblemCode.NOT_CONNECTED:
            if not parked:
                yield f"{key} waits for a connection, and there is one"
        case "stopped" if failure is not None and failure.retryable and not parked:
            yield f"{key} has no final disposition: {failure.code} is being tried again"
        case "synced" if synced is not None and not history.keeps_xeros and not parked:
            if synced.version < history.newest:
                yield f"{key} was published as version {history.newest}, and {synced.version} is the last that was told of"


def _books(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    for key, history in found.items():
        live, state = history.live, disposition(history)
        if len(live) > 1:
            ids = ", ".join(each.document_id for each in live)
            yield f"{key} is {len(live)} times in Xero: {ids}"
        elif live and (state == "voided" or history.synced is None):
            yield f"{key} is in Xero as {live[0].number}, and was announced as {_told(history)}"
        elif not live and state == "synced":
            yield f"{key} was announced as synced, and is not in Xero"
        elif live:
            yield from _content(key, history, live[0], ledgers.edited_in_xero)
    for document in strangers(ledgers):
        yield f"{document.number} was made in Xero by the app, and belongs to nothing that was published"


def _told(history: History) -> str:
    if history.failure is not None:
        return f"failed for {history.failure.code}"
    return "voided" if history.is_cancelled else "nothing"


def _content(
    key: InvoiceKey, history: History, document: Document, edited_in_xero: frozenset[str]
) -> Iterator[str]:
    """What Xero holds of an invoice, against the version that it was announced to hold."""
    in_step = history.in_step
    if in_step is None:
        return
    wanted, synced = in_step
    if document.document_id.lower() != synced.xero_invoice_id.lower():
        yield f"{key} was announced as {synced.xero_invoice_id} and is {document.document_id} in Xero"
    elif document.document_id not in edited_in_xero:
        for field, ours, theirs in differences(wanted, document):
            yield f"{key}: {field} is {ours} in Pipeline and {theirs} in Xero, and nobody was told"


def differences(wanted: Invoice, document: Document) -> Iterator[tuple[str, object, object]]:
    """Where an invoice of Pipeline is not what Xero holds: the field, Pipeline's value, Xero's value."""
    pairs: Sequence[tuple[str, object, object]] = (
        ("reference", (wanted.reference or "").strip(), document.reference),
        ("issue_date", wanted.issue_date, document.issue_date),
        ("due_date", wanted.due_date, document.due_date),
        ("currency", wanted.currency, document.currency),
        ("total", wanted.total, document.total),
        ("lines", sorted(map(_line_of, wanted.lines)), sorted(map(_line_of, document.lines))),
    )
    yield from (each for each in pairs if each[1] != each[2])
    # An account may have a prefix in Xero.
    if not document.number.endswith(wanted.invoice_number.strip()):
        yield "invoice_number", wanted.invoice_number, document.number


def _line_of(line: InvoiceLine | DocumentLine) -> tuple[str, Decimal, Decimal]:
    """What both sides name alike of a line; codes are each side's own."""
    return line.description.strip(), line.quantity, line.unit_amount


def _effects(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    for topic in ledgers.announced, ledgers.connections, ledgers.payments:
        for (_, event_id), copies in _by_event(topic).items():
            if len(set(copies)) > 1:
                yield f"event {event_id.decode(errors='replace')} has copies that are not the same, byte for byte"
    for key, history in found.items():
        for before, after in pairwise(history.told):
            if _same_effect(before, after):
                yield f"{key}: {type(after).__name__} of version {after.version} was announced twice, as {before.sequence} and {after.sequence}"


def _by_event(records: Iterable[Record]) -> dict[tuple[bytes, bytes], list[Record]]:
    found: dict[tuple[bytes, bytes], list[Record]] = defaultdict(list)
    for record in records:
        headers = dict(record.headers)
        found[headers.get("ce_source") or b"", headers.get("ce_id") or b""].append(record)
    return found


def _same_effect(before: Event, after: Event) -> bool:
    """Whether two events, one right after the other, say the same: nothing happened between them that could repeat."""
    match before, after:
        case InvoiceSynced(), InvoiceSynced():
            return before.version == after.version
        case SyncFailed(), SyncFailed():
            return (before.version, before.generation, before.code) == (
                after.version,
                after.generation,
                after.code,
            )
        case _:
            return False


def _sequences(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    del found  # those of invoices nobody published count too
    yield from broken_sequences(distinct(readable(ledgers.announced)))


def _connections(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    tenants = tenants_of(ledgers.connections)
    asked = [call for call in ledgers.calls if not call.path.endswith(_ASKED_WHILE_CONNECTING)]
    for call in calls_outside(asked, _spans(ledgers.connections)):
        yield f"{call.method} {call.path} asked {call.tenant_id or 'no organisation'} while no connection to it was recorded"
    for key, history in found.items():
        for document in history.documents:
            if document.tenant_id not in tenants.get(key.account_id, set()):
                yield f"{key} is in organisation {document.tenant_id}, to which its account was never connected"
        for event in history.told:
            if isinstance(event, InvoiceSynced) and event.tenant_id != _tenant_of(event, history):
                yield f"{key} was announced to be in organisation {event.tenant_id}, and is not there"


def _tenant_of(event: InvoiceSynced, history: History) -> str | None:
    ids = {each.document_id.lower(): each.tenant_id for each in history.documents}
    return ids.get(event.xero_invoice_id.lower())


def _spans(connections: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """From when until when each organisation had a recorded connection.

    An expired token ends no connection: it can be refreshed at any moment, and until then there is none to call with.
    """
    begun: dict[str, tuple[str, float]] = {}
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in distinct(readable(connections)):
        if not isinstance(event, ConnectionStatusChanged):
            continue
        tenant_id, since = event.tenant_id or "", event.since.timestamp()
        before = begun.get(event.account_id)
        if before is not None and (event.status == "DISCONNECTED" or before[0] != tenant_id):
            spans[before[0]].append((before[1], since))
            del begun[event.account_id]
        if event.status == "CONNECTED":
            begun.setdefault(event.account_id, (tenant_id, since))
    for tenant_id, since in begun.values():
        spans[tenant_id].append((since, float("inf")))
    return spans


def _sums(ledgers: Ledgers, found: Histories) -> Iterator[str]:
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    for history in found.values():
        in_step = history.in_step
        if in_step is None or in_step[1].xero_invoice_id in ledgers.edited_in_xero:
            continue
        wanted, synced = in_step
        _add(sums, (synced.tenant_id, wanted.currency), "published", wanted.total)
        _add(sums, (synced.tenant_id, synced.currency), "announced", synced.total)
        for document in history.live:
            _add(sums, (document.tenant_id, document.currency), "booked", document.total)
    for (tenant_id, currency), of in sums.items():
        totals = {
            ledger: of.get(ledger, Decimal(0)) for ledger in ("published", "announced", "booked")
        }
        if len(set(totals.values())) > 1:
            told = ", ".join(f"{total} {ledger}" for ledger, total in totals.items())
            yield f"the totals in {currency} of organisation {tenant_id} differ: {told}"


def _add(
    sums: dict[tuple[str, str], dict[str, Decimal]],
    book: tuple[str, str],
    ledger: str,
    amount: Decimal,
) -> None:
    of = sums[book]
    of[ledger] = of.get(ledger, Decimal(0)) + amount
