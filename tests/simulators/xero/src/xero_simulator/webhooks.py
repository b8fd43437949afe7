"""The webhook sender: signed batches, retries on the simulator's clock, intent to receive.

Source: dev/documentation/guides/webhooks/overview. Batch size and latency are not established and
can be set; drops, doubles, delays and reordering are drawn from a seed.
"""

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from xero_simulator.clock import Clock
from xero_simulator.ids import IdSource
from xero_simulator.wire import Json, dumps

ANSWER_WITHIN = 5.0
KEEP_FAILED = timedelta(days=31)
GIVE_UP_AFTER = timedelta(hours=24)
_PLURALS = {
    "CONTACT": "Contacts",
    "INVOICE": "Invoices",
    "CREDITNOTE": "CreditNotes",
    "PREPAYMENT": "Prepayments",
    "OVERPAYMENT": "Overpayments",
}
CATEGORIES = frozenset(_PLURALS)
"""PREPAYMENT came in August 2026, OVERPAYMENT in September (Xero's change log); PAYMENT is not known to be sent."""
_KEEP_LOG = 50_000


@dataclass(slots=True)
class Subscription:
    """The one webhook of the app.

    Attributes:
        status: `enabled`, `disabled`, or `awaiting_intent` until intent to receive succeeded.
        batch_seconds: Real time events are collected before they are posted.
        retry_seconds: Time between retries (Xero: 15 minutes) on the simulator's clock.
    """

    url: str
    key: str = field(repr=False)
    status: str = "enabled"
    categories: frozenset[str] = CATEGORIES
    batch_size: int = 50
    batch_seconds: float = 0.05
    retry_seconds: float = 900.0
    drop_probability: float = 0.0
    double_probability: float = 0.0
    reorder_probability: float = 0.0
    delay_seconds: float = 0.0


@dataclass(slots=True)
class Delivery:
    """One body on its way, with every attempt made."""

    delivery_id: str
    body: bytes = field(repr=False)
    events: int
    first_sequence: int
    last_sequence: int
    created: datetime
    due: datetime
    status: str = "pending"
    attempts: list[Json] = field(default_factory=list)
    first_attempt: datetime | None = None


def sign(key: str, body: bytes) -> str:
    """`x-xero-signature`: base64 of HMAC-SHA256 over the raw body."""
    return base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()


