"""A preview tells the very bytes that are sent afterwards and every check that fails, and changes nothing."""

import asyncio
import json
from decimal import Decimal

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invoice_sync_api import Callers, app_over

from invoice_sync.domain.account_settings import AccountSettings, InvoiceStatus
from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code
from invoice_sync.preview_sync import preview_sync
from invoice_sync.store import account_settings, preview_allowances

_TABLES = ("accounts", "invoices", "invoice_links", "intents", "customers", "contact_mappings", "timeline", "outbox",
           "code_lists", "lock_dates", "account_settings", "code_mappings", "audit")  # fmt: skip


async def everything(service):
    """Every row of every table, as text."""
    return {
        table: await service.pool.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608 - constants
        for table in _TABLES
    }


@pytest.fixture
def preview(ready):
    """A preview of an invoice of the account, which must leave all as it was."""

    async def of(invoice_id="inv-1", body=None):
        before, calls = await everything(ready), len(ready.gateway.calls)
        found = await preview_sync(ready.deps, ready.account_id, invoice_id, body)
        assert await everything(ready) == before
        assert not [method for method, _ in ready.gateway.calls[calls:] if method != "GET"]
        return found

    return of


@pytest.fixture
def sent(ready):
    """The writes that leave for Xero."""
    bodies = []

    def keep(request):
        if request.method != "GET":
            bodies.append((request.method, request.url.path.rsplit("/", 1)[1], request.content))

    ready.gateway.before = keep
    return bodies


async def settings_are(service, **chosen):
    async with service.pool.acquire() as conn, conn.transaction():
        await account_settings.save(conn, service.account_id, AccountSettings(version=1, **chosen))


def codes(found):
    return [each.block.code for each in found.findings]


def rounded_on_the_document(line_of):
    return {
        "lines": [
            line_of(str(place), quantity="1", unit_amount=price, tax_code="OUTPUT2")
            for place, price in enumerate(("25.06", "25.61", "25.63"), 1)
        ],
        "amounts_are": "tax_exclusive",
        "total": "87.75",
    }


KINDS = {
    "plain": lambda _: {},
    "cents carried": rounded_on_the_document,
    "discount and four decimals": lambda line: {
        "lines": [line("1", quantity="3", unit_amount="33.3333", discount_rate="12.5")],
        "total": "87.50",
    },
    "tax included": lambda line: {
        "lines": [line("1", tax_code="OUTPUT2")],
        "amounts_are": "tax_inclusive",
    },
    "tracking and item": lambda line: {
        "lines": [line("1", item_code="CD", tracking=[{"category": "Region", "option": "North"}])]
    },
    "another currency with its rate": lambda _: {"currency": "USD", "currency_rate": "0.6123"},
    "a mapped code": lambda line: {"lines": [line("1", account_code="SALES")]},
}


@pytest.mark.parametrize("name", KINDS)
async def test_the_bytes_of_a_preview_are_the_bytes_sent(
    ready, preview, sent, line_of, name, kinds_of_event
):
    """Created, changed and voided: each time the request told is the request made."""
    await settings_are(ready, number_prefix="PL-", invoice_status=InvoiceStatus.AUTHORISED)
    await map_code(ready.deps, ready.account_id, CodeKind.ACCOUNT, "SALES", "260", "user:u")
    fields = KINDS[name](line_of)
    body = ready.invoice("inv-1", **fields)
    unpublished = await preview(body=body)
    await ready.want(body)
    published = await preview()
    assert unpublished.request == published.request
    assert (published.ahead, codes(published)) == ("create", [])
    await ready.turn()
    changed = ready.invoice(
        "inv-1", kind=kinds_of_event["updated"], version=2, **fields | {"reference": "PO 2"}
    )
    await ready.want(changed)
    change = await preview()
    assert (change.ahead, change.changed) == ("change", ("reference",))
    await ready.turn()
    await ready.want(
        kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=3)
    )
    void = await preview()
    assert void.ahead == "void"
    await ready.turn()
    told = [each.request for each in (published, change, void)]
    assert sent == [(each.method, each.path, each.body) for each in told]
    assert await ready.state("inv-1") == "voided"


