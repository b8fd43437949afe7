"""What stands around every route: problems, health, metrics, docs, headers, limits."""

import base64
import hashlib
import json
import logging
import re
from contextlib import asynccontextmanager
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import Depends, HTTPException, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from pipeline_service_defaults import api, auth, docs, problems
from pipeline_service_defaults.keys import new_private_key, public_jwk
from pipeline_service_defaults.middleware import DEFAULT_POLICY
from pipeline_service_defaults.problems import Problem

AUTHENTICATOR = auth.Authenticator(
    {"pipeline": {"kind": "person", "keys": [public_jwk(new_private_key())]}},
    service_name="connector",
)


class Line(BaseModel):
    """One line of an <invoice>."""

    quantity: Decimal = Field(description="how many <b>pieces</b>")
    code: str = Field("200", max_length=3)


class Order(BaseModel):
    lines: list[Line]


def make_app(**options: Any):
    app = api.create_api(
        title="Connector",
        description="Holds the <tokens>.\n\nSecond paragraph.",
        authenticator=AUTHENTICATOR,
        **options,
    )

    @app.post("/orders/{order_id}", summary="Take an order")
    async def take(order_id: int, order: Order, wait: int = 0) -> dict[str, int]:
        return {"lines": len(order.lines)}

    @app.get("/secure", dependencies=[Depends(auth.require_person("viewer"))])
    async def secure() -> None: ...

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password=hush at postgresql://u:hush@db/x")

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def parts():
            yield b"one"
            raise RuntimeError("hush")

        return StreamingResponse(parts())

    @app.get("/problem")
    async def problem() -> None:
        raise Problem(
            409,
            "NOT_CONNECTED",
            "No connection to Xero",
            "The sign-in has expired.",
            hint="Click Refresh Token.",
            headers={"X-Gateway-Error": "NOT_CONNECTED"},
            status_name="TOKEN_EXPIRED",
        )

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, detail="internal words")

    @app.put("/raw")
    async def raw(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    return app


def client(app=None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app or make_app())
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def ask(method, path, app=None, **options):
    async with client(app) as http:
        return await http.request(method, path, **options)


async def test_a_problem_keeps_every_member():
    answer = await ask("GET", "/problem")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-gateway-error"] == "NOT_CONNECTED"
    assert answer.json() == {
        "type": "urn:pipeline:problem:not-connected",
        "title": "No connection to Xero",
        "status": 409,
        "code": "NOT_CONNECTED",
        "detail": "The sign-in has expired.",
        "hint": "Click Refresh Token.",
        "status_name": "TOKEN_EXPIRED",
    }


async def test_an_invalid_request_names_each_field_and_repeats_nothing():
    body = {"lines": [{"quantity": "hush"}, {"quantity": 1, "code": "hush-hush"}, {}]}
    answer = await ask("POST", "/orders/1?wait=hush", json=body)
    assert answer.status_code == 422
    document = answer.json()
    assert document["code"] == "INVALID_REQUEST"
    assert [item["field"] for item in document["errors"]] == [
        "query.wait",
        "body.lines.0.quantity",
        "body.lines.1.code",
        "body.lines.2.quantity",
    ]
    assert document["detail"].startswith("query.wait: ")
    assert document["hint"]
    assert "hush" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff", b"", b"[]", b"null", b"[" * 5000])
async def test_a_body_that_is_no_order(body):
    answer = await ask(
        "POST", "/orders/1", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("DELETE", "/problem", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/secure", 401, "UNAUTHENTICATED"),
        ("GET", "/teapot", 418, "HTTP_418"),
    ],
)
async def test_the_frameworks_own_errors_have_the_same_form(method, path, status, code):
    answer = await ask(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "internal words" not in answer.text


async def test_a_fault_of_ours_says_nothing_and_is_logged_once(caplog):
    with caplog.at_level(logging.ERROR):
        answer = await ask("GET", "/broken", headers={"X-Request-Id": "r-1"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "INTERNAL_ERROR"
    assert "hush" not in answer.text
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    with_cause = [record for record in caplog.records if record.exc_info]
    assert len(with_cause) == 1


async def test_a_half_sent_answer_is_broken_off():
    with pytest.raises(RuntimeError, match="hush"):
        await ask("GET", "/half")


async def test_the_last_handler_alone_is_generic_too():
    assert "hush" not in json.dumps(problems.unexpected().document())


async def test_security_headers_are_on_every_answer():
    for path in ("/health/live", "/nowhere", "/broken", "/docs"):
        headers = (await ask("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        assert "strict-transport-security" not in headers
    assert (await ask("GET", "/health/live")).headers["content-security-policy"] == DEFAULT_POLICY
    secure = await ask("GET", "https://localhost/health/live")
    assert secure.headers["strict-transport-security"].startswith("max-age=")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "r\u00e9"])
async def test_an_odd_request_id_is_replaced(given):
    answer = await ask("GET", "/health/live", headers={"X-Request-Id": given.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


# Body limit.


async def test_an_announced_body_is_refused_unread():
    answer = await ask("PUT", "/raw", make_app(max_body_bytes=10), content=b"x" * 11)
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert answer.headers["connection"] == "close"
    assert (await ask("PUT", "/raw", make_app(max_body_bytes=10), content=b"x" * 10)).json() == 10


@pytest.mark.parametrize("path", ["/raw", "/orders/1"])
async def test_a_streamed_body_is_cut_off(path):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 10

    method = "PUT" if path == "/raw" else "POST"
    headers = {"Content-Type": "application/json"}
    app = make_app(max_body_bytes=100)
    answer = await ask(method, path, app, content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert sent < 20


@pytest.mark.parametrize("length", ["9" * 400, "-1", "x", "²"])
async def test_an_odd_content_length_does_not_crash(length):
    request = httpx.Request(
        "PUT", "http://localhost/raw", headers={"Content-Length": length.encode()}
    )
    async with client() as http:
        assert (await http.send(request)).status_code in {200, 413}


# Health.


async def test_health():
    async def fine():
        return 1

    async def bad():
        raise OSError("postgresql://u:hush@db/x")

    assert (await ask("GET", "/health/live")).json() == {"status": "ok"}
    assert (await ask("GET", "/health/ready", make_app(checks={"database": fine}))).json() == {
        "status": "ok",
        "checks": {"database": "ok"},
    }
    answer = await ask(
        "GET", "/health/ready", make_app(checks=lambda: {"kafka": bad, "database": fine})
    )
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"kafka": "failed", "database": "ok"},
    }


async def test_a_check_that_hangs_counts_as_failed(monkeypatch):
    import asyncio

    from pipeline_service_defaults import health

    monkeypatch.setattr(health, "_CHECK_SECONDS", 0.01)
    answer = await ask("GET", "/health/ready", make_app(checks={"kafka": asyncio.Event().wait}))
    assert answer.json()["checks"] == {"kafka": "failed"}


# Metrics and access log.


def requests_counted(method, route, status):
    labels = {"method": method, "route": route, "status": status}
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0


async def test_requests_are_counted_by_route_template_and_logged_without_their_query(caplog):
    expected = [
        ("POST", "/orders/{order_id}", "200"),
        ("GET", "unmatched", "404"),
        ("GET", "/docs", "200"),
    ]
    before = [requests_counted(*labels) for labels in expected]
    with caplog.at_level(logging.INFO, logger="pipeline.access"):
        await ask("POST", "/orders/77?wait=5551234", json={"lines": []})
        await ask("GET", "/wp-login.php?code=5551234")
        await ask("GET", "/docs")
        await ask("GET", "/health/live")
        await ask("BREW", "/orders/1")
    assert [requests_counted(*labels) for labels in expected] == [count + 1 for count in before]
    assert not any(
        sample.labels.get("method") == "BREW"
        for metric in REGISTRY.collect()
        for sample in metric.samples
    )
    assert REGISTRY.get_sample_value("http_requests_in_progress") == 0
    logged = [vars(record) for record in caplog.records if record.name == "pipeline.access"]
    assert [item["route"] for item in logged][:3] == ["/orders/{order_id}", "unmatched", "/docs"]
    assert len(logged) == 4
    assert "5551234" not in str(logged)


async def test_metrics_are_served():
    answer = await ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "http_requests_total" in answer.text


async def test_the_lifespan_is_the_services_own():
    seen = []

    @asynccontextmanager
    async def lifespan(_):
        seen.append("up")
        yield
        seen.append("down")

    app = make_app(lifespan=lifespan)
    async with app.router.lifespan_context(app):
        assert seen == ["up"]
    assert seen == ["up", "down"]


# Docs.


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


async def test_the_docs_page_needs_nothing_from_anywhere():
    answer = await ask("GET", "/docs")
    page = Page()
    page.feed(answer.text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "form"}
    for _, attributes in page.tags:
        assert not {
            name for name in attributes if name.startswith("on") or name in {"src", "style"}
        }
        assert (attributes.get("href") or "#").startswith(("#", "/openapi.json"))
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_docs_page_shows_routes_fields_and_locks_with_markup_inert():
    text = (await ask("GET", "/docs")).text
    assert "/orders/{order_id}" in text
    assert "Take an order" in text
    assert "how many &lt;b&gt;pieces&lt;/b&gt;" in text
    assert "Holds the &lt;tokens&gt;." in text
    assert text.count("token needed") == 1
    assert "<a href='#Line'>Line</a>" in text
    document = (await ask("GET", "/openapi.json")).json()
    assert document["info"]["title"] == "Connector"


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["type", "format", "description", "title"]), inner, max_size=3
        ),
        max_leaves=5,
    )
)
def test_any_schema_is_shown_inertly(value):
    schema = {"properties": {"<i>": {"description": value, "type": "string"}}, "description": value}
    page = docs.render({"components": {"schemas": {"<x>": schema}}, "paths": {}})
    assert "<i>" not in page
    assert "<x>" not in page


def test_an_annotation_is_not_needed_for_the_dependency():
    # The hidden parameter that documents the token must not become a query parameter.
    document = make_app().openapi()
    assert "parameters" not in document["paths"]["/secure"]["get"]


async def test_a_slash_too_many_is_not_redirected_to_whatever_host_the_request_names():
    answer = await ask("GET", "/health/live/", headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


async def test_the_document_names_the_errors_that_every_route_answers_alike():
    document = (await ask("GET", "/openapi.json")).json()
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()
    answers = [
        answer
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status in {"401", "403", "404", "413", "422"}
    ]
    assert answers
    for answer in answers:
        assert answer["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
