"""Somebody who is not Xero and nobody of Pipeline, and asks all the same, while faults strike."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline_local_stack.ledgers import Webhook
from pipeline_local_stack.stack import Stack

_PAUSE_SECONDS = 0.2
_LARGE = 300 * 1024
_PRETENDED = "pipeline-backend"
_SIGNATURE = "x-xero-signature"
_ROUTES = (
    ("connector", "GET", "/v1/accounts/{account}/connection"),
    ("connector", "PUT", "/v1/accounts/{account}/xero/Invoices"),
    ("connector", "POST", "/accounts/{account}/xero/disconnect"),
    ("invoice-sync", "GET", "/v1/accounts/{account}/summary"),
    ("invoice-sync", "PUT", "/v1/accounts/{account}/contact-mappings/anybody"),
    ("payment-ingest", "POST", "/v1/deliveries/replay"),
)
"""What no stranger may be answered."""


@dataclass(slots=True)
class Attempts:
    """What was tried without a right to."""

    webhooks: list[Webhook] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    """The highest status below 300 that each kind of request was answered, or 0."""
    answers: set[tuple[str, bytes]] = field(default_factory=set)
    """Every different answer that was given, with what was asked."""


@dataclass(slots=True)
class Intruder:
    """Sends forged and malformed webhooks, and requests without a right to them, until cancelled."""

    stack: Stack
    seed: int
    attempts: Attempts = field(default_factory=Attempts)
    _own_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    async def work(self) -> None:
        """Until cancelled. What gets no answer is not accepted: the service may be down just now."""
        chance = random.Random(self.seed)  # noqa: S311 - must be repeatable, not secret
        async with httpx.AsyncClient(timeout=10) as http:
            number = 0
            while True:
                number += 1
                await self._forge(http, chance, number)
                await self._ask(http, number)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _forge(self, http: httpx.AsyncClient, chance: random.Random, number: int) -> None:
        body = _body(self.seed, number)
        key = self.stack.children["payment-ingest"].env["XERO_WEBHOOK_KEYS"].encode()
        body, signatures = _FORGERIES[number % len(_FORGERIES)](key, body, chance)
        status = 0
        with contextlib.suppress(httpx.TransportError):
            reply = await http.post(
                f"{self.stack.urls['payment-ingest']}/webhooks/xero",
                content=body,
                headers=[(_SIGNATURE, each) for each in signatures],
            )
            status = reply.status_code
        body_hash = hashlib.sha256(body).hexdigest()
        self.attempts.webhooks.append(
            Webhook(body_hash, is_genuine=False, has_events=True, status=status)
        )

    async def _ask(self, http: httpx.AsyncClient, number: int) -> None:
        """Ask with a token that somebody else signed, or nobody."""
        service, method, path = _ROUTES[number % len(_ROUTES)]
        account = f"chaos-{self.seed}-1"
        what = f"{method} {path} of {service}"
        now = int(time.time())
        claims = {
            "iss": _PRETENDED, "sub": _PRETENDED, "aud": service, "iat": now, "exp": now + 300,
        }  # fmt: skip
        if number // len(_ROUTES) % 2:
            token = jwt.encode(claims, "", algorithm="none")
        else:
            token = jwt.encode(claims, self._own_key, algorithm="EdDSA")
        headers = {"Authorization": f"Bearer {token}"}
        status = 0
        with contextlib.suppress(httpx.TransportError):
            url = self.stack.urls[service] + path.format(account=account)
            reply = await http.request(method, url, headers=headers, json={})
            status = reply.status_code
            self.attempts.answers.add((what, reply.content))
        accepted = status if httpx.codes.is_success(status) else 0
        self.attempts.requests[what] = max(accepted, self.attempts.requests.get(what, 0))


Forgery = Callable[[bytes, bytes, random.Random], tuple[bytes, Sequence[str]]]


def _signed(key: bytes, body: bytes) -> str:
    return base64.b64encode(hmac.digest(key, body, hashlib.sha256)).decode()


def _one_bit_of_the_body(
    key: bytes, body: bytes, chance: random.Random
) -> tuple[bytes, Sequence[str]]:
    changed = bytearray(body)
    changed[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return bytes(changed), [_signed(key, body)]


_FORGERIES: tuple[Forgery, ...] = (
    _one_bit_of_the_body,
    lambda _key, body, _chance: (body, []),
    lambda _key, body, _chance: (body, [""]),
    lambda _key, body, chance: (body, [_signed(chance.randbytes(32), body)]),
    lambda _key, body, _chance: (body, [_signed(b"", body)]),
    lambda key, body, _chance: (body, [_signed(key, body + b" ")]),
    lambda key, body, _chance: (body, [_signed(key, body)[:-2]]),
    lambda key, body, _chance: (body, [_signed(key, body)] * 2),
    lambda key, body, _chance: (large := body + b" " * _LARGE, [_signed(key, large)]),
)
"""Each turns a body that Xero could have sent into one that it did not, or may not, send."""


def _body(seed: int, number: int) -> bytes:
    event = {
        "resourceId": f"00000000-0000-4000-8000-{number:012}", "tenantId": f"intruder-{seed}",
        "eventCategory": "INVOICE", "eventType": "UPDATE", "eventDateUtc": "2026-01-01T00:00:00",
        "tenantType": "ORGANISATION", "resourceUrl": "https://attacker.example/",
    }  # fmt: skip
    told = {"events": [event], "firstEventSequence": number, "lastEventSequence": number}
    return json.dumps(told).encode()
