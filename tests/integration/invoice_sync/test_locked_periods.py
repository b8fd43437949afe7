"""A day that is locked in Xero: known before sending, told with both dates, and over as soon as the lock has moved."""

from datetime import UTC, datetime

import pytest

from invoice_sync.domain.account_settings import InvoiceStatus
from invoice_sync.domain.state import Choice, Keep
from invoice_sync.preview_sync import preview_sync
from invoice_sync.resolve_conflict import find_conflict, resolve_conflict
from invoice_sync.retry_sync import retry_cause, retry_invoice
from pipeline_service_defaults.problems import Problem

APRIL, MAY_3, JUNE = "2026-04-30", "2026-05-03", "2026-06-30"


async def lock(service, *, year=None, period=None, clear=False):
    where = f"{service.books.url}/admin/organisations/{service.books.tenant_id}"
    change = {"end_of_year_lock_date": year, "period_lock_date": period}
    change = {key: value for key, value in change.items() if value is not None}
    await service.books.http.patch(where, json={"clear_lock_dates": clear, **change})


async def age(service, by="1 hour"):
    """What was read is old by now, and what is read again by itself is due."""
    await service.pool.execute(
        "UPDATE lock_dates SET read_at = read_at - $1::text::interval, tried_at = tried_at - $1::text::interval",
        by,
    )
    await service.pool.execute(
        "UPDATE accounts SET codes_due_at = codes_due_at - $1::text::interval", by
    )


def writes(service):
    return [path for method, path in service.gateway.calls if method != "GET"]


def readings(service):
    return [path for _, path in service.gateway.calls if path == "Organisation"]


def dated(service, invoice_id, day=MAY_3, **fields):
    return service.invoice(invoice_id, issue_date=day, due_date="2027-07-31", **fields)


async def block(service, invoice_id):
    row = await service.row(invoice_id)
    return row["state"], row["block_code"]


@pytest.fixture
async def locked(ready):
    """Connected to an organisation that has locked everything up to 30 June for all users."""
    await lock(ready, year=JUNE)
    await age(ready, "2 days")
    ready.gateway.calls.clear()
    return ready


async def test_a_locked_day_is_told_without_a_write_by_one_reading_and_the_others_go(locked):
    await locked.want(
        *(dated(locked, f"old-{n}") for n in range(30)), dated(locked, "new", "2026-07-01")
    )
    await locked.settle()
    assert (len(readings(locked)), writes(locked)) == (1, ["Invoices"])
    assert await block(locked, "old-7") == ("failed", "PERIOD_LOCKED")
    assert await locked.state("new") == "synced"
    (told,) = await locked.told("old-7")
    assert "dated 2026-05-03, but the books in Xero are locked up to 2026-06-30" in told.message
    assert "Ask an adviser" in told.hint

    # Nobody tells us that the lock has moved: it is read again by itself while something waits, and lets go what it opens.
    await locked.want(dated(locked, "older", "2026-04-01"))
    await locked.settle()
    await lock(locked, year=APRIL)
    await age(locked)
    await locked.settle()
    assert await locked.state("old-7") == "synced"
    assert await block(locked, "older") == ("failed", "PERIOD_LOCKED")
    assert len(readings(locked)) == 2
    assert [type(each).__name__ for each in await locked.told("older")] == ["SyncFailed"]
    assert len(await locked.books.invoices()) == 31


async def test_an_old_reading_stops_nothing_before_it_was_repeated(ready):
    await lock(ready, year=JUNE)
    await age(ready)
    await ready.want(dated(ready, "first"))
    await ready.settle()
    await lock(ready, clear=True)
    await age(ready, "6 minutes")
    await ready.pool.execute("UPDATE accounts SET codes_due_at = NULL")
    await ready.want(dated(ready, "second"))
    await ready.settle()
    assert await ready.state("second") == "synced"


async def test_dates_that_cannot_be_read_leave_it_to_xero(locked):
    await locked.want(dated(locked, "first"))
    await locked.settle()
    await lock(locked, clear=True)
    await age(locked)
    locked.books.fault("unavailable_503", method="GET", path="/api.xro/2.0/Organisation*", times=0)
    await locked.want(dated(locked, "second"))
    await locked.settle()
    assert await locked.state("second") == "synced"
    assert await block(locked, "first") == ("failed", "PERIOD_LOCKED")