lines_of_any_kind = st.lists(
    st.fixed_dictionaries(
        {
            "quantity": st.decimals(0, 50, places=3).map(str),
            "unit_amount": st.decimals(0, 500, places=4).map(str),
            "discount_rate": st.sampled_from([None, "10", "33.33"]),
            "tax_code": st.sampled_from([None, "OUTPUT2", "NONE"]),
            "account_code": st.sampled_from([None, "200", "260"]),
        }
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines_of_any_kind,
    st.sampled_from(["no_tax", "tax_exclusive", "tax_inclusive"]),
    st.integers(-2, 2),
)
async def test_whatever_the_invoice_a_preview_keeps_its_word(
    ready, sent, line_of, lines, amounts_are, cents_off
):
    """It goes with the bytes told and comes to a total told, or stops for the first cause told."""
    sent.clear()
    number = await ready.pool.fetchval("SELECT count(*) FROM invoices")
    name = f"inv-{number}"
    made = [line_of(str(place), **each) for place, each in enumerate(lines, 1)]
    first = ready.invoice(name, lines=made, amounts_are=amounts_are, total="1")
    found = await preview_sync(ready.deps, ready.account_id, name, first)
    total = found.figures.xero.lowest + cents_off * Decimal("0.01")
    body = ready.invoice(name, lines=made, amounts_are=amounts_are, total=total)
    told = await preview_sync(ready.deps, ready.account_id, name, body)
    await ready.want(body)
    await ready.turn()
    row = await ready.row(name)
    if told.ahead == "create":
        assert sent == [(told.request.method, told.request.path, told.request.body)]
        (invoice,) = await ready.books.invoices(name.upper())
        in_xero, possible = Decimal(invoice["total"]), told.figures.xero
        assert possible.lowest <= in_xero <= possible.highest
        # A line that names no tax gets the one of its account, which only Xero knows: that is told afterwards.
        assert in_xero == body.total or not possible.is_exact
        assert row["state"] == ("synced" if in_xero == body.total else "out_of_sync")
    else:
        assert (told.ahead, sent) == ("stop", [])
        assert row["block_code"] == told.findings[0].block.code
        assert row["block_message"] == told.findings[0].block.message


async def test_every_check_that_fails_is_told_and_not_only_the_first(ready, preview, line_of):
    await settings_are(ready, start_date=None)
    bad = ready.invoice(
        "inv-1",
        lines=[line_of("1", quantity="-1"), line_of("2", description=" ", account_code="999")],
        currency="XXQ",
        due_date="2026-02-01",
        customer_id="cust-unknown",
        total="7.00",
    )
    found = await preview(body=bad)
    assert found.ahead == "stop"
    assert codes(found) == [
        "CURRENCY_UNKNOWN",
        "QUANTITY_NEGATIVE",
        "DESCRIPTION_MISSING",
        "DUE_DATE_BEFORE_ISSUE",
        "TOTAL_MISMATCH",
        "ACCOUNT_NOT_MAPPED",
        "CUSTOMER_NOT_MAPPED",
    ]
    assert found.request is None
    await ready.want(bad)
    await ready.turn()
    assert (await ready.row("inv-1"))["block_code"] == "CURRENCY_UNKNOWN"


async def test_what_xero_would_refuse_is_told_before(ready, preview):
    await ready.books.act(
        "POST",
        "invoices",
        {
            "InvoiceNumber": "INV-1",
            "Contact": {"Name": "Stranger"},
            "LineItems": [
                {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
            ],
        },
    )
    organisation = f"{ready.books.url}/admin/organisations/{ready.books.tenant_id}"
    await ready.books.http.patch(organisation, json={"period_lock_date": "2026-04-30"})
    await ready.want(ready.invoice("inv-1"))
    found = await preview()
    assert (found.ahead, codes(found)) == ("refusal", ["INVOICE_NUMBER_TAKEN", "PERIOD_LOCKED"])
    assert all(each.by_xero for each in found.findings)
    assert found.request is not None


async def test_without_a_connection_the_rest_is_told_all_the_same(ready, preview):
    await ready.want(ready.invoice("inv-1", total="7.00"))
    await ready.connect("DISCONNECTED")
    found = await preview()
    assert found.ahead == "stop"
    assert codes(found) == ["NOT_CONNECTED", "TOTAL_MISMATCH"]


async def test_xero_being_away_leaves_its_part_open(ready, preview):
    await ready.want(ready.invoice("inv-1"))
    ready.books.fault("unavailable_503", times=0)
    found = await preview()
    assert (found.ahead, codes(found)) == ("create", ["XERO_UNAVAILABLE"])
    assert not found.findings[0].is_certain


async def test_a_list_too_old_to_stop_anything_is_told_as_such(ready, preview, line_of):
    await ready.pool.execute(
        "UPDATE code_lists SET read_at = read_at - interval '1 hour', tried_at = tried_at - interval '1 hour'"
    )
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="999")]))
    found = await preview()
    assert (found.ahead, codes(found)) == ("create", ["ACCOUNT_NOT_MAPPED"])
    assert not found.findings[0].is_certain


async def test_an_invoice_in_xero_is_read_and_compared(ready, preview, kinds_of_event, line_of):
    await ready.want(ready.invoice("inv-1", reference="one"))
    await ready.turn()
    assert (await preview()).ahead == "nothing"
    (invoice,) = await ready.books.invoices("INV-1")
    await ready.books.act("POST", f"invoices/{invoice['document_id']}", {"Reference": "theirs"})
    assert (await preview()).ahead == "nothing"  # only Xero changed: it stays
    ours = ready.invoice("inv-1", kind=kinds_of_event["updated"], version=2, reference="ours")
    found = await preview(body=ours)
    assert found.ahead == "conflict"
    (differs,) = found.differences
    assert (differs.base, differs.pipeline, differs.xero) == ("one", "ours", "theirs")
    await ready.want(ours)
    await ready.turn()
    assert await ready.state("inv-1") == "out_of_sync"
    assert (await preview()).ahead == "conflict"


