"""Saving transitions: rows, links, timeline and events of any number of invoices, four statements in all."""

import json
from collections.abc import Sequence
from datetime import datetime

from invoice_sync.domain.state import Link, Note, Step
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
    rows = [step.row for step in steps]
    blocks = [row.block for row in rows]
    intents = [row.intent for row in rows]
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
          FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::timestamptz[],
                      $8::text[], $9::text[], $10::text[], $11::bool[], $12::text[], $13::bigint[], $14::bigint[],
                      $15::int[], $16::int[], $17::int[], $18::bool[], $19::text[], $20::jsonb[], $21::text[],
                      $22::text[])
               AS s (account_id, invoice_id, state, tenant_id, generation, attempts, due_at, block_code,
                     block_message, block_hint, block_retryable, xero_errors, sequence, intent_id, intent_position,
                     intent_version, synced_version, send_alone, told, waits_for, number_prefix, sent)
         WHERE i.account_id = s.account_id AND i.invoice_id = s.invoice_id
        """,
        [row.account_id for row in rows],
        [row.invoice_id for row in rows],
        [row.state for row in rows],
        [row.tenant_id for row in rows],
        [row.generation for row in rows],
        [row.attempts for row in rows],
        [row.due_at for row in rows],
        [block and block.code for block in blocks],
        [block and block.message for block in blocks],
        [block and block.hint for block in blocks],
        [block and block.retryable for block in blocks],
        [
            json.dumps(block.xero_errors) if block and block.xero_errors else None
            for block in blocks
        ],
        [row.sequence for row in rows],
        [intent and intent.id for intent in intents],
        [intent and intent.position for intent in intents],
        [intent and intent.version for intent in intents],
        [row.synced_version for row in rows],
        [row.send_alone for row in rows],
        [row.told for row in rows],
        [json.dumps(block.waits_for) if block and block.waits_for else None for block in blocks],
        [row.number_prefix for row in rows],
        [row.sent for row in rows],
    )
