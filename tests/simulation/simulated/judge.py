"""The judge of whole runs, put to one life."""

from collections import Counter, defaultdict
from typing import Any

from pipeline_contracts import topics
from pipeline_local_stack.call_log import Call
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import (
    InvoiceKey,
    Ledgers,
    documents_of,
    histories,
    settlements_of,
)
from simulated.pipeline import CUSTOMER_NAME
from xero_simulator import ledger


async def broken_promises(world: Any) -> list[str]:
    """What does not hold, now that all has come to rest."""
    books = ledger.dump(world.xero.books[world.tenant_id])
    states: dict[InvoiceKey, str] = {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in await world.databases.invoices.fetch(
        "SELECT account_id, invoice_id, state FROM invoices"
    ):
        states[InvoiceKey(row["account_id"], row["invoice_id"])] = row["state"]
        counts[row["account_id"]][row["state"]] += 1
    ledgers = Ledgers(
        published=world.kafka.records(topics.INVOICES.name),
        announced=world.kafka.records(topics.SYNC.name),
        connections=world.kafka.records(topics.CONNECTIONS.name),
        documents=documents_of(books, world.tenant_id),
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
            for each in world.xero.calls.calls
            if each.path.startswith("/api.xro/")
        ],
        states=states,
        counts=counts,
        edited_in_xero=frozenset(world.edits),
        payments=world.kafka.records(topics.PAYMENTS.name),
        settlements=settlements_of(books, world.tenant_id) if world.ingests else (),
        webhooks=world.webhooks.answered,
        kept=await _kept(world) if world.ingests else frozenset(),
    )
    found = [str(each) for each in violations(ledgers)]
    return (
        found
        + _overwritten(world.edits, books)
        + _flagged(ledgers)
        + _set_aside(world.kafka)
        + _contacts(books)
    )


async def _kept(world: Any) -> frozenset[str]:
    rows = await world.databases.payments.fetch("SELECT body_hash FROM raw_deliveries")
    return frozenset(row["body_hash"].hex() for row in rows)


def _overwritten(edits: dict[str, str], books: Any) -> list[str]:
    """Pipeline never changes an invoice's reference here: what somebody typed last must stand."""
    return [
        f"{row['number']}: {edits[row['document_id']]!r} was typed in Xero, and {row['reference']!r} stands there"
        for row in books["invoices"]
        if row["document_id"] in edits and row["reference"] != edits[row["document_id"]]
    ]


def _flagged(ledgers: Ledgers) -> list[str]:
    """Nobody is bothered with a conflict where nobody but us has written."""
    return [
        f"{key} is flagged as out of sync, and nobody edited it in Xero"
        for key, history in histories(ledgers).items()
        if history.is_flagged
        and not any(each.document_id in ledgers.edited_in_xero for each in history.documents)
    ]


def _set_aside(kafka: Any) -> list[str]:
    """Everything that is published here can be read."""
    return [
        f"{len(log)} records were set aside in {partition.topic}"
        for partition, log in kafka.logs.items()
        if partition.topic.endswith(".dlq")
    ]


def _contacts(books: Any) -> list[str]:
    """There is one customer."""
    ours = Counter(row["name"] for row in books["contacts"] if row["name"] == CUSTOMER_NAME)
    return [f"{name} is {count} times in Xero" for name, count in ours.items() if count > 1]
