"""Saving transitions: rows, links, timeline and events of any number of invoices, four statements in all."""

import json
from collections.abc import Sequence
from datetime import datetime

from invoice_sync.domain.state import Invoice, Link, Note, Step
from invoice_sync.store import invoice_links, timeline
from pipeline_contracts.envelope import Record, encode, stable_id
from pipeline_contracts.event import Event
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection

SOURCE = "invoice-sync"


async def save(conn: Connection, steps: Sequence[Step], now: datetime) -> None:
    """Save the steps in the caller's transaction, which holds the rows' locks: sequences depend on them."""
    if not steps:
        return
    await _save_rows(conn, steps)
    links: list[Link] = [step.link for step in steps if step.link is not None]
    await invoice_links.save(conn, links)
    notes: list[tuple[str, str, Note]] = [
        (step.row.account_id, step.row.invoice_id, note) for step in steps for note in step.notes
    ]
    await timeline.add(conn, notes, now)
    await outbox.add(
        conn,
        *(
            record_of(event, now, traceparent=step.row.traceparent)
            for step in steps
            for event in step.events
        ),
    )


def record_of(
    event: Event,
    now: datetime,
    *,
    id: str | None = None,  # noqa: A002 - CloudEvents' word
    traceparent: str | None = None,
) -> Record:
    """The record of one of our events, its id derived from its sequence unless given."""
    return encode(
        event, id=id or stable_id(event), source=SOURCE, time=now, traceparent=traceparent
    )


async def _save_rows(conn: Connection, steps: Sequence[Step]) -> None:
    await conn.execute(
        """
        UPDATE invoices i
           SET state = s.state, tenant_id = s.tenant_id, generation = s.generation, attempts = s.attempts,
               due_at = s.due_at, block_code = s.block_code, block_message = s.block_message,
               block_hint = s.block_hint, block_retryable = s.block_retryable, xero_errors = s.xero_errors,
               sequence = s.sequence, intent_id = s.intent_id, intent_position = s.intent_position,
               intent_version = s.intent_version, synced_version = s.synced_version, send_alone = s.send_alone,
               told = s.told, updated_at = now(), waits_for = s.waits_for, number_prefix = s.number_prefix,
               waiting_since = CASE WHEN i.state IN ('synced', 'voided') AND s.state NOT IN ('synced', 'voided')
                                    THEN now() ELSE i.waiting_since END,
               sent = CASE WHEN s.intent_id IS NULL THEN NULL
                           WHEN i.intent_id = s.intent_id THEN i.sent
                           ELSE coalesce(s.sent, i.desired) END
          FROM unnest($1::invoice_step[]) AS s
         WHERE i.account_id = s.account_id AND i.invoice_id = s.invoice_id
        """,
        [_row(step.row) for step in steps],
    )


def _row(row: Invoice) -> tuple[object, ...]:
    """The invoice as a value of the database's type `invoice_step`."""
    block, intent = row.block, row.intent
    return (
        row.account_id,
        row.invoice_id,
        row.state,
        row.tenant_id,
        row.generation,
        row.attempts,
        row.due_at,
        block and block.code,
        block and block.message,
        block and block.hint,
        block and block.retryable,
        json.dumps(block.xero_errors) if block and block.xero_errors else None,
        row.sequence,
        intent and intent.id,
        intent and intent.position,
        intent and intent.version,
        row.synced_version,
        row.send_alone,
        row.told,
        json.dumps(block.waits_for) if block and block.waits_for else None,
        row.number_prefix,
        row.sent,
    )
