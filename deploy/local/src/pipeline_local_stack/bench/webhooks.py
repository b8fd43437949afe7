"""Webhooks accepted durably per second, against the endpoint people write first and against storing nothing."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from pipeline_local_stack.bench import plain_webhook
from pipeline_local_stack.bench.load import LoadResult, LoadSpec
from pipeline_local_stack.bench.processor import seconds_used, services_and_postgres
from pipeline_local_stack.bench.report import Figure, Reference, Report
from pipeline_local_stack.bench.statistics import over_rounds
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import Child, free_port, wait_until_listening
from pipeline_local_stack.stack import Stack

ROUNDS = 3
_SECONDS = 2.0
_WARM_UP_REQUESTS = 3_000
_READ_SECONDS = 60.0
_OURS, _PLAIN, _NOTHING = "payment-ingest", "plain route", "nothing stored"
_BASELINE = "FastAPI route, same HMAC, one INSERT each"
_CEILING = "raw ASGI, same HMAC, nothing stored"


@dataclass(slots=True)
class Target:
    """An endpoint under load, and what it has said of it."""

    name: str
    port: int
    path: str
    processes: list[Child]
    """Its own process and those of Postgres."""
    results: list[LoadResult] = field(default_factory=list)
    accepted: list[Path] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    """Processor time per accepted webhook, in each round at full speed."""

    @property
    def rate(self) -> float:
        """Accepted per second, the median of the rounds."""
        return over_rounds([result.rate for result in self.results]).value


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every round needs."""

    stack: Stack
    key: str
    folder: Path
    # An organisation that nobody connected: its webhooks are stored and read like any, and lead to no calls to Xero
    # that would run beside the baselines.
    tenant_id: str

    async def round(
        self, target: Target, *, rate: float | None = None, first: bool = False
    ) -> LoadResult:
        """Put one target under load; afterwards nothing of it is left running."""
        seed = uuid.uuid4().hex
        expected = _WARM_UP_REQUESTS if first else target.rate * _SECONDS * 1.5
        spec = LoadSpec(
            port=target.port, path=target.path, key=self.key, seconds=_SECONDS,
            requests=round(rate * _SECONDS if rate else expected), seed=seed, tenant_id=self.tenant_id,
            accepted_file=str(self.folder / seed), rate=rate,
        )  # fmt: skip
        before = seconds_used(target.processes)
        result = await put_under_load(spec)
        target.accepted.append(self.folder / seed)
        if target.name == _OURS:
            await self.until_read()
        if rate is None and not first:
            used = seconds_used(target.processes) - before
            target.microseconds.append(used * 1e6 / max(1, result.accepted))
        return result

    async def until_read(self) -> None:
        """Wait until payment-ingest has read what it accepted, so that its reading slows nobody else's round.

        Raises:
            StackError: it does not get on with it.
        """
        async with _connected(self.stack.dsns["payment_ingest"]) as conn:
            left = -1
            while True:
                unread = await conn.fetchval("SELECT count(*) FROM unread_deliveries")
                if unread == 0:
                    return
                if unread != left:
                    left, deadline = unread, asyncio.get_running_loop().time() + _READ_SECONDS
                elif asyncio.get_running_loop().time() > deadline:
                    raise StackError(f"payment-ingest leaves {unread} webhooks unread.")
                await asyncio.sleep(0.05)


async def measure_webhooks(stack: Stack, report: Report, say: Callable[[str], None]) -> None:
    """Add `webhook_ack_rate` and `webhook_ack_p99_ms` to the report, and look for every accepted row.

    Raises:
        StackError: an endpoint did not start or did not answer.
    """
    ours_port = urlsplit(stack.urls["payment-ingest"]).port or 80
    key = stack.children["simulator"].env["SIM_WEBHOOK_KEY"]
    async with _plain_server(stack, key) as (child, plain_port, plain_dsn):
        own = services_and_postgres(stack, [_OURS])
        others = [stack.postgres.child, child]
        ours = Target(_OURS, ours_port, "/webhooks/xero", own)
        plain = Target(_PLAIN, plain_port, plain_webhook.PLAIN_PATH, others)
        nothing = Target(_NOTHING, plain_port, plain_webhook.NOTHING_PATH, others)
        with tempfile.TemporaryDirectory(prefix="pipeline-xero-bench-") as folder:
            bench = _Bench(stack, key, Path(folder), str(uuid.uuid4()))
            await _find_rates(bench, (ours, plain, nothing))
            say(f"Webhooks: {ours.rate:,.0f} a second at the most.")
            at_half = {t.name: await _at(bench, t, t.rate / 2) for t in (ours, plain, nothing)}
            at_same = await _at(bench, ours, plain.rate / 2)
            with _silent(stack.broker.child):
                without_kafka = await _at(bench, ours, ours.rate / 2)
            await find_rows(stack.dsns["payment_ingest"], ours, report)
            await count_rows(plain_dsn, plain, report)
    rates = {t.name: over_rounds([r.rate for r in t.results]) for t in (ours, plain, nothing)}
    late = {n: over_rounds([result.p99_ms for result in results]) for n, results in at_half.items()}
    soonest = Reference(f"{_CEILING}, at half of its own highest rate", late[_NOTHING])
    report.figures += [
        Figure(
            "webhook_ack_rate", "/s", rates[_OURS], Reference(_BASELINE, rates[_PLAIN]),
            Reference(_CEILING, rates[_NOTHING]),
        ),
        Figure(
            "webhook_ack_p99_ms", "ms", late[_OURS],
            Reference("the FastAPI route, at half of its own highest rate", late[_PLAIN]), soonest,
        ),
        Figure(
            "webhook_ack_p99_same_rate_ms", "ms", over_rounds([r.p99_ms for r in at_same]),
            Reference(
                "the FastAPI route, both at half of the route's highest rate", late[_PLAIN]
            ),
            soonest,
        ),
        Figure(
            "webhook_ack_p99_kafka_stopped_ms", "ms", over_rounds([r.p99_ms for r in without_kafka]),
            Reference("the same with Kafka answering", late[_OURS]), soonest,
        ),
        Figure(
            "webhook_cpu_us", "us", over_rounds(ours.microseconds),
            Reference(
                "the FastAPI route; ours includes reading it later", over_rounds(plain.microseconds)
            ),
            Reference(_CEILING, over_rounds(nothing.microseconds)),
        ),
    ]  # fmt: skip
    report.broken += complaints(_OURS, [*ours.results, *at_half[_OURS], *at_same, *without_kafka])
    report.remarks += complaints(_PLAIN, plain.results + at_half[_PLAIN])
    report.remarks += complaints(_NOTHING, nothing.results + at_half[_NOTHING])


