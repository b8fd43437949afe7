"""Changes of invoices in Xero by processes that are killed or frozen: nothing lost, doubled or overwritten."""

import asyncio
import signal

import pytest
from service_processes import until
from sync_processes import gateway_app, one_of_two_frozen, running_process

from pipeline_contracts.sync import InvoiceSynced, OutOfSync
from pipeline_messaging import leases

pytestmark = pytest.mark.usefixtures("judged")

CHANGING_STEPS = [
    "compare:after_read",
    "update:before_intent",
    "update:after_intent",
    "send:before",
    "send:after",
    "record:before",
    "record:before_commit",
    "record:after",
]


@pytest.mark.parametrize("step", CHANGING_STEPS)
async def test_killed_at_any_step_of_changes_nothing_is_lost_doubled_or_overwritten(
    service, sync_dsn, identities, serve, kinds_of_event, step
):
    """Four changes and a void; somebody edits one of the four while nobody is there to notice."""
    await in_xero_and_wanted_otherwise(service, kinds_of_event, 5)
    async with serve(gateway_app(service.gateway)) as gateway_url:
        async with running_process(sync_dsn, gateway_url, identities, failpoint=step) as victim:
            async with asyncio.timeout(40):
                assert await victim.wait() == -signal.SIGKILL
        await service.books.act("POST", "invoices/INV-0", {"Reference": "theirs"})
        async with running_process(sync_dsn, gateway_url, identities):
            await until(lambda: nothing_due(service), "nothing is due or open")
    await changed_once(service, step, edited=0)


async def in_xero_and_wanted_otherwise(service, kinds_of_event, count) -> None:
    await service.connect()
    await service.know("cust-1")
    await service.want(*(service.invoice(f"inv-{number}") for number in range(count)))
    await service.settle()
    await service.want(
        *(
            service.invoice(
                f"inv-{number}", kind=kinds_of_event["updated"], version=2, reference="ours"
            )
            for number in range(count - 1)
        ),
        kinds_of_event["voided"](
            account_id=service.account_id, invoice_id=f"inv-{count - 1}", version=2
        ),
    )


async def changed_once(service, step, edited) -> None:
    invoices = {each["number"]: each for each in await service.books.invoices()}
    assert len(invoices) == 5
    assert invoices["INV-4"]["status"] == "VOIDED"
    assert await service.state("inv-4") == "voided"
    for number in range(4):
        invoice, told = invoices[f"INV-{number}"], await service.told(f"inv-{number}")
        if number != edited:
            assert invoice["reference"] == "ours"
            assert [each.version for each in told if isinstance(each, InvoiceSynced)] == [1, 2]
            continue
        assert invoice["reference"] == "theirs"
        # Recorded before the edit, our change is the base of what XeroInvoiceObserved will tell later.
        recorded = step == "record:after"
        assert isinstance(told[-1], InvoiceSynced if recorded else OutOfSync)


async def nothing_due(service) -> bool:
    return await service.pool.fetchval(
        """
        SELECT NOT EXISTS (SELECT FROM invoices WHERE due_at IS NOT NULL OR intent_id IS NOT NULL)
           AND NOT EXISTS (SELECT FROM intents)
        """
    )


@pytest.mark.parametrize("step", ["lookup:before", "lookup:after"])
async def test_killed_while_looking_up_changes_nothing_is_lost_or_overwritten(
    service, sync_dsn, identities, serve, kinds_of_event, step
):
    await in_xero_and_wanted_otherwise(service, kinds_of_event, 5)
    async with serve(gateway_app(service.gateway)) as gateway_url:
        for failpoint in ("send:before", step):
            async with running_process(
                sync_dsn, gateway_url, identities, failpoint=failpoint
            ) as victim:
                async with asyncio.timeout(40):
                    assert await victim.wait() == -signal.SIGKILL
        async with running_process(sync_dsn, gateway_url, identities):
            await until(lambda: nothing_due(service), "nothing is due or open")
    await changed_once(service, step, edited=None)


