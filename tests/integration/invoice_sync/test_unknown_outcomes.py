"""A write whose answer never came: never doubled, never lost, never a stranger's invoice taken for ours."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed

pytestmark = pytest.mark.usefixtures("judged")

INVOICES = "/api.xro/2.0/Invoices*"


def keys_of(books) -> list[str]:
    rows = books.world.calls.select(0, "", "Invoices")
    return [row["idempotency_key"] for row in rows if row["method"] == "PUT"]


@pytest.mark.parametrize("fault", ["commit_then_reset", "commit_then_timeout", "reset_before"])
async def test_a_lost_answer_is_asked_for_again_with_the_same_bytes_and_key(ready, fault):
    ready.books.fault(fault, method="PUT", path=INVOICES, seconds=3)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    assert await ready.turn() is not None
    assert await ready.state("inv-1") == "syncing"
    await ready.settle()
    assert len(await ready.books.invoices("INV-1")) == 1
    assert len(await ready.books.invoices("INV-2")) == 1
    assert len(set(keys_of(ready.books))) == 1
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


@pytest.mark.parametrize("fault", ["error_500_after", "error_500_before"])
async def test_a_500_that_xero_replays_is_settled_by_looking(ready, fault):
    ready.books.fault(fault, method="PUT", path=INVOICES)
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(5)))
    await ready.settle(20)
    assert len(await ready.books.invoices()) == 5
    for number in range(5):
        assert await ready.state(f"inv-{number}") == "synced"
        assert "InvoiceSynced" in await ready.kinds(f"inv-{number}")
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 0


async def test_past_five_minutes_the_key_is_never_used_again(ready):
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    await ready.age_intents(timedelta(minutes=5))
    ready.books.world.clock.advance(400)
    await ready.settle()
    assert [method for method, _ in ready.gateway.calls] == ["PUT", "GET"]
    assert len(await ready.books.invoices("INV-1")) == 1
    (synced,) = await ready.told("inv-1")
    assert isinstance(synced, InvoiceSynced)
    assert synced.xero_created_at is None, "it may have been paid before it was found"
    kinds = [row["kind"] for row in await ready.pool.fetch("SELECT kind FROM timeline ORDER BY id")]
    assert "adopted" in kinds


async def test_past_five_minutes_and_not_there_a_new_key_goes_out_alone(ready):
    ready.books.fault("reset_before", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.turn()
    await ready.age_intents(timedelta(minutes=6))
    await ready.settle()
    assert [method for method, _ in ready.gateway.calls] == ["PUT", "GET", "GET", "PUT", "PUT"]
    assert len(set(keys_of(ready.books))) == 3
    assert len(await ready.books.invoices()) == 2


async def test_a_strangers_invoice_of_that_number_is_not_adopted(ready):
    contact = (await ready.books.ledger())["contacts"][0]["contact_id"]
    await ready.books.act(
        "POST",
        "invoices",
        {
            "InvoiceNumber": "INV-1",
            "Contact": {"ContactID": contact},
            "LineItems": [
                {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
            ],
        },
    )
    (before,) = await ready.books.invoices("INV-1")
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.settle()
    (failed,) = await ready.told("inv-1")
    assert isinstance(failed, SyncFailed)
    assert failed.code == "INVOICE_NUMBER_TAKEN"
    assert "INV-1" in failed.message
    assert await ready.state("inv-2") == "synced"
    assert await ready.books.invoices("INV-1") == [before]


async def test_a_stranger_found_after_an_unknown_outcome_is_not_adopted_either(ready):
    ready.books.fault("reset_before", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    contact = (await ready.books.ledger())["contacts"][0]["contact_id"]
    await ready.books.act(
        "POST",
        "invoices",
        {
            "InvoiceNumber": "INV-1",
            "Contact": {"ContactID": contact},
            "LineItems": [
                {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
            ],
        },
    )
    await ready.age_intents(timedelta(minutes=6))
    await ready.settle()
    assert [each.code for each in await ready.told("inv-1")] == ["INVOICE_NUMBER_TAKEN"]


async def test_an_adopted_invoice_that_was_changed_meanwhile_is_out_of_sync(ready):
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1", reference="ours"))
    await ready.turn()
    await ready.books.act("POST", "invoices/INV-1", {"Reference": "theirs"})
    await ready.age_intents(timedelta(minutes=6))
    await ready.settle()
    synced, conflict = await ready.told("inv-1")
    assert isinstance(synced, InvoiceSynced)
    assert isinstance(conflict, OutOfSync)
    assert [(each.field, each.pipeline, each.xero) for each in conflict.differences] == [
        ("reference", "ours", "theirs")
    ]


@pytest.mark.parametrize("is_taken", [False, True])
async def test_ours_is_found_though_somebody_renumbered_it_before_we_looked(ready, is_taken):
    """Its number is free again, or a stranger's by now; the marker is still ours."""
    ready.books.fault("error_500_after", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"), ready.invoice("inv-2"))
    await ready.turn()
    await ready.books.act("POST", "invoices/INV-1", {"InvoiceNumber": "THEIRS-7"})
    if is_taken:
        line = {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
        stranger = {"InvoiceNumber": "INV-1", "Contact": {"Name": "Else"}, "LineItems": [line]}
        await ready.books.act("POST", "invoices", stranger)
    await ready.settle(12)
    (ours,) = await ready.books.invoices("THEIRS-7")
    assert len(await ready.books.invoices()) == 2 + is_taken
    assert await ready.state("inv-2") == "synced"
    synced, conflict = await ready.told("inv-1")
    assert isinstance(synced, InvoiceSynced)
    assert synced.xero_invoice_id == ours["document_id"]
    assert [(each.field, each.pipeline, each.xero) for each in conflict.differences] == [
        ("invoice_number", "INV-1", "THEIRS-7")
    ]


async def test_a_number_error_for_our_own_invoice_leads_to_its_adoption(ready):
    """A first commit that lands after we looked: the second write collides with ourselves."""
    ready.books.fault("commit_then_reset", method="PUT", path=INVOICES)
    await ready.want(ready.invoice("inv-1"))
    await ready.turn()
    # As if the look-up had come before the commit: the intent is gone, the invoice due anew.
    await ready.pool.execute("DELETE FROM intents")
    await ready.pool.execute(
        "UPDATE invoices SET state = 'pending', intent_id = NULL, sent = NULL, send_alone = true, due_at = now()"
    )
    await ready.settle()
    assert len(await ready.books.invoices("INV-1")) == 1
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_dying_around_the_call_neither_loses_nor_doubles(ready, died, moment):
    def die(_request):
        setattr(ready.gateway, moment, None)
        raise died

    setattr(ready.gateway, moment, die)
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(3)))
    with pytest.raises(died):
        await ready.turn()
    assert await ready.pool.fetchval("SELECT count(*) FROM intents") == 1
    await ready.turn()
    assert len(await ready.books.invoices()) == 3
    for number in range(3):
        assert await ready.kinds(f"inv-{number}") == ["InvoiceSynced"]


