"""What people and programs read of an account: causes since when, and what is not there."""

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from invoice_sync.retry_sync import retry_cause


@pytest.fixture
async def reading(sync_dsn, ready, tmp_path):
    """What one of the account's operators is answered, by method and path behind the account."""
    callers = Callers()
    app = app_over(ready.deps, sync_dsn, tmp_path, callers)
    headers = callers.person(ready.account_id, "admin")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://invoice-sync", headers=headers
    ) as client:

        async def ask(method, path, **sent):
            answer = await client.request(method, f"/v1/accounts/{ready.account_id}/{path}", **sent)
            return answer.status_code, answer.json() if answer.content else None

        yield ask


async def test_trying_again_does_not_move_since_when_invoices_wait(reading, ready, kinds_of_event):
    await ready.want(ready.invoice("inv-1", customer_id="nobody"))
    await ready.settle()
    _, told = await reading("GET", "failures")
    (cause,) = told["failures"]
    accepted = await ready.pool.fetchval("SELECT accepted_at FROM invoices")
    assert cause["waiting_since"] == accepted.isoformat().replace("+00:00", "Z")
    for _ in range(2):
        await retry_cause(ready.deps, ready.account_id, "CUSTOMER_NOT_MAPPED", "user:u")
        await ready.settle()
    await ready.want(
        ready.invoice("inv-1", version=2, kind=kinds_of_event["updated"], customer_id="nobody")
    )
    await ready.settle()
    _, told = await reading("GET", "failures")
    assert [each["waiting_since"] for each in told["failures"]] == [cause["waiting_since"]]


async def test_one_that_was_synced_waits_since_its_next_change(reading, ready, kinds_of_event):
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    await ready.want(
        ready.invoice("inv-1", version=2, kind=kinds_of_event["updated"], currency="EUR")
    )
    await ready.settle()
    _, told = await reading("GET", "failures")
    accepted = await ready.pool.fetchval("SELECT accepted_at FROM invoices")
    assert told["failures"][0]["waiting_since"] > accepted.isoformat()


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "imports/7/results", "IMPORT_UNKNOWN"),
        ("GET", "reconciliations/7/findings", "RECONCILIATION_UNKNOWN"),
        ("GET", "invoices/x/sync", "INVOICE_UNKNOWN"),
        ("POST", "invoices/x/sync/retry", "INVOICE_UNKNOWN"),
        ("GET", "invoices/x/sync/resolve", "INVOICE_UNKNOWN"),
        ("POST", "invoices/x/sync/resolve", "INVOICE_UNKNOWN"),
        ("POST", "invoices/x/sync/preview", "INVOICE_UNKNOWN"),
        ("POST", "failures/NO_SUCH/retry", "CAUSE_UNKNOWN"),
        ("GET", "contact-mappings/x", "CONTACT_NOT_MAPPED"),
        ("DELETE", "contact-mappings/x", "CONTACT_NOT_MAPPED"),
        ("GET", "contact-mappings/x/suggestions", "CUSTOMER_UNKNOWN"),
        ("GET", "code-mappings/item/x", "CODE_NOT_MAPPED"),
        ("DELETE", "code-mappings/item/x", "CODE_NOT_MAPPED"),
    ],
)
async def test_what_is_not_there_is_said_to_be_so(reading, method, path, code):
    body = (
        {"keep": "xero", "fingerprint": "f"}
        if path.endswith("resolve") and method == "POST"
        else None
    )
    status, told = await reading(method, path, json=body)
    assert (status, told["code"]) == (404, code)
    assert told["hint"]


@pytest.mark.parametrize(
    ("customer_id", "turned", "why", "hint"),
    [
        ("cust-1", True, "It is in Xero as it is in Pipeline.", "Nothing to do."),
        ("cust-1", False, "It is on its way to Xero.", "Nothing to do: it follows by itself."),
        ("nobody", True, "The customer nobody is not linked", "Link the customer"),
    ],
)
async def test_nothing_to_resolve_says_how_it_stands(
    reading, ready, customer_id, turned, why, hint
):
    await ready.want(ready.invoice("inv-1", customer_id=customer_id))
    if turned:
        await ready.settle()
    choice = {"keep": "xero", "fingerprint": "f"}
    status, told = await reading("POST", "invoices/inv-1/sync/resolve", json=choice)
    assert (status, told["code"]) == (409, "NOTHING_TO_RESOLVE")
    assert why in told["detail"]
    assert told["hint"].startswith(hint)
