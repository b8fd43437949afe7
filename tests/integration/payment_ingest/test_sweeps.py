"""Sweeps find what no webhook told of, page by page, whatever dies meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from payment_ingest import metrics
from payment_ingest.notice_gaps import notice_gaps, sweep_everybody
from payment_ingest.process_account import process_account
from pipeline_messaging import leases
from pipeline_messaging.worker import LeaseLost

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """Ends a turn as SIGKILL would: nothing handles it, open transactions are rolled back."""


async def state(service, kind="recent"):
    return await service.pool.fetchrow(
        "SELECT * FROM tenant_sweeps WHERE tenant_id = $1 AND kind = $2",
        service.xero.tenant_id,
        kind,
    )


async def paid_unheard(service, count: int) -> None:
    for number in range(count):
        invoice = service.xero.add()
        await service.link(invoice, f"inv-{number}")
        service.xero.pay(invoice, "10.00")


async def make_due(service, kind="recent", size=3) -> None:
    await service.pool.execute(
        "UPDATE tenant_sweeps SET next_at = now(), page_size = $2 WHERE kind = $1", kind, size
    )


async def test_the_watermark_moves_only_after_the_last_page_of_the_last_list(service):
    await paid_unheard(service, 8)
    before = (await state(service))["watermark"]
    await make_due(service)
    began = service.xero.now
    pages = []
    while await service.sweep_is_due():
        assert (await state(service))["watermark"] == before
        pages.append(((await state(service))["part"], (await state(service))["next_page"]))
        await service.turn()
        service.xero.now += timedelta(seconds=7)
    assert pages == [
        ("invoices", 1),
        ("invoices", 2),
        ("invoices", 3),
        ("payments", 1),
        ("payments", 2),
        ("payments", 3),
    ]
    after = await state(service)
    assert after["watermark"] == began
    assert (after["began_at"], after["part"], after["next_page"]) == (None, "invoices", 1)
    assert len(await service.told()) == 8
    calls = len(service.xero.calls)
    await service.turn()
    assert len(service.xero.calls) == calls  # not due again before the interval is over


async def test_a_page_shorter_than_asked_for_is_not_taken_for_the_last(service):
    await paid_unheard(service, 7)
    service.xero.without_pagination = True
    await make_due(service, "deep")
    short = service.xero._select

    def two_of_three(query, asked):
        query["pageSize"] = ["2"]
        return short(query, asked)

    service.xero._select = two_of_three
    while await service.sweep_is_due("deep"):
        await service.turn()
    assert len(await service.told()) == 7


@pytest.mark.parametrize("kind", ["recent", "deep"])
@pytest.mark.parametrize(
    "step",
    ["sweep:after_fetch", "sweep:after_portion", "sweep:before_commit", "sweep:after_commit"],
)
async def test_killed_at_each_page_it_goes_on_where_it_was(service, monkeypatch, step, kind):
    await paid_unheard(service, 7)
    before = (await state(service))["watermark"]
    due_to_die = []

    def failpoint(name):
        if name == step and due_to_die:
            due_to_die.clear()
            raise Killed

    for module in ("sweep_account", "read_invoices", "read_payments"):
        monkeypatch.setattr(f"payment_ingest.{module}.failpoint", failpoint)
    monkeypatch.setattr("payment_ingest.sweep_account._AT_ONCE", 2)
    await make_due(service, kind)
    died = 0
    while await service.sweep_is_due(kind):
        due_to_die.append(True)
        try:
            await service.turn()
        except Killed:
            died += 1
            if (await state(service, kind))["began_at"] or step != "sweep:after_commit":
                assert (await state(service))["watermark"] == before
        due_to_die.clear()
        if await service.sweep_is_due(kind) and step != "sweep:after_commit":
            await service.turn()
    assert died >= 3
    told = await service.told()
    assert sorted(one.subject for one in told) == sorted(f"inv-{number}" for number in range(7))
    assert {one.event.sequence for one in told} == {1}
    assert {one.event.found_by for one in told} == {"sweep"}


async def test_a_page_read_under_a_lost_lease_changes_nothing(service):
    await paid_unheard(service, 1)
    await make_due(service)
    before = await state(service)

    async def taken_over():
        service.xero.before_answer = None
        await service.pool.execute("UPDATE account_leases SET epoch = epoch + 1")

    service.xero.before_answer = taken_over
    with pytest.raises(LeaseLost):
        await service.turn()
    assert await service.told() == []
    assert await state(service) == before


async def test_two_accounts_of_one_tenant_sweep_it_without_losing_a_page(service):
    """Each has a lease of its own: the slower reads a page that the faster has long taken in."""
    other = type(service)(service.pool, service.xero, service.deps)
    await other.connect()
    await service.sweep()
    await paid_unheard(service, 8)
    await make_due(service)
    await service.pool.execute("UPDATE tenant_sweeps SET requests = 0")
    await service.pool.execute("UPDATE account_leases SET due_at = NULL")

    async def overtaken():
        service.xero.before_answer = None
        async with service.pool.acquire() as conn:
            await leases.mark_due(conn, [other.account_id])
            (claim,) = await leases.claim(conn, limit=1, seconds=60)
            await process_account(service.deps, claim.lease)
            await process_account(service.deps, claim.lease)
            await leases.give_back(conn, claim.lease)

    service.xero.before_answer = overtaken
    await service.turn()
    now = await state(service)
    assert (now["part"], now["next_page"], now["requests"]) == ("invoices", 3, 0)
    while await service.sweep_is_due():
        await service.turn()
    assert len(await service.told()) == 8
    assert len({one.id for one in await service.told()}) == 8


async def test_a_page_too_large_for_one_answer_is_asked_for_in_smaller_ones(service):
    await paid_unheard(service, 30)
    await make_due(service, size=1000)
    too_large = (200, {"content-type": "application/json"}, b"{" + b" " * 33 * 1024 * 1024)
    service.xero.answers += [too_large, too_large]
    await service.turn()
    await service.turn()
    assert (await state(service))["page_size"] == 10
    while await service.sweep_is_due():
        await service.turn()
    assert len(await service.told()) == 30
    assert (await state(service))["page_size"] == 1000


@pytest.mark.parametrize("kind", ["recent", "deep"])
async def test_a_page_that_xero_is_too_slow_for_is_asked_for_in_smaller_ones(service, kind):
    await paid_unheard(service, 3)
    await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() WHERE kind = $1", kind)
    for size in ("1000", "100", "100"):
        service.xero.calls.clear()
        service.xero.answers.append((504, {}, b""))
        await service.turn()
        assert [call["pageSize"] for call in service.xero.calls] == [[size]]
        await service.pool.execute("UPDATE connections SET not_before = NULL")
    # An outage ends: pages ten times as small cost ten times the calls, so no smaller for that reason.
    await service.sweep(kind)
    assert len(await service.told()) == 3
    assert await service.pool.fetchval("SELECT min(page_size) FROM tenant_sweeps") == 1000


async def test_an_answer_never_understood_is_put_off_and_holds_up_no_doorbell(service):
    await make_due(service, size=10)
    service.xero.answers.append((200, {"content-type": "application/json"}, b"<html>"))
    back = await service.turn()
    assert back > datetime.now(UTC) + timedelta(minutes=10)


async def test_a_payment_deleted_or_made_without_moving_its_invoice_is_found_by_the_list_of_payments(
    service,
):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    payment = service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()

    service.xero.unpay(invoice, payment)
    service.xero.pay(invoice, "25.00")
    service.xero.invoices[invoice]["_updated"] = LONG_AGO
    await service.sweep()
    await service.turn()
    assert [one.event.found_by for one in await service.told()] == ["webhook", "sweep", "sweep"]
    assert await service.payments_sum() == Decimal("25.00")


async def test_the_deep_sweep_finds_what_moved_nothing_and_reads_a_thousand_at_once(service):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.allocate(invoice, "10.00")
    service.xero.invoices[invoice]["_updated"] = LONG_AGO
    await service.sweep()
    assert await service.told() == []
    service.xero.calls.clear()
    await service.sweep("deep")
    (envelope,) = await service.told()
    assert (envelope.event.kind, envelope.event.found_by) == ("credit_note", "sweep")
    assert [call["pageSize"] for call in service.xero.calls] == [["1000"]]
    pause = (await state(service, "deep"))["next_at"] - datetime.now(UTC)
    assert timedelta(hours=11) < pause < timedelta(hours=36)


async def test_payments_made_before_the_connection_are_told_when_their_invoice_is_taken_over(
    pool, new_service, service
):
    xero = type(service.xero)()
    invoice = xero.add()
    xero.pay(invoice, "10.00")
    xero.invoices[invoice]["_updated"] = LONG_AGO
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=xero)) as client:
        fresh = new_service(pool, xero, client)
        await fresh.connect()
        for _ in range(3):
            await fresh.turn()
        await fresh.link(invoice, "inv-old")
    (envelope,) = await fresh.told()
    assert envelope.event.amount == Decimal("10.00")


def missed() -> float:
    return metrics.MISSED._value.get()


async def test_what_no_webhook_told_of_is_counted_and_brings_the_next_sweep_nearer(service):
    before = missed()
    await paid_unheard(service, 2)
    service.xero.now += timedelta(minutes=5)
    await service.sweep()
    assert missed() - before == 2
    pause = (await state(service))["next_at"] - datetime.now(UTC)
    assert timedelta(minutes=2) < pause < timedelta(minutes=4)
    await service.sweep()
    assert missed() - before == 2
    assert (await state(service))["next_at"] > datetime.now(UTC) + timedelta(minutes=14)


async def test_a_sweep_that_is_merely_faster_than_the_webhook_missed_nothing(service):
    before = missed()
    await paid_unheard(service, 1)
    await service.sweep()  # within a minute of the payment
    invoice = service.xero.add()
    service.xero.pay(invoice, "10.00")
    service.xero.now += timedelta(minutes=5)
    await service.ring(invoice)
    await service.pool.execute("UPDATE doorbells SET next_at = now() + interval '1 hour'")
    await service.sweep()
    assert missed() == before


async def test_missing_numbers_of_events_lead_to_one_sweep_of_everybody(service, webhook_of):
    tenant = service.xero.tenant_id
    nothing = timedelta(0)

    async def hear(*numbers):
        await service.hear(
            *(
                webhook_of((tenant, "0" * 8 + "-0000-0000-0000-" + "0" * 12), sequence=n)
                for n in numbers
            )
        )
        return await notice_gaps(service.pool, service.deps.sweep, nothing)

    assert await hear(100, 101) == 0
    assert await hear(103, 102) == 0  # overtaken, not lost
    await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() + interval '10 minutes'")
    await service.hear(webhook_of((tenant, service.xero.add()), sequence=108))
    assert await notice_gaps(service.pool, service.deps.sweep) == 0  # it may still come
    assert await notice_gaps(service.pool, service.deps.sweep, nothing) == 4
    assert (await state(service))["next_at"] < datetime.now(UTC) + timedelta(minutes=3)
    assert await notice_gaps(service.pool, service.deps.sweep, nothing) == 0
    assert await hear(105, 0, 109) == 0  # late after all; intent to receive; the next


async def test_what_is_heard_again_from_before_all_that_was_ever_heard_is_no_gap(
    service, webhook_of
):
    """A replay on request, or Xero sending what it kept of the last month: neither makes numbers missing."""
    tenant, nothing = service.xero.tenant_id, timedelta(0)
    old = webhook_of((tenant, service.xero.add()), sequence=5)
    await service.hear(old)
    await service.pool.execute("UPDATE webhook_sequences SET seen = '{[1000,1001)}'")
    await service.pool.execute(
        "INSERT INTO unread_deliveries SELECT received_at, body_hash, true FROM raw_deliveries"
    )
    await service.hear()
    assert await service.pool.fetchval("SELECT count(*) FROM unread_deliveries") == 0
    await service.hear(webhook_of((tenant, service.xero.add()), sequence=7))
    await service.hear(webhook_of((tenant, service.xero.add()), sequence=1001))
    assert await notice_gaps(service.pool, service.deps.sweep, nothing) == 0
    # And a hole is still seen.
    await service.hear(webhook_of((tenant, service.xero.add()), sequence=1003))
    assert await notice_gaps(service.pool, service.deps.sweep, nothing) == 1


async def test_a_start_sweeps_every_connected_tenant_once_a_pause(service):
    await service.pool.execute("UPDATE tenant_sweeps SET completed_at = now() - interval '1 hour'")
    await sweep_everybody(service.pool, service.deps.sweep)
    assert (await state(service))["next_at"] < datetime.now(UTC) + timedelta(minutes=1)
    await service.sweep()
    await sweep_everybody(service.pool, service.deps.sweep)
    assert (await state(service))["next_at"] > datetime.now(UTC) + timedelta(seconds=50)
    await service.connect("DISCONNECTED")
    await service.pool.execute("UPDATE tenant_sweeps SET next_at = now() + interval '1 day'")
    await sweep_everybody(service.pool, service.deps.sweep)
    assert (await state(service))["next_at"] > datetime.now(UTC) + timedelta(hours=1)


async def test_a_tenant_only_the_former_release_heard_of_is_swept_too(service):
    await service.pool.execute("DELETE FROM tenant_sweeps")
    assert await service.turn() <= datetime.now(UTC)
    assert await service.pool.fetchval("SELECT count(*) FROM tenant_sweeps") == 2
