"""Each refusal of Xero's, given by the simulator, as everybody hears of it: event, status, failures."""

import pytest

from invoice_sync.domain.account_settings import AccountSettings, InvoiceStatus
from invoice_sync.explain_sync import explain_sync
from invoice_sync.store import account_settings, failures
from xero_simulator import messages


async def _archive_contact(service):
    contact_id = await service.pool.fetchval("SELECT contact_id FROM contact_mappings")
    await service.books.act("POST", f"contacts/{contact_id}", {"ContactStatus": "ARCHIVED"})


def _in_organisation(method, path="", **change):
    async def happen(service):
        where = f"{service.books.url}/admin/organisations/{service.books.tenant_id}{path}"
        reply = await service.books.http.request(method, where, json=change)
        assert reply.is_success

    return happen


_lock_period = _in_organisation("PATCH", period_lock_date="2026-04-30")
_lock_year = _in_organisation("PATCH", end_of_year_lock_date="2026-04-30")
_limit_approvals = _in_organisation("PATCH", monthly_approval_limit=0)
_archive_account = _in_organisation("PUT", "/accounts/260", status="ARCHIVED")


def _scripted(message):
    async def script(service):
        service.books.fault(
            "refused", method="PUT", path="/api.xro/2.0/Invoices*", times=0, text=message
        )

    return script


async def _nothing(service):
    """Xero refuses it as it is."""


