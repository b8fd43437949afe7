"""The guide's chapter "Payments Not Appearing": what it tells people to do, the running system does by itself."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
from company import Company

from payment_ingest.store import sweeps
from pipeline_contracts.invoice import InvoiceCreated
from pipeline_contracts.payment import PaymentRecorded
from pipeline_contracts.topics import PAYMENTS
from pipeline_local_stack.stack import Stack, wait_until_ready
from pipeline_messaging import leases

MINUTE = 60


@pytest.fixture
def payments(stack: Stack, company: Company) -> Iterator[httpx.Client]:
    """payment-ingest, asked by an administrator of the company."""
    token = stack.identities.person_token(company.account_id, "admin", name="Ada", user_id="u-ada")
    with httpx.Client(
        base_url=stack.urls["payment-ingest"],
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ) as client:
        yield client


def shown(payments: httpx.Client, invoice: InvoiceCreated) -> dict[str, Any]:
    """What Pipeline shows of the invoice's payments; nothing before it was heard to be in Xero."""
    path = f"/v1/accounts/{invoice.account_id}/invoices/{invoice.invoice_id}/payments"
    reply = payments.get(path)
    if reply.status_code == httpx.codes.NOT_FOUND:
        return {"payments": [], "connection": None}
    found: dict[str, Any] = reply.raise_for_status().json()
    return found


ALL = {"received_from": "2020-01-01T00:00:00Z", "received_until": "2100-01-01T00:00:00Z"}


def deliveries(payments: httpx.Client) -> dict[str, dict[str, Any]]:
    """What arrived about the company's organisation."""
    reply = payments.get("/v1/deliveries", params=ALL).raise_for_status()
    return {each["delivery_id"]: each for each in reply.json()["deliveries"]}


def replay(payments: httpx.Client, which: str, **asked: object) -> dict[str, Any]:
    """Have deliveries read again."""
    found: dict[str, Any] = payments.post(f"/v1/deliveries{which}/replay", **asked).json()
    return found


async def pay(company: Company, invoice: InvoiceCreated, amount: str = "15.00") -> str:
    """A payment is recorded in Xero; its PaymentID."""
    (row,) = company.in_xero(invoice)
    return await asyncio.to_thread(company.xero.pay, row["document_id"], Decimal(amount))


async def until_shown(
    company: Company, payments: httpx.Client, invoice: InvoiceCreated, xero_payment_id: str
) -> dict[str, Any]:
    """The payment as Pipeline shows it, once it does; and it was told to others exactly once."""

    def found() -> dict[str, Any] | None:
        rows = {each["xero_payment_id"]: each for each in shown(payments, invoice)["payments"]}
        return rows.get(xero_payment_id)

    payment = await company.wait_for(found, lambda: f"the payment: {shown(payments, invoice)}")
    (step,) = payment["story"]
    events = company.seen.envelopes[PAYMENTS.name]

    def told() -> set[str]:
        return {
            each.id
            for each in events
            if isinstance(each.event, PaymentRecorded)
            and each.event.xero_payment_id == xero_payment_id
        }

    await company.wait_for(told, lambda: f"the event of {payment}")
    assert told() == {step["event_id"]}
    return payment


async def an_interval_passes(company: Company) -> None:
    """The moment of the regular sweep of this company's organisation comes, a quarter of an hour early."""
    conn = await asyncpg.connect(company.stack.dsns["payment_ingest"])
    try:
        async with conn.transaction():
            await sweeps.request(conn, company.xero.tenant_id)
            await leases.mark_due(conn, [company.account_id])
    finally:
        await conn.close()


@contextmanager
def webhooks_lost(company: Company) -> Iterator[None]:
    """Whatever Xero sends meanwhile never arrives."""

    def lose(share: float) -> None:
        company.xero.http.patch("/webhooks", json={"drop_probability": share}).raise_for_status()

    lose(1.0)
    try:
        yield
    finally:
        lose(0.0)


async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__webhook_notifications_may_take_a_few_minutes_to_process(
    company: Company, payments: httpx.Client
):
    """They take moments, and what is shown says how old it is."""
    invoice = await company.issue("paid")
    payment = await until_shown(company, payments, invoice, await pay(company, invoice))

    (step,) = payment["story"]
    assert (payment["amount"], payment["kind"], step["found_by"]) == ("15.00", "payment", "webhook")
    found = shown(payments, invoice)
    assert found["last_read"]["amount_paid"] == "15.00"
    assert found["last_read"]["amount_due"] == "100.00"
    assert found["connection"] == "CONNECTED"
    # From Xero's ring to the event, by what the payment itself tells.
    conn = await asyncpg.connect(company.stack.dsns["payment_ingest"])
    try:
        seconds = await conn.fetchval(
            "SELECT extract(epoch FROM $1::text::timestamptz - $2::text::timestamptz)::float8",
            step["published_at"],
            step["rung_at"],
        )
    finally:
        await conn.close()
    assert 0 <= seconds < MINUTE