@pytest.mark.parametrize("by_cause", [False, True])
async def test_whoever_moved_the_lock_and_retries_is_believed_at_once(locked, by_cause):
    await locked.want(dated(locked, "inv-1"))
    await locked.settle()
    await lock(locked, clear=True)
    if by_cause:
        assert await retry_cause(locked.deps, locked.account_id, "PERIOD_LOCKED", "user:u") == 1
    else:
        await retry_invoice(locked.deps, locked.account_id, "inv-1", "user:u")
    await locked.settle()
    assert await locked.state("inv-1") == "synced"


async def test_the_lock_for_all_but_advisers_stops_only_whom_xero_has_refused(ready):
    await lock(ready, period=JUNE)
    await age(ready)
    await ready.want(dated(ready, "first"))
    await ready.settle()
    # Nobody can tell whether an adviser connected: Xero says it.
    assert (await block(ready, "first"), len(writes(ready))) == (("failed", "PERIOD_LOCKED"), 1)
    (told,) = await ready.told("first")
    assert "period lock date" in told.xero_errors[0]
    assert "dated 2026-05-03" in told.message
    await ready.want(dated(ready, "second"))
    await ready.settle()
    assert (await block(ready, "second"), len(writes(ready))) == (("failed", "PERIOD_LOCKED"), 1)
    # Connected anew, it may be by an adviser: both are tried again without a click.
    await ready.books.http.patch(
        f"{ready.books.url}/admin/switches", json={"connected_by_adviser": True}
    )
    await ready.connect()
    await ready.settle()
    assert [await ready.state(each) for each in ("first", "second")] == ["synced", "synced"]


async def test_a_refusal_of_a_day_that_is_open_by_now_does_not_hide_a_later_one(ready):
    await lock(ready, period=JUNE)
    await age(ready)
    await ready.want(dated(ready, "june", "2026-06-15"))
    await ready.settle()
    await lock(ready, period="2026-05-31")
    await age(ready)
    await ready.settle()
    assert await ready.state("june") == "synced"
    await ready.want(dated(ready, "may"))
    await ready.settle()
    sent = len(writes(ready))
    for _ in range(3):
        await age(ready)
        await ready.settle()
    # Xero has said that May is locked for us; it is not asked again and again.
    assert (await block(ready, "may"), len(writes(ready))) == (("failed", "PERIOD_LOCKED"), sent)


async def test_a_lock_set_since_the_reading_is_refused_by_xero_and_known_from_then_on(ready):
    await lock(ready, year=JUNE)
    await ready.want(dated(ready, "first"))
    await ready.settle()
    assert (await block(ready, "first"), len(writes(ready))) == (("failed", "PERIOD_LOCKED"), 1)
    await age(ready, "11 minutes")  # refusals in a row ask for one reading
    await ready.pool.execute("UPDATE accounts SET codes_due_at = now()")
    await ready.want(dated(ready, "second"))
    await ready.settle()
    assert (await block(ready, "second"), len(writes(ready))) == (("failed", "PERIOD_LOCKED"), 1)
    await lock(ready, clear=True)
    await age(ready)
    await ready.settle()
    assert [await ready.state(each) for each in ("first", "second")] == ["synced", "synced"]


async def test_drafts_are_free(locked):
    await locked.pool.execute(
        """
        INSERT INTO account_settings (account_id, version, invoice_status, mapping_policy, number_prefix)
        VALUES ($1, 1, $2, 'create', '')
        """,
        locked.account_id,
        InvoiceStatus.DRAFT,
    )
    await locked.want(dated(locked, "inv-1"))
    await locked.settle()
    await locked.want(dated(locked, "inv-1", version=2, reference="new"))
    await locked.settle()
    assert await locked.state("inv-1") == "synced"
    assert (await locked.books.invoices())[0]["status"] == "DRAFT"


