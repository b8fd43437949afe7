"""From doorbell to payment, on real Postgres."""

import asyncio
import hashlib
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payment_ingest.store import doorbells, sweeps
from pipeline_contracts.payment import PaymentRecorded, PaymentReversed
from pipeline_messaging.worker import LeaseLost

OBSERVED = "pipeline.xero_invoice.observed.v1"


async def test_a_payment_becomes_one_event(service):
    invoice = service.xero.add("100.00")
    await service.link(invoice, "inv-1")
    payment = service.xero.pay(invoice, "40.00", "Bank transfer")
    await service.ring(invoice)
    await service.turn()

    (envelope,) = await service.told()
    event = envelope.event
    assert isinstance(event, PaymentRecorded)
    assert envelope.source == "payment-ingest"
    assert envelope.subject == event.invoice_id == "inv-1"
    assert (event.account_id, event.tenant_id) == (service.account_id, service.xero.tenant_id)
    assert (event.xero_invoice_id, event.xero_payment_id) == (invoice, payment)
    assert (event.kind, event.amount, event.currency) == ("payment", Decimal("40.00"), "NZD")
    assert (event.amount_paid, event.amount_due) == (Decimal("40.00"), Decimal("60.00"))
    assert (event.invoice_status, event.reference) == ("AUTHORISED", "Bank transfer")
    assert (event.found_by, event.sequence) == ("webhook", 1)
    assert event.paid_on.isoformat() == "2026-11-22"
    assert await service.doorbells() == 0


async def test_many_doorbells_for_many_invoices_are_one_call(service):
    invoices = [service.xero.add() for _ in range(50)]
    for number, invoice in enumerate(invoices):
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "1.00")
    for invoice in invoices:
        await service.ring(invoice)
        await service.ring(invoice)
    await service.turn()
    assert len(service.xero.calls) == 1
    assert len(await service.told()) == 50


async def test_more_than_one_call_holds_come_back_at_once(service):
    for _ in range(60):
        invoice = service.xero.add()
        service.xero.pay(invoice, "1.00")
        await service.ring(invoice)
    assert await service.turn() <= datetime.now(UTC)
    assert await service.doorbells() == 10
    await service.turn()
    assert await service.doorbells() == 0


