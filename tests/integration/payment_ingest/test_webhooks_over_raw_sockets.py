"""Whatever somebody writes to the port of the real process: the right answer or none, and nothing genuine is lost."""

import asyncio
import gzip
import json
import os
import uuid
from contextlib import suppress
from random import Random

import asyncpg
import psutil
import pytest
from ingest_processes import environment_of, running_ingest
from small_xero import KEY, signed, webhook

from pipeline_service_defaults.migrate import directories_of

LIMIT = 256 * 1024
FORGED = int(os.environ.get("FORGED", "50000"))
PATH = b"/webhooks/xero"


@pytest.fixture(scope="module")
async def running(make_database, identities):
    dsn = await make_database(*directories_of("payment_ingest"))
    environment = environment_of(dsn, "http://127.0.0.1:1", identities)
    async with running_ingest(environment) as (process, client):
        yield process, client, int(environment["HTTP_PORT"]), dsn


@pytest.fixture
async def stored(running):
    """How often a body is stored."""
    conn = await asyncpg.connect(running[3])

    async def count(body: bytes | None = None) -> int:
        return await conn.fetchval(
            "SELECT count(*) FROM raw_deliveries WHERE $1::bytea IS NULL OR body = $1", body
        )

    yield count
    await conn.close()


def body_of(*events: dict | bytes, **more) -> bytes:
    return json.dumps({"events": list(events), "entropy": uuid.uuid4().hex, **more}).encode()


def event(**changes) -> dict:
    found = json.loads(webhook((str(uuid.uuid4()), str(uuid.uuid4()))))["events"][0]
    return found | changes


def head(*lines: bytes, method: bytes = b"POST", path: bytes = PATH) -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"host: x", *lines, b"", b""))


def signature(body: bytes, key: bytes = KEY) -> bytes:
    return b"x-xero-signature: " + signed(body, key)["x-xero-signature"].encode()


def length(body: bytes) -> bytes:
    return b"content-length: %d" % len(body)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def forgery(chance: Random) -> bytes:
    """A request that looks genuine and is not: by another key, with a bit changed, of another body, cut short."""
    body = bytearray(body_of(event()))
    sent = bytearray(signed(bytes(body))["x-xero-signature"].encode())
    match chance.randrange(5):
        case 0:
            sent = bytearray(signed(bytes(body), chance.randbytes(32))["x-xero-signature"].encode())
        case 1:
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        case 2:
            # Its last sign holds spare bits of Base64, and must be one that Base64 has all the same.
            sent[chance.randrange(len(sent) - 2)] = ord("-")
        case 3:
            sent = bytearray(signed(BODY)["x-xero-signature"].encode())
        case 4:
            del body[chance.randrange(len(body)) :]
    return head(b"x-xero-signature: " + bytes(sent), length(bytes(body))) + bytes(body)