async def test_two_replicas_and_a_mixed_backlog_one_of_them_frozen(
    service, sync_dsn, identities, serve, kinds_of_event
):
    """New ones, changes and voids of several accounts: whoever is frozen in the middle undoes nobody's work."""
    accounts = [f"{service.account_id}-{number}" for number in range(4)]
    for account_id in accounts:
        await service.connect(account_id=account_id)
        service.account_id = account_id
        await service.know(f"c-{account_id}")
        await service.want(
            *(
                service.invoice(f"{account_id}-{number}", customer_id=f"c-{account_id}")
                for number in range(70)
            )
        )
        await service.settle()
    for account_id in accounts:
        service.account_id = account_id
        customer = f"c-{account_id}"
        updated, voided = kinds_of_event["updated"], kinds_of_event["voided"]
        await service.want(
            *(
                service.invoice(
                    f"{account_id}-{number}",
                    kind=updated,
                    version=2,
                    reference="ours",
                    customer_id=customer,
                )
                for number in range(60)
            ),
            *(
                voided(account_id=account_id, invoice_id=f"{account_id}-{number}", version=2)
                for number in range(60, 70)
            ),
            *(
                service.invoice(f"{account_id}-{number}", customer_id=customer)
                for number in range(70, 130)
            ),
        )
        async with service.pool.acquire() as conn:
            await leases.mark_due(conn, [account_id])
    async with one_of_two_frozen(
        service, sync_dsn, identities, serve, begun=lambda: some_at_version_two(service)
    ):
        await until(lambda: nothing_due(service), "the other does it all", seconds=90)
    invoices = await service.books.invoices()
    assert len(invoices) == len({each["number"] for each in invoices}) == 4 * 130
    assert sum(each["status"] == "VOIDED" for each in invoices) == 4 * 10
    assert sum(each["reference"] == "ours" for each in invoices) == 4 * 60
    told = [each for each in await service.told() if isinstance(each, InvoiceSynced)]
    assert len(told) == len({(each.invoice_id, each.version) for each in told}) == 4 * 200


async def test_two_replicas_and_changes_of_contacts_one_of_them_frozen(
    service, sync_dsn, identities, serve
):
    """New and changed customers of several accounts: whoever is frozen doubles none, and undoes nobody's edit."""
    accounts, each = [f"{service.account_id}-{number}" for number in range(4)], 40
    for account_id in accounts:
        await service.connect(account_id=account_id)
        service.account_id = account_id
        known = [f"{account_id}-{number}" for number in range(each)]
        await service.know(*known, email="one@example.com")
        await service.settle()
    for account_id in accounts:
        service.account_id = account_id
        known = [f"{account_id}-{number}" for number in range(each)]
        for customer_id in known:
            name = f"Customer {customer_id}"
            await service.know(customer_id, version=2, name=name, email="two@example.com")
        await service.know(*(f"{account_id}-{number}" for number in range(each, 2 * each)))
        async with service.pool.acquire() as conn:
            await leases.mark_due(conn, [account_id])
    async with one_of_two_frozen(
        service, sync_dsn, identities, serve, begun=lambda: some_contacts_written(service)
    ):
        await until(lambda: contacts_at_rest(service), "the other does it all", seconds=90)
        edited = await somebody_edits_all(service)
    contacts = (await service.books.ledger())["contacts"]
    names = [one["name"] for one in contacts if one["name"].startswith("Customer ")]
    assert len(names) == len(set(names)) == 4 * 2 * each
    emails = {one["contact_id"]: one["email"] for one in contacts}
    assert {emails[contact_id] for contact_id in edited} == {"theirs@example.com"}
    links = await service.pool.fetch("SELECT contact_id FROM contact_mappings")
    assert len(links) == len({row["contact_id"] for row in links}) == 4 * 2 * each


async def some_contacts_written(service) -> bool:
    contacts = (await service.books.ledger())["contacts"]
    return any(one["email"] == "two@example.com" for one in contacts)


async def contacts_at_rest(service) -> bool:
    return await service.pool.fetchval(
        """
        SELECT NOT EXISTS (SELECT FROM customers WHERE due_at IS NOT NULL OR intent_id IS NOT NULL)
           AND NOT EXISTS (SELECT FROM contact_mappings WHERE check_at <= now())
           AND NOT EXISTS (SELECT FROM intents)
        """
    )


async def somebody_edits_all(service) -> list[str]:
    """What Pipeline has changed, somebody in Xero changes again; their ids."""
    contacts = (await service.books.ledger())["contacts"]
    changed = [one["contact_id"] for one in contacts if one["email"] == "two@example.com"]
    assert len(changed) == 4 * 40
    for contact_id in changed:
        body = {"EmailAddress": "theirs@example.com"}
        await service.books.act("POST", f"contacts/{contact_id}", body)
    return changed


async def some_at_version_two(service) -> bool:
    return await service.pool.fetchval(
        "SELECT EXISTS (SELECT FROM invoices WHERE synced_version = 2)"
    )