async def test_the_same_delivery_and_the_same_state_again_say_nothing(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    for _ in range(3):
        await service.ring(invoice)
        await service.turn()
    assert len(await service.told()) == 1
    assert len(await service.told(OBSERVED)) == 1


async def test_part_payments_deletion_credit_note_and_back(service):
    invoice = service.xero.add("100.00")
    await service.link(invoice, "inv-1")

    async def look():
        await service.ring(invoice)
        await service.turn()

    first = service.xero.pay(invoice, "30.00")
    await look()
    service.xero.pay(invoice, "30.00")
    service.xero.allocate(invoice, "40.00")
    await look()
    service.xero.unpay(invoice, first)
    await look()
    service.xero.allocate(invoice, "20.00", "Prepayment")
    service.xero.allocate(invoice, "10.00", "Overpayment")
    await look()

    events = [one.event for one in await service.told()]
    assert [one.sequence for one in events] == [1, 2, 3, 4, 5, 6]
    assert sorted(one.kind for one in events[1:3]) == ["credit_note", "payment"]
    assert events[2].invoice_status == "PAID"
    assert isinstance(events[3], PaymentReversed)
    assert (events[3].payment_id, events[3].amount) == (events[0].payment_id, Decimal("30.00"))
    assert (events[3].amount_due, events[3].invoice_status) == (Decimal("30.00"), "AUTHORISED")
    assert events[3].paid_on == events[0].paid_on
    assert await service.payments_sum() == Decimal("100.00")


async def test_an_invoice_paid_by_credit_note_alone(service):
    invoice = service.xero.add("100.00")
    await service.link(invoice, "inv-1")
    service.xero.allocate(invoice, "100.00")
    await service.ring(invoice)
    await service.turn()
    (envelope,) = await service.told()
    event = envelope.event
    assert (event.kind, event.invoice_status) == ("credit_note", "PAID")
    assert (event.amount_paid, event.amount_due) == (Decimal(0), Decimal(0))


async def test_a_payment_waits_for_its_invoice_and_needs_no_second_call(service):
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    service.xero.pay(invoice, "20.00")
    await service.ring(invoice)
    await service.turn()
    assert await service.told() == []
    calls = len(service.xero.calls)

    await service.link(invoice, "inv-1")
    events = [one.event for one in await service.told()]
    assert [(one.sequence, one.amount) for one in events] == [(1, Decimal(10)), (2, Decimal(20))]
    assert [one.amount_due for one in events] == [Decimal(90), Decimal(70)]
    assert len(service.xero.calls) == calls
    await service.link(invoice, "inv-1")
    assert len(await service.told()) == 2


async def test_link_and_payment_at_the_same_time_never_miss_each_other(service):
    for number in range(20):
        invoice = service.xero.add()
        service.xero.pay(invoice, "10.00")
        await service.ring(invoice)
        await asyncio.gather(service.turn(), service.link(invoice, f"inv-{number}"))
        assert len(await service.told()) == number + 1


async def test_a_payment_of_an_unknown_invoice_is_kept_and_not_told(service):
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    assert await service.told() == []
    assert await service.pool.fetchval("SELECT count(*) FROM payments") == 1
    assert await service.doorbells() == 0


async def test_a_bill_is_none_of_our_business(service):
    invoice = service.xero.add(Type="ACCPAY")
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    assert await service.doorbells() == 0
    assert await service.pool.fetchval("SELECT count(*) FROM payments") == 0
    assert await service.told(OBSERVED) == []


async def test_a_ring_during_the_fetch_is_not_lost(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)

    async def paid_again_meanwhile():
        service.xero.before_answer = None
        service.xero.pay(invoice, "20.00")
        await service.ring(invoice)

    service.xero.before_answer = paid_again_meanwhile
    await service.turn()
    assert len(await service.told()) == 1
    assert await service.doorbells() == 1
    await service.turn()
    assert await service.payments_sum() == Decimal(30)
    assert await service.doorbells() == 0


async def test_a_tenant_not_known_yet_keeps_its_doorbells_until_it_connects(pool, service):
    stranger = type(service)(pool, service.xero, service.deps)
    await pool.execute("DELETE FROM connections")
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    await stranger.ring(invoice)
    assert await stranger.turn() is None
    assert service.xero.calls == []

    await stranger.connect()
    assert await pool.fetchval(
        "SELECT due_at IS NOT NULL FROM account_leases WHERE account_id = $1", stranger.account_id
    )
    await stranger.turn()
    await stranger.link(invoice, "inv-1")
    (envelope,) = await stranger.told()
    assert (envelope.event.found_by, envelope.event.account_id) == ("webhook", stranger.account_id)


async def test_a_disconnected_account_makes_no_call_and_is_swept_on_return(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    await service.connect("DISCONNECTED")
    service.xero.pay(invoice, "10.00")
    assert await service.turn() is None
    assert service.xero.calls == []
    await service.connect()
    await service.turn()
    (envelope,) = await service.told()
    assert envelope.event.found_by == "sweep"


async def test_an_old_word_about_a_connection_does_not_undo_a_newer(service):
    await service.connect("DISCONNECTED")
    await service.connect("CONNECTED")
    service.sequence -= 2
    await service.connect("DISCONNECTED")
    assert await service.pool.fetchval("SELECT status FROM connections") == "CONNECTED"


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        ((429, {"retry-after": "26", "x-rate-limit-problem": "minute"}, b""), 24, 28),
        ((429, {"x-rate-limit-problem": "concurrent"}, b""), 0.5, 10),
        ((503, {}, b"The Xero API is currently offline for maintenance"), 1, 60),
        (
            (
                409,
                {"x-gateway-error": "NOT_CONNECTED", "content-type": "application/problem+json"},
                b'{"code":"NOT_CONNECTED","status_name":"TOKEN_EXPIRED","reason":"R","message":"m","hint":"h"}',
            ),
            30,
            61,
        ),
        ((502, {"x-gateway-error": "XERO_UNREACHABLE"}, b'{"outcome":"not_sent"}'), 1, 60),
    ],
)
async def test_what_keeps_us_from_xero_parks_the_account_and_loses_nothing(
    service, answer, least, most
):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    service.xero.answers.append(answer)
    back = await service.turn()
    assert least <= (back - datetime.now(UTC)).total_seconds() <= most
    assert await service.doorbells() == 1

    calls = len(service.xero.calls)
    await service.ring(invoice)
    assert await service.turn() == back
    assert len(service.xero.calls) == calls  # ringing does not shorten the wait
    await service.connect()
    await service.turn()
    assert len(await service.told()) == 1


