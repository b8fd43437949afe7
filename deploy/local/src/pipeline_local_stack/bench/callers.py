"""The load generator for calls of an HTTP API: a process of its own on raw keep-alive connections.

Reads a CallSpec as JSON from standard input and prints a CallResult as JSON. An HTTP client library costs about as
much processor time for a call as the gateway does; this costs a tenth of it, and says how much.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from pipeline_local_stack.paths import StackError

_HOST = "127.0.0.1"
_LAST_ANSWERS_SECONDS = 10.0
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What to ask where.

    Attributes:
        targets: Port and whole request of each; they take turns.
        seconds: No request begins later.
        rate: Requests a second by the clock, whatever comes back; None is `callers` for each target, each asking
            again as soon as it has its answer, after a refusal as soon as Retry-After allows, or in a second.
    """

    targets: Sequence[tuple[int, str]]
    seconds: float
    rate: float | None = None
    callers: int = 1


@dataclass(frozen=True, slots=True)
class CallResult:
    """What came back. With a rate, the time is counted from when a request was due, not from when it was sent."""

    seconds: float
    milliseconds: list[float]
    statuses: dict[str, int]
    limits: dict[str, int]
    """The limits that refusals named (X-Rate-Limit-Problem)."""
    lost: int
    cpu_seconds: float
    """What the load generator itself used, its start left out."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: float
    limit: str


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request on it at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[_Answer] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def exchange(self, request: bytes) -> _Answer:
        """Send and wait for the whole answer. Raises ConnectionError."""
        if self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_END_OF_HEAD)
        if not found or self._answer is None or self._answer.done():
            return
        names = (line.partition(b":") for line in head.lower().split(b"\r\n")[1:])
        headers = {name: value.strip() for name, _, value in names}
        if len(body) >= int(headers.get(b"content-length", 0)):
            self._received = b""
            status = int(head[9:12])
            limit = headers.get(b"x-rate-limit-problem", b"").decode()
            self._answer.set_result(_Answer(status, float(headers.get(b"retry-after", 1)), limit))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class _Load:
    """One run."""

    def __init__(self, spec: CallSpec) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.limits: Counter[str] = Counter()
        self.lost = 0
        self._spec = spec
        self._targets = [(port, request.encode()) for port, request in spec.targets]
        self._idle: dict[int, list[_Connection]] = defaultdict(list)

    async def by_the_clock(self, rate: float) -> None:
        """Begin each request when it is due; answers are waited for at the end only."""
        began, asked = time.perf_counter(), []
        for number in range(round(self._spec.seconds * rate)):
            due = began + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            port, request = self._targets[number % len(self._targets)]
            asked.append(asyncio.create_task(self._ask(port, request, due)))
        _, late = await asyncio.wait(asked, timeout=_LAST_ANSWERS_SECONDS)
        self.lost += len(late)

    async def without_pause(self) -> None:
        """Ask again and again."""
        ends = time.perf_counter() + self._spec.seconds
        await asyncio.gather(
            *(
                self._again(port, request, ends)
                for port, request in self._targets
                for _ in range(self._spec.callers)
            )
        )

    async def _again(self, port: int, request: bytes, ends: float) -> None:
        while (now := time.perf_counter()) < ends:
            answer = await self._ask(port, request, now)
            if answer is None or answer.status >= 400:  # noqa: PLR2004 - HTTP
                pause = answer.retry_after if answer else 1
                await asyncio.sleep(min(pause, max(0, ends - time.perf_counter())))

    async def _ask(self, port: int, request: bytes, due: float) -> _Answer | None:
        idle, connection = self._idle[port], None
        try:
            while idle and not (connection and connection.is_open):
                connection = idle.pop()
            if connection is None or not connection.is_open:
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, _HOST, port
                )
            answer = await connection.exchange(request)
        except OSError:
            self.lost += 1
            return None
        idle.append(connection)
        self.seconds.append(time.perf_counter() - due)
        self.statuses[answer.status] += 1
        if answer.limit:
            self.limits[answer.limit] += 1
        return answer

    def close(self) -> None:
        """Hang up everywhere."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()


async def run_calls(spec: CallSpec) -> CallResult:
    """Ask, and count what comes back."""
    load = _Load(spec)
    began, used = time.perf_counter(), _processor_seconds()
    if spec.rate is None:
        await load.without_pause()
    else:
        await load.by_the_clock(spec.rate)
    load.close()
    return CallResult(
        seconds=time.perf_counter() - began,
        milliseconds=[round(seconds * 1000, 4) for seconds in load.seconds],
        statuses={str(status): count for status, count in sorted(load.statuses.items())},
        limits=dict(load.limits),
        lost=load.lost,
        cpu_seconds=_processor_seconds() - used,
    )


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def call(spec: CallSpec) -> CallResult:
    """Run the load in a process of its own.

    Raises:
        StackError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline_local_stack.bench.callers",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        printed, errors = await process.communicate(json.dumps(asdict(spec)).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise StackError(f"The load generator failed: {errors.decode()[-1500:]}")
    return CallResult(**json.loads(printed))


def get_request(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """A target that is asked by GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {_HOST}:{port}", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return port, "\r\n".join([*lines, "", ""])


def main() -> None:
    """Do what standard input asks for."""
    spec = CallSpec(**json.load(sys.stdin))
    print(json.dumps(asdict(uvloop.run(run_calls(spec)))))


if __name__ == "__main__":
    main()
