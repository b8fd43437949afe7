"""Requests no HTTP library would send, byte by byte at the gateway's own server: refused, and nothing reaches Xero."""

import asyncio
from urllib.parse import urlsplit

import pytest
from serving import serving

from pipeline_service_defaults.bounded_http import BoundedHttpProtocol

PATH = b"/v1/accounts/acc-1/xero/Contacts"
BODY = b'{"Contacts":[{"Name":"Smuggled"}]}'


@pytest.fixture
async def at_the_gateway(stack):
    """Sends bytes to a connected account's gateway; gives all that comes back until the server closes."""
    await stack.connect("acc-1")
    token = stack.keys.service_token("invoice-sync").encode()
    async with serving(stack.apps[0], http=BoundedHttpProtocol) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port

        async def send(line, *headers, body=b"", token=token):
            reader, writer = await asyncio.open_connection(host, port)
            head = [line, b"Host: localhost", b"Authorization: Bearer " + token, *headers]
            writer.write(b"\r\n".join([*head, b"Connection: close", b"", b""]) + body)
            try:
                async with asyncio.timeout(10):
                    return await reader.read()
            except ConnectionResetError:
                return b""  # refused with bytes still unread
            finally:
                writer.close()

        send.stack = stack
        send.calls = len(stack.calls("/api.xro/"))
        yield send
    assert len(stack.calls("/api.xro/")) == send.calls


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 34", b"Content-Length: 2"),
        (b"Content-Length: 34, 2",),
        (b"Content-Length: -1",),
        (b"Content-Length: 34", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 34"),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding : chunked",),
        (b"Content-Length: 34", b"X-A: b\rX-Evil: 1"),
        (b"Content-Length: 34", b"X-A: b\x00c"),
        (b"Content-Length: 34", b" folded: yes"),
        (b"Content-Length: 34", b"No-Colon"),
        (b"Content-Length: 34", b"Idempotency-Key: a", b"Idempotency-Key: b"),
        (b"Content-Length: 34", b"X-Expected-Tenant: a", b"x-expected-tenant: b"),
        (b"Content-Length: 34", b"Content-Type: text/plain", b"Content-Type: application/json"),
        (b"Content-Length: 34", b"Idempotency-Key: \xc3\xa9"),
        (b"Content-Length: 34", b"X-Lane: people, payments"),
        (b"Content-Length: 34", b"X-Expected-Tenant: ' OR 1=1 --"),
        (b"Content-Length: 34", b"X-Expected-Tenant:"),
        (b"Content-Length: 34", b"X-Expected-Tenant: " + b"x" * 600),
        (b"Content-Length: 52428800",),
    ],
)
async def test_requests_of_two_meanings_are_refused(at_the_gateway, headers):
    answer = await at_the_gateway(b"PUT " + PATH + b" HTTP/1.1", *headers, body=BODY)
    # Not even a word of answer is fine for what is no HTTP; a second answer never is: that would be a second request.
    assert answer.count(b"HTTP/1.1 ") <= 1
    if answer:
        assert status_of(answer) in {400, 409, 413}, answer[:300]
        assert b"application/problem+json" in answer or status_of(answer) == 400


@pytest.mark.parametrize(
    "line",
    [
        b"PUT " + PATH + b"/../../../../connections HTTP/1.1",
        b"PUT " + PATH + b"\\..\\x HTTP/1.1",
        b"PUT " + PATH + b"%2f%2e%2e HTTP/1.1",
        b"PUT " + PATH + b"\x00 HTTP/1.1",
        b"PUT " + PATH + b"?a=\xff HTTP/1.1",
        b"PUT " + PATH + b"?" + b"a" * 20_000 + b" HTTP/1.1",
        b"PUT " + PATH + b"/" + b"a" * 70_000 + b" HTTP/1.1",
        b"PUT " + PATH + b" X HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"TRACE " + PATH + b" HTTP/1.1",
        b"PUT " + PATH.replace(b"acc-1", b"acc-2") + b" HTTP/1.1",
        b"PUT " + PATH.replace(b"acc-1", b"..") + b" HTTP/1.1",
    ],
)
async def test_addresses_that_are_none_are_refused(at_the_gateway, line):
    answer = await at_the_gateway(line, b"Content-Length: 34", body=BODY)
    assert answer == b"" or status_of(answer) in {400, 403, 404, 405, 409, 422}, answer[:300]


async def test_a_body_that_grows_beyond_the_limit_is_refused_while_it_is_read(at_the_gateway):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    body = chunk * 100  # 6.5 MB, without an end: only a server that stops reading can answer
    answer = await at_the_gateway(
        b"PUT " + PATH + b" HTTP/1.1", b"Transfer-Encoding: chunked", body=body
    )
    assert answer == b"" or status_of(answer) == 413


async def test_a_request_id_is_taken_over_or_made_and_always_given_back(stack):
    await stack.connect("acc-1")
    async with stack.caller() as client:
        url = "/v1/accounts/acc-1/xero/Organisation"
        answer = await client.get(url, headers={"X-Request-Id": "sync-42.a_b"})
        assert answer.headers["x-request-id"] == "sync-42.a_b"
        for unfit in ("a b", "x" * 65, "\u00e9".encode("latin-1"), "<script>"):
            answer = await client.get(url, headers={"X-Request-Id": unfit})
            assert len(answer.headers["x-request-id"]) == 32
