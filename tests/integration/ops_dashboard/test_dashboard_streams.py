"""Live updates: told once, resumed at any replica, bounded, and never held up by a slow reader."""

import asyncio

import httpx
import pytest
from dashboard_world import Telling

from ops_dashboard.handlers import events
from ops_dashboard.watch_accounts import AccountWatch


class Stream:
    """A browser's side of a stream."""

    def __init__(self, lines) -> None:
        self._lines = lines

    async def next_id(self) -> int:
        found = None
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith("id: "):
                    found = int(line[4:])
                if line == "event: news":
                    return found
        raise AssertionError("the stream ended")


async def until_said(lines, last: str):
    async for line in lines:
        yield line
        if line == last:
            return


def opened(client: httpx.AsyncClient, account: str, **headers: str):
    return client.stream("GET", f"/accounts/{account}/events", headers=headers)


async def test_every_replica_tells_and_resumes(world, monkeypatch):
    told = Telling("acc-1")
    token = world.keys.token("acc-1")
    async with (
        world.running() as one,
        world.running() as other,
        world.client(one, token) as first,
        world.client(other, token) as second,
    ):
        await world.send(told.issued("a"))
        async with opened(first, "acc-1") as a, opened(second, "acc-1") as b:
            assert a.headers["content-type"].startswith("text/event-stream")
            streams = Stream(a.aiter_lines()), Stream(b.aiter_lines())
            seen = [await stream.next_id() for stream in streams]
            assert seen[0] == seen[1]
            await world.send(told.synced("a"))
            assert [await stream.next_id() for stream in streams] == [seen[0] + 1] * 2
        # Nobody listens meanwhile; whoever comes back, to the other replica, is told at once.
        await world.send(told.paid("a"))
        await world.all_stored()
        headers = {"Last-Event-ID": str(seen[0] + 1)}
        async with opened(second, "acc-1", **headers) as c:
            assert await Stream(c.aiter_lines()).next_id() == seen[0] + 2
        # Whoever has seen it all hears a heartbeat first, and only then of what is new.
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 3.0)
        headers = {"Last-Event-ID": str(seen[0] + 2)}
        async with opened(first, "acc-1", **headers) as d:
            lines = d.aiter_lines()
            heard = [line async for line in until_said(lines, ": still here")]
            assert "event: news" not in heard
            await world.send(told.voided("a"))
            assert await Stream(lines).next_id() == seen[0] + 3


async def test_streams_are_bounded_and_need_a_session(world):
    async with world.running(most_streams=1) as url:
        token = world.keys.token("acc-1")
        async with world.client(url, token) as person, opened(person, "acc-1") as first:
            assert first.status_code == 200
            assert (await person.get("/accounts/acc-1/events")).status_code == 503
        async with world.client(url, world.keys.token("acc-2")) as stranger:
            assert (await stranger.get("/accounts/acc-1/events")).status_code == 404
        async with world.client(url, None) as nobody:
            assert (await nobody.get("/accounts/acc-1/events")).status_code == 401


async def test_a_reader_that_takes_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr(events, "SEND_SECONDS", 0.05)
    watch = AccountWatch(pool=None, most=1)

    async def send(message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await events.EventStream(watch, "acc-1", 0)({"type": "http"}, receive, send)
    assert not watch.is_full


async def test_a_quiet_stream_beats_and_ends_in_time(monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(events, "LIFETIME_SECONDS", 0.1)
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        await asyncio.Event().wait()

    stream = events.EventStream(AccountWatch(pool=None, most=1), "acc-1", 0)
    await stream({"type": "http"}, receive, send)
    assert sum(b": still here" in message.get("body", b"") for message in sent) >= 2
    assert sent[-1]["more_body"] is False
