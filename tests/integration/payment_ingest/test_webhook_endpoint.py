"""The webhook endpoint on a real socket, in front of real Postgres."""

import asyncio
import gzip
import hashlib
import json
import socket
from contextlib import suppress

import asyncpg
import httpx
import pytest

from payment_ingest.accept_delivery import DeliveryWriter, Limits, NotStoredError

KEY = b"webhook-key-of-the-tests"
OTHER_KEY = b"the-next-webhook-key"
LIMIT = 256 * 1024
INTENT = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3r4Nd0mt3xt"}'


async def rows(pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM raw_deliveries")


async def unread(pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM unread_deliveries")


def assert_bare(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.content == b""
    assert "set-cookie" not in answer.headers


async def test_a_genuine_body_is_durable_before_it_is_answered(endpoint, http, pool, signed):
    body = INTENT.replace(b"[]", b'[{"x":1}]')
    assert_bare(await http.post(endpoint, content=body, headers=signed(body)), 200)
    row = await pool.fetchrow("SELECT * FROM raw_deliveries")
    assert row["body"] == body
    assert row["body_hash"] == hashlib.sha256(body).digest()
    assert (row["key_position"], await unread(pool)) == (0, 1)


async def test_both_keys_of_a_rotation_are_accepted(endpoint, http, pool, signed):
    assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT, OTHER_KEY)), 200)
    assert await pool.fetchval("SELECT key_position FROM raw_deliveries") == 1


async def test_the_same_body_again_is_one_row(endpoint, http, pool, signed):
    for _ in range(3):
        assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 200)
    assert await rows(pool) == 1


async def test_intent_to_receive_wants_both_answers(endpoint, http, signed):
    assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 200)
    for wrong in ("", "wrong", signed(INTENT, b"other")["x-xero-signature"]):
        answer = await http.post(endpoint, content=INTENT, headers={"x-xero-signature": wrong})
        assert_bare(answer, 401)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"\xff\x00\xfe",
        b"[]",
        b"{",
        b"null",
        json.dumps({"events": [{"eventCategory": "NEW"}]}).encode(),
    ],
)
async def test_a_signed_body_nobody_understands_is_kept(endpoint, http, pool, signed, body):
    assert_bare(await http.post(endpoint, content=body, headers=signed(body)), 200)
    assert await pool.fetchval("SELECT body FROM raw_deliveries") == body


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (INTENT, {}),
        (INTENT, {"x-xero-signature": ""}),
        (INTENT, {"x-xero-signature": "AAAA"}),
        (INTENT, {"X-Xero-Signature": "x" * 5000}),
        (b"", {}),
        (b"not json", {"x-xero-signature": "AAAA"}),
    ],
)
async def test_what_is_not_genuine_is_401_and_leaves_nothing(endpoint, http, pool, body, headers):
    assert_bare(await http.post(endpoint, content=body, headers=headers), 401)
    assert await rows(pool) == 0


async def test_no_body_is_401_even_rightly_signed(endpoint, http, pool, signed):
    assert_bare(await http.post(endpoint, content=b"", headers=signed(b"")), 401)
    assert await rows(pool) == 0


async def test_two_signatures_are_none(endpoint, http, pool, signed):
    good = signed(INTENT)["x-xero-signature"]
    for pair in ((good, good), (good, "x"), ("x", good)):
        headers = [("x-xero-signature", one) for one in pair]
        assert_bare(await http.post(endpoint, content=INTENT, headers=headers), 401)
    assert await rows(pool) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405(endpoint, http, method):
    answer = await http.request(method, endpoint)
    assert_bare(answer, 405)
    assert answer.headers["allow"] == "POST"


async def test_a_body_at_the_cap_is_taken_and_one_byte_more_is_not(endpoint, http, pool, signed):
    fits = b"x" * LIMIT
    assert_bare(await http.post(endpoint, content=fits, headers=signed(fits)), 200)
    over = b"x" * (LIMIT + 1)
    assert_bare(await http.post(endpoint, content=over, headers=signed(over)), 413)
    assert await rows(pool) == 1


async def test_a_megabyte_is_413_whether_its_length_is_told_or_not(endpoint, http, pool, signed):
    body = b"x" * 1_000_000
    assert_bare(await http.post(endpoint, content=body, headers=signed(body)), 413)

    async def chunks():
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    assert_bare(await http.post(endpoint, content=chunks(), headers=signed(body)), 413)
    assert await rows(pool) == 0


