"""The webhook load generator: a process of its own, so that it competes with the measured one for cores only.

Reads a LoadSpec as JSON from standard input and prints a LoadResult as JSON. All bodies are made and signed before
the first is sent. Raw keep-alive connections: an HTTP client library would be slower than the service it measures.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from pipeline_local_stack.bench.statistics import percentile

_EVENTS = 3
_INVOICES = 500
_TICK_SECONDS = 0.001
_LAST_ANSWERS_SECONDS = 10.0
_OK = 200


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to send where.

    Attributes:
        requests: How many different bodies at the most.
        rate: Requests a second, sent on schedule whatever comes back; None is as fast as answers come.
        seed: Bodies of different seeds differ.
        tenant_id: The organisation that the webhooks speak of.
        accepted_file: Receives the SHA-256 of every body answered 200, 32 bytes each.
    """

    port: int
    path: str
    key: str = field(repr=False)
    seconds: float
    requests: int
    seed: str
    tenant_id: str
    accepted_file: str
    rate: float | None = None
    connections: int = 32


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back."""

    accepted: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    unanswered: int

    @property
    def rate(self) -> float:
        """Requests answered 200 per second."""
        return self.accepted / self.seconds


def make_bodies(seed: str, count: int, tenant_id: str) -> list[bytes]:
    """Webhook bodies of three events in Xero's form, about 1 KB each, no two alike.

    They speak of a few hundred invoices again and again, as webhooks do.
    """
    events = [
        {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{_invoice(number)}",
            "resourceId": _invoice(number),
            "tenantId": tenant_id,
            "tenantType": "ORGANISATION",
            "eventCategory": "INVOICE",
            "eventType": "UPDATE",
            "eventDateUtc": "2026-11-22T10:00:00.000",
        }
        for number in range(_INVOICES + _EVENTS)
    ]
    heads = [
        json.dumps({"events": events[first : first + _EVENTS]})[:-1].encode()
        for first in range(_INVOICES)
    ]
    tail = b', "firstEventSequence": %d, "lastEventSequence": %d, "entropy": "%s"}'
    entropy = seed.encode()
    return [
        heads[number % _INVOICES]
        + tail % (number * _EVENTS + 1, number * _EVENTS + _EVENTS, entropy)
        for number in range(count)
    ]


def make_request(body: bytes, key: bytes, path: str, port: int) -> bytes:
    """One signed HTTP/1.1 request, as Xero sends it."""
    signature = base64.b64encode(hmac.digest(key, body, "sha256"))
    return b"".join(
        (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode(),
            b"Content-Type: application/json; charset=utf-8\r\nx-xero-signature: ", signature,
            b"\r\nContent-Length: %d\r\n\r\n" % len(body), body,
        )
    )  # fmt: skip


def _invoice(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class _Load:
    """One run: hands requests to connections and keeps what came back."""

    def __init__(self, spec: LoadSpec, requests: Sequence[bytes]) -> None:
        self.spec = spec
        self.accepted: list[int] = []
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.lost = 0
        self.under_way = 0
        self.open_connections = 0
        self.started = self.last_answer = 0.0
        self.finished = asyncio.Event()
        self.idle: list[_Connection] = []
        self._requests = requests
        self._next = 0
        self._due: deque[tuple[int, float]] = deque()
        self._ends = 0.0
        self._scheduling = spec.rate is not None

    def start(self, connections: list["_Connection"]) -> None:
        """Let go."""
        self.open_connections = len(connections)
        self.started = self.last_answer = time.perf_counter()
        self._ends = self.started + self.spec.seconds
        if self.spec.rate is None:
            for connection in connections:
                self.next_for(connection)
        else:
            self.idle = connections
            self._tick(self.spec.rate)

    def next_for(self, connection: "_Connection") -> None:
        """Give a free connection its next request, if there is one now."""
        if self._due:
            self._send(connection, *self._due.popleft())
            return
        now = time.perf_counter()
        if self.spec.rate is not None:
            self.idle.append(connection)
        elif now < self._ends and self._next < len(self._requests):
            self._next += 1
            self._send(connection, self._next - 1, now)
        self._maybe_finish(now)

    def answered(self, index: int, asked: float, status: int) -> None:
        """An answer came."""
        self.last_answer = time.perf_counter()
        self.under_way -= 1
        self.statuses[status] += 1
        self.latencies.append(self.last_answer - asked)
        if status == _OK:
            self.accepted.append(index)

    def gone(self, connection: "_Connection", *, unanswered: bool) -> None:
        """A connection closed, perhaps with a request on it."""
        self.open_connections -= 1
        if connection in self.idle:
            self.idle.remove(connection)
        if unanswered:
            self.under_way -= 1
            self.lost += 1
        self._maybe_finish(time.perf_counter())

    def _send(self, connection: "_Connection", index: int, asked: float) -> None:
        self.under_way += 1
        connection.send(index, asked, self._requests[index])

    def _tick(self, rate: float) -> None:
        """Send what is due by now; what finds no free connection waits, and its waiting counts as latency."""
        now = time.perf_counter()
        due = min(int((min(now, self._ends) - self.started) * rate), len(self._requests))
        for index in range(self._next, due):
            self._due.append((index, self.started + index / rate))
        self._next = max(self._next, due)
        while self._due and self.idle:
            self._send(self.idle.pop(), *self._due.popleft())
        if now < self._ends and self._next < len(self._requests):
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick, rate)
        else:
            self._scheduling = False
            self._maybe_finish(now)

    def _maybe_finish(self, now: float) -> None:
        # On a schedule only the last tick knows that nothing more falls due, whatever the time.
        more = self._scheduling or (
            self.spec.rate is None and now < self._ends and self._next < len(self._requests)
        )
        nobody_left = self.open_connections == 0
        if nobody_left or (not more and not self._due and self.under_way == 0):
            self.finished.set()


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request on it at a time. Answers to webhooks have no body."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._current: tuple[int, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, index: int, asked: float, request: bytes) -> None:
        """Put a request on the wire."""
        self._current = (index, asked)
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"\r\n\r\n") or self._current is None:
            return
        status = int(self._answer[9:12])
        (index, asked), self._current, self._answer = self._current, None, b""
        self._load.answered(index, asked, status)
        self._load.next_for(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        unanswered, self._current = self._current is not None, None
        self._load.gone(self, unanswered=unanswered)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def run_load(spec: LoadSpec) -> LoadResult:
    """Send the load and count what comes back.

    Raises:
        OSError: nothing listens on the port.
        ValueError: not a single answer came.
    """
    bodies = make_bodies(spec.seed, spec.requests, spec.tenant_id)
    key = spec.key.encode()
    load = _Load(spec, [make_request(body, key, spec.path, spec.port) for body in bodies])
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(spec.connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(load), "127.0.0.1", spec.port
        )
        connections.append(connection)
    load.start(list(connections))
    try:
        async with asyncio.timeout(spec.seconds + _LAST_ANSWERS_SECONDS):
            await load.finished.wait()
    except TimeoutError:
        load.lost += load.under_way
    elapsed = load.last_answer - load.started
    for connection in connections:
        connection.close()
    await asyncio.to_thread(
        Path(spec.accepted_file).write_bytes,
        b"".join(hashlib.sha256(bodies[index]).digest() for index in load.accepted),
    )
    return LoadResult(
        accepted=len(load.accepted),
        seconds=elapsed,
        p50_ms=percentile(load.latencies, 50) * 1000,
        p99_ms=percentile(load.latencies, 99) * 1000,
        statuses={str(status): count for status, count in sorted(load.statuses.items())},
        unanswered=load.lost,
    )


def main() -> None:
    """Do what standard input asks for."""
    spec = LoadSpec(**json.load(sys.stdin))
    result = uvloop.run(run_load(spec))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
