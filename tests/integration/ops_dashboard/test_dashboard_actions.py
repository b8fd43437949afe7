"""What people decide goes to invoice-sync with their own token, from our own forms only."""

import re

import pytest
from dashboard_world import STAFF, Telling, tell_everything

RETRY = ("POST", "/v1/accounts/acc-1/invoices/a%2Fb/sync/retry")
RESOLVE = ("POST", "/v1/accounts/acc-1/invoices/a%2Fb/sync/resolve")
CONFLICT = ("GET", "/v1/accounts/acc-1/invoices/a%2Fb/sync/resolve")
CAUSE = ("POST", "/v1/accounts/acc-1/failures/CUSTOMER_NOT_MAPPED/retry")
PICTURE = {
    "kind": "edited",
    "fingerprint": "f1",
    "differences": [{"field": "due_date", "base": "1", "pipeline": "2", "xero": "3"}],
    "in_words": [],
    "choices": [
        {"keep": "pipeline", "allowed": True, "why_not": None, "follows": "Xero is overwritten."},
        {"keep": "xero", "allowed": False, "why_not": "It was paid.", "follows": "Ask Xero."},
    ],
}


@pytest.fixture
async def acting(world):
    told = Telling("acc-1")
    await world.send(
        told.issued("a/b"), told.out_of_sync("a/b"), told.issued("c"), told.failed("c")
    )
    async with world.running() as url:
        await world.all_stored()
        yield world, url


async def proof(person) -> str:
    page = (await person.get("/accounts/acc-1/invoice?id=a/b")).text
    return re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1]


async def test_an_operator_decides_with_their_own_token(acting):
    world, url = acting
    token = world.keys.token("acc-1")
    world.invoice_sync.answers |= {
        CONFLICT: (200, PICTURE),
        RESOLVE: (202, {"keep": "pipeline", "state": "pending"}),
        RETRY: (409, {"title": "Nothing to retry", "detail": "It is <b>synced</b>.", "hint": "H."}),
        CAUSE: (202, {"released": 1}),
    }
    async with world.client(url, token) as person:
        page = (await person.get("/accounts/acc-1/invoice?id=a/b")).text
        assert 'value="f1"' in page
        assert "Keep Pipeline" in page
        assert "Keep Xero" not in page
        csrf = await proof(person)
        form = {"csrf": csrf, "id": "a/b", "keep": "pipeline", "fingerprint": "f1"}
        answer = await person.post("/accounts/acc-1/invoice/resolve", data=form)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/accounts/acc-1/invoice?id=a%2Fb&done=resolve"
        answer = await person.post("/accounts/acc-1/invoice/retry", data=form)
        assert answer.status_code == 409
        assert "It is &lt;b&gt;synced&lt;/b&gt;." in answer.text
        cause = {"csrf": csrf, "code": "CUSTOMER_NOT_MAPPED"}
        assert (await person.post("/accounts/acc-1/failures/retry", data=cause)).status_code == 303
    asked = {(method, path): (who, body) for method, path, who, body in world.invoice_sync.asked}
    assert asked[RESOLVE] == (f"Bearer {token}", {"keep": "pipeline", "fingerprint": "f1"})
    assert {who for who, _ in asked.values()} == {f"Bearer {token}"}


@pytest.mark.parametrize(
    ("account", "role", "headers", "keeps_proof"),
    [
        ("acc-1", "viewer", {}, True),
        (STAFF, "admin", {}, True),
        ("acc-1", "operator", {}, False),
        ("acc-1", "operator", {"Sec-Fetch-Site": "cross-site"}, True),
        ("acc-1", "operator", {"Origin": "https://evil.example"}, True),
    ],
)
async def test_nobody_else_acts(acting, account, role, headers, keeps_proof):
    world, url = acting
    token = world.keys.token(account, role)
    async with world.client(url, token) as person:
        page = (await person.get("/accounts/acc-1/invoice?id=a/b")).text
        assert ("<form method=" in page) == (role == "operator")
        csrf = "0" * 64
        if keeps_proof:
            import hashlib
            import hmac

            csrf = hmac.new(token.encode(), b"ops-dashboard form", hashlib.sha256).hexdigest()
        form = {"csrf": csrf, "id": "a/b", "keep": "pipeline", "fingerprint": "f1", "code": "X"}
        world.invoice_sync.asked.clear()
        letter = "dead-letters/pipeline.invoices.v1.dlq/0/0/replay"
        for path in ("invoice/retry", "invoice/resolve", "failures/retry", letter):
            answer = await person.post(f"/accounts/acc-1/{path}", data=form, headers=headers)
            assert answer.status_code == 403, path
        assert world.invoice_sync.asked == []


