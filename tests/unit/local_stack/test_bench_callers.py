import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict

from pipeline_local_stack.bench.callers import CallSpec, get_request, run_calls


class Server:
    """Answers each request with the next of these; the last is repeated. None hangs up instead."""

    def __init__(self, *answers: bytes | None, delay: float = 0.0) -> None:
        self.asked: list[tuple[float, bytes]] = []
        self.connections = 0
        self._answers = list(answers)
        self._delay = delay

    async def handle(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                self.asked.append((asyncio.get_running_loop().time(), request))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if answer is None:
                    break
                await asyncio.sleep(self._delay)
                for piece in (answer[:20], answer[20:]):  # an answer may come in pieces
                    writer.write(piece)
                    await asyncio.sleep(0)
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
FULL = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nX-Rate-Limit-Problem: minute\r\ncontent-length: 0\r\n\r\n"


async def test_by_the_clock_every_request_is_sent_when_due_whatever_comes_back():
    server = Server(OK, delay=0.3)
    async with server.listening() as port:
        spec = CallSpec([get_request(port, "/x", {"A": "b"})], 0.5, rate=40)
        result = await run_calls(spec)
    assert result.statuses == {"200": 20}
    assert result.lost == 0
    first, last = server.asked[0][0], server.asked[-1][0]
    assert last - first < 1.0  # one after the other they would take 6 s
    assert min(result.milliseconds) >= 299
    assert server.asked[0][1].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nA: b\r\n" in server.asked[0][1]


async def test_without_a_rate_each_caller_has_one_request_under_way_and_keeps_its_connection():
    server = Server(OK)
    async with server.listening() as port:
        result = await run_calls(CallSpec([get_request(port, "/x", {})], 0.2, callers=3))
    assert result.statuses["200"] == len(server.asked) == len(result.milliseconds) > 10
    assert server.connections == 3


async def test_after_a_429_a_caller_waits_as_it_was_told():
    server = Server(FULL, OK)
    async with server.listening() as port:
        result = await run_calls(CallSpec([get_request(port, "/x", {})], 1.1))
    assert result.statuses["429"] == 1
    assert result.limits == {"minute": 1}
    assert result.statuses["200"] >= 1
    assert server.asked[1][0] - server.asked[0][0] >= 1.0


async def test_no_caller_waits_beyond_the_end():
    patient = FULL.replace(b"retry-after: 1", b"retry-after: 60")
    async with Server(patient).listening() as port:
        result = await run_calls(CallSpec([get_request(port, "/x", {})], 0.2))
    assert result.statuses == {"429": 1}
    assert result.seconds < 5


async def test_targets_take_turns():
    one, two = Server(OK), Server(OK)
    async with one.listening() as first, two.listening() as second:
        targets = [get_request(first, "/1", {}), get_request(second, "/2", {})]
        await run_calls(CallSpec(targets, 0.2, rate=50))
    assert len(one.asked) == len(two.asked) == 5


async def test_a_call_without_an_answer_is_counted_as_lost():
    server = Server(OK, None)
    async with server.listening() as port:
        result = await run_calls(CallSpec([get_request(port, "/x", {})], 0.1, rate=30))
    assert result.statuses == {"200": 1}
    assert result.lost == 2


def test_it_runs_as_a_process_of_its_own():
    spec = CallSpec([get_request(9, "/nobody-there", {})], 0.05, rate=40)
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack.bench.callers"],
        input=json.dumps(asdict(spec)),
        capture_output=True,
        text=True,
        check=True,
    )
    printed = json.loads(ran.stdout)
    assert (printed["lost"], printed["statuses"], printed["milliseconds"]) == (2, {}, [])
    assert printed["cpu_seconds"] >= 0