@pytest.mark.parametrize(("left", "pause"), [(None, 0), (30, 0), (29, 2), (9, 5), (0, 5)])
async def test_few_calls_left_in_the_minute_gather_more_rings_per_call(service, left, pause):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    service.xero.headers = {} if left is None else {"x-minlimit-remaining": str(left)}
    await service.ring(invoice)
    back = await service.turn()
    assert len(await service.told()) == 1
    if pause:
        assert pause - 1 < (back - datetime.now(UTC)).total_seconds() <= pause


async def test_one_invoice_xero_refuses_does_not_hold_up_the_others(service):
    invoices = [service.xero.add() for _ in range(7)]
    for number, invoice in enumerate(invoices):
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "10.00")
    service.xero.refused_ids = {invoices[3]}
    await service.ring(*invoices)
    await service.turn()
    assert len(await service.told()) == 6
    assert await service.doorbells() == 1
    assert await service.pool.fetchval("SELECT attempts FROM doorbells") == 1


async def test_an_invoice_that_cannot_be_read_does_not_hold_up_the_others(service):
    good, bad = service.xero.add(), service.xero.add()
    for number, invoice in enumerate((good, bad)):
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "10.00")
    service.xero.invoices[bad]["Payments"][0]["PaymentID"] = "not-an-id"
    await service.ring(good, bad)
    await service.turn()
    assert [one.event.xero_invoice_id for one in await service.told()] == [good]
    assert await service.doorbells() == 1


async def test_a_sweep_takes_in_what_it_can_and_looks_again_at_the_rest(service):
    good, bad, nameless = service.xero.add(), service.xero.add(), service.xero.add()
    for number, invoice in enumerate((good, bad)):
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "10.00")
    payment = service.xero.invoices[bad]["Payments"][0]
    known, payment["PaymentID"] = payment["PaymentID"], "not-an-id"
    service.xero.invoices[nameless]["InvoiceID"] = "INV-\x00"
    await service.sweep()
    assert [one.event.xero_invoice_id for one in await service.told()] == [good]
    assert await service.pool.fetchval("SELECT xero_invoice_id FROM doorbells") == bad

    payment["PaymentID"] = known
    await service.turn()
    assert [one.event.xero_invoice_id for one in await service.told()] == [good, bad]
    assert {one.event.found_by for one in await service.told()} == {"sweep"}