class WebhookSender:
    """Collects events and delivers them; `run` is its background task."""

    def __init__(
        self,
        subscription: Subscription,
        clock: Clock,
        ids: IdSource,
        seed: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.subscription = subscription
        self.deliveries: deque[Delivery] = deque(maxlen=_KEEP_LOG)
        self.verdicts: list[Json] = []
        self.dropped = 0
        self.sequence = 0
        self._clock = clock
        self._ids = ids
        self._random = random.Random(seed)
        self._events: list[Json] = []
        self._waiting: list[Delivery] = []
        self._woken = asyncio.Event()
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send."""
        return not self._events and not self._waiting

    def emit(
        self,
        tenant_id: str,
        category: str,
        resource_id: str,
        *,
        created: bool,
        data: Json | None = None,
    ) -> None:
        """Queues one event, unless the category is not subscribed or the event is to be lost."""
        subscription = self.subscription
        if not subscription.url or category not in subscription.categories:
            return
        if self._random.random() < subscription.drop_probability:
            self.dropped += 1
            return
        now = self._clock.now()
        event: Json = {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/{_PLURALS[category]}/{resource_id}",
            "resourceId": resource_id,
            "tenantId": tenant_id,
            "tenantType": "ORGANISATION",
            "eventCategory": category,
            "eventType": "CREATE" if created else "UPDATE",
            "eventDateUtc": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}",
        }
        if data is not None:
            event["data"] = data
        self._events.append(event)
        self._woken.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            self._woken.clear()
            if self._events:
                await asyncio.sleep(self.subscription.batch_seconds)
                self._pack()
            due = self._next_due()
            if due is not None and due <= self._clock.now():
                await self._deliver_due()
                continue
            if not self._events:
                await self._clock.wait_until(due, self._woken)

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def intent_to_receive(self) -> Json:
        """Xero's check of a new endpoint: several posts, only some rightly signed.

        Returns:
            The verdict with every post; also kept in `verdicts`.
        """
        body = dumps(
            {
                "events": [],
                "firstEventSequence": 0,
                "lastEventSequence": 0,
                "entropy": self._ids.letters(20),
            }
        )
        right = sign(self.subscription.key, body)
        signatures = [
            (right, 200),
            (sign(self.subscription.key + "x", body), 401),
            (sign(self.subscription.key, body + b" "), 401),
            ("", 401),
            (right, 200),
        ]
        self._random.shuffle(signatures)
        posts = []
        for signature, expected in signatures:
            outcome = await self._post(body, signature)
            clean = not outcome["cookies"] and not outcome["body_bytes"]
            posts.append(outcome | {"expected": expected,
                                    "ok": outcome["status"] == expected and clean})  # fmt: skip
        passed = all(post["ok"] for post in posts)
        verdict: Json = {
            "time": self._clock.timestamp(),
            "status": "OK" if passed else "FAILED",
            "posts": posts,
        }
        self.verdicts.append(verdict)
        if passed and self.subscription.status != "enabled":
            self.enable()
        return verdict

    def enable(self) -> None:
        """Re-enables the subscription; failed events of the last 31 days go out in order."""
        now = self._clock.now()
        self.subscription.status = "enabled"
        for delivery in self.deliveries:
            if delivery.status == "failed" and now - delivery.created < KEEP_FAILED:
                delivery.status, delivery.due, delivery.first_attempt = "pending", now, None
                self._waiting.append(delivery)
        self._woken.set()

    def disable(self) -> None:
        """Stops delivery; what waits counts as failed and is kept."""
        self.subscription.status = "disabled"
        self._pack()
        for delivery in self._waiting:
            delivery.status = "failed"
        self._waiting.clear()

    def reset(self, seed: int) -> None:
        """Forgets events, deliveries and the drawing."""
        self._events.clear()
        self._waiting.clear()
        self.deliveries.clear()
        self.verdicts.clear()
        self.dropped = self.sequence = 0
        self._random = random.Random(seed)

    def _next_due(self) -> datetime | None:
        return min((delivery.due for delivery in self._waiting), default=None)

    def _pack(self) -> None:
        events, self._events = self._events, []
        if self._random.random() < self.subscription.reorder_probability:
            self._random.shuffle(events)
        size = self.subscription.batch_size
        batches = [events[start : start + size] for start in range(0, len(events), size)]
        for batch in batches:
            self._queue(batch)
            if self._random.random() < self.subscription.double_probability:
                self._queue(batch)

    def _queue(self, batch: list[Json]) -> None:
        first = self.sequence + 1
        self.sequence += len(batch)
        body = dumps(
            {
                "events": batch,
                "firstEventSequence": first,
                "lastEventSequence": self.sequence,
                "entropy": self._ids.letters(20),
            }
        )
        now = self._clock.now()
        delay = timedelta(seconds=self.subscription.delay_seconds)
        delivery = Delivery(
            self._ids.guid(), body, len(batch), first, self.sequence, now, now + delay
        )
        self.deliveries.append(delivery)
        if self.subscription.status == "enabled":
            self._waiting.append(delivery)
        else:
            delivery.status = "failed"

    async def _deliver_due(self) -> None:
        now = self._clock.now()
        due = [delivery for delivery in self._waiting if delivery.due <= now]
        if self._random.random() < self.subscription.reorder_probability:
            self._random.shuffle(due)
        for delivery in due:
            if delivery in self._waiting:
                await self._attempt(delivery)

    async def _attempt(self, delivery: Delivery) -> None:
        outcome = await self._post(delivery.body, sign(self.subscription.key, delivery.body))
        delivery.attempts.append(outcome)
        now = self._clock.now()
        delivery.first_attempt = delivery.first_attempt or now
        if delivery not in self._waiting:
            # Reset or disabled while the post was under way.
            return
        if outcome["status"] == httpx.codes.OK:
            delivery.status = "delivered"
            self._waiting.remove(delivery)
        elif now - delivery.first_attempt >= GIVE_UP_AFTER:
            self.disable()
        else:
            # The first retry is immediate, the others follow at the interval.
            wait = 0.0 if len(delivery.attempts) == 1 else self.subscription.retry_seconds
            delivery.due = now + timedelta(seconds=wait)

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            # Made on first use: loading the trusted certificates takes a while.
            self._client = httpx.AsyncClient(
                transport=self._transport,
                timeout=ANSWER_WITHIN,
                follow_redirects=False,
                trust_env=False,
            )
        return self._client

    async def _post(self, body: bytes, signature: str) -> Json:
        started = time.monotonic()
        outcome: dict[str, Any] = {"time": self._clock.timestamp(), "status": 0, "error": "",
                                   "cookies": False, "body_bytes": 0}  # fmt: skip
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Xero/Webhook",
            "x-xero-signature": signature,
        }
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                reply = await self._http().post(
                    self.subscription.url, content=body, headers=headers
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            outcome["error"] = type(error).__name__
        else:
            outcome |= {
                "status": reply.status_code,
                "cookies": "set-cookie" in reply.headers,
                "body_bytes": len(reply.content),
            }
        self._http().cookies.clear()
        outcome["seconds"] = round(time.monotonic() - started, 4)
        return outcome


def event_summary(deliveries: Iterable[Delivery]) -> list[Json]:
    """Deliveries as the admin API shows them."""
    return [
        {
            "delivery_id": row.delivery_id,
            "body_sha256": hashlib.sha256(row.body).hexdigest(),
            "events": row.events,
            "first_sequence": row.first_sequence,
            "last_sequence": row.last_sequence,
            "status": row.status,
            "created": row.created.isoformat(),
            "due": row.due.isoformat(),
            "attempts": row.attempts,
        }
        for row in deliveries
    ]
