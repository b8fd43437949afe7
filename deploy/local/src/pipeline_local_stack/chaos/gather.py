"""Gathers what a run is judged by: topics, Xero's books and log, the services' answers and databases."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import asyncpg
import httpx

from connector.store import audit
from connector.verify_audit import verify_audit as verify_connections
from invoice_sync.domain.outcome import LANDS_WITHIN
from invoice_sync.verify_audit import verify_audit as verify_settings
from pipeline_contracts.topics import DEAD_LETTER_TOPICS
from pipeline_local_stack.chaos.intruder import Attempts
from pipeline_local_stack.chaos.timeline import Happening, subject_of
from pipeline_local_stack.chaos.verdict import DeadLetter, Evidence, WorkOfPeople
from pipeline_local_stack.connect import connection_of
from pipeline_local_stack.ledgers import InvoiceKey, Ledgers, Webhook, only, without
from pipeline_local_stack.plain_http import NOBODY
from pipeline_local_stack.read_ledgers import read_ledgers, read_topics
from pipeline_local_stack.stack import Stack

_DELIVERIES = 1_000_000
_DELIVERED = "delivered"


async def waiting(stack: Stack) -> dict[str, int]:
    """What waits to be published or to be read, by where it waits; nothing is left out but zeros."""
    found = {}
    for package, dsn in stack.dsns.items():
        conn = await asyncpg.connect(dsn)
        try:
            found[f"outbox of {package}"] = await conn.fetchval("SELECT count(*) FROM outbox")
            if package == "payment_ingest":
                count = "SELECT count(*) FROM unread_deliveries"
                found["webhooks to be read"] = await conn.fetchval(count)
        finally:
            await conn.close()
    return {name: count for name, count in found.items() if count}


async def undecided(stack: Stack) -> dict[InvoiceKey, str]:
    """Invoices that wait on purpose until a write that got no answer can no longer land, with their state.

    That takes ten minutes of real time (`invoice_sync.domain.outcome.may_still_land`): neither failed nor done, as in
    Jepsen's histories. Whoever looks again after that finds them decided.
    """
    conn = await asyncpg.connect(stack.dsns["invoice_sync"])
    try:
        rows = await conn.fetch(
            """
            SELECT invoices.account_id, invoices.invoice_id, invoices.state
            FROM intents JOIN invoices ON invoices.intent_id = intents.id
            WHERE intents.must_look_up AND intents.first_sent_at > now() - $1::interval
            """,
            LANDS_WITHIN,
        )
    finally:
        await conn.close()
    return {InvoiceKey(row["account_id"], row["invoice_id"]): row["state"] for row in rows}


async def gather(
    stack: Stack,
    accounts: Collection[str],
    poison: frozenset[bytes],
    people: WorkOfPeople,
    attempts: Attempts,
    *,
    alone: bool = True,
) -> Evidence:
    """Everything about some accounts.

    Args:
        stack: the running stack, healed.
        accounts: those that are judged.
        poison: the values of all records so far that nobody can read.
        people: what people did in Xero.
        attempts: what was tried without a right to.
        alone: whether everything about other accounts is left out.
    """
    open_ones = await undecided(stack)
    read = await read_ledgers(
        stack,
        accounts=accounts,
        edited_in_xero=people.due_dates,
        # An account of a run bears the name of its organisation.
        organisations=accounts if alone else None,
    )
    webhooks, kept = await _webhooks(stack)
    posted = [*webhooks, *attempts.webhooks]
    ledgers = replace(without(read, open_ones), webhooks=posted, kept=kept)
    letters = await read_topics(stack.broker.bootstrap_servers, DEAD_LETTER_TOPICS)
    return Evidence(
        ledgers=only(ledgers, accounts) if alone else ledgers,
        dead_letters=[_letter(each) for records in letters.values() for each in records],
        poison=poison,
        statuses={
            account: (await asyncio.to_thread(connection_of, stack, account)).get("status", "?")
            for account in accounts
        },
        broken_audits=await _audits(stack),
        audited=await _audited(stack),
        undecided=len(open_ones),
        people=people,
        asked=attempts.requests,
    )


async def happenings(stack: Stack, words: str, ledgers: Ledgers) -> list[Happening]:
    """What the services noted of the invoice that a sentence names, for its timeline."""
    subject = subject_of(words, ledgers)
    found = []
    if subject.key is not None:
        conn = await asyncpg.connect(stack.dsns["invoice_sync"])
        try:
            rows = await conn.fetch(
                "SELECT at, concat_ws(' ', kind, 'of version ' || version, code, detail) AS words FROM timeline"
                " WHERE account_id = $1 AND invoice_id = $2 ORDER BY id",
                *subject.key,
            )
        finally:
            await conn.close()
        found += [Happening(r["at"].timestamp(), f"invoice-sync noted {r['words']}") for r in rows]
    conn = await asyncpg.connect(stack.dsns["payment_ingest"])
    try:
        rows = await conn.fetch(
            "SELECT recorded_at AS at, concat_ws(' ', change, payment_id, 'found by ' || found_by) AS words"
            " FROM payment_movements WHERE xero_invoice_id = ANY($1::text[]) ORDER BY id",
            list(subject.document_ids),
        )
    finally:
        await conn.close()
    return found + [
        Happening(r["at"].timestamp(), f"payment-ingest noted {r['words']}") for r in rows
    ]


def _letter(record: object) -> DeadLetter:
    headers = {name: (raw or b"").decode() for name, raw in record.headers}  # type: ignore[attr-defined]
    place = "/".join(headers[f"x-dlq-{part}"] for part in ("topic", "partition", "offset"))
    return DeadLetter(place, record.value)  # type: ignore[attr-defined]


async def _webhooks(stack: Stack) -> tuple[Sequence[Webhook], frozenset[str]]:
    """What Xero posted and was answered, and what payment-ingest keeps."""
    async with httpx.AsyncClient(
        base_url=stack.urls["simulator"], timeout=30, verify=NOBODY
    ) as http:
        reply = await http.get("/admin/webhooks/deliveries", params={"limit": _DELIVERIES})
    posted = [
        Webhook(
            row["body_sha256"], True, row["events"] > 0, 200 if row["status"] == _DELIVERED else 0
        )
        for row in reply.raise_for_status().json()
    ]
    conn = await asyncpg.connect(stack.dsns["payment_ingest"])
    try:
        rows = await conn.fetch("SELECT encode(body_hash, 'hex') AS body_hash FROM raw_deliveries")
    finally:
        await conn.close()
    return posted, frozenset(row["body_hash"] for row in rows)


async def _audited(stack: Stack) -> frozenset[tuple[str, int, str]]:
    conn = await asyncpg.connect(stack.dsns["connector"])
    try:
        changes = await audit.changes(conn)
    finally:
        await conn.close()
    return frozenset((each.account_id, each.sequence, each.to_status) for each in changes)


async def _audits(stack: Stack) -> list[str]:
    broken = []
    for package, verify in (("connector", verify_connections), ("invoice_sync", verify_settings)):
        conn = await asyncpg.connect(stack.dsns[package])
        try:
            broken += (await verify(conn))[1]
        finally:
            await conn.close()
    return broken