async def test_a_gzip_bomb_is_only_bytes(endpoint, http, pool, signed):
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < LIMIT
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert_bare(await http.post(endpoint, content=bomb, headers=headers), 401)
    assert_bare(await http.post(endpoint, content=bomb, headers=headers | signed(bomb)), 200)
    assert await pool.fetchval("SELECT octet_length(body) FROM raw_deliveries") == len(bomb)


async def test_wrong_content_types_do_not_matter(endpoint, http, signed):
    for kind in ("text/html", "multipart/form-data", "", "application/json; charset=utf-16"):
        headers = {"content-type": kind, **signed(INTENT)}
        assert_bare(await http.post(endpoint, content=INTENT, headers=headers), 200)


async def test_an_endless_body_is_cut_off(endpoint, http, pool, signed):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 200_000_000:
            sent += 65_536
            yield b"x" * 65_536

    with suppress(httpx.TransportError):
        assert_bare(await http.post(endpoint, content=endless(), headers=signed(b"x")), 413)
    assert sent < 50_000_000
    assert await rows(pool) == 0


async def raw(endpoint: str, *parts: bytes, pause: float = 0.0) -> bytes:
    """What a socket that writes `parts` gets back until the server closes."""
    url = httpx.URL(endpoint)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(8):
            while chunk := await reader.read(65_536):
                answer += chunk
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return answer


async def test_a_slow_body_is_408_and_the_connection_is_closed(endpoint, pool, signed):
    signature = signed(INTENT)["x-xero-signature"].encode()
    head = b"POST /webhooks/xero HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\nx-xero-signature: "
    started = asyncio.get_running_loop().time()
    answer = await raw(endpoint, head + signature + b"\r\n\r\n" + INTENT[:10])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\n")
    assert 1.5 < asyncio.get_running_loop().time() - started < 4
    assert await rows(pool) == 0


async def test_a_sender_that_goes_away_leaves_nothing(endpoint, pool, http, signed):
    head = b"POST /webhooks/xero HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\nabc"
    url = httpx.URL(endpoint)
    with socket.create_connection((url.host, url.port)) as gone:
        gone.sendall(head)
    assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 200)
    assert await rows(pool) == 1


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 5\r\ncontent-length: 7\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"content-length: -5\r\n",
        b"content-length: 0x10\r\n",
        b"content-length: 99999999999999999999999999\r\n",
    ],
)
async def test_conflicting_or_senseless_lengths_are_refused(endpoint, pool, lengths):
    answer = await raw(
        endpoint, b"POST /webhooks/xero HTTP/1.1\r\nhost: x\r\n" + lengths + b"\r\n" + b"0\r\n\r\n"
    )
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 401"}
    assert await rows(pool) == 0


async def test_an_expectation_too_large_is_refused_before_the_body(endpoint):
    answer = await raw(
        endpoint,
        b"POST /webhooks/xero HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 999999\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


async def test_pipelined_requests_are_each_answered(endpoint, pool, signed):
    signature = signed(INTENT)["x-xero-signature"].encode()

    def request(signature: bytes, more: bytes = b"") -> bytes:
        return (
            b"POST /webhooks/xero HTTP/1.1\r\nhost: x\r\nx-xero-signature: %s\r\n%scontent-length: %d\r\n\r\n%s"
            % (signature, more, len(INTENT), INTENT)
        )

    answer = await raw(
        endpoint,
        request(signature) + request(b"wrong") + request(signature, b"connection: close\r\n"),
    )
    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    assert statuses == [b"200", b"401", b"200"]


async def test_two_hundred_at_once_are_each_durable_in_few_commits(
    dsn, pool, http, signed, gate_on
):
    commits = 0

    class Counting(asyncpg.Connection):
        async def execute(self, query, *args, **options):
            nonlocal commits
            commits += 1
            return await super().execute(query, *args, **options)

    async def connect():
        return await asyncpg.connect(dsn, connection_class=Counting)

    bodies = [INTENT.replace(b"S0m3", str(number).encode()) for number in range(200)]
    async with gate_on(dsn, connect=connect) as url:
        answers = await asyncio.gather(
            *(http.post(url, content=body, headers=signed(body)) for body in bodies)
        )
    for answer in answers:
        assert_bare(answer, 200)
    assert await rows(pool) == 200
    assert commits < 100


async def test_postgres_away_is_503_and_back_is_200(dsn, http, signed, gate_on):
    away = True

    async def connect():
        if away:
            raise ConnectionRefusedError
        return await asyncpg.connect(dsn)

    async with gate_on(dsn, connect=connect) as url:
        answer = await http.post(url, content=INTENT, headers=signed(INTENT))
        assert_bare(answer, 503)
        assert_bare(await http.post(url, content=INTENT), 401)
        away = False
        assert_bare(await http.post(url, content=INTENT, headers=signed(INTENT)), 200)


async def test_a_connection_cut_by_postgres_is_replaced(endpoint, http, pool, signed):
    assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 200)
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%deliveries%'"
    )
    body = INTENT + b" "
    statuses = set()
    for _ in range(20):
        answer = await http.post(endpoint, content=body, headers=signed(body))
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            break
    assert 200 in statuses
    assert statuses <= {200, 503}