async def test_dying_while_recording_rolls_back_and_the_answer_is_replayed(
    ready, died, monkeypatch
):
    from invoice_sync import send_intent

    def die(name):
        if name == "record:before_commit":
            raise died

    with monkeypatch.context() as patched:
        patched.setattr(send_intent, "failpoint", die)
        await ready.want(ready.invoice("inv-1"))
        with pytest.raises(died):
            await ready.turn()
    assert await ready.told("inv-1") == []
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]
    assert len(await ready.books.invoices("INV-1")) == 1


async def test_a_newer_version_that_arrives_during_the_call_follows_as_an_update(
    ready, kinds_of_event, died
):
    def die(_request):
        ready.gateway.after = None
        raise died

    ready.gateway.after = die
    await ready.want(ready.invoice("inv-1", reference="one"))
    with pytest.raises(died):
        await ready.turn()
    await ready.want(
        ready.invoice("inv-1", kind=kinds_of_event["updated"], version=2, reference="two")
    )
    assert await ready.state("inv-1") == "syncing"
    await ready.settle()
    (invoice,) = await ready.books.invoices("INV-1")
    assert invoice["reference"] == "two"
    assert [each.version for each in await ready.told("inv-1")] == [1, 2]


async def test_a_void_that_arrives_during_the_call_voids_what_was_created(
    ready, kinds_of_event, died
):
    def die(_request):
        ready.gateway.after = None
        raise died

    ready.gateway.after = die
    await ready.want(ready.invoice("inv-1"))
    with pytest.raises(died):
        await ready.turn()
    void = kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=2)
    await ready.want(void)
    await ready.settle()
    (invoice,) = await ready.books.invoices("INV-1")
    assert invoice["status"] == "VOIDED"
    assert await ready.state("inv-1") == "voided"


