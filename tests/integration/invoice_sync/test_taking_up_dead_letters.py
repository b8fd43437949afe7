"""What invoice-sync set aside, taken up again by the account's people: once, under their name, and only what is theirs."""

import asyncio
import json
import secrets
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError
from dashboard_world import Telling
from invoice_sync_api import Callers, app_over
from setting_aside import set_aside

from invoice_sync.accept_events import accept_invoices
from pipeline_contracts import topics
from pipeline_contracts.topics import Topic
from pipeline_messaging import outbox, taking_up
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.replay import past_replays
from pipeline_messaging.taking_up import OwnLetters

ACCOUNT = "acc-1"


class Stage:
    """The routes over a topic of dead letters of its own."""

    def __init__(self, app, client, callers, producer, origin) -> None:
        self.app, self.client, self.callers = app, client, callers
        self.producer, self.origin = producer, origin

    async def set_aside(self, record, code="HANDLER_FAILED") -> str:
        """Put a record where a consumer puts it; gives the path of its replay."""
        place = await set_aside(self.producer, record, self.origin, code)
        return f"/v1/accounts/{ACCOUNT}/dead-letters/{place}/replay"

    async def ask(self, method, path, account=ACCOUNT, role="operator"):
        headers = self.callers.person(account, role)
        return await self.client.request(method, path, headers=headers)


@pytest.fixture
async def stage(kafka, sync_dsn, sync_pool, tmp_path):
    origin = Topic(f"t{secrets.token_hex(5)}.invoices", "invoice_id", partitions=1)
    callers = Callers()
    app = app_over(SimpleNamespace(pool=sync_pool), sync_dsn, tmp_path, callers)
    app.state.own_letters = OwnLetters(
        KafkaSettings(kafka), sync_pool, {origin: accept_invoices}, lambda: None
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await admin.start()
    await producer.start()
    replays = topics.REPLAYS
    with suppress(TopicAlreadyExistsError):
        new = NewTopic(replays.name, replays.partitions, 1, topic_configs=replays.config)
        await admin.create_topics([new])
    await admin.create_topics([NewTopic(origin.dead_letters, 1, 1)])
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sync") as client:
            yield Stage(app, client, callers, producer, origin)
    finally:
        await admin.delete_topics([origin.dead_letters])
        await producer.stop()
        await admin.close()


async def _notes(pool):
    async with pool.acquire() as conn:
        rows = await outbox.head(conn, limit=100, max_bytes=10_000_000)
    return [row.record for row in rows if row.record.topic == topics.REPLAYS.name]


async def test_it_is_taken_up_once_by_whoever_may(stage, sync_pool):
    path = await stage.set_aside(Telling(ACCOUNT).issued("inv-1"))
    shown = (await stage.ask("GET", path, role="viewer")).json()
    assert (shown["objections"], shown["replays"], shown["code"]) == ([], [], "HANDLER_FAILED")
    assert "as if it had just arrived" in shown["follows"]
    for account, role, status in (
        (ACCOUNT, "viewer", {403}),
        ("acc-2", "admin", {403, 404}),
    ):
        assert (await stage.ask("POST", path, account, role)).status_code in status
    assert await sync_pool.fetchval("SELECT count(*) FROM inbox") == 0

    answers = await asyncio.gather(*(stage.ask("POST", path) for _ in range(3)))
    assert sorted(one.json()["outcome"] for one in answers) == ["known", "known", "taken_up"]
    assert await sync_pool.fetchval("SELECT version FROM invoices WHERE invoice_id = 'inv-1'") == 1
    (note,) = await _notes(sync_pool)

    await stage.producer.send_and_wait(note.topic, note.value, key=note.key)
    (done,) = next(
        said
        for place, said in (await past_replays(stage.app.state.own_letters.kafka)).items()
        if str(place) in path
    )
    assert (done.step, done.by) == ("taken_up", "user:u")
    again = await stage.ask("POST", path)
    assert (again.status_code, again.json()["code"]) == (409, "DEAD_LETTER_NOT_REPLAYABLE")
    assert "user:u replayed it at" in again.json()["detail"]


class Died(BaseException):
    """Where a failpoint would kill the process: no `except Exception` may see it."""


@pytest.mark.parametrize("step", ["take_up:after_handle", "take_up:before_commit"])
async def test_who_dies_taking_it_up_has_taken_up_nothing(stage, sync_pool, monkeypatch, step):
    path = await stage.set_aside(Telling(ACCOUNT).issued("inv-1"))

    def die(name):
        if name == step:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(taking_up, "failpoint", die)
        with pytest.raises(Died):
            await stage.ask("POST", path)
    for table in ("inbox", "invoices", "outbox"):
        assert await sync_pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
    assert (await stage.ask("POST", path)).json()["outcome"] == "taken_up"
    assert await sync_pool.fetchval("SELECT version FROM invoices WHERE invoice_id = 'inv-1'") == 1
    assert len(await _notes(sync_pool)) == 1


async def test_what_is_no_good_changes_nothing_and_says_why(stage, sync_pool):
    good = Telling(ACCOUNT).issued("inv-1")
    broken = await stage.set_aside(replace(good, value=b'{"account_id": "acc-1", "x": '), "BAD")
    assert (await stage.ask("GET", broken)).status_code == 404  # it names no account
    body = json.dumps(json.loads(good.value) | {"total": "much"}).encode()
    refused = await stage.ask("POST", await stage.set_aside(replace(good, value=body)))
    assert (refused.status_code, refused.json()["code"]) == (409, "DEAD_LETTER_NOT_REPLAYABLE")
    assert "it would be refused again" in refused.json()["detail"]
    others = await stage.set_aside(Telling("acc-2").issued("inv-2"))
    assert (await stage.ask("POST", others)).status_code == 404

    async def fails(conn, envelopes):
        await accept_invoices(conn, envelopes)
        raise RuntimeError("not mended yet")

    own = stage.app.state.own_letters
    stage.app.state.own_letters = replace(own, handlers={stage.origin: fails})
    path = await stage.set_aside(good)
    failed = await stage.ask("POST", path)
    assert (failed.status_code, failed.json()["code"]) == (409, "FAILED_AGAIN")
    for elsewhere in ("pipeline.xero.connections.v1.dlq/0/1", "unheard.dlq/0/1"):
        nothing = await stage.ask("POST", f"/v1/accounts/{ACCOUNT}/dead-letters/{elsewhere}/replay")
        assert nothing.status_code == 404
    stage.app.state.own_letters = replace(own, kafka=KafkaSettings("127.0.0.1:1"))
    away = await stage.ask("POST", path)
    assert (away.status_code, away.json()["code"]) == (503, "KAFKA_UNREACHABLE")
    for table in ("inbox", "invoices", "outbox"):
        assert await sync_pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
