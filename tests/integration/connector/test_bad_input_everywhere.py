"""One wide table: every route of the application, with everything wrong a request can be. A new route joins by itself.

Sent as bytes over a socket to the real server, because a well-behaved client library would repair half of it. Each case
must be refused in words, say nothing of our insides, change no row, and send nothing to Xero.
"""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import quote, unquote

import pytest
from fastapi.routing import APIRoute
from serving import listen, serving
from starlette.routing import Route

from connector.store import token_sets
from pipeline_local_stack.canaries import Canaries

EVIL = b"evil.example"
GATEWAY = "/v1/accounts/{account_id}/xero/{path:path}"
FILLED = {"account_id": b"acc-1", "path:path": b"Invoices", "name": b"code-expired"}
FIFTY_MEGABYTES = 50 * 1024 * 1024
PIECE = b"x" * 65_536
ACCEPTED = frozenset({200, 303, 400, 401, 403, 404, 405, 409, 411, 413, 414, 415, 422, 429, 431})
# What a call that was carried held is given back a moment after its answer, beside the next case.
OF_CALLS_UNDER_WAY = ["account_leases", "app_permits", "call_slots"]
INSIDES = (b"Traceback", b"asyncpg", b"postgres", b".py", b"SELECT ", b"site-packages")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


@dataclass(frozen=True)
class Case:
    """One thing that is wrong. `where` is what is replaced: head lines, query, a path parameter, or the body."""

    name: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    query: bytes = b""
    parameter: bytes | None = None
    body: bytes | None = None


def form(body: bytes, kind: bytes = b"application/x-www-form-urlencoded", *more) -> dict:
    return {"body": body, "headers": ((b"Content-Type", kind), *more)}