@pytest.mark.parametrize("change", ["a text", "a void", "a date that is open"])
async def test_what_is_in_a_locked_period_is_neither_changed_nor_voided(
    ready, kinds_of_event, change
):
    await ready.want(dated(ready, "inv-1"))
    await ready.settle()
    await lock(ready, year=JUNE)
    await age(ready, "2 days")
    ready.gateway.calls.clear()
    void = kinds_of_event["voided"](account_id=ready.account_id, invoice_id="inv-1", version=2)
    wanted = {
        "a text": dated(ready, "inv-1", version=2, reference="new"),
        "a void": void,
        "a date that is open": dated(ready, "inv-1", "2026-07-01", version=2),
    }
    await ready.want(wanted[change])
    await ready.settle()
    assert (len(readings(ready)), writes(ready)) == (1, [])
    assert await block(ready, "inv-1") == ("failed", "PERIOD_LOCKED")
    told = (await ready.told("inv-1"))[-1]
    assert "changed or voided" in told.message
    await lock(ready, clear=True)
    await age(ready)
    await ready.settle()
    assert await ready.state("inv-1") in {"synced", "voided"}
    assert len(writes(ready)) == 1


async def test_a_new_date_in_a_locked_period_is_stopped_and_payments_there_are_no_matter(ready):
    await ready.want(dated(ready, "inv-1", "2026-07-01"))
    await ready.settle()
    await lock(ready, year=JUNE)
    await age(ready)
    await ready.want(dated(ready, "inv-1", version=2))
    await ready.settle()
    assert await block(ready, "inv-1") == ("failed", "PERIOD_LOCKED")
    await ready.want(dated(ready, "inv-1", "2026-07-02", version=3))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


async def test_a_preview_tells_what_is_locked_for_all_and_what_may_be(ready):
    async def told(invoice_id):
        found = await preview_sync(ready.deps, ready.account_id, invoice_id, None)
        return found.ahead, [(each.block.code, each.is_certain) for each in found.findings]

    await ready.want(dated(ready, "inv-1"))
    await lock(ready, year=JUNE)
    assert await told("inv-1") == ("stop", [("PERIOD_LOCKED", True)])
    await lock(ready, clear=True, period=JUNE)
    assert await told("inv-1") == ("create", [("PERIOD_LOCKED", False)])
    await lock(ready, clear=True)
    await ready.settle()
    await ready.want(dated(ready, "inv-1", version=2, reference="new"))
    await lock(ready, period=JUNE)
    assert await told("inv-1") == ("change", [("PERIOD_LOCKED", False)])
    await lock(ready, year=JUNE)
    assert await told("inv-1") == ("stop", [("PERIOD_LOCKED", True)])
    assert len(await ready.books.invoices()) == 1


async def test_pipelines_version_cannot_be_chosen_while_its_day_is_locked(ready):
    await ready.want(dated(ready, "inv-1"))
    await ready.settle()
    await lock(ready, year=JUNE)
    await age(ready)
    await ready.want(dated(ready, "inv-1", version=2, reference="new"))
    await ready.settle()
    _, conflict = await find_conflict(ready.deps, ready.account_id, "inv-1")
    option = conflict.option(Keep.PIPELINE)
    assert "locked up to 2026-06-30" in option.why_not
    with pytest.raises(Problem, match="CHOICE_NOT_POSSIBLE"):
        await resolve_conflict(
            ready.deps,
            ready.account_id,
            "inv-1",
            Choice(Keep.PIPELINE, conflict.fingerprint, "user:u"),
        )
    await resolve_conflict(
        ready.deps, ready.account_id, "inv-1", Choice(Keep.XERO, conflict.fingerprint, "user:u")
    )
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


async def test_the_dates_are_read_once_a_day_for_documents_of_earlier_months_only(ready):
    def todays(invoice_id):
        return dated(ready, invoice_id, datetime.now(UTC).date().isoformat())

    await ready.want(*(dated(ready, f"inv-{n}") for n in range(5)), todays("today"))
    await ready.settle()
    assert readings(ready) == []
    await age(ready, "2 days")
    await ready.want(todays("now"))
    await ready.settle()
    assert readings(ready) == []
    await ready.want(*(dated(ready, f"more-{n}") for n in range(5)))
    await ready.settle()
    assert len(readings(ready)) == 1
