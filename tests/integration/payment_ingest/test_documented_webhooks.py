"""The webhook bodies of Xero's documentation, byte for byte, through the real endpoint: accepted and understood."""

import hashlib
from pathlib import Path

import pytest

from payment_ingest.domain.delivery import Outcome, read
from payment_ingest.ring_doorbells import ring_doorbells

SHOWN = Path(__file__).parents[2] / "data" / "xero_webhooks"
TENANT = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
ENVELOPE = b'{"events": [%s], "lastEventSequence": 1, "firstEventSequence": 1, "entropy": "S0m3r4Nd0mt3xt"}'

NOTHING, RUNG, INTENT = "nothing_to_do", "rung", "intent_to_receive"
# What each is understood to be, of whom it speaks, and whose invoices are looked at because of it.
UNDERSTOOD = {
    "intent-to-receive": (INTENT, [], []),
    "overview": (NOTHING, [TENANT], []),
    "contact": (NOTHING, [TENANT], []),
    "contact-event": (NOTHING, [TENANT], []),
    "invoice-event": (RUNG, [TENANT], ["717f2bfc-c6d4-41fd-b238-3f2f0c0cf777"]),
    # These name no invoice: they ask for a look at all that changed in their organisation.
    "credit-note": (RUNG, ["aef86862-2015-4b6b-88bc-d89032cecc50"], []),
    "prepayment": (RUNG, [TENANT], []),
}


def body_of(name: str) -> bytes:
    shown = (SHOWN / f"{name}.json").read_bytes()
    # The pages of single categories show one event without what is around it.
    return ENVELOPE % shown if name.endswith("-event") else shown


def test_every_body_shown_is_here():
    assert {file.stem for file in SHOWN.glob("*.json")} == UNDERSTOOD.keys()


@pytest.mark.parametrize("name", UNDERSTOOD)
async def test_a_documented_body_is_accepted_and_understood(endpoint, http, pool, signed, name):
    body = body_of(name)
    answer = await http.post(endpoint, content=body, headers=signed(body))
    assert (answer.status_code, answer.content) == (200, b"")
    refused = await http.post(endpoint, content=body + b" ", headers=signed(body))
    assert (refused.status_code, refused.content) == (401, b"")

    async with pool.acquire() as conn:
        assert await ring_doorbells(conn) == 1
    outcome, tenants, invoices = UNDERSTOOD[name]
    row = await pool.fetchrow(
        "SELECT * FROM raw_deliveries JOIN delivery_readings USING (received_at, body_hash)"
    )
    assert (row["body"], row["body_hash"]) == (body, hashlib.sha256(body).digest())
    assert (row["outcome"], row["not_understood"]) == (outcome, 0)
    assert await column(pool, "SELECT tenant_id FROM delivery_mentions") == tenants
    assert await column(pool, "SELECT xero_invoice_id FROM doorbells") == invoices
    documents = await column(pool, "SELECT tenant_id FROM document_doorbells")
    assert documents == (tenants if outcome == RUNG and not invoices else [])
    assert read(body).look_around == frozenset()


async def column(pool, query: str) -> list[str]:
    return [row[0] for row in await pool.fetch(query)]


async def test_an_event_without_its_envelope_is_kept_for_a_person_to_look_at(
    endpoint, http, pool, signed
):
    body = (SHOWN / "invoice-event.json").read_bytes()
    answer = await http.post(endpoint, content=body, headers=signed(body))
    assert (answer.status_code, answer.content) == (200, b"")
    async with pool.acquire() as conn:
        assert await ring_doorbells(conn) == 1
    assert await column(pool, "SELECT outcome FROM delivery_readings") == [Outcome.UNREADABLE]
