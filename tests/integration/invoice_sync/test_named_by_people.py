"""What people name is looked up in Xero: codes no line can name, defaults Xero has not, and how often Xero is asked."""

from dataclasses import replace

import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code
from invoice_sync.map_contact import map_contact
from invoice_sync.store import account_settings, preview_allowances
from invoice_sync.suggest_contacts import suggest_for
from pipeline_service_defaults.problems import Problem


async def choose(service, **chosen):
    wanted = replace(AccountSettings(), **chosen)
    return await change_settings(
        service.deps, service.account_id, wanted, version=0, actor="user:u"
    )


async def map_to(service, kind, code, xero_code):
    return await map_code(service.deps, service.account_id, kind, code, xero_code, "user:u")


async def test_an_account_that_no_line_can_name_is_said_to_be_that_and_not_to_be_missing(ready):
    for code, word in (("090", "is a bank account"), ("610", "is kept by Xero itself")):
        with pytest.raises(Problem) as refused:
            await map_to(ready, CodeKind.ACCOUNT, "BANK", code)
        assert refused.value.code == "XERO_CODE_UNUSABLE"
        assert word in refused.value.detail
        assert "no active" not in refused.value.detail
        assert refused.value.extra["errors"][0]["field"] == "body.xero_code"


@pytest.mark.parametrize(
    ("wrong", "code", "right"),
    [
        ({"default_account_code": "9999"}, "XERO_CODE_UNKNOWN", {"default_account_code": "260"}),
        ({"default_account_code": "090"}, "XERO_CODE_UNUSABLE", {"default_account_code": "260"}),
        ({"default_tax_type": "OUTPUT9"}, "XERO_CODE_UNKNOWN", {"default_tax_type": "OUTPUT2"}),
    ],
)
async def test_a_default_that_xero_has_not_is_refused_as_a_mapped_code_is(
    ready, wrong, code, right
):
    with pytest.raises(Problem) as refused:
        await choose(ready, **wrong)
    assert refused.value.code == code
    assert refused.value.extra["errors"][0]["field"] == f"body.{next(iter(wrong))}"
    async with ready.pool.acquire() as conn:
        assert await account_settings.find(conn, ready.account_id) == AccountSettings()
    changed = await choose(ready, **right)
    assert (changed.is_checked, changed.settings.version) == (True, 1)


async def test_where_xero_cannot_be_asked_a_default_is_taken_and_said_to_be_unchecked(service):
    changed = await choose(service, default_account_code="205")
    assert (changed.is_checked, changed.settings.default_account_code) == (False, "205")


async def test_questions_of_people_to_xero_have_an_allowance_that_comes_back(ready):
    known, unknown = ("260", "9999")
    await ready.pool.execute(
        "INSERT INTO preview_allowances VALUES ($1, now() + $2::interval)",
        ready.account_id,
        preview_allowances.AT_ONCE - preview_allowances.A_CALL,
    )
    ready.gateway.calls.clear()
    for expected in ("XERO_CODE_UNKNOWN", "QUESTIONS_USED_UP"):
        with pytest.raises(Problem) as refused:
            await map_to(ready, CodeKind.ACCOUNT, "SALES", unknown)
        assert refused.value.code == expected
    assert 0 < int(refused.value.headers["Retry-After"]) <= 60
    (contact,) = (await ready.books.ledger())["contacts"]
    for asking in (
        map_contact(ready.deps, ready.account_id, "cust-9", contact["contact_id"], "user:u"),
        suggest_for(ready.deps, ready.account_id, "cust-1"),
    ):
        with pytest.raises(Problem) as refused:
            await asking
        assert refused.value.code == "QUESTIONS_USED_UP"
    assert ready.gateway.calls == [("GET", "Accounts")]
    # What needs no answer of Xero's is taken; and a minute later the next question is free.
    assert (await map_to(ready, CodeKind.ACCOUNT, "SALES", known)).is_checked
    await ready.pool.execute(
        "UPDATE preview_allowances SET spent_until = spent_until - interval '1 minute'"
    )
    await map_contact(ready.deps, ready.account_id, "cust-9", contact["contact_id"], "user:u")