def complaints(name: str, results: list[LoadResult]) -> list[str]:
    """What must not happen to genuine webhooks under load: another answer than 200, or none."""
    refused = {
        status: sum(result.statuses.get(status, 0) for result in results)
        for status in sorted({s for result in results for s in result.statuses} - {"200"})
    }
    unanswered = sum(result.unanswered for result in results)
    found = [
        f"{name}: {count} genuine webhooks were answered {status}"
        for status, count in refused.items()
    ]
    return found + ([f"{name}: {unanswered} webhooks got no answer"] if unanswered else [])


async def _find_rates(bench: _Bench, targets: tuple[Target, ...]) -> None:
    for target in targets:  # the first round warms up, and tells how many bodies a round needs
        target.results = [await bench.round(target, first=True)]
    for number in range(ROUNDS):
        for target in targets:  # taking turns, so that a busy moment of the machine hits all alike
            result = await bench.round(target)
            target.results = [result] if number == 0 else [*target.results, result]


async def _at(bench: _Bench, target: Target, rate: float) -> list[LoadResult]:
    return [await bench.round(target, rate=rate) for _ in range(ROUNDS)]


@contextlib.contextmanager
def _silent(child: Child) -> Iterator[None]:
    """A process that neither answers nor ends: worse for whoever calls it than one that is gone."""
    process = child.process
    if process is None:
        raise StackError(f"{child.name} is not running.")
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def put_under_load(spec: LoadSpec) -> LoadResult:
    """Run the load generator as a process of its own.

    Raises:
        StackError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline_local_stack.bench.load",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, errors = await process.communicate(json.dumps(asdict(spec)).encode())
    if process.returncode != 0:
        raise StackError(f"The load generator failed: {errors.decode()[-1500:]}")
    return LoadResult(**json.loads(printed))


async def find_rows(dsn: str, ours: Target, report: Report) -> None:
    """Look for every body that was answered 200, by its hash."""
    hashes = [
        content[start : start + 32]
        for content in [file.read_bytes() for file in ours.accepted]
        for start in range(0, len(content), 32)
    ]
    async with _connected(dsn) as conn:
        lost = await conn.fetchval(
            """
            SELECT count(*) FROM unnest($1::bytea[]) AS accepted (body_hash)
            WHERE NOT EXISTS (SELECT FROM raw_deliveries WHERE raw_deliveries.body_hash = accepted.body_hash)
            """,
            hashes,
        )
    if lost:
        report.broken.append(f"{lost} of {len(hashes)} webhooks answered 200 have no row")


async def count_rows(dsn: str, plain: Target, report: Report) -> None:
    """Compare how many rows the baseline has with how many it accepted."""
    accepted = sum(file.stat().st_size // 32 for file in plain.accepted)
    async with _connected(dsn) as conn:
        rows = await conn.fetchval("SELECT count(*) FROM webhooks")
    if rows != accepted:
        report.broken.append(f"the baseline stored {rows} webhooks and accepted {accepted}")


@contextlib.asynccontextmanager
async def _plain_server(stack: Stack, key: str) -> AsyncIterator[tuple[Child, int, str]]:
    """The baseline's own process and database on the same Postgres; gives it, its port and its DSN."""
    async with _connected(stack.postgres.dsn) as conn:
        await conn.execute("CREATE DATABASE bench_webhooks")
    dsn = f"{stack.postgres.dsn.rsplit('/', 1)[0]}/bench_webhooks"
    async with _connected(dsn) as conn:
        await conn.execute(plain_webhook.CREATE_TABLE)
    port = free_port()
    child = Child(
        "bench-plain-webhook",
        [sys.executable, "-m", "pipeline_local_stack.bench.plain_webhook"],
        {"BENCH_PORT": str(port), "BENCH_DSN": dsn, "BENCH_WEBHOOK_KEY": key},
    )
    child.start()
    try:
        await asyncio.to_thread(wait_until_listening, child, port)
        yield child, port, dsn
    finally:
        await asyncio.to_thread(child.stop)


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        await conn.close()
