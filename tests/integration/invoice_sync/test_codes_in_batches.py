"""Codes of invoices that are in Xero already, compared and changed many to a call."""

import asyncio
from datetime import timedelta

import pytest

from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code
from invoice_sync.store import codes

INVOICES = "/api.xro/2.0/Invoices*"


@pytest.fixture
async def recoded(ready, kinds_of_event, line_of):
    """Three invoices are in Xero; this gives those with these numbers the account SALES, the others a reference."""
    await ready.want(*(ready.invoice(f"inv-{number}") for number in range(3)))
    await ready.settle()
    ready.gateway.calls.clear()

    async def publish(*numbers: int) -> None:
        lines = {"lines": [line_of("1", account_code="SALES")]}
        await ready.want(
            *(
                ready.invoice(
                    f"inv-{number}",
                    kind=kinds_of_event["updated"],
                    version=2,
                    **(lines if number in numbers else {"reference": "v2"}),
                )
                for number in range(3)
            )
        )

    return publish


async def map_sales(service, xero_code):
    return await map_code(
        service.deps, service.account_id, CodeKind.ACCOUNT, "SALES", xero_code, "user:u"
    )


async def account_in_xero(service, invoice_id):
    xero_id = await service.pool.fetchval(
        "SELECT xero_invoice_id FROM invoice_links WHERE invoice_id = $1", invoice_id
    )
    reply = await service.deps.gateway.get(service.account_id, f"Invoices/{xero_id}")
    (line,) = reply.json()["Invoices"][0]["LineItems"]
    return line["AccountCode"]


def posts(service):
    return [path for method, path in service.gateway.calls if method == "POST"]


async def test_one_whose_code_xero_lacks_waits_for_it_and_the_others_go_on(ready, recoded):
    await recoded(1)
    await ready.settle()
    assert posts(ready) == ["Invoices"]
    assert [await ready.state(f"inv-{number}") for number in range(3)] == [
        "synced",
        "failed",
        "synced",
    ]
    row = await ready.row("inv-1")
    assert (row["block_code"], row["waits_for"]) == ("ACCOUNT_NOT_MAPPED", '["account:SALES"]')
    # Somebody may add the code in Xero, which does not tell.
    assert await ready.pool.fetchval("SELECT codes_due_at > now() FROM accounts")
    assert (await map_sales(ready, "260")).released == 1
    await ready.settle()
    assert await ready.state("inv-1") == "synced"
    assert await account_in_xero(ready, "inv-1") == "260"
    assert posts(ready) == ["Invoices", "Invoices"]


async def test_a_mapping_made_while_a_comparison_decides_is_not_missed(ready, recoded, monkeypatch):
    made = []
    look = codes.terms_of

    async def then_map(conn, *args):
        terms = await look(conn, *args)
        is_compared = any(method == "GET" for method, _ in ready.gateway.calls)
        if is_compared and not made:
            made.append(asyncio.create_task(map_sales(ready, "260")))
            async with asyncio.timeout(10):
                while not (  # noqa: ASYNC110 - another connection's lock
                    made[0].done() or await waits_for_a_lock(ready)
                ):
                    await asyncio.sleep(0.01)
        return terms

    monkeypatch.setattr(codes, "terms_of", then_map)
    await recoded(0, 1, 2)
    await ready.settle()
    assert (
        await made[0]
    ).released == 1  # the one just decided on; the others are decided on after it
    await ready.settle()
    for number in range(3):
        assert await ready.state(f"inv-{number}") == "synced"
        assert await account_in_xero(ready, f"inv-{number}") == "260"


async def waits_for_a_lock(service) -> bool:
    return await service.pool.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )


@pytest.mark.parametrize("fault", ["reset_before", "commit_then_reset"])
async def test_a_change_of_unknown_outcome_keeps_the_codes_it_was_sent_with(ready, recoded, fault):
    await map_sales(ready, "260")
    ready.books.fault(fault, method="POST", path=INVOICES)
    await recoded(0, 1, 2)
    await ready.turn()
    assert await ready.state("inv-1") == "syncing"
    await map_sales(ready, "200")
    await ready.age_intents(timedelta(minutes=1))
    await ready.settle()
    for number in range(3):
        assert await ready.state(f"inv-{number}") == "synced"
        assert await account_in_xero(ready, f"inv-{number}") == "260"
    assert len(posts(ready)) == (2 if fault == "reset_before" else 1)