async def converse(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back, read while the parts are still being written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def answer() -> bytes:
        read = b""
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in read and (more := await reader.read(65_536)):
                read += more
        return read

    answering = asyncio.create_task(answer())
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    async with asyncio.timeout(8):
        found = await answering
    writer.close()
    return found


def assert_bare(answer: bytes, status: int) -> None:
    first, *headers = answer.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert first.split()[1] == str(status).encode(), answer[:300]
    names = {line.split(b":")[0].lower() for line in headers}
    assert not names & {b"set-cookie", b"server", b"x-powered-by", b"content-type"}, names
    assert answer.endswith(b"\r\n\r\n")


BODY = body_of(event())
GENUINE = signature(BODY)
REFUSED = {
    "truncated and closed": (None, head(GENUINE, b"content-length: 5000") + BODY),
    "no signature": (401, head(length(BODY)) + BODY),
    "two signatures": (401, head(GENUINE, GENUINE, length(BODY)) + BODY),
    "two signatures, the second wrong": (401, head(GENUINE, b"x-xero-signature: x", length(BODY)) + BODY),
    "two signatures in one line": (401, head(GENUINE + b", x", length(BODY)) + BODY),
    "signed with another key": (401, head(signature(BODY, b"other"), length(BODY)) + BODY),
    "no body": (401, head(signature(b""), b"content-length: 0")),
    "no length at all": (401, head(GENUINE)),
    "another length twice": (400, head(GENUINE, length(BODY), b"content-length: 7") + BODY),
    "length and chunks": (400, head(GENUINE, length(BODY), b"transfer-encoding: chunked") + chunked(BODY)),
    "a length below zero": (400, head(GENUINE, b"content-length: -5") + BODY),
    "a length in hex": (400, head(GENUINE, b"content-length: 0x10") + BODY),
    "a length beyond every number": (400, head(GENUINE, b"content-length: " + b"9" * 400)),
    "said to be too large": (413, head(GENUINE, b"content-length: %d" % (LIMIT + 1))),
    "chunks of no size": (400, head(GENUINE, b"transfer-encoding: chunked") + b"zz\r\nabc\r\n"),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_answered_bare_and_leaves_nothing(running, stored, case):
    status, request = REFUSED[case]
    before = await stored()
    if status is None:
        _, writer = await asyncio.open_connection("127.0.0.1", running[2])
        writer.write(request)
        await writer.drain()
        writer.close()
    else:
        answer = await converse(running[2], request)
        if status == 400:  # some of these the parser refuses, in words of its own
            assert answer.split()[1] == b"400", answer[:200]
        else:
            assert_bare(answer, status)
    assert await stored() == before
    assert_bare(await converse(running[2], head(GENUINE, length(BODY)) + BODY), 200)


ACCEPTED = {
    "ids that are none": body_of(event(resourceId="42"), event(tenantId="../x"), event()),
    "unknown words": body_of(event(eventCategory="TELEPATHY", eventType="DREAMT", tenantType="?")),
    "dates from nowhere": body_of(
        *(event(eventDateUtc=at) for at in ("0001-01-01", "9999-12-31T23:59:59", "-1", "", 7, None))
    ),
    "other shapes": body_of(event(resourceId=None), [], None, 7, "x", {}),
    "numbers without end": b'{"events":[],"firstEventSequence":' + b"9" * 5_000 + b"}",
    "a resource elsewhere": body_of(event(resourceUrl="http://169.254.169.254/latest/meta-data")),
    "no JSON": b"\xff\xfe not json " + uuid.uuid4().bytes,
    "deep": b"[" * 100_000,
    "a bomb": gzip.compress(b"0" * 50_000_000),
    "two thousand events": body_of(*({"eventCategory": "INVOICE", "tenantId": "t"} for _ in range(2_000))),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
async def test_what_is_genuine_is_kept_and_read_whatever_it_says(running, stored, case):
    body = ACCEPTED[case]
    _, client, port, dsn = running
    lines = (b"content-type: text/html", b"content-encoding: gzip", b"cookie: a=b")
    assert_bare(await converse(port, head(*lines, signature(body), length(body)) + body), 200)
    pieces = [body[start : start + 4_096] for start in range(0, len(body), 4_096)]
    in_chunks = head(signature(body), b"transfer-encoding: chunked") + chunked(*pieces)
    assert_bare(await converse(port, in_chunks[:700], in_chunks[700:], pause=0.05), 200)
    assert await stored(body) == 1
    conn = await asyncpg.connect(dsn)
    async with asyncio.timeout(20):
        while await conn.fetchval("SELECT count(*) FROM unread_deliveries"):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.05)
    await conn.close()
    assert (await client.get("/health/ready")).status_code == 200


async def test_ten_thousand_events_fit_into_no_body_and_as_many_as_fit_all_ring(running, stored):
    _, _, port, dsn = running
    events = [event(resourceId=str(uuid.UUID(int=number)), tenantId=TENANT) for number in range(10_000)]  # fmt: skip
    whole = body_of(*events)
    assert_bare(await converse(port, head(signature(whole), length(whole)) + whole), 413)
    short = [{name: one[name] for name in ("resourceId", "eventCategory", "tenantId")} for one in events]  # fmt: skip
    fits = body_of(*short[:1_700])
    assert len(fits) <= LIMIT
    assert_bare(await converse(port, head(signature(fits), length(fits)) + fits), 200)
    conn = await asyncpg.connect(dsn)
    async with asyncio.timeout(20):
        while await conn.fetchval("SELECT count(*) FROM unread_deliveries"):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.05)
    assert (
        await conn.fetchval("SELECT count(*) FROM doorbells WHERE tenant_id = $1", TENANT) == 1_700
    )
    await conn.close()


TENANT = "11111111-2222-4333-8444-555555555555"


async def test_a_body_that_drips_is_408_in_time_and_the_next_ones_are_served_meanwhile(
    running, stored
):
    port = running[2]
    loop = asyncio.get_running_loop()
    started = loop.time()
    dripping = asyncio.create_task(
        converse(
            port, head(GENUINE, length(BODY)), *(BODY[n : n + 1] for n in range(40)), pause=0.1
        )
    )
    assert_bare(await converse(port, head(GENUINE, length(BODY)) + BODY), 200)
    assert not dripping.done()
    assert_bare(await dripping, 408)
    assert loop.time() - started < 8


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
async def test_other_methods_tell_nothing(running, method):
    assert_bare(await converse(running[2], head(b"content-length: 0", method=method)), 405)


@pytest.mark.parametrize("path", [PATH + b"/", PATH + b"/x", b"/webhooks", b"//webhooks/xero"])
async def test_paths_beside_it_are_404_and_store_nothing(running, stored, path):
    before = await stored()
    answer = await converse(running[2], head(GENUINE, length(BODY), path=path) + BODY)
    assert answer.split()[1] in {b"404", b"307"}, answer[:100]
    assert await stored() == before


async def test_of_a_flood_of_forgeries_none_is_accepted_in_bounded_memory(running, stored):
    process, _, port, _ = running
    refusal = await converse(port, forgery(Random(0)))
    assert_bare(refusal, 401)
    before = await stored()

    async def flood(requests: int, seed: int) -> None:
        chance = Random(seed)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(requests // 50):
            # Pipelined, as only somebody hostile does.
            writer.write(b"".join(forgery(chance) for _ in range(50)))
            answers = await reader.readexactly(len(refusal) * 50)
            assert answers.count(b"HTTP/1.1 401 ") == 50, seed
        writer.close()

    await asyncio.gather(*(flood(FORGED // 40, seed) for seed in range(8)))
    used = psutil.Process(process.pid).memory_info().rss
    await asyncio.gather(*(flood(FORGED // 10, seed) for seed in range(8, 16)))
    assert psutil.Process(process.pid).memory_info().rss < used + 16 * 1024 * 1024
    assert await stored() == before
    assert_bare(await converse(port, head(GENUINE, length(BODY)) + BODY), 200)
