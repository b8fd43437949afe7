"""`webhook-keys` against the real endpoint, as it is and behind fronts that spoil what passes through them."""

import asyncio
import datetime as dt
import json
import os
import ssl
import sys

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from payment_ingest import check_webhooks
from payment_ingest.check_webhooks import check
from pipeline_local_stack.processes import free_port

KEYS = (b"webhook-key-of-the-tests", b"the-next-webhook-key")


async def run(address: str, keys: str | None) -> tuple[int, str, str]:
    """The command as an operator runs it, with nothing but the keys in its environment."""
    environment = {"PATH": os.environ["PATH"]} | ({"XERO_WEBHOOK_KEYS": keys} if keys else {})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "payment_ingest", "webhook-keys", address),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    for key in (keys or "").split(","):
        assert not key or key not in out.decode() + error.decode()
    return process.returncode, out.decode(), error.decode()


async def test_it_says_what_to_paste_and_passes_with_every_key_of_the_service(endpoint, pool):
    origin = endpoint.removesuffix("/webhooks/xero")
    both = b",".join(KEYS).decode()
    status, said, error = await run(origin, both)
    assert (status, error) == (0, "")
    for words in (
        f"Delivery URL: {endpoint}\n",
        "Tick Invoices",
        "XERO_WEBHOOK_KEYS",
        "ok      key 1 of 2: 200, empty",
        "ok      key 2 of 2: 200, empty",
        "ok      no signature: 401, empty",
        "Xero's check would pass.",
    ):
        assert words in said
    # What it sent reads like Xero's own check: it can be run at any time, and rings nobody.
    bodies = [
        json.loads(row["body"]) for row in await pool.fetch("SELECT body FROM raw_deliveries")
    ]
    assert [body["events"] for body in bodies] == [[]] * 4

    status, said, _ = await run(origin, f"{both},not-there-yet")
    assert status == 1
    assert "FAILED  key 3 of 3: The signature was refused." in said
    assert "does not have key 3" in said


async def test_without_a_key_it_says_how_to_get_one(endpoint):
    status, said, error = await run(endpoint, None)
    assert status == 2
    assert "Put the webhooks key that Xero shows" in said
    assert "XERO_WEBHOOK_KEYS: not set" in error
    status, _, error = await run("payments.example.com", "unused-secret")
    assert status == 2
    assert "one such as https://payments.example.com is needed" in error


class Front:
    """What may stand before the endpoint: passes everything on, changed."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.body = lambda body: body
        self.status = None
        self.headers = []
        self.more = b""
        self.wait = None

    async def __call__(self, scope, receive, send) -> None:
        body = (await receive())["body"]
        passed = {
            name.decode(): value.decode()
            for name, value in scope["headers"]
            if name == b"x-xero-signature"
        }
        if self.wait is not None:
            await self.wait.wait()
        async with httpx.AsyncClient(trust_env=False) as client:
            reply = await client.post(self.behind, content=self.body(body), headers=passed)
        status = self.status or reply.status_code
        await send({"type": "http.response.start", "status": status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.more})


def rewritten(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"body": rewritten}, "rewrites the body"),
        ({"body": lambda body: body + b"\n"}, "Not one key is right"),
        ({"status": 200}, "ACCEPTED although it is wrongly signed"),
        ({"status": 308, "headers": [(b"location", b"https://www/x")]}, "redirects to https://www"),
        ({"more": b"OK"}, "not empty"),
        ({"headers": [(b"set-cookie", b"lb=1")]}, "sets a cookie"),
        ({"status": 502}, "cannot reach it"),
    ],
)
async def test_what_stands_before_it_is_found_out(endpoint, serve, changes, words):
    front = Front(endpoint)
    for name, value in changes.items():
        setattr(front, name, value)
    said: list[str] = []
    async with serve(front) as url:
        assert await check(url, KEYS, said.append) is (words is None)
    assert words is None or words in "\n".join(said)


async def test_too_slow_is_said_and_not_waited_for_again(endpoint, serve, monkeypatch):
    monkeypatch.setattr(check_webhooks, "ANSWER_SECONDS", 0.2)
    front, said = Front(endpoint), []
    front.wait = asyncio.Event()
    async with serve(front) as url:
        assert not await check(url, KEYS, said.append)
        front.wait.set()
    (line,) = said
    assert "did not answer within" in line


async def test_nobody_there_and_a_certificate_nobody_trusts(tmp_path):
    said: list[str] = []
    assert not await check(f"http://127.0.0.1:{free_port()}/webhooks/xero", KEYS, said.append)
    assert "could not be reached" in said.pop()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert not await check(f"https://127.0.0.1:{port}/webhooks/xero", KEYS, said.append)
    assert "certificate that is not trusted (self-signed certificate)" in said.pop()


def certificate(folder) -> str:
    """A certificate for 127.0.0.1 that it signed itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = folder / "own.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    return str(file)


@pytest.mark.parametrize("address", ["https://a b.example", "https://a..example", "http://["])
async def test_what_is_no_address_is_said_in_one_sentence(address):
    status, said, error = await run(address, "the-key")
    assert (status, said) == (2, "")
    assert "Traceback" not in error
    assert error.splitlines()[-1].endswith(
        f"{address!r} is no web address: one such as https://payments.example.com is needed"
    )