MULTIPART = b"multipart/form-data; boundary=B"
HEADERS = (
    Case("host", headers=((b"Host", EVIL),)),
    Case("two hosts", headers=((b"Host", b"localhost"), (b"Host", EVIL))),
    *(
        Case(name.decode(), headers=((name, value),))
        for name, value in (
            (b"X-Forwarded-Host", EVIL),
            (b"X-Forwarded-Server", EVIL),
            (b"X-Forwarded-Prefix", b"//" + EVIL),
            (b"X-Forwarded-Proto", b"javascript"),
            (b"X-Forwarded-For", b"127.0.0.1, ::1"),
            (b"Forwarded", b"host=" + EVIL + b";proto=https;for=127.0.0.1"),
            (b"X-Original-URL", b"/metrics"),
            (b"X-Rewrite-URL", b"/metrics"),
            (b"X-HTTP-Method-Override", b"DELETE"),
            (b"Origin", b"https://" + EVIL),
            (b"Referer", b"https://" + EVIL + b"/"),
            (b"X-Request-Id", b"a\tb<script>"),
            (b"X-Lane", b"everything"),
            (b"X-Expected-Tenant", b"\xff\x00"[:1]),
            (b"Idempotency-Key", b"k" * 5_000),
            (b"Accept", b"application/xml;q=x, \xff"),
            (b"Idempotency-Key", b"\xff"),
            (b"If-Modified-Since", b"\xe9t\xe9"),
            (b"Cookie", b"xero_session=\xff; xero_session=" + b"a" * 43),
            (b"Cookie", b"a" * 9_000),
            (b"Content-Length", b"-1"),
            (b"Expect", b"nothing"),
            (b"Range", b"bytes=0-,-1"),
        )
    ),
)
QUERIES = tuple(
    Case(f"query {query[:30]!r}", query=query)
    for query in (
        b"next=https://" + EVIL + b"&redirect_uri=https://" + EVIL + b"&return_to=//" + EVIL,
        b"state=%00&code=%00&error=%00",
        b"state=%ED%A0%80&code=%FF",
        b"state=a&state=b&code=c&code=d",
        b"state=" + b"s" * 9_000,
        b"\xff\xfe=\xff",
        b"state[]=a&code[x]=b",
        b"%",
        b"account_id=acc-2&xero_userid=x",
        b"error=<script>alert(1)</script>&error_description=" + EVIL,
    )
)
PARAMETERS = tuple(
    Case(f"parameter {value[:20]!r}", parameter=value)
    for value in (
        b"%00", b"acc-1%00", b"%ED%A0%80", b"%FF%FE", b"%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"..",
        b"a" * 300, b"a" * 20_000, b"%E2%80%AE", b"%27%3B--", b"%0d%0aSet-Cookie:%20x=1",
        b"%7B%7B7*7%7D%7D", b"%3Cscript%3E", b"\xff", b"acc-2", b"%20", b"https:%2f%2f" + EVIL,
    )
)  # fmt: skip
BODIES = (
    Case("json", **form(b'{"csrf": {"a": [', b"application/json")),
    Case("json list", **form(b'["csrf"]', b"application/json")),
    Case("xml", **form(b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", b"text/xml")),
    Case("no type", body=b"csrf=x"),
    Case("absurd type", **form(b"csrf=x", b";;;/\xff")),
    Case("unknown charset", **form(b"csrf=x", b"application/x-www-form-urlencoded; charset=x-y")),
    Case("nothing", **form(b"")),
    Case("only separators", **form(b"&&&===&")),
    Case("twice", **form(b"csrf=a&csrf=b&tenant_id=a&tenant_id=b")),
    Case("NUL", **form(b"csrf=%00&tenant_id=%00")),
    Case("lone surrogates", **form(b"csrf=%ED%A0%80&tenant_id=%ED%B0%80")),
    Case("bytes", **form(b"csrf=\xff\xfe\x00&tenant_id=\xff")),
    Case("long", **form(b"csrf=" + b"c" * 300_000 + b"&tenant_id=" + b"t" * 300_000)),
    Case("many fields", **form(b"&".join(b"f%d=1" % n for n in range(5_000)))),
    Case("no boundary", **form(b"--B\r\n", b"multipart/form-data")),
    Case("cut off", **form(b'--B\r\nContent-Disposition: form-data; name="cs', MULTIPART)),
    Case(
        "a file for a field",
        **form(
            b'--B\r\nContent-Disposition: form-data; name="csrf"; filename="../../x"\r\n\r\nx\r\n--B--\r\n',
            MULTIPART,
        ),
    ),
    Case(
        "many parts",
        **form(
            b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' * 2_000 + b"--B--", MULTIPART
        ),
    ),
    Case(
        "not really gzip",
        **form(b"\x1f\x8b", b"application/json", (b"Content-Encoding", b"gzip")),
    ),
)  # fmt: skip


def routes_of(app) -> list[tuple[str, str]]:
    """Every method and path there is, in or out of the OpenAPI document."""
    return sorted(
        (method, inner.path)
        for route in app.routes
        for inner in getattr(getattr(route, "original_router", None), "routes", [route])
        if isinstance(inner, Route | APIRoute)
        for method in inner.methods or ()
        if method != "HEAD"
    )


class Wire:
    """The application behind a real server, spoken to in bytes."""

    def __init__(self, stack, port: int) -> None:
        self.stack = stack
        self.port = port
        self.canaries = Canaries()
        self.proof: tuple[tuple[bytes, bytes], ...] = ()

    def target(self, path: str, case: Case) -> bytes:
        for name, value in FILLED.items():
            given = value if case.parameter is None else case.parameter
            path = path.replace("{" + name + "}", given.decode("latin-1"))
        assert "{" not in path, f"say in FILLED what stands for the parameter in {path}"
        return path.encode("latin-1") + (b"?" + case.query if case.query else b"")

    def credentials(self, path: str) -> tuple[tuple[bytes, bytes], ...]:
        """Of the strongest caller that a route admits: what is refused is refused for what is wrong with it."""
        if path.startswith("/v1/"):
            token = self.stack.keys.service_token("invoice-sync")
            return ((b"Authorization", f"Bearer {token}".encode()),)
        token = self.stack.keys.person_token("acc-1")
        return ((b"Cookie", f"pipeline_session={token}; xero_session={'s' * 43}".encode()),)

    async def send(self, method: str, path: str, case: Case) -> Reply | None:
        lines = [*self.credentials(path), *case.headers]
        if not any(name == b"Host" for name, _ in lines):
            lines.append((b"Host", b"localhost:8001"))
        if case.body is not None:
            lines.append((b"Content-Length", b"%d" % len(case.body)))
        head = b"%b %b HTTP/1.1\r\n" % (method.encode(), self.target(path, case))
        head += b"".join(b"%b: %b\r\n" % line for line in lines) + b"Connection: close\r\n\r\n"
        return await self.exchange(head, [case.body or b""])

    async def exchange(self, head: bytes, pieces) -> Reply | None:
        """One request; None when the server hangs up without a word, which broken HTTP deserves."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = asyncio.create_task(reader.read())
        try:
            writer.write(head)
            for piece in pieces:
                if answer.done():
                    break
                writer.write(piece)
                await writer.drain()
            raw = await asyncio.wait_for(answer, 30)
        except (ConnectionError, asyncio.IncompleteReadError):
            raw = b"" if not answer.done() or answer.exception() else answer.result()
        finally:
            answer.cancel()
            writer.close()
        return parsed(raw) if raw else None

    async def state(self) -> tuple[list[str], int]:
        """Everything in the database that lasts, and how often Xero was called."""
        names = await self.stack.db.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL($1)"
            " ORDER BY tablename",
            OF_CALLS_UNDER_WAY,
        )
        dump = [
            await self.stack.db.fetchval(
                f"SELECT '{name}' || coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {name} t"  # noqa: S608 - the catalogue's own names
            )
            for (name,) in names
        ]
        return dump, len(self.stack.sim.world.calls.calls)


def parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return Reply(int(first.split(" ")[1]), headers, body, raw)


@pytest.fixture
async def wire(make_stack):
    """A connected account, so that there is something to spoil."""
    stack = await make_stack(xero_minute_limit=6000)
    stack.sim.world.limits.settings.minute = None
    await stack.connect("acc-1")
    deps = stack.apps[0].state.deps
    listener = listen()
    async with serving(stack.apps[0], listener=listener):
        found = Wire(stack, listener.getsockname()[1])
        tokens = await token_sets.find(
            stack.db, await stack.db.fetchval("SELECT xero_userid FROM connections")
        )
        found.canaries.watch("refresh token", tokens.refresh_token(deps.ring))
        found.canaries.watch("access token", tokens.access_token(deps.ring).split(".", 1)[1])
        found.canaries.watch("client secret", stack.settings.xero_client_secret.get_secret_value())
        yield found


def check_words(reply: Reply, canaries: Canaries, what: str, sent: bytes) -> None:
    """Refused or shown in words that are ours, in the announced form, without our insides and without their host."""
    assert reply.status in ACCEPTED, f"{what}: {reply.raw[:600]!r}"
    assert not canaries.leaks(what, reply.raw)
    assert "set-cookie" not in reply.headers or "x=1" not in reply.headers["set-cookie"], what
    for word in INSIDES:
        assert word not in reply.body or word in sent or reply.status == 200, f"{what}: {word!r}"
    kind = reply.headers.get("content-type", "")
    if reply.status == 303:
        location = reply.headers["location"]
        # Somewhere of ours; after a form, to the page that says what was wrong with it.
        assert location.startswith(("/accounts/", "/oauth/xero/")), f"{what}: {location}"
        assert what.startswith("GET ") or "/problem/" in location, f"{what}: {location}"
        assert EVIL not in reply.raw, what
    elif reply.status >= 400 and kind.startswith("application/problem+json"):
        document = json.loads(reply.body)
        assert document["status"] == reply.status, what
        assert {"type", "title", "code"} <= document.keys(), what
        assert EVIL not in reply.raw, what
    elif reply.status >= 400:
        broken_http = reply.body.startswith(b"Invalid HTTP request")
        assert broken_http or (kind.startswith("text/html") and b"<html" in reply.body), (
            f"{what}: {reply.raw[:400]!r}"
        )
        assert EVIL not in reply.raw, what
    elif kind.startswith("text/html"):
        assert EVIL not in reply.raw, what
        assert b"<script>" not in reply.body, what


def is_answer_of_xero(path: str, reply: Reply) -> bool:
    """A harmless oddity does not make a call through the gateway wrong: then it was carried, as it should be."""
    return (
        path == GATEWAY
        and "x-gateway-error" not in reply.headers
        and "xero-correlation-id" in reply.headers
    )


async def test_everything_wrong_on_every_route_is_refused_in_words_and_changes_nothing(wire):
    tried = 0
    for method, path in routes_of(wire.stack.apps[0]):
        cases = [*HEADERS, *QUERIES]
        cases += PARAMETERS if "{" in path else ()
        cases += BODIES if method in {"POST", "PUT", "PATCH", "DELETE"} else ()
        for case in cases:
            what = f"{method} {path}, {case.name}"
            before = await wire.state()
            reply = await wire.send(method, path, case)
            tried += 1
            if reply is None:
                assert await wire.state() == before, what
                continue
            sent = unquote(wire.target(path, case).decode("latin-1")).encode("utf-8", "replace")
            if is_answer_of_xero(path, reply):
                continue
            check_words(reply, wire.canaries, what, sent)
            assert await wire.state() == before, f"{what} changed something: {reply.raw[:300]!r}"
    assert tried > 500


async def test_fifty_megabytes_are_refused_by_every_route_that_takes_a_body(wire):
    for method, path in routes_of(wire.stack.apps[0]):
        if method not in {"POST", "PUT", "PATCH", "DELETE"}:
            continue
        before = await wire.state()
        common = b"Connection: close\r\n"
        common += b"".join(b"%b: %b\r\n" % line for line in wire.credentials(path))
        first = b"%b %b HTTP/1.1\r\nHost: localhost\r\n" % (
            method.encode(),
            wire.target(path, Case("")),
        )
        form_type = b"Content-Type: application/x-www-form-urlencoded\r\n"
        announced = await wire.exchange(
            first + common + form_type + b"Content-Length: %d\r\n\r\n" % FIFTY_MEGABYTES, ()
        )
        assert announced is not None, path
        assert announced.status == 413, (method, path, announced.status)
        chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
        streamed = await wire.exchange(
            first + common + form_type + b"Transfer-Encoding: chunked\r\n\r\n",
            (chunk for _ in range(FIFTY_MEGABYTES // len(PIECE))),
        )
        # Hung up on while still sending, a client may miss the words; it can not miss that it was refused.
        assert streamed is None or streamed.status in {403, 413}, (method, path, streamed)
        assert await wire.state() == before, (method, path)


STRANGE_CLAIMS = (
    "\x00",
    "a\x00b",
    "\ud800",
    "x" * 20_000,
    "\r\nSet-Cookie: x=1",
    "{{7*7}}",
    "\u202e",
)


@pytest.mark.parametrize("claim", ["sub", "name", "account_id"])
async def test_strange_text_in_a_genuine_token_makes_no_500(wire, claim):
    """Pipeline's sign-in vouches for these; a database cannot hold all of them."""
    for value in STRANGE_CLAIMS:
        token = wire.stack.keys.person_token(**{"account_id": "acc-1", claim: value})
        # Its own account's address, so that it is the text and not the account which is judged.
        own = quote(value, errors="surrogatepass").encode() if claim == "account_id" else None
        for method, path in routes_of(wire.stack.apps[0]):
            if not path.startswith(("/accounts/", "/v1/", "/oauth/")):
                continue
            head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n" % (
                method.encode(),
                wire.target(path, Case("", parameter=own)),
                token.encode(),
            )
            reply = await wire.exchange(head + b"Connection: close\r\n\r\n", ())
            assert reply is not None, (path, value)
            assert reply.status < 500, (method, path, claim, value[:20], reply.raw[:500])


async def test_a_replayed_callback_and_a_stolen_state_change_nothing_and_ask_xero_nothing(wire):
    stack = wire.stack
    stack.consent()
    async with stack.browser("acc-3") as owner, stack.browser("acc-2", sub="thief") as thief:
        back = await owner.consent(await owner.to_xero())
        await thief.form_token()  # a session of the thief's own
        before = await wire.state()
        stolen = await thief.arrive(back)
        assert "/problem/" in stolen.url.path
        assert await wire.state() == before
        await owner.arrive(back)
        before = await wire.state()
        replayed = await owner.arrive(back)
        assert "/problem/" in replayed.url.path
        assert await wire.state() == before