async def test_a_sweep_xero_refuses_does_not_hold_up_doorbells(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() WHERE kind = 'recent'")
    service.xero.answers.append((400, {}, b'{"ErrorNumber":16,"Message":"odd"}'))
    back = await service.turn()
    assert (back - datetime.now(UTC)).total_seconds() > 60
    assert await service.told() == []
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1


async def test_an_invoice_xero_does_not_know_is_looked_for_a_while(service):
    await service.ring("44aa0707-f718-4f1c-8d53-f2da9ca59533")
    for _ in range(10):
        await service.turn()
        await service.pool.execute("UPDATE doorbells SET next_at = now()")
    assert await service.doorbells() == 1
    await service.turn()
    assert await service.doorbells() == 0


async def test_an_answer_without_its_payments_reverses_nothing(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    payments = service.xero.invoices[invoice]["Payments"]
    service.xero.invoices[invoice]["Payments"] = []
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1
    assert await service.doorbells() == 1
    service.xero.invoices[invoice]["Payments"] = payments
    await service.pool.execute("UPDATE doorbells SET next_at = now()")
    await service.turn()
    assert len(await service.told()) == 1
    assert await service.doorbells() == 0


async def test_an_older_version_read_late_says_nothing(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    payment = service.xero.pay(invoice, "10.00")
    old = dict(service.xero.invoices[invoice])
    service.xero.unpay(invoice, payment)
    await service.ring(invoice)
    await service.turn()
    service.xero.invoices[invoice] = old
    await service.ring(invoice)
    await service.turn()
    assert await service.told() == []


async def test_what_xero_says_with_odd_characters_is_kept(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00", "nul \x00 lone \ud800 emoji \U0001f600 " + "x" * 3000)
    await service.ring(invoice)
    await service.turn()
    (envelope,) = await service.told()
    reference = envelope.event.reference
    assert "emoji \U0001f600 xxx" in reference
    assert "\x00" not in reference
    assert len(reference) == 1000


async def test_the_same_read_is_also_told_as_a_snapshot(service):
    invoice = service.xero.add("100.00")
    service.xero.pay(invoice, "40.00")
    await service.ring(invoice)
    await service.turn()
    (first,) = await service.told(OBSERVED)
    assert first.subject == first.event.xero_invoice_id == invoice
    assert (first.event.invoice.total, first.event.invoice.amount_paid) == (
        Decimal(100),
        Decimal(40),
    )
    assert first.event.invoice.lines[0].description == "Work"
    assert first.event.observed_at == service.xero.now
    service.xero.pay(invoice, "60.00")
    await service.ring(invoice)
    await service.turn()
    second = (await service.told(OBSERVED))[1]
    assert second.event.invoice.status == "PAID"
    assert second.id != first.id


async def test_a_document_that_cannot_be_read_brings_the_sweep_forward(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    credit = service.xero.allocate(invoice, "10.00")
    service.xero.answers.append((400, {"content-type": "application/json"}, b'{"ErrorNumber":16}'))
    await service.hear(rung_for("CREDITNOTE", service.xero.tenant_id, credit))
    await service.turn()
    pause = await service.pool.fetchval(
        "SELECT extract(epoch FROM next_at - now()) FROM tenant_sweeps WHERE kind = 'recent'"
    )
    assert 30 < pause <= 60  # the last sweep ended a moment ago: at most one a minute
    await service.sweep()
    (envelope,) = await service.told()
    assert (envelope.event.kind, envelope.event.found_by) == ("credit_note", "sweep")


@pytest.mark.parametrize("kind", ["CreditNote", "Prepayment", "Overpayment", "Payment"])
async def test_a_document_rings_exactly_the_invoices_to_which_it_is_applied_otherwise(
    service, kind
):
    """Applied, and taken back: the event about the document alone is enough, and the others are not asked for."""
    invoice, other = service.xero.add(), service.xero.add()
    await service.link(invoice, "inv-1")
    await service.link(other, "inv-2")
    if kind == "Payment":
        document = service.xero.pay(invoice, "10.00")
    else:
        document = service.xero.allocate(invoice, "10.00", kind)
    service.xero.calls.clear()
    body = rung_for(kind.upper(), service.xero.tenant_id, document)
    await service.hear(body)
    await service.turn()
    await service.turn()
    (recorded,) = await service.told()
    assert (recorded.event.xero_payment_id, recorded.event.found_by) == (document, "webhook")
    assert [call.get("IDs") for call in service.xero.calls] == [None, [invoice]]
    delivery = await service.pool.fetchval("SELECT delivery FROM payment_movements")
    assert delivery == hashlib.sha256(body).digest()

    # Said again, nothing differs: the document is read, and no invoice.
    await service.hear(rung_for(kind.upper(), service.xero.tenant_id, document, again=1))
    await service.turn()
    assert [call.get("IDs") for call in service.xero.calls[2:]] == [None]

    service.xero.invoices[invoice][f"{kind}s"].clear()
    service.xero._touch(invoice)
    await service.hear(rung_for(kind.upper(), service.xero.tenant_id, document, again=2))
    await service.turn()
    await service.turn()
    assert isinstance((await service.told())[-1].event, PaymentReversed)
    assert await service.pool.fetchval("SELECT count(*) FROM document_doorbells") == 0
    assert await service.doorbells() == 0


async def test_a_document_that_xero_does_not_show_yet_brings_the_sweep_forward(service):
    """The webhook may have outrun what Xero shows: it is not taken for news of nothing."""
    await service.hear(rung_for("OVERPAYMENT", service.xero.tenant_id, str(uuid.uuid4())))
    before = await service.next_sweep()
    await service.turn()
    assert await service.documents() == 0
    assert await service.next_sweep() < before


async def test_many_documents_at_once_are_left_to_a_sweep(service):
    """It takes two calls for all of them, and the day's calls are what invoices and payments live on."""
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    for _ in range(200):
        await service.hear(rung_for("PAYMENT", service.xero.tenant_id, str(uuid.uuid4())))
    service.xero.calls.clear()
    before = await service.next_sweep()
    await service.turn()
    assert service.xero.calls == []
    assert await service.documents() == 0
    assert await service.next_sweep() < before
    await service.sweep()
    assert len(await service.told()) == 1


async def test_a_document_that_xero_never_shows_holds_up_nothing(service):
    """Neither the sweep, nor is it asked for again and again until the day's calls are spent."""
    await service.hear(rung_for("CREDITNOTE", service.xero.tenant_id, str(uuid.uuid4())))
    service.xero.calls.clear()
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    for looks in range(1, 12):
        service.xero.answers.append((500, {}, b""))
        await service.turn()
        assert len(service.xero.calls) == looks
        # The account rests for seconds, as while Xero is down; the document for longer and longer.
        await service.pool.execute("UPDATE connections SET not_before = NULL")
        later = "UPDATE document_doorbells SET next_at = now() WHERE next_at > now() RETURNING true"
        if looks == 1:
            await service.sweep()
            assert len(await service.told()) == 1
            service.xero.calls = service.xero.calls[:1]
        assert bool(await service.pool.fetchval(later)) is (looks < 11)
    assert await service.documents() == 0


async def test_what_waits_for_being_read_is_measured(service):
    """Of what Xero is to show now: who waits on purpose raises no alarm."""
    organisation = service.xero.tenant_id
    await service.hear(rung_for("CREDITNOTE", organisation, str(uuid.uuid4())))
    await service.ring(service.xero.add())
    long_ago = "SET rung_at = now() - interval '1 hour'"
    assert await doorbells.oldest_ring_age(service.pool) < 60
    await service.pool.execute(f"UPDATE document_doorbells {long_ago}")
    assert 3600 <= await doorbells.oldest_ring_age(service.pool) < 3700
    await service.pool.execute("UPDATE document_doorbells SET next_at = now() + interval '1 hour'")
    assert await doorbells.oldest_ring_age(service.pool) < 60
    await service.pool.execute(f"UPDATE doorbells {long_ago}")
    assert 3600 <= await doorbells.oldest_ring_age(service.pool) < 3700

    assert await sweeps.oldest_age(service.pool) < 60
    await service.pool.execute(
        "UPDATE tenant_sweeps SET completed_at = now() - interval '2 hours' WHERE kind = 'recent'"
    )
    await service.pool.execute("UPDATE connections SET since = now() - interval '1 hour'")
    assert 3600 <= await sweeps.oldest_age(service.pool) < 3700
    await service.pool.execute("UPDATE connections SET status = 'DISCONNECTED'")
    assert await sweeps.oldest_age(service.pool) == 0


async def test_documents_wait_for_room_in_their_lane_and_nothing_else_does(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    payment = service.xero.pay(invoice, "10.00")
    limited = (429, {"Retry-After": "3600", "X-Rate-Limit-Problem": "day"}, b"")
    service.xero.answers.append(limited)
    await service.hear(rung_for("PAYMENT", service.xero.tenant_id, payment))
    await service.turn()
    wait = "SELECT extract(epoch FROM next_at - now()) FROM document_doorbells"
    assert 3500 < await service.pool.fetchval(wait) <= 3600
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1


def rung_for(category, tenant_id, document, again=0):
    event = {"resourceId": document, "tenantId": tenant_id, "eventCategory": category}
    return json.dumps({"events": [event], "entropy": str(again)}).encode()


async def test_the_address_in_a_webhook_is_never_followed(service):
    """It is signed, and all the same: what is asked, and where, is ours alone."""
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    knocks: list[int] = []

    def knocked(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(1)
        writer.close()

    listener = await asyncio.start_server(knocked, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    event = {
        "resourceUrl": f"http://127.0.0.1:{port}/api.xro/2.0/Invoices/{invoice}",
        "resourceId": invoice,
        "tenantId": service.xero.tenant_id,
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
    }
    await service.hear(json.dumps({"events": [event]}).encode())
    await service.turn()
    assert [one.event.amount for one in await service.told()] == [Decimal("10.00")]
    # Whoever knocked before would have been heard before this knock.
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    while not knocks:  # noqa: ASYNC110 - the listener's own task
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    listener.close()
    await listener.wait_closed()
    assert len(knocks) == 1


async def test_lease_lost_during_the_fetch_writes_nothing(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)

    async def taken_over():
        service.xero.before_answer = None
        await service.pool.execute("UPDATE account_leases SET epoch = epoch + 1")

    service.xero.before_answer = taken_over
    with pytest.raises(LeaseLost):
        await service.turn()
    assert await service.told() == []
    assert await service.doorbells() == 1
