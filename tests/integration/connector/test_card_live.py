"""The open card as its browser asks for it: only what changed, for whoever may see it, and every name inert."""

import hashlib
import re
from pathlib import Path

import pytest
from happenings import the_day_runs_low, xero_ends_the_grant

import connector
from connector.domain.connection import WORDS, Reason
from connector.handlers.assets import ASSETS, asset
from connector.tend_tokens import refresh_due

HTMX = "htmx-2.0.11.min.js"
HTMX_SHA256 = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""Of dist/htmx.min.js in the npm package htmx.org 2.0.11."""

OUTAGE = "UPDATE token_sets SET unavailable_since = now(), last_problem = 'TimedOut'"
STATUS = 'id="status" hx-swap-oob'


def next_look(page) -> str:
    """The address an open card asks next."""
    return re.search(r'hx-get="([^"]+)"', page.text)[1]


@pytest.fixture
async def person(stack):
    await stack.connect("acc-1")
    async with stack.browser("acc-1") as browser:
        yield browser


async def opened(browser) -> str:
    page = await browser.pipeline.get(browser.card)
    assert page.status_code == 200
    return next_look(page)


async def test_an_unchanged_card_is_not_sent_again(person):
    look = await opened(person)
    for _ in range(3):
        answer = await person.pipeline.get(look)
        assert (answer.status_code, answer.content) == (204, b"")


async def test_a_changed_status_is_sent_and_announced_once(stack, person):
    look = await opened(person)
    await stack.db.execute(OUTAGE)
    answer = await person.pipeline.get(look)
    assert answer.status_code == 200
    assert STATUS in answer.text
    assert WORDS[Reason.XERO_UNAVAILABLE].message in answer.text
    assert "Refresh Token</button>" in answer.text
    assert (await person.pipeline.get(next_look(answer))).status_code == 204


async def test_other_news_is_sent_without_announcing_the_status_again(stack, person):
    look = await opened(person)
    await stack.db.execute("UPDATE connections SET last_call_at = now() - interval '3 hours'")
    answer = await person.pipeline.get(look)
    assert answer.status_code == 200
    assert "3 hours ago" in answer.text
    assert STATUS not in answer.text


@pytest.mark.parametrize("seen", ["", "rubbish", "-", "%00", "a" * 100, "<script>"])
async def test_whoever_has_seen_something_else_gets_everything(person, seen):
    answer = await person.pipeline.get(f"{person.card}/card", params={"seen": seen})
    assert answer.status_code == 200
    assert STATUS in answer.text
    assert "<script>" not in answer.text


async def test_a_form_renewed_with_a_new_session_works(stack, person):
    await stack.db.execute(OUTAGE)
    look = await opened(person)
    person.pipeline.cookies.delete("xero_session")
    answer = await person.pipeline.get(look)
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', answer.text)[1]
    pressed = await person.press("refresh", csrf=token)
    assert pressed.headers["location"] == person.card


async def test_who_may_look(stack, person):
    look = await opened(person)
    async with stack.browser("acc-2") as stranger:
        assert (await stranger.pipeline.get(look)).status_code == 404
    async with stack.browser("acc-1", role="operator") as operator:
        answer = await operator.pipeline.get(look)
    # Not the administrator's card: seen before by somebody else in this browser, it is replaced.
    assert answer.status_code == 200
    assert "<form" not in answer.text
    assert 'id="disconnect"' not in answer.text
    person.pipeline.cookies.delete("pipeline_session")
    assert (await person.pipeline.get(look)).status_code == 401


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_a_card_of_an_account_never_connected(stack, role):
    async with stack.browser("acc-new", role=role) as browser:
        page = await browser.pipeline.get(browser.card)
        assert (await browser.pipeline.get(next_look(page))).status_code == 204
    assert "DISCONNECTED" in page.text
    assert ("Connect to Xero</button>" in page.text) == (role == "admin")
    assert "Calls left" not in page.text


async def test_the_card_tells_who_what_and_when(stack, person):
    await stack.db.execute("UPDATE connections SET connected_at = now() - interval '2 days'")
    async with stack.caller() as client:
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200
    page = await person.pipeline.get(person.card)
    words = " ".join(re.sub(r"<[^>]+>", " ", page.text).split())
    assert "Kiwi Records Ltd" in words
    assert "Base currency NZD" in words
    assert "Ada &lt;Admin&gt;" in words
    assert "(2 days ago)" in words
    assert "Pipeline may" in words
    assert "read and write invoices" in words
    assert "Connected: Kiwi Records Ltd" in words
    assert "none yet" not in words
    assert re.search(r'<time datetime="20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ">', page.text)


async def test_a_call_that_xero_refused_is_not_the_last_successful_one(stack, person):
    last = "SELECT last_call_at FROM connections"
    await stack.db.execute("UPDATE connections SET last_call_at = NULL")
    async with stack.caller() as client:
        refused = await client.get(
            f"/v1/accounts/acc-1/xero/Invoices/{'0' * 8}-1111-4111-8111-{'0' * 12}"
        )
        assert refused.status_code == 404
        assert await stack.db.fetchval(last) is None
        assert (await client.get("/v1/accounts/acc-1/xero/Organisation")).status_code == 200
    assert await stack.db.fetchval(last) is not None


async def test_a_day_that_runs_low_has_a_forecast_and_one_of_plenty_has_none(stack, person):
    tenant = await stack.db.fetchval("SELECT tenant_id FROM connections")
    await stack.db.execute(
        """
        INSERT INTO tenant_budgets (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING
        """,
        tenant,
    )
    for left, forecast in ((4_900, False), (50, True)):
        await stack.db.execute(
            """
            UPDATE tenant_budgets SET day_remaining = $2, day_limit = 5000, day_seen_at = now() WHERE tenant_id = $1
            """,
            tenant,
            left,
        )
        await stack.db.execute(
            """
            INSERT INTO call_slots (tenant_id, caller, started_at, lease_until, finished_at)
            SELECT $1, 'invoice-sync', now(), now(), now() FROM generate_series(1, 20)
            """,
            tenant,
        )
        page = await person.pipeline.get(person.card)
        assert re.search(rf"<dt>Calls left today</dt>\s*<dd>\s*{left:,}\s", page.text)
        assert ("at the present rate spent at about" in page.text) == forecast
        told = await stack.status("acc-1")
        assert (told["calls_left_today"], told["calls_a_day"]) == (left, 5000)


async def test_nothing_is_forecast_while_no_calls_are_made(stack, person):
    await the_day_runs_low(stack)
    assert "at the present rate" in (await person.pipeline.get(person.card)).text
    await xero_ends_the_grant(stack)
    assert "at the present rate" not in (await person.pipeline.get(person.card)).text


async def test_card_and_interface_say_the_same_of_an_outage_and_nothing_is_recorded(stack, person):
    before = await stack.status("acc-1")
    await stack.db.execute(OUTAGE)
    now = await stack.status("acc-1")
    words = WORDS[Reason.XERO_UNAVAILABLE]
    assert (now["status"], now["reason"]) == ("CONNECTED", "XERO_UNAVAILABLE")
    assert (now["message"], now["hint"], now["can_refresh"]) == (words.message, words.hint, True)
    assert (now["sequence"], now["since"]) == (before["sequence"], before["since"])
    page = await person.pipeline.get(person.card)
    assert words.message in page.text
    assert len(await stack.events("acc-1")) == 1
    await stack.db.execute("UPDATE token_sets SET refresh_after = now(), last_used_at = now()")
    await refresh_due(stack.apps[0].state.deps)
    assert await stack.status("acc-1") == before


async def test_a_disconnect_under_way_offers_no_refresh_to_anybody(stack, person):
    await stack.db.execute("UPDATE connections SET fenced_at = now()")
    await stack.db.execute(OUTAGE)
    now = await stack.status("acc-1")
    assert "Being disconnected" in now["message"]
    assert not now["can_refresh"]
    page = await person.pipeline.get(person.card)
    assert "Being disconnected" in page.text
    assert "Refresh Token</button>" not in page.text


NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% include 'base.html' %} ${7*7}",
    "</title></template><template id=notice-refused>",
    "\u202eevil\u202c עברית 👩‍🚀",
    "n" * 300,
)


@pytest.mark.parametrize("name", NASTY)
async def test_names_are_words_and_never_markup(stack, person, name):
    await stack.db.execute(
        "UPDATE connections SET tenant_name = $1, connected_by_name = $1, short_code = $2",
        name,
        name[:50],
    )
    await stack.db.execute("UPDATE connection_changes SET tenant_name = $1, actor_name = $1", name)
    look = await opened(person)
    pages = [
        await person.pipeline.get(person.card),
        await person.pipeline.get(f"{person.card}/card"),
        await person.pipeline.get(f"{person.card}/disconnect"),
    ]
    assert look
    for page in pages:
        assert page.status_code == 200
        for tag in ("<script>", "<img", "<template id=notice"):
            assert tag not in page.text
        assert not re.search(r"<[a-z]+[^>]*\son\w+=", page.text)
        assert "49" not in re.sub(r"[0-9a-f]{16,}", "", page.text) or "7*7" not in name


async def test_assets_are_kept_for_ever_under_their_hash_and_given_once_under_another(person):
    for name, file in ASSETS.items():
        found = await person.pipeline.get(asset(name))
        assert found.content == file.content
        assert "immutable" in found.headers["cache-control"]
        other = await person.pipeline.get(asset(name).replace(file.digest, "0" * 16))
        assert other.content == file.content
        assert other.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        "pages.css",
        "htmx-LICENSE.txt",
        "..%2fapp.py",
        "x.0000000000000000.css",
        "%00.0000000000000000.js",
    ],
)
async def test_nothing_else_is_served(person, name):
    assert (await person.pipeline.get(f"/static/{name}")).status_code == 404


def test_htmx_is_the_published_file_and_its_licence_is_with_it():
    folder = Path(connector.__file__).parent / "static"
    assert hashlib.sha256((folder / HTMX).read_bytes()).hexdigest() == HTMX_SHA256
    assert "Zero-Clause BSD" in (folder / "htmx-LICENSE.txt").read_text()