async def test_what_a_payment_forbids_is_told_before(ready, preview, line_of):
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await ready.books.act("POST", "payments", {"invoice": "INV-1", "amount": "10.00"})
    found = await preview(body=ready.invoice("inv-1", lines=[line_of("1", quantity="3")]))
    assert (found.ahead, codes(found)) == ("stop", ["INVOICE_HAS_PAYMENT"])
    due = await preview(body=ready.invoice("inv-1", due_date="2026-05-01"))
    assert (due.ahead, due.changed) == ("change", ("due_date",))


@pytest.fixture
async def http_of(sync_dsn, ready, tmp_path):
    callers = Callers()
    app = app_over(ready.deps, sync_dsn, tmp_path, callers)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        yield client, callers, f"/v1/accounts/{ready.account_id}/invoices/inv-1/sync/preview"


async def test_over_http_an_operator_sees_payload_lines_and_totals(ready, http_of, line_of):
    client, callers, path = http_of
    operator = callers.person(ready.account_id, "operator")
    unknown = await client.post(path, headers=operator)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "INVOICE_UNKNOWN")
    body = ready.invoice("inv-1", **rounded_on_the_document(line_of))
    answer = await client.post(path, headers=operator, json=json.loads(body.model_dump_json()))
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["ahead"] == "create"
    assert shown["request"]["method"] == "PUT"
    assert shown["request"]["params"] == {"summarizeErrors": "false", "unitdp": "4"}
    assert json.loads(shown["request"]["text"]) == shown["request"]["body"]
    assert [each["line_amount"] for each in shown["lines"]] == ["25.06", "25.61", "25.63"]
    assert [each["tax_amount"] for each in shown["lines"]] == ["3.76", "3.84", "3.85"]
    assert [each["carried"] for each in shown["lines"]] == ["0.00", "0.00", "0.01"]
    assert shown["totals"] == {
        "pipeline": "87.75",
        "xero_at_least": "87.75",
        "xero_at_most": "87.75",
        "difference": "0.00",
        "in_xero_now": None,
    }
    assert await ready.pool.fetchval("SELECT count(*) FROM invoices") == 0


async def test_over_http_it_is_nobody_elses_business(ready, http_of, invoice_of):
    client, callers, path = http_of
    body = json.loads(ready.invoice("inv-1").model_dump_json())
    stranger = callers.person("acc-other", "admin")
    assert (await client.post(path, headers=stranger, json=body)).status_code == 404
    assert (await client.post(path, json=body)).status_code == 401
    operator = callers.person(ready.account_id, "operator")
    for wrong in ({"account_id": "acc-other"}, {"invoice_id": "inv-2"}):
        mixed = await client.post(path, headers=operator, json=body | wrong)
        assert (mixed.status_code, mixed.json()["code"]) == (422, "INVOICE_MISMATCH")
    absurd = await client.post(path, headers=operator, json=body | {"total": "1e30"})
    assert absurd.status_code == 422


async def test_previews_of_an_account_are_bounded_and_come_back_with_time(ready, http_of):
    """However often it is asked: the calls of Xero's that are left are for invoices and payments."""
    client, callers, path = http_of
    operator = callers.person(ready.account_id, "operator")
    every = preview_allowances.A_PREVIEW
    await ready.want(ready.invoice("inv-1"))

    async def at_once(count):
        answers = await asyncio.gather(*(client.post(path, headers=operator) for _ in range(count)))
        return sorted(answers, key=lambda each: each.status_code)

    await ready.pool.execute(
        "INSERT INTO preview_allowances VALUES ($1, now() + $2::interval)",
        ready.account_id,
        preview_allowances.AT_ONCE - 2 * every,
    )
    answers = await at_once(4)
    assert [each.status_code for each in answers] == [200, 200, 429, 429]
    assert answers[-1].json()["code"] == "PREVIEWS_USED_UP"
    assert 0 < int(answers[-1].headers["retry-after"]) <= every.total_seconds()
    ready.gateway.calls.clear()
    assert [each.status_code for each in await at_once(1)] == [429]
    assert ready.gateway.calls == []
    await ready.pool.execute(
        "UPDATE preview_allowances SET spent_until = spent_until - $1::interval", every
    )
    assert [each.status_code for each in await at_once(2)] == [200, 429]
    # Another account has its own, and without a connection nothing is asked and nothing spent.
    async with ready.pool.acquire() as conn:
        assert await preview_allowances.spend(conn, "acc-other", every) is None
    await ready.connect("DISCONNECTED")
    assert [each.status_code for each in await at_once(1)] == [200]
