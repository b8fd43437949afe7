"""Whatever Pipeline sends: a clear code for each, nothing lost, and its neighbours go on as if it were not there.

Through the real consumer and worker, on real Kafka and Postgres; all of it in one go, good invoices between bad ones.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from service_processes import until
from sync_processes import gateway_app
from sync_wire import connected, running_app

from invoice_sync.settings import InvoiceSyncSettings
from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.envelope import encode

LINE = {"line_id": "1", "description": "Work", "quantity": "1", "unit_amount": "10.00"}


def lines(*changes):
    return [LINE | {"line_id": str(place)} | change for place, change in enumerate(changes, 1)]


# What the contracts cannot read: set aside whole, bytes and all.
UNREADABLE = {
    "1e30": {"total": 1e30},
    "1e30 as text": {"total": "1e30"},
    "not a number": {"total": "NaN"},
    "a line of 1e30": {"lines": lines({"unit_amount": "1" + "0" * 30})},
    "eleven decimals": {"lines": lines({"unit_amount": "0.00000000001"})},
    "5,001 lines": {"lines": lines(*[{}] * 5_001)},
    "no such day": {"issue_date": "2026-02-30"},
    "a moment for a day": {"due_date": "2026-02-28T00:00:00Z"},
    "an id with a line end": {"customer_id": "cust\n1"},
    "a number of 1,001 characters": {"invoice_number": "9" * 1_001},
    "version nought": {"version": 0},
    "version as text": {"version": "1"},
    "lines as text": {"lines": "none"},
    "no currency": {"currency": None},
    "U+0000 in a text": {"reference": "\x00"},
}
# What the contracts read and nobody can book: the code, and a word its sentence must hold.
REFUSED = {
    "empty-lines": ({"lines": [], "total": "0.00"}, "NO_LINES", "no lines"),
    "number-256": ({"invoice_number": "9" * 256}, "FIELD_TOO_LONG", "invoice number"),
    "no-number": ({"invoice_number": "  "}, "INVOICE_NUMBER_MISSING", "no number"),
    "reference-256": ({"reference": "9" * 256}, "FIELD_TOO_LONG", "reference"),
    "description": ({"lines": lines({"description": "é" * 4_001})}, "FIELD_TOO_LONG", "line 1"),
    "control": ({"lines": lines({"description": "a\x07b"})}, "CHARACTERS_INVALID", "line 1"),
    "control-number": ({"invoice_number": "A\x1b1"}, "CHARACTERS_INVALID", "invoice number"),
    "same-line": ({"lines": [LINE, LINE], "total": "20.00"}, "LINE_REPEATED", "2 (Work)"),
    "minus": (
        {"lines": lines({"quantity": "-1", "unit_amount": "-10.00"})},
        "QUANTITY_NEGATIVE",
        "below zero",
    ),
    "credit": (
        {"lines": lines({"unit_amount": "-10.00"}), "total": "-10.00"},
        "TOTAL_NEGATIVE",
        "-10.00",
    ),
    "currency": ({"currency": "XXQ"}, "CURRENCY_UNKNOWN", "XXQ"),
    "no-currency": ({"currency": ""}, "CURRENCY_UNKNOWN", "does not exist"),
    "rate": ({"currency": "USD", "currency_rate": "0"}, "CURRENCY_RATE_INVALID", "exchange rate"),
    "total": ({"total": "10.01"}, "TOTAL_MISMATCH", "a difference of 0.01"),
    "half-a-cent": ({"total": "10.005"}, "TOTAL_MISMATCH", "a difference of 0.005"),
    "due": ({"due_date": "2026-02-28"}, "DUE_DATE_BEFORE_ISSUE", "earlier"),
    "1899": (
        {"issue_date": "2026-03-01", "due_date": "1900-01-01"},
        "DUE_DATE_BEFORE_ISSUE",
        "earlier",
    ),
    "tracking": (
        {"lines": lines({"tracking": [{"category": str(n), "option": "x"} for n in range(3)]})},
        "TOO_MANY_TRACKING_OPTIONS",
        "two",
    ),
    "no-customer": ({"customer_id": "cust-nobody"}, "CUSTOMER_NOT_MAPPED", "cust-nobody"),
    "name": ({"customer_id": "cust-<b>"}, "CONTACT_INVALID", "did not take the customer"),
    "no-account": ({"account_id": "acc-nobody"}, "NOT_CONNECTED", "never connected"),
    "too-much": (
        {"lines": lines({"unit_amount": "99999999999999"}), "total": "99999999999999.00"},
        "XERO_VALIDATION",
        "not valid",
    ),
}
# What is odd and can be booked.
TAKEN = {
    "emoji": {"lines": lines({"description": "🎸 strings 💿"}), "reference": "🎸"},
    "markup": {"lines": lines({"description": "<b>&amp; \"quoted\" 'it'</b>\ttab\nline end"})},
    "1900": {"issue_date": "1900-01-01", "due_date": "1900-01-01"},
    "9999": {"due_date": "9999-12-31"},
    "5000": {"lines": lines(*[{}] * 5_000), "total": "50000.00"},
    "number-255": {"invoice_number": "9" * 255},
    "nought": {"lines": lines({"quantity": "0"}), "total": "0.00"},
    "ten-decimals": {"lines": lines({"unit_amount": "10.0000400000"})},
    "unknown-field": {"colour": "red"},
}  # fmt: skip


def body_of(account_id, invoice_id, /, **changes):
    return {
        "account_id": account_id,
        "invoice_id": invoice_id,
        "version": 1,
        "invoice_number": invoice_id.upper(),
        "customer_id": "cust-1",
        "issue_date": "2026-03-01",
        "due_date": "2026-03-31",
        "currency": "NZD",
        "amounts_are": "no_tax",
        "lines": [LINE],
        "total": "10.00",
    } | changes


@pytest.fixture
async def running(service, sync_dsn, wire, identities, serve, serve_with_lifespan):
    """The whole service, its account connected, its customers known."""
    account_id = service.account_id
    service.gateway.tenants[account_id] = service.books.tenant_id
    service.gateway.patience = 30
    async with serve(gateway_app(service.gateway)) as gateway_url:
        settings = InvoiceSyncSettings(
            database_url=sync_dsn,
            kafka_bootstrap_servers=wire.bootstrap,
            http_port=0,
            auth_issuers_file=identities[0] / "issuers.json",
            service_key_file=identities[0] / "own.pem",
            connector_url=gateway_url,
            consumer_group=wire.prefix,
        )
        async with running_app(settings, serve_with_lifespan):
            await wire.publish("connections", connected(account_id, service.books.tenant_id))
            for customer_id, name in (("cust-1", "Kim"), ("cust-<b>", "<b>Kim</b>")):
                await wire.publish(
                    "customers",
                    CustomerCreated(
                        account_id=account_id, customer_id=customer_id, version=1, name=name
                    ),
                )
            # Topics overtake each other: an invoice ahead of its customer would say so first.
            await until(lambda: has_customers(service, 2), "the customers")
            yield service


async def has_customers(service, count):
    return count == await service.pool.fetchval("SELECT count(*) FROM customers")


async def publish(wire, service, body):
    """The body as it is, whatever it is, under the headers of an event about its invoice."""
    name = body["invoice_id"]
    record = encode(
        service.invoice(name), id=f"of-{name}", source="billing", time=datetime.now(UTC)
    )
    await wire.raw("invoices", record.key, json.dumps(body).encode(), record.headers)


async def at_rest(service, invoice_id, account_id=None):
    """Nothing more happens to it by itself; while its contact is being made it waits without a code."""
    row = await service.pool.fetchrow(
        "SELECT state, block_code FROM invoices WHERE account_id = $1 AND invoice_id = $2",
        account_id or service.account_id,
        invoice_id,
    )
    return row is not None and (
        row["state"] == "synced"
        or (row["state"] not in {"pending", "syncing"} and row["block_code"])
    )


async def test_each_has_its_code_none_is_lost_and_the_others_go_on(running, wire):
    service, account_id = running, running.account_id
    bodies = []
    for place, change in enumerate(UNREADABLE.values()):
        bodies.append(body_of(account_id, f"unreadable-{place}", **change))
    for name, (change, _, _) in REFUSED.items():
        bodies += [body_of(account_id, name, **change), body_of(account_id, f"good-{name}")]
    bodies += [body_of(account_id, name, **change) for name, change in TAKEN.items()]
    bodies.append(body_of(account_id, "last"))
    for body in bodies:
        await publish(wire, service, body)

    letters = await wire.read("invoices.dlq", len(UNREADABLE))
    assert {dict(each.headers)["x-dlq-code"] for each in letters} == {b"PAYLOAD_INVALID"}
    set_aside = {json.loads(each.value)["invoice_id"]: json.loads(each.value) for each in letters}
    assert set_aside == {body["invoice_id"]: body for body in bodies[: len(UNREADABLE)]}
    for name, (change, code, words) in REFUSED.items():
        whose = change.get("account_id")
        await until(lambda n=name, w=whose: at_rest(service, n, w), name)
        row = await service.pool.fetchrow("SELECT * FROM invoices WHERE invoice_id = $1", name)
        told = await service.told(name)
        assert row["block_code"] == code, name
        assert words in row["block_message"], name
        assert row["block_hint"], name
        assert not told or {each.code for each in told} == {code}
    taken = [*TAKEN, *(f"good-{name}" for name in REFUSED), "last"]
    for name in taken:
        await until(lambda n=name: at_rest(service, n), name)
        assert await service.state(name) == "synced", (name, await service.row(name))
    assert len(await service.books.invoices()) == len(taken)


async def test_two_invoices_of_one_number_name_each_other(running, wire):
    service, account_id = running, running.account_id
    for name in ("first", "second/2"):
        await publish(wire, service, body_of(account_id, name, invoice_number="SAME"))
    await until(lambda: at_rest(service, "first"), "the first")
    await until(lambda: at_rest(service, "second/2"), "the second")
    states = {name: await service.state(name) for name in ("first", "second/2")}
    assert sorted(states.values()) == ["failed", "synced"]
    (refused,) = [name for name, state in states.items() if state == "failed"]
    other = next(name for name in states if name != refused)
    row = await service.row(refused)
    assert row["block_code"] == "INVOICE_NUMBER_TAKEN"
    assert f"already used by Pipeline's own invoice {other}" in row["block_message"]
    assert len(await service.books.invoices("SAME")) == 1


async def test_a_currency_that_changes_afterwards_says_what_to_do_and_heals(ready, kinds_of_event):
    updated = kinds_of_event["updated"]
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await ready.want(ready.invoice("inv-1", kind=updated, version=2, currency="USD"))
    await ready.turn()
    told = (await ready.told("inv-1"))[-1]
    assert told.code == "CURRENCY_CHANGED"
    assert "INV-1 is in Xero in another currency than USD" in told.message
    assert "void the invoice there and issue a new one" in told.hint
    (invoice,) = await ready.books.invoices("INV-1")
    assert invoice["currency"] == "NZD"
    await ready.want(ready.invoice("inv-1", kind=updated, version=3, reference="PO 3"))
    await ready.turn()
    assert await ready.state("inv-1") == "synced"


async def test_a_draft_may_still_change_its_currency(ready, kinds_of_event):
    await ready.pool.execute(
        """
        INSERT INTO account_settings (account_id, version, invoice_status, mapping_policy, number_prefix)
        VALUES ($1, 1, 'draft', 'create', '')
        """,
        ready.account_id,
    )
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await ready.want(
        ready.invoice("inv-1", kind=kinds_of_event["updated"], version=2, currency="USD")
    )
    await ready.turn()
    (invoice,) = await ready.books.invoices("INV-1")
    assert invoice["currency"] == "USD"
    assert await ready.state("inv-1") == "synced"


async def test_a_customer_or_an_invoice_of_another_account_is_another_one(ready, kinds_of_event):
    """The same ids under another account touch nothing of the first: neither contact nor invoice."""
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    before = await ready.books.ledger()
    moved = ready.invoice("inv-1", kind=kinds_of_event["updated"], version=2, reference="moved")
    await ready.want(moved.model_copy(update={"account_id": "acc-other"}))
    await ready.pool.execute(
        "INSERT INTO customers (account_id, customer_id, version, name) VALUES ('acc-other', 'cust-1', 2, 'Moved')"
    )
    await ready.turn("acc-other")
    await ready.settle()
    assert await ready.books.ledger() == before
    row = await ready.pool.fetchrow("SELECT * FROM invoices WHERE account_id = 'acc-other'")
    assert (row["state"], row["block_code"]) == ("waiting_for_connection", "NOT_CONNECTED")
    assert await ready.state("inv-1") == "synced"
    assert (await ready.row("inv-1"))["version"] == 1


async def test_money_is_exact_to_the_last_digit_that_xero_keeps(ready, line_of):
    odd = [line_of("1", quantity="0.3333", unit_amount="0.0299", discount_rate="12.3456")]
    await ready.want(ready.invoice("inv-1", lines=odd, total="0.01"))
    await ready.turn()
    (invoice,) = await ready.books.invoices("INV-1")
    assert Decimal(invoice["total"]) == Decimal("0.01")
    assert await ready.state("inv-1") == "synced"