@pytest.mark.parametrize("ending", ["disconnected", "expired"])
async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__check_the_connection_status_is_active(
    company: Company, payments: httpx.Client, ending: str
):
    """Whoever asks for the payments is told of the connection; once it is back, they come without being asked for."""
    invoice = await company.issue("waiting")
    if ending == "disconnected":
        await company.disconnect()
    else:
        for how in "revoke", "expire":
            company.xero.http.post(f"/tokens/{how}", json={"user": company.email})
    made = await pay(company, invoice)
    # Xero tells nothing to an app whose consent is gone; the next regular look finds out.
    await an_interval_passes(company)

    status = {"disconnected": "DISCONNECTED", "expired": "TOKEN_EXPIRED"}[ending]
    await company.wait_for(
        lambda: shown(payments, invoice)["connection"] == status,
        lambda: f"{status}: {shown(payments, invoice)}",
    )
    assert shown(payments, invoice)["payments"] == []
    # And the connection says whose move it is.
    assert company.connection()["status"] == status
    assert company.connection()["hint"]

    await company.connect()
    payment = await until_shown(company, payments, invoice, made)
    assert payment["amount"] == "15.00"
    assert shown(payments, invoice)["connection"] == "CONNECTED"


async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__if_the_issue_persists_the_webhook_may_have_failed__it_was_lost(
    company: Company, payments: httpx.Client
):
    """The next regular look finds the payment, and says that no webhook told of it."""
    invoice = await company.issue("lost")
    with webhooks_lost(company):
        made = await pay(company, invoice)
    await an_interval_passes(company)

    payment = await until_shown(company, payments, invoice, made)
    (step,) = payment["story"]
    assert (step["found_by"], step["delivery_id"]) == ("sweep", None)


async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__if_the_issue_persists_the_webhook_may_have_failed__nobody_answered_it(
    stack: Stack, company: Company, payments: httpx.Client
):
    """After an outage the service looks everywhere by itself: it does not wait for Xero to come again."""
    invoice = await company.issue("unanswered")
    service = stack.children["payment-ingest"]
    await asyncio.to_thread(service.kill)
    try:
        made = await pay(company, invoice)
    finally:
        await asyncio.to_thread(service.start)
        await asyncio.to_thread(wait_until_ready, service, stack.own_url("payment-ingest"))

    # Xero repeats at once, and then after a quarter of an hour.
    payment = await until_shown(company, payments, invoice, made)
    assert payment["amount"] == "15.00"


async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__contact_your_administrator__who_sees_what_arrived_and_has_it_read_again(
    company: Company, payments: httpx.Client
):
    invoice = await company.issue("asked")
    payment = await until_shown(company, payments, invoice, await pay(company, invoice))
    (step,) = payment["story"]

    delivery = deliveries(payments)[step["delivery_id"]]
    assert (delivery["outcome"], delivery["received_at"]) == ("rung", step["rung_at"])
    assert delivery["processed_at"] is not None

    again = replay(payments, f"/{step['delivery_id']}")
    assert step["delivery_id"] in {
        each["delivery_id"] for each in replay(payments, "", json=ALL)["deliveries"]
    }
    await company.wait_for(
        lambda: all(
            (each["processed_at"] or "") > again["requested_at"]
            for each in deliveries(payments).values()
        ),
        lambda: "the deliveries read again",
    )
    # However often they are read, the payment is one payment.
    assert await until_shown(company, payments, invoice, payment["xero_payment_id"]) == payment


async def test_a_payment_was_recorded_in_xero_but_is_not_showing_in_pipeline__contact_your_administrator__who_tries_the_webhook_with_one_command(
    stack: Stack,
):
    running = stack.children["payment-ingest"].env
    for keys, status, words in (
        (running["XERO_WEBHOOK_KEYS"], 0, "Xero's check would pass."),
        ("another-key", 1, "Not one key is right"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "payment_ingest", "webhook-keys", stack.urls["payment-ingest"]),
            env={"PATH": os.environ["PATH"], "XERO_WEBHOOK_KEYS": keys},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert (process.returncode, words in said.decode()) == (status, True), said.decode()
        assert keys not in said.decode()
    # And Xero's own check agrees with the command.
    assert intent_to_receive(stack)["status"] == "OK"


def intent_to_receive(stack: Stack) -> dict[str, Any]:
    reply = httpx.post(f"{stack.urls['simulator']}/admin/webhooks/intent-to-receive", timeout=60)
    found: dict[str, Any] = reply.json()
    return found