# What has happened in Xero, what the line and the invoice name, the code, and what Xero says.
REFUSALS = {
    "no contact": (
        _scripted(messages.CONTACT_REQUIRED),
        {},
        {},
        "CONTACT_NOT_FOUND",
        messages.CONTACT_REQUIRED,
    ),
    "archived contact": (_archive_contact, {}, {}, "CONTACT_ARCHIVED", messages.CONTACT_ARCHIVED),
    "period lock": (_lock_period, {}, {}, "PERIOD_LOCKED", "period lock date"),
    "year lock": (_lock_year, {}, {}, "PERIOD_LOCKED", "end of year lock date"),
    "account": (_nothing, {"account_code": "999"}, {}, "ACCOUNT_NOT_MAPPED", "not a valid code"),
    "archived account": (
        _archive_account,
        {"account_code": "260"},
        {},
        "ACCOUNT_NOT_MAPPED",
        "has been archived, or has been deleted",
    ),
    "tax": (
        _nothing,
        {"tax_code": "INPUT2"},
        {"amounts_are": "tax_inclusive"},
        "TAX_NOT_MAPPED",
        "cannot be used with account code '200'",
    ),
    "tracking": (
        _nothing,
        {"tracking": [{"category": "Region", "option": "West"}]},
        {},
        "TRACKING_NOT_MAPPED",
        "does not exist",
    ),
    "item": (_nothing, {"item_code": "LP"}, {}, "ITEM_NOT_MAPPED", "Item code 'LP'"),
    "currency": (_nothing, {}, {"currency": "EUR"}, "CURRENCY_NOT_SUBSCRIBED", "currency EUR"),
    "limit": (_limit_approvals, {}, {}, "ORGANISATION_LIMIT", messages.APPROVAL_LIMIT),
    "status": (
        _scripted(messages.STATUS_FOR_CREATION),
        {},
        {},
        "STATUS_NOT_TAKEN",
        messages.STATUS_FOR_CREATION,
    ),
    "line total": (
        _scripted("The line total 10.00 does not match the expected line total 11.00"),
        {},
        {},
        "TOTAL_MISMATCH",
        "does not match the expected line total 11.00",
    ),
    "payment": (
        _scripted(messages.PAYMENT_TOO_LARGE),
        {},
        {},
        "INVOICE_HAS_PAYMENT",
        messages.PAYMENT_TOO_LARGE,
    ),
    "name of a contact": (
        _scripted(messages.CONTACT_NAME_TAKEN.format(name="Acme")),
        {},
        {},
        "CONTACT_NAME_TAKEN",
        "Acme is already assigned",
    ),
    "never seen": (_scripted("The moon is full."), {}, {}, "XERO_VALIDATION", "The moon is full."),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_told_alike_by_event_status_and_failures(ready, line_of, name):
    happens, on_line, on_invoice, code, said = REFUSALS[name]
    # Without lists it is Xero itself that refuses a code.
    await ready.pool.execute("DELETE FROM code_lists")
    await happens(ready)
    bad = ready.invoice("bad", lines=[line_of("1", **on_line)], **on_invoice)
    await ready.want(bad)
    await ready.turn()

    # A list that is read meanwhile may release it once; it then stops for the same cause.
    told, *again = await ready.told("bad")
    assert {each.code for each in (told, *again)} == {code}
    assert any(said in each for each in told.xero_errors)
    assert "{" not in told.message + told.hint
    async with ready.pool.acquire() as conn:
        found = await explain_sync(conn, ready.account_id, "bad", "https://go.xero.com")
        groups = await failures.groups(conn, ready.account_id)
    newest = (told, *again)[-1]
    assert (found.cause.block.code, found.cause.block.message) == (code, newest.message)
    assert found.cause.block.xero_errors == newest.xero_errors
    assert found.cause.whose_move in {"bookkeeper", "xero_admin", "account_admin"}
    refused = [each.note for each in found.timeline if each.note.code == code]
    assert refused
    assert found.next_attempt_at is None
    (group,) = groups
    assert (group.code, group.invoices, group.total) == (code, 1, bad.total)
    assert await ready.books.invoices() == []


async def test_the_line_at_fault_is_named(ready, line_of):
    await ready.pool.execute("DELETE FROM code_lists")
    lines = [line_of("1"), line_of("2", description="Strings", account_code="999")]
    await ready.want(ready.invoice("bad", lines=lines))
    await ready.turn()
    (told,) = await ready.told("bad")
    assert told.message.startswith("The account code 999 on line 2 (Strings) cannot be used")


async def test_a_warning_of_xeros_is_on_the_timeline_under_its_code(ready, line_of):
    async with ready.pool.acquire() as conn, conn.transaction():
        draft = AccountSettings(invoice_status=InvoiceStatus.DRAFT, version=1)
        await account_settings.save(conn, ready.account_id, draft)
    await ready.pool.execute("DELETE FROM code_lists")
    await ready.want(ready.invoice("inv-1", lines=[line_of("1", account_code="476")]))
    await ready.turn()
    assert await ready.kinds("inv-1") == ["InvoiceSynced"]
    (warned,) = await ready.pool.fetch(
        "SELECT code, detail FROM timeline WHERE kind = 'xero_warning'"
    )
    assert warned["code"] == "ACCOUNT_NOT_MAPPED"
    assert warned["detail"] == messages.ACCOUNT_REMOVED.format(code="476")


async def test_what_can_no_longer_be_changed_says_so(ready, kinds_of_event):
    """Refused while it was under way: somebody paid, or voided, between our look and our write."""
    for message, code in (
        (messages.PAID_NOT_EDITABLE, "INVOICE_HAS_PAYMENT"),
        (messages.STATUS_FOR_MODIFICATION, "INVOICE_NOT_EDITABLE"),
        (messages.VOID_REFUSED, "INVOICE_HAS_PAYMENT"),
    ):
        name = f"inv-{code}-{message[:5]}".lower().replace(" ", "")
        await ready.want(ready.invoice(name))
        await ready.turn()
        ready.books.fault("refused", method="POST", path="/api.xro/2.0/Invoices*", text=message)
        await ready.want(
            ready.invoice(name, kind=kinds_of_event["updated"], version=2, reference="PO 2")
        )
        await ready.turn()
        _, told = await ready.told(name)
        assert (told.code, told.xero_errors) == (code, (message,))