async def test_a_gateway_that_is_away_is_tried_again_and_told_once_when_it_lasts(ready):
    url, ready.gateway.xero_url = ready.gateway.xero_url, "http://127.0.0.1:9"
    await ready.want(ready.invoice("inv-1"))
    for _ in range(5):
        await ready.hurry()
        assert await ready.turn() is not None
    (failed,) = await ready.told("inv-1")
    assert failed.code == "XERO_UNAVAILABLE"
    assert failed.retryable
    assert failed.next_attempt_at is not None
    ready.gateway.xero_url = url
    await ready.settle()
    assert await ready.kinds("inv-1") == ["SyncFailed", "InvoiceSynced"]


async def test_a_worker_that_lost_its_lease_records_nothing(ready):
    from pipeline_messaging import leases

    def steal(_request):
        ready.gateway.after = None
        lost.append(True)

    lost: list[bool] = []
    ready.gateway.after = steal
    await ready.want(ready.invoice("inv-1"))
    async with ready.pool.acquire() as conn:
        await leases.mark_due(conn, [ready.account_id])
        (claim,) = await leases.claim(conn, limit=1, seconds=60)
        from invoice_sync.choose_work import Send, choose_work
        from invoice_sync.send_intent import send_intent

        work = await choose_work(ready.deps, claim.lease)
        assert isinstance(work, Send)
        await conn.execute("UPDATE account_leases SET epoch = epoch + 1")
        with pytest.raises(leases.LeaseLost):
            await send_intent(
                ready.deps, claim.lease, work.account, work.intent, chosen_at=work.chosen_at
            )
        await leases.mark_due(conn, [ready.account_id])
        await conn.execute("UPDATE account_leases SET lease_until = NULL")
    assert await ready.told("inv-1") == []
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]
    assert len(await ready.books.invoices("INV-1")) == 1


@pytest.mark.parametrize("stood", ["before", "while the database was asked for traces"])
async def test_a_worker_that_stood_still_does_not_send_as_if_nothing_had_happened(
    ready, stood, monkeypatch
):
    from invoice_sync import send_intent as sending
    from invoice_sync import trace_sends
    from invoice_sync.choose_work import Send, choose_work
    from invoice_sync.send_intent import send_intent
    from pipeline_messaging import leases

    await ready.want(ready.invoice("inv-1"))
    async with ready.pool.acquire() as conn:
        await leases.mark_due(conn, [ready.account_id])
        (claim,) = await leases.claim(conn, limit=1, seconds=60)
    work = await choose_work(ready.deps, claim.lease)
    assert isinstance(work, Send)
    with monkeypatch.context() as patched:
        chosen_at = work.chosen_at
        if stood == "before":
            chosen_at -= 60
        else:

            async def late(*_) -> list[tuple[str, str | None]]:
                patched.setattr(sending, "time", SimpleNamespace(monotonic=lambda: chosen_at + 60))
                return []

            patched.setattr(trace_sends.traces, "are_recorded", lambda: True)
            patched.setattr(trace_sends.invoices, "traceparents_of_intent", late)
        await send_intent(ready.deps, claim.lease, work.account, work.intent, chosen_at=chosen_at)
    assert ready.gateway.calls == []
    async with ready.pool.acquire() as conn:
        await leases.give_back(conn, claim.lease)
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]
