"""Idempotency keys: the first answer is replayed for six minutes from the first call.

Source: dev/documentation/guides/idempotent-requests/idempotency. Keys are per app; internal errors
are replayed too; a repeat that comes while the first is still running waits for it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

MAX_KEY_LENGTH = 128
LIFETIME_SECONDS = 360.0


class KeyMismatch(Exception):  # noqa: N818 -- the condition, as Xero names it
    """The key belongs to a different request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it can be replayed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class _Entry:
    fingerprint: str
    first_call: float
    answer: "asyncio.Future[Answer]"


def fingerprint(method: str, url: str, tenant_id: str, body: bytes) -> str:
    """What makes two requests the same: method, address with query, tenant and body."""
    head = f"{method}\n{url}\n{tenant_id}\n".encode()
    return hashlib.sha256(head + body).hexdigest()


@dataclass(slots=True)
class Keys:
    """The keys in use."""

    entries: dict[str, _Entry] = field(default_factory=dict)

    async def once(
        self, key: str, request: str, now: float, run: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, bool]:
        """Runs a request, or gives back what its key already produced.

        Returns:
            The answer, and whether it is a replay.

        Raises:
            KeyMismatch: The key was first used, less than six minutes ago, for another request.
        """
        entry = self.entries.get(key)
        if entry is not None and now - entry.first_call < LIFETIME_SECONDS:
            if entry.fingerprint != request:
                raise KeyMismatch(key)
            try:
                return await asyncio.shield(entry.answer), True
            except asyncio.CancelledError:
                if not entry.answer.cancelled():
                    raise
                # The first call was torn down before it did anything: this one is the first now.
                return await self.once(key, request, now, run)
        self._forget(now)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.entries[key] = _Entry(request, now, future)
        try:
            answer = await run()
        except BaseException:
            self.entries.pop(key, None)
            future.cancel()
            raise
        future.set_result(answer)
        return answer, False

    def _forget(self, now: float) -> None:
        # Insertion order is age order: stop at the first that is still alive.
        for key, entry in list(self.entries.items()):
            if now - entry.first_call < LIFETIME_SECONDS:
                return
            del self.entries[key]
