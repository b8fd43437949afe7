"""The judge of whole runs, put to one service: what it took in, what stands in its outbox, and Xero's own ledger."""

from collections import Counter, defaultdict
from typing import Any

from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import Record, encode
from pipeline_contracts.invoice import Invoice, InvoiceVoided
from pipeline_contracts.topics import SYNC
from pipeline_local_stack.call_log import Call
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import InvoiceKey, Ledgers, document_of
from pipeline_messaging.outbox import unpack_headers


async def violations_of(service: Any) -> list[str]:
    """What does not hold of the invariants 1, 2, 4, 6, 9 and 11; its processes must have come to rest."""
    pool, books = service.pool, service.books
    rows = await pool.fetch("SELECT topic, key, value, headers FROM outbox ORDER BY id")
    states: dict[InvoiceKey, str] = {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in await pool.fetch("SELECT account_id, invoice_id, state FROM invoices"):
        states[InvoiceKey(row["account_id"], row["invoice_id"])] = row["state"]
        counts[row["account_id"]][row["state"]] += 1
    ledgers = Ledgers(
        published=_records(service, Invoice | InvoiceVoided),
        announced=[
            Record(row["topic"], row["key"], row["value"], unpack_headers(row["headers"]))
            for row in rows
            if row["topic"] == SYNC.name
        ],
        connections=_records(service, ConnectionStatusChanged),
        documents=[
            document_of(row, books.tenant_id)
            for row in (await books.ledger())["invoices"]
            if row["type"] == "ACCREC"
        ],
        calls=[
            Call(
                each.tenant_id,
                each.time,
                each.seconds,
                each.status,
                each.limited,
                each.method,
                each.path,
            )
            for each in books.world.calls.calls
            if each.path.startswith("/api.xro/")
        ],
        states=states,
        counts=counts,
        edited_in_xero=frozenset(books.edited),
    )
    return [str(each) for each in violations(ledgers)]


def _records(service: Any, kinds: Any) -> list[Record]:
    return [
        encode(each.event, id=each.id, source=each.source, time=each.time)
        for each in service.taken_in
        if isinstance(each.event, kinds)
    ]