async def test_a_table_that_is_locked_is_503_within_xeros_five_seconds(
    endpoint, http, pool, signed
):
    loop = asyncio.get_running_loop()
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE raw_deliveries IN ACCESS EXCLUSIVE MODE")
        started = loop.time()
        assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 503)
        assert loop.time() - started < 4.5
    assert_bare(await http.post(endpoint, content=INTENT, headers=signed(INTENT)), 200)


async def test_a_full_queue_is_503_at_once(dsn, http, pool, signed, gate_on):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE raw_deliveries IN ACCESS EXCLUSIVE MODE")
        async with gate_on(dsn, limits=Limits(queued_rows=3)) as url:
            bodies = [INTENT + b" " * number for number in range(20)]
            answers = await asyncio.gather(
                *(http.post(url, content=body, headers=signed(body)) for body in bodies)
            )
    assert {answer.status_code for answer in answers} == {503}


async def test_stopping_writes_what_is_queued(dsn, pool):
    from payment_ingest.store.deliveries import Delivery

    async def connect():
        return await asyncpg.connect(dsn)

    writer = DeliveryWriter(connect, on_stored=lambda: None)
    waiting = [
        asyncio.create_task(
            writer.accept(Delivery(hashlib.sha256(bytes([n])).digest(), bytes([n]), 0))
        )
        for n in range(10)
    ]
    await asyncio.sleep(0)
    writer.stop()
    await writer.run()
    await asyncio.gather(*waiting)
    assert await rows(pool) == 10


async def test_a_writer_that_has_ended_says_so_at_once(dsn):
    from payment_ingest.store.deliveries import Delivery

    opened = []

    async def connect():
        opened.append(await asyncpg.connect(dsn))
        return opened[-1]

    def fail() -> None:
        raise RuntimeError

    writer = DeliveryWriter(connect, on_stored=fail)
    running = asyncio.create_task(writer.run())
    await writer.accept(Delivery(b"h", b"stored", 0))
    with pytest.raises(ExceptionGroup):
        await running
    async with asyncio.timeout(5):
        with pytest.raises(NotStoredError):
            await writer.accept(Delivery(b"i", b"nobody would store it", 0))
    for conn in opened:
        await conn.close()


@pytest.mark.parametrize("is_connected", [True, False])
async def test_whoever_waits_when_the_writer_is_cancelled_is_told(dsn, pool, is_connected):
    from payment_ingest.store.deliveries import Delivery

    connecting = asyncio.Event()

    async def connect():
        connecting.set()
        if not is_connected:
            await asyncio.Event().wait()
        return await asyncpg.connect(dsn)

    writer = DeliveryWriter(connect, lambda: None, Limits(lanes=1, rows_per_commit=1))
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE raw_deliveries IN ACCESS EXCLUSIVE MODE")
        running = asyncio.create_task(writer.run())
        waiting = [
            asyncio.create_task(writer.accept(Delivery(bytes([n]), b"body", 0))) for n in range(3)
        ]
        await connecting.wait()
        running.cancel()
        async with asyncio.timeout(1):
            told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in told] == [NotStoredError] * 3


async def test_a_flood_of_forgeries_leaves_nothing(endpoint, http, pool):
    async def forge(number: int) -> int:
        headers = {"x-xero-signature": hashlib.sha256(str(number).encode()).hexdigest()}
        return (await http.post(endpoint, content=INTENT, headers=headers)).status_code

    statuses: set[int] = set()
    for start in range(0, 2_000, 100):
        statuses |= set(await asyncio.gather(*(forge(start + number) for number in range(100))))
    assert statuses == {401}
    assert await rows(pool) == 0
