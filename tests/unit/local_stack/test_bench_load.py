import asyncio
import base64
import contextlib
import hashlib
import hmac
import json

import pytest

from pipeline_local_stack.bench.load import (
    LoadResult,
    LoadSpec,
    _Load,
    make_bodies,
    make_request,
    run_load,
)
from pipeline_local_stack.bench.webhooks import complaints

TENANT = "11111111-2222-4333-8444-555555555555"
KEY = "a webhook key"


def test_bodies_are_webhooks_of_about_a_kilobyte_and_no_two_are_alike():
    bodies = make_bodies("seed", 1_500, TENANT)
    assert len(set(bodies)) == 1_500
    assert not set(bodies) & set(make_bodies("another", 1_500, TENANT))
    for body in (bodies[0], bodies[-1]):
        assert 900 < len(body) < 1_300
        document = json.loads(body)
        assert len(document["events"]) == 3
        assert {event["tenantId"] for event in document["events"]} == {TENANT}
        assert document["lastEventSequence"] == document["firstEventSequence"] + 2


def test_a_request_carries_the_signature_of_exactly_its_body():
    body = make_bodies("seed", 1, TENANT)[0]
    head, sent = make_request(body, KEY.encode(), "/webhooks/xero", 8003).split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    expected = base64.b64encode(hmac.new(KEY.encode(), body, hashlib.sha256).digest()).decode()
    assert lines[0] == "POST /webhooks/xero HTTP/1.1"
    assert sent == body
    assert headers["x-xero-signature"] == expected
    assert headers["content-length"] == str(len(body))


class _Endpoint:
    """Answers each request with the status of its turn; None hangs up without an answer."""

    def __init__(self, statuses):
        self.bodies = []
        self._statuses = statuses

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                status = self._statuses(len(self.bodies))
                if status is None:
                    break
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n" % status)
                await writer.drain()  # the end of an answer may come in a second packet
                writer.write(b"\r\n")
        writer.close()


@contextlib.asynccontextmanager
async def endpoint(statuses=lambda _turn: 200):
    answering = _Endpoint(statuses)
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    async with server:
        yield answering, server.sockets[0].getsockname()[1]


def spec(port, tmp_path, **changes):
    given = {
        "port": port, "path": "/w", "key": KEY, "seconds": 5.0, "requests": 40, "seed": "s",
        "tenant_id": TENANT, "accepted_file": str(tmp_path / "accepted"), "connections": 4,
    }  # fmt: skip
    return LoadSpec(**given | changes)


async def test_every_body_is_sent_once_and_its_acceptance_is_written_down(tmp_path):
    async with endpoint() as (answering, port):
        result = await run_load(spec(port, tmp_path))
    assert result.accepted == 40
    assert result.statuses == {"200": 40}
    assert result.unanswered == 0
    assert result.rate == 40 / result.seconds
    assert sorted(answering.bodies) == sorted(make_bodies("s", 40, TENANT))
    accepted = (tmp_path / "accepted").read_bytes()
    hashes = {accepted[start : start + 32] for start in range(0, len(accepted), 32)}
    assert hashes == {hashlib.sha256(body).digest() for body in answering.bodies}


async def test_what_was_refused_is_counted_and_not_written_down_as_accepted(tmp_path):
    async with endpoint(lambda turn: 503 if turn % 4 == 0 else 200) as (_, port):
        result = await run_load(spec(port, tmp_path))
    assert result.statuses == {"200": 30, "503": 10}
    assert len((tmp_path / "accepted").read_bytes()) == 30 * 32
    assert complaints("x", [result, result]) == ["x: 20 genuine webhooks were answered 503"]


async def test_a_connection_that_closes_leaves_its_request_unanswered(tmp_path):
    async with endpoint(lambda turn: None if turn == 3 else 200) as (_, port):
        result = await run_load(spec(port, tmp_path))
    assert result.unanswered == 1
    assert result.accepted == 39
    assert complaints("x", [result]) == ["x: 1 webhooks got no answer"]


async def test_when_every_connection_closes_the_run_ends(tmp_path):
    async with endpoint(lambda turn: None if turn > 10 else 200) as (_, port):
        result = await run_load(spec(port, tmp_path))
    assert (result.accepted, result.unanswered) == (10, 4)


async def test_a_given_rate_is_kept_by_schedule(tmp_path):
    async with endpoint() as (_, port):
        result = await run_load(spec(port, tmp_path, rate=200.0, requests=60))
    assert result.accepted == 60
    assert result.seconds >= 59 / 200  # the last of 60 is due then, not earlier


async def test_waiting_for_a_free_connection_counts_as_latency(tmp_path):
    class Slow(_Endpoint):
        async def serve(self, reader, writer):
            await asyncio.sleep(0.3)
            await super().serve(reader, writer)

    slow = Slow(lambda _turn: 200)
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await run_load(spec(port, tmp_path, rate=1000.0, requests=20, connections=1))
    # All were due within 20 ms and answered only when the endpoint woke up.
    assert result.accepted == 20
    assert result.p50_ms > 200


async def test_an_answer_just_before_the_last_scheduled_request_does_not_end_the_run(tmp_path):
    class Connection:
        def __init__(self):
            self.sent = []

        def send(self, index, _asked, _request):
            self.sent.append(index)

    connection = Connection()
    load = _Load(spec(1, tmp_path, rate=100.0, seconds=0.05, requests=5), [b"request"] * 5)
    load.start([connection])
    load._ends = load.started  # the time is up, and the last tick has not come yet
    load.idle.remove(connection)
    load.next_for(connection)
    assert not load.finished.is_set()
    await asyncio.wait_for(load.finished.wait(), 5)


async def test_nobody_listening_is_an_error(tmp_path):
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await run_load(spec(port, tmp_path))


def test_a_key_is_not_shown_in_a_printed_spec(tmp_path):
    assert KEY not in repr(spec(1, tmp_path))


def test_nothing_to_complain_about():
    fine = LoadResult(10, 1.0, 1.0, 2.0, {"200": 10}, 0)
    assert complaints("x", [fine]) == []
