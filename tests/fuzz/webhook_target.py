"""Coverage-guided fuzzing of the webhook endpoint: `python webhook_target.py -max_total_time=30 <folder of seeds>`.

The first byte of an input says how the body is sent and signed, the rest is the body. What must hold is said here a
second time, in other words than the endpoint's: genuine is accepted and kept byte for byte, nothing else is, every
answer is empty, and every invoice that a kept body names rings.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import sys
import uuid

import atheris
from json_mutator import mutate

with atheris.instrument_imports(include=["payment_ingest"]):
    from payment_ingest.domain.delivery import Outcome, read
    from payment_ingest.handlers.webhooks import PATH, Bounds, WebhookGate

KEYS = (b"webhook-key", b"the-next-webhook-key")
LIMIT = 2_048
RIGHT, NEXT_KEY, WRONG, TWICE, NONE, OVER_ANOTHER_BODY = range(6)
WORDS = (
    "INVOICE", "PAYMENT", "CREDITNOTE", "CONTACT", "SUBSCRIPTION", "TELEPATHY", "CREATE", "UPDATE", "DELETE", "",
    "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f", "2017-06-21T01:15:39.902", "9999-12-31T23:59:59", "0000-00-00", "\0",
    0, -1, 2**31, 2**63, 1e308, None, True, [], {}, {"events": []},
)  # fmt: skip
LOOP = asyncio.new_event_loop()


def try_one(data: bytes) -> None:
    """Send one request and judge what came of it."""
    how, body = (data[0], data[1:]) if data else (0, b"")
    signing, chunks, length = how % 6, 1 + how // 6 % 3, how // 18 % 3
    headers = _signatures(signing, body)
    told = {0: len(body), 1: len(body) + LIMIT, 2: None}[length]
    if told is not None:
        headers.append((b"content-length", b"%d" % told))
    kept: list[bytes] = []
    status = LOOP.run_until_complete(_post(headers, body, chunks, kept))
    fits = len(body) <= LIMIT and (told is None or told <= LIMIT)
    genuine = bool(body) and signing in {RIGHT, NEXT_KEY}
    expected = 413 if not fits else 200 if genuine else 401
    assert status == expected, (status, expected)
    assert kept == ([body] if expected == 200 else [])
    for one in kept:
        judge_reading(one)


def judge_reading(body: bytes) -> None:
    """What is read from a body is neither more nor less than it says."""
    reading = read(body)
    said = _events_of(body)
    if said is None:
        assert reading.outcome is Outcome.UNREADABLE
        return
    assert reading.events == len(said)
    named = {
        (str(tenant), str(invoice))
        for event in said
        if isinstance(event, dict) and _is(event.get("eventCategory"), "INVOICE")
        if (tenant := _uuid(event.get("tenantId"))) and (invoice := _uuid(event.get("resourceId")))
    }
    assert {(ring.tenant_id, ring.xero_invoice_id) for ring in reading.rings} == named
    assert len(reading.rings) == len(named)
    assert all(_uuid(tenant) for tenant in reading.tenants | reading.look_around)
    assert reading.tenants >= {tenant for tenant, _ in named} | reading.look_around
    assert 0 <= reading.not_understood <= reading.events


def _signatures(signing: int, body: bytes) -> list[tuple[bytes, bytes]]:
    def sign(key: bytes, over: bytes) -> tuple[bytes, bytes]:
        digest = hmac.new(key, over, hashlib.sha256).digest()
        return (b"x-xero-signature", base64.b64encode(digest))

    match signing:
        case 0:
            return [sign(KEYS[0], body)]
        case 1:
            return [sign(KEYS[1], body)]
        case 2:
            return [sign(b"", body)]
        case 3:
            return [sign(KEYS[0], body), sign(KEYS[0], body)]
        case 4:
            return [(b"X-Xero-Signature".lower(), body[:64])]
        case _:
            return [sign(KEYS[0], body + b" ")]


async def _post(headers, body: bytes, chunks: int, kept: list[bytes]) -> int:
    answers = []
    size = max(1, -(-len(body) // chunks))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        answers.append(message)

    async def accept(delivery) -> None:
        assert delivery.body_hash == hashlib.sha256(delivery.body).digest()
        kept.append(delivery.body)

    gate = WebhookGate(None, KEYS, accept, Bounds(body_bytes=LIMIT))
    await gate({"type": "http", "path": PATH, "method": "POST", "headers": headers}, receive, send)
    start, end = answers
    assert b"".join(message.get("body", b"") for message in answers) == b""
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    assert dict(start["headers"])[b"content-length"] == b"0"
    return start["status"]


def _events_of(body: bytes) -> list | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    events = document.get("events") if isinstance(document, dict) else None
    return events if isinstance(events, list) else None


def _is(value: object, category: str) -> bool:
    return isinstance(value, str) and value.upper() == category


def _uuid(value: object) -> uuid.UUID | None:
    # Python's own reading also takes braces, prefixes and missing hyphens: those are no ids of Xero.
    try:
        found = uuid.UUID(value) if isinstance(value, str) and len(value) == 36 else None
    except ValueError:
        return None
    return found if found is not None and str(found) == str(value).lower() else None


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Another input much like this one: mostly other JSON, now and then other bytes."""
    rng = random.Random(seed)
    body = mutate(data[1:], WORDS, rng) if data and rng.random() < 0.8 else None
    if body is None or len(body) >= most:
        return atheris.Mutate(data, most)
    return bytes([rng.choice((data[0], rng.randrange(54)))]) + body


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one, custom_mutator=mutated)
    atheris.Fuzz()