async def test_a_form_of_a_session_that_was_renewed_says_what_to_do(acting):
    """Session tokens live for minutes; a page may lie open for hours."""
    world, url = acting
    async with world.client(url, world.keys.token("acc-1")) as person:
        form = {"csrf": await proof(person), "id": "a/b"}
    renewed = world.keys.token("acc-1", name="Otto Operator, signed in again")
    async with world.client(url, renewed) as person:
        answer = await person.post("/accounts/acc-1/invoice/retry", data=form)
    assert answer.status_code == 403
    assert "Reload the page" in answer.text
    assert "administrator" not in answer.text
    assert "Look again" not in answer.text  # the answer to a form cannot be asked for


@pytest.mark.parametrize(
    ("topic", "service"),
    [("pipeline.invoices.v1", "invoice-sync"), ("pipeline.xero.sync.v1", "payment-ingest")],
)
async def test_a_dead_letter_is_taken_up_after_a_look_at_what_follows(world, topic, service):
    await tell_everything(world)
    letter = await _letter(world, topic)
    asked = {"invoice-sync": world.invoice_sync, "payment-ingest": world.payment_ingest}
    taker = asked.pop(service)
    (other_service,) = asked.values()
    asked_about = f"/v1/accounts/acc-1/dead-letters/{letter}/replay"
    says = {"follows": "It is <taken in>.", "objections": []}
    answers = taker.answers
    answers |= {
        ("GET", asked_about): (200, says),
        ("POST", asked_about): (200, {"outcome": "taken_up"}),
    }
    async with world.running() as url:
        await world.all_stored()
        token = world.keys.token("acc-1")
        page = f"/accounts/acc-1/dead-letters/{letter}"
        async with world.client(url, token) as person:
            assert f'href="{page}/replay"' in (await person.get(page)).text
            assert taker.asked == []  # a look at the letter costs the service nothing
            before = (await person.get(f"{page}/replay")).text
            assert "It is &lt;taken in&gt;." in before
            form = {"csrf": re.search(r'name="csrf" value="([0-9a-f]+)"', before)[1]}
            done = await person.post(f"{page}/replay", data=form)
            assert (done.status_code, done.headers["location"]) == (303, f"{page}?done=taken_up")
            answers[("POST", asked_about)] = (200, {"outcome": "known"})
            twice = await person.post(f"{page}/replay", data=form)
            said = (await person.get(twice.headers["location"])).text
            assert f"{service} has had this event already, so nothing changed" in said
            assert {each[2] for each in taker.asked} == {f"Bearer {token}"}
            assert other_service.asked == []

            against = [{"why": "REPLAYED_ALREADY", "sentence": "<ann> replayed it"}]
            answers[("GET", asked_about)] = (200, says | {"objections": against})
            refused = (await person.get(f"{page}/replay")).text
            assert "&lt;ann&gt; replayed it" in refused
            assert "<form" not in refused
            for odd in ((503, {"detail": "Kafka is away."}), (200, {"objections": "x"}), (200, [])):
                answers[("GET", asked_about)] = odd
                assert "<form" not in (await person.get(f"{page}/replay")).text
            # Of what others set aside there is the command.
            other = await _letter(world, "pipeline.xero.connections.v1")
            await world.all_stored()
            page = (await person.get(f"/accounts/acc-1/dead-letters/{other}")).text
            assert f"dead-letters replay {other}" in page
        async with world.client(url, world.keys.token("acc-1", "viewer")) as viewer:
            page = f"/accounts/acc-1/dead-letters/{letter}"
            assert "/replay" not in (await viewer.get(page)).text
            assert (await viewer.get(f"{page}/replay")).status_code == 403


async def test_without_its_address_payment_ingest_is_not_asked_and_the_command_is_shown(world):
    letter = await _letter(world, "pipeline.xero.sync.v1")
    page = f"/accounts/acc-1/dead-letters/{letter}"
    async with world.running(payment_ingest_url=None) as url:
        await world.all_stored()
        async with world.client(url, world.keys.token("acc-1")) as person:
            shown = (await person.get(page)).text
            assert f"dead-letters replay {letter}" in shown
            assert f'href="{page}/replay"' not in shown
            assert (await person.get(f"{page}/replay")).status_code == 404


async def _letter(world, topic) -> str:
    """One more dead letter of the account; gives its place."""
    about = [("x-dlq-topic", topic.encode()), ("x-dlq-code", b"HANDLER_FAILED")]
    name = f"{world.prefix}.{topic}.dlq"
    sent = await world.producer.send_and_wait(name, b'{"account_id": "acc-1"}', headers=about)
    world.sent += 1
    return f"{name}/{sent.partition}/{sent.offset}"


async def test_an_invoice_sync_that_is_away_is_said(acting):
    world, _ = acting
    world.invoice_sync_url = "http://127.0.0.1:1"
    async with world.running() as url, world.client(url, world.keys.token("acc-1")) as person:
        page = (await person.get("/accounts/acc-1/invoice?id=a/b")).text
        assert "invoice-sync does not answer at the moment." in page
        assert "2026-04-15" in page  # what the topics told is shown all the same
        form = {"csrf": await proof(person), "id": "a/b"}
        answer = await person.post("/accounts/acc-1/invoice/retry", data=form)
        assert answer.status_code == 502
