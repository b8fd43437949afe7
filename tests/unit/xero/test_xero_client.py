"""The gateway client: every answer and every failure becomes a reply or one leaf of the tree."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_xero.answers import Reply, classify_answer, parse_http_date, retry_after
from pipeline_xero.client import CallLimits, GatewayClient, KnownConnection
from pipeline_xero.errors import (
    NotAllowed,
    NotConnected,
    NotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    TenantChanged,
    UnexpectedAnswer,
    XeroError,
    XeroUnavailable,
)

BODY = b'{"Invoices":[{"InvoiceNumber":"INV-1"}]}'


def client(handler, **limits) -> GatewayClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return GatewayClient(http, "http://connector/", lambda: "t0ken", limits=CallLimits(**limits))


def answering(status, body=b"", **headers) -> GatewayClient:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client(lambda _: httpx.Response(status, content=body, headers=named))


async def read(gateway):
    return await gateway.get("acc", "Invoices")


async def write(gateway):
    return await gateway.put("acc", "Invoices", body=BODY, idempotency_key="k-1")


async def test_a_read_is_sent_as_the_gateway_expects_it():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(
            200,
            content=b'{"Invoices":[{"Total":0.1}]}',
            headers={"Date": "Sun, 22 Nov 2026 10:00:00 GMT", "Xero-Correlation-Id": "c-1"},
        )

    reply = await client(handler).get(
        "a/../b",
        "Invoices/INV 1",
        params={"where": 'Name=="a&b"', "page": "1"},
        if_modified_since=datetime(2026, 11, 22, 9, 0, 0, 999, tzinfo=UTC),
        tenant_id="tenant-1",
    )
    request = seen[0]
    assert request.method == "GET"
    assert request.url.raw_path.startswith(b"/v1/accounts/a%2F..%2Fb/xero/Invoices/INV%201?")
    assert request.url.params["where"] == 'Name=="a&b"'
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["If-Modified-Since"] == "2026-11-22T09:00:00"
    assert request.headers["X-Expected-Tenant"] == "tenant-1"
    assert reply.json() == {"Invoices": [{"Total": Decimal("0.1")}]}
    assert reply.date == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert reply.correlation_id == "c-1"


@pytest.mark.parametrize("method", ["put", "post"])
async def test_a_write_sends_the_given_bytes_and_key(method):
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, content=b"{}")

    odd = b' {"Invoices" : [ ] }\n'
    await getattr(client(handler), method)(
        "acc", "Invoices", body=odd, idempotency_key="k-1", params={"summarizeErrors": "false"}
    )
    assert seen[0].method == method.upper()
    assert seen[0].content == odd
    assert seen[0].headers["Idempotency-Key"] == "k-1"
    assert seen[0].headers["Content-Type"] == "application/json"
    assert seen[0].url.params["summarizeErrors"] == "false"
    assert "X-Expected-Tenant" not in seen[0].headers


@pytest.mark.parametrize("lane", [None, "people", "payments", "invoices", "sweeps"])
async def test_a_call_names_its_lane_only_when_it_has_one(lane):
    seen = []

    def handler(request):
        seen.append(request.headers.get("x-lane"))
        return httpx.Response(200, content=b"{}")

    gateway = client(handler)
    await gateway.get("acc", "Invoices", lane=lane)
    await gateway.put("acc", "Invoices", body=BODY, idempotency_key="k", lane=lane)
    await gateway.post("acc", "Invoices/1", body=BODY, idempotency_key="k", lane=lane)
    assert seen == [lane] * 3


@pytest.mark.parametrize("key", ["", "k" * 129, "a\r\nb", "é"])
async def test_an_unusable_idempotency_key_is_refused_before_sending(key):
    with pytest.raises(ValueError, match="Idempotency-Key"):
        await client(lambda _: pytest.fail("sent")).put(
            "acc", "Invoices", body=BODY, idempotency_key=key
        )


@pytest.mark.parametrize("path", ["", "/", "../x", "Invoices/../../connection", "Invoices//x", "."])
async def test_a_path_cannot_leave_the_accounting_api(path):
    with pytest.raises(ValueError, match="not a path"):
        await client(lambda _: pytest.fail("sent")).get("acc", path)


def test_a_wrong_address_is_refused_at_once():
    with pytest.raises(httpx.InvalidURL):
        GatewayClient(httpx.AsyncClient(), "http://connector:port", lambda: "t")


# What became of the request when no answer came.


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
@pytest.mark.parametrize("call", [read, write])
async def test_a_failed_connection_means_not_sent(failure, call):
    def handler(request):
        raise failure("refused", request=request)

    with pytest.raises(NotSent):
        await call(client(handler))


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.DecodingError,
        httpx.ProxyError,
    ],
)
async def test_a_lost_answer_is_unknown_for_a_write_and_repeatable_for_a_read(failure):
    def handler(request):
        raise failure("lost", request=request)

    with pytest.raises(OutcomeUnknown):
        await write(client(handler))
    with pytest.raises(XeroUnavailable):
        await read(client(handler))


async def test_a_bare_reset_is_classified_too():
    def handler(_):
        raise ConnectionResetError("reset")

    with pytest.raises(OutcomeUnknown):
        await write(client(handler))


class Dripping(httpx.AsyncByteStream):
    """An answer that never ends, each part in time for the read timeout."""

    def __init__(self):
        self.closed = False

    async def __aiter__(self):
        while True:
            yield b" "
            await asyncio.sleep(0.005)

    async def aclose(self):
        self.closed = True


async def test_a_trickling_answer_is_cut_off_by_the_total_limit():
    stream = Dripping()
    gateway = client(lambda _: httpx.Response(200, stream=stream), total=0.05)
    with pytest.raises(OutcomeUnknown):
        await write(gateway)
    assert stream.closed


async def test_an_oversized_answer_is_not_read_to_its_end():
    stream = Dripping()
    with pytest.raises(OutcomeUnknown, match="larger than 3 bytes"):
        await write(client(lambda _: httpx.Response(200, stream=stream), response_bytes=3))
    assert stream.closed
    with pytest.raises(UnexpectedAnswer, match="larger than 3 bytes"):
        await read(client(lambda _: httpx.Response(200, content=b"1234"), response_bytes=3))


async def test_cancellation_is_not_swallowed():
    started = asyncio.Event()

    async def handler(_):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(write(client(handler)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Xero's own answers.


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_success_is_a_reply(status):
    reply = await write(answering(status))
    assert (reply.status, reply.json()) == (status, {})


async def test_nothing_modified_is_an_empty_reply():
    assert (await read(answering(304))).json() == {}
    with pytest.raises(UnexpectedAnswer):
        await write(answering(304))


async def test_a_success_that_is_not_json_says_so_when_read():
    reply = await read(answering(200, b"<html>"))
    with pytest.raises(UnexpectedAnswer):
        reply.json()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(status):
    calls = []

    def handler(request):
        calls.append(request.url.host)
        return httpx.Response(status, headers={"Location": "http://evil/"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(handler), follow_redirects=True)
    gateway = GatewayClient(http, "http://connector", lambda: "t")
    with pytest.raises(UnexpectedAnswer):
        await write(gateway)
    assert calls == ["connector"]


VALIDATION = b"""{"ErrorNumber":10,"Type":"ValidationException","Message":"A validation exception occurred",
"Elements":[{"InvoiceID":"00000000-0000-0000-0000-000000000000",
"ValidationErrors":[{"Message":"A Contact must be specified for this type of transaction"}]}]}"""


async def test_a_validation_exception():
    with pytest.raises(RequestRejected) as caught:
        await write(answering(400, VALIDATION))
    error = caught.value
    assert (error.status, error.error_number) == (400, RequestRejected.VALIDATION)
    assert error.message == "A validation exception occurred"
    assert error.messages == ("A Contact must be specified for this type of transaction",)
    assert error.elements[0].entity_id is None
    assert not error.idempotency_key_reused


@pytest.mark.parametrize(
    ("body", "number", "message"),
    [
        (
            b'{"ErrorNumber":14,"Type":"PostDataInvalidException","Message":"Invalid Json data"}',
            RequestRejected.UNREADABLE_BODY,
            "Invalid Json data",
        ),
        (
            b'{"ErrorNumber":16,"Type":"QueryParseException","Message":"No property or field"}',
            RequestRejected.UNREADABLE_QUERY,
            "No property or field",
        ),
        (b"", None, "Xero answered 400"),
        (b'{"ErrorNumber":true,"Elements":"odd"}', None, "Xero answered 400"),
        (b"[]", None, "Xero answered 400"),
    ],
)
async def test_other_refusals(body, number, message):
    with pytest.raises(RequestRejected) as caught:
        await read(answering(400, body, Content_Type="application/json"))
    assert (caught.value.error_number, caught.value.message) == (number, message)
    assert caught.value.messages == (message,)


async def test_a_reused_idempotency_key_is_recognised():
    body = b'{"Message":"Idempotency Key: k-1 is used with a different request."}'
    with pytest.raises(RequestRejected) as caught:
        await write(answering(400, body))
    assert caught.value.idempotency_key_reused


async def test_412_is_a_refusal():
    with pytest.raises(RequestRejected, match="412"):
        await read(answering(412))


EXPIRED = (
    b'{"Type":null,"Title":"Unauthorized","Status":401,'
    b'"Detail":"TokenExpired: token expired at 04/09/2023 05:16:59","Instance":"x","Extensions":{}}'
)


@pytest.mark.parametrize("body", [EXPIRED, EXPIRED.replace(b"Detail", b"detail")])
async def test_a_refused_token_whatever_the_case_of_its_keys(body):
    with pytest.raises(NotConnected) as caught:
        await read(answering(401, body))
    assert (caught.value.status, caught.value.reason) == ("TOKEN_EXPIRED", "TokenExpired")
    assert caught.value.hint


async def test_a_foreign_tenant_and_a_missing_scope():
    body = b'{"Title":"Forbidden","Status":403,"Detail":"AuthenticationUnsuccessful"}'
    with pytest.raises(NotConnected) as caught:
        await write(answering(403, body))
    assert (caught.value.status, caught.value.reason) == (
        "DISCONNECTED",
        "AuthenticationUnsuccessful",
    )
    with pytest.raises(NotConnected) as caught:
        await read(answering(401, b"", WWW_Authenticate='Bearer error="insufficient_scope"'))
    assert caught.value.reason == "insufficient_scope"
    with pytest.raises(NotConnected, match="HTTP 403"):
        await read(answering(403))


async def test_not_found_is_html():
    html = b"The resource you're looking for cannot be found"
    with pytest.raises(NotFound, match="cannot be found") as caught:
        await read(answering(404, html, Content_Type="text/html; charset=utf-8"))
    assert not caught.value.by_gateway
    with pytest.raises(NotFound, match="not found"):
        await read(answering(404, b"<html><body>no</body></html>", Content_Type="text/html"))


async def test_rate_limits():
    with pytest.raises(RateLimited) as caught:
        await read(answering(429, Retry_After="26", X_Rate_Limit_Problem="minute"))
    assert (caught.value.retry_after, caught.value.problem) == (timedelta(seconds=26), "minute")
    with pytest.raises(RateLimited) as caught:
        await write(answering(429, X_Rate_Limit_Problem="Concurrent"))
    assert (caught.value.retry_after, caught.value.problem) == (None, "concurrent")
    with pytest.raises(RateLimited) as caught:
        await write(answering(429, Retry_After="66975", X_Gateway_Error="RATE_LIMITED"))
    assert (caught.value.retry_after, caught.value.problem) == (timedelta(seconds=66975), "unknown")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("999999999", 172800),
        ("Sun, 22 Nov 2026 10:01:00 GMT", 60),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
    ],
)
def test_retry_after_forms(value, seconds):
    headers = httpx.Headers({"Retry-After": value, "Date": "Sun, 22 Nov 2026 10:00:00 GMT"})
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(headers) == expected


def test_retry_after_as_a_date_needs_the_answers_own_clock():
    assert retry_after(httpx.Headers({"Retry-After": "Sun, 22 Nov 2026 10:01:00 GMT"})) is None
    assert retry_after(httpx.Headers()) is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_header_dates_never_crash(value):
    moment = parse_http_date(value)
    assert moment is None or moment.tzinfo is not None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
async def test_a_server_fault_is_unknown_for_a_write_and_repeatable_for_a_read(status):
    notice = b"The Xero API is currently offline for maintenance"
    with pytest.raises(OutcomeUnknown, match="offline for maintenance"):
        await write(answering(status, notice, Content_Type="text/plain"))
    with pytest.raises(XeroUnavailable):
        await read(answering(status, notice, Content_Type="text/plain"))


async def test_a_method_xero_does_not_offer():
    for status in (405, 501):
        with pytest.raises(NotAllowed):
            await write(answering(status))


# The gateway's own answers.

PROBLEM = "application/problem+json"


async def test_no_connection():
    body = (
        b'{"status":409,"code":"NOT_CONNECTED","status_name":"TOKEN_EXPIRED","reason":"invalid_grant",'
        b'"message":"The sign-in to Xero has expired.","hint":"Click Refresh Token."}'
    )
    with pytest.raises(NotConnected) as caught:
        await write(answering(409, body, X_Gateway_Error="NOT_CONNECTED", Content_Type=PROBLEM))
    error = caught.value
    assert (error.status, error.reason) == ("TOKEN_EXPIRED", "invalid_grant")
    assert (error.message, error.hint) == (
        "The sign-in to Xero has expired.",
        "Click Refresh Token.",
    )
    with pytest.raises(NotConnected, match="UNKNOWN"):
        await write(answering(409, b"", X_Gateway_Error="NOT_CONNECTED"))


@pytest.mark.parametrize(
    ("status", "code", "body", "error"),
    [
        (409, "TENANT_CHANGED", b"{}", TenantChanged),
        (403, "NOT_ALLOWED", b"{}", NotAllowed),
        (401, "UNAUTHENTICATED", b"{}", NotAllowed),
        (404, "NOT_FOUND", b"{}", NotFound),
        (413, "BODY_TOO_LARGE", b"{}", RequestRejected),
        (422, "INVALID_REQUEST", b"{}", RequestRejected),
        (502, "XERO_UNREACHABLE", b'{"outcome":"not_sent"}', NotSent),
        (504, "XERO_TIMEOUT", b'{"outcome":"unknown"}', OutcomeUnknown),
        (502, "XERO_CONNECTION_LOST", b'{"outcome":"unknown"}', OutcomeUnknown),
        (503, "SHUTTING_DOWN", b'{"outcome":"not_sent"}', NotSent),
        (500, "INTERNAL_ERROR", b"{}", OutcomeUnknown),
        (409, "SOMETHING_NEW", b"not json", OutcomeUnknown),
    ],
)
async def test_what_the_gateway_says_of_a_write(status, code, body, error):
    with pytest.raises(error):
        await write(answering(status, body, X_Gateway_Error=code, Content_Type=PROBLEM))
    if error is OutcomeUnknown:
        with pytest.raises(XeroUnavailable):
            await read(answering(status, body, X_Gateway_Error=code, Content_Type=PROBLEM))


async def test_while_xero_is_known_to_be_down_the_gateway_says_when_to_come_back():
    body = b'{"outcome":"not_sent"}'
    with pytest.raises(NotSent) as caught:
        await write(answering(502, body, X_Gateway_Error="XERO_UNREACHABLE", Retry_After="40"))
    assert caught.value.retry_after == timedelta(seconds=40)
    with pytest.raises(NotSent) as caught:
        await write(answering(502, body, X_Gateway_Error="XERO_UNREACHABLE"))
    assert caught.value.retry_after is None


async def test_every_call_has_an_id_of_its_own_and_its_error_carries_it():
    sent = []

    def handler(request):
        sent.append(request.headers["x-request-id"])
        if len(sent) == 1:
            return httpx.Response(404)
        raise httpx.ReadTimeout("late", request=request)

    for _ in range(2):
        with pytest.raises(XeroError) as caught:
            await read(client(handler))
        assert caught.value.request_id == sent[-1]
    assert len(set(sent)) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", each) for each in sent)


async def test_a_problem_document_without_the_header_is_the_gateways_too():
    body = b'{"status":401,"code":"UNAUTHENTICATED","detail":"A valid token is needed."}'
    with pytest.raises(NotAllowed, match="A valid token is needed"):
        await write(answering(401, body, Content_Type=PROBLEM))
    with pytest.raises(NotFound) as caught:
        await read(answering(404, b"{}", Content_Type=PROBLEM))
    assert caught.value.by_gateway


@settings(deadline=None)
@given(
    st.integers(200, 599),
    st.binary(max_size=60)
    | st.just(VALIDATION)
    | st.just(b'{"Elements":[{"ValidationErrors":3}]}'),
    st.sampled_from(["application/json", "text/html", "application/problem+json", ""]),
    st.none() | st.text(max_size=10),
    st.booleans(),
)
def test_every_answer_has_a_place(status, body, content_type, code, is_write):
    headers = httpx.Headers({"Content-Type": content_type})
    if code is not None:
        headers["X-Gateway-Error"] = code.encode("ascii", "replace").decode()
    outcome = classify_answer(status, headers, body, is_write=is_write, target="PUT Invoices")
    assert isinstance(outcome, Reply | XeroError)
    if is_write and status >= 500 and isinstance(outcome, XeroError):
        assert isinstance(
            outcome, OutcomeUnknown | NotSent | NotConnected | TenantChanged | NotAllowed
        )


async def test_whether_an_account_was_ever_connected_is_asked_of_the_connector():
    seen = []

    def handler(request):
        seen.append(request)
        told = {"status": "CONNECTED", "sequence": 3, "calls_left_today": 41, "calls_a_day": None}
        return httpx.Response(200, json=told)

    assert await client(handler).connection("acc/7") == KnownConnection(3, calls_left_today=41)
    assert seen[0].url.raw_path == b"/v1/accounts/acc%2F7/connection"
    assert seen[0].headers["authorization"] == "Bearer t0ken"
    for body in (b"{}", b"[]", b'{"sequence":"3"}', b"<html>"):
        with pytest.raises(UnexpectedAnswer):
            await answering(200, body).connection("acc")
    with pytest.raises(XeroUnavailable):
        await answering(503).connection("acc")
