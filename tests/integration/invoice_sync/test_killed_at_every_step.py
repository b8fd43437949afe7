"""kill -9 at every named step while another replica stands by: it takes over after the lease, and ends the work.

One day's work passes all steps: codes read, an import, a reconciliation, contacts created, changed and matched, invoices
created, changed and voided. Somebody works in Xero just after the kill. What one replica does when it is started again
is in `test_whole_invoice_sync` and `test_killed_while_changing`; what the messaging library does, in its own tests.
"""

import asyncio
import os
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from service_processes import until
from sync_processes import gateway_app, running_process

import invoice_sync
from invoice_sync.domain.account_settings import AccountSettings, MappingPolicy
from invoice_sync.import_invoices import ask_import
from invoice_sync.reconcile_account import ask_reconciliation
from invoice_sync.store import account_settings
from pipeline_contracts.sync import InvoiceSynced, OutOfSync
from pipeline_messaging import leases

IS_DEEP = settings.get_current_profile_name() == "deep"
SOURCES = Path(invoice_sync.__file__).parent
STEPS = [
    "contact_changes:after_intent",
    "contact_changes:before_intent",
    "contacts:after_intent",
    "contacts:after_read",
    "import:after_commit",
    "import:after_read",
    "import:before_commit",
    "invoices:after_intent",
    "match:after_read",
    "match:before_commit",
    "reconcile:after_asking",
    "reconcile:after_finish",
    "reconcile:after_page",
    "reconcile:after_read",
    "reconcile:before_commit",
    "reconcile:before_finish",
    "reconcile:before_finish_commit",
    "record_contact_changes:before",
    "record_contact_changes:before_commit",
    "record:before_commit",
    "send:after",
    "send:before",
    "update:after_intent",
]
# Killed and started again in the other two files; with another replica, in deep runs.
STEPS_OF_OTHERS = [
    "codes:after_read",
    "codes:after_record",
    "compare:after_read",
    "contacts:before_intent",
    "invoices:before_intent",
    "record:after",
    "record:before",
    "record_contacts:before",
    "record_contacts:before_commit",
    "update:before_intent",
]
LOOKING_UP = ["lookup:after", "lookup:before"]
TAKING_IN = ["accept:after_store", "accept:before_store"]


async def a_days_work(service, kinds_of_event) -> tuple[str, str]:
    """Everything that an account may have to do, wanted and not begun; the accounts it is for."""
    first, second = service.account_id, f"{service.account_id}-2"
    await service.connect()
    await service.know("cust-1", "cust-2", email="one@example.com")
    await service.want(*(service.invoice(f"inv-{number}") for number in (0, 1, 2, 9)))
    await service.settle()
    # One that is gone from Xero: the reconciliation asks for it by its id.
    (gone,) = await service.books.invoices("INV-9")
    service.books.world.books[service.books.tenant_id].documents.pop(gone["document_id"])
    updated, voided = kinds_of_event["updated"], kinds_of_event["voided"]
    await service.know("cust-1", "cust-2", version=2, email="two@example.com")
    await service.know("cust-3")
    await service.want(
        service.invoice("inv-0", kind=updated, version=2, reference="ours"),
        service.invoice("inv-1", kind=updated, version=2, reference="ours"),
        voided(account_id=first, invoice_id="inv-2", version=2),
        service.invoice("inv-3", customer_id="cust-3"),
    )
    await ask_import(service.pool, first, dry_run=False, asked_by="somebody")
    await ask_reconciliation(service.pool, first, "somebody")
    await service.pool.execute("UPDATE accounts SET codes_due_at = now()")
    await service.books.act("POST", "contacts", {"Name": "Customer known"})
    service.account_id = second
    await service.connect(account_id=second)
    async with service.pool.acquire() as conn:
        chosen = AccountSettings(mapping_policy=MappingPolicy.MATCH, version=1)
        await account_settings.save(conn, second, chosen)
    await service.know("known")
    await service.want(service.invoice("other-1", customer_id="known"))
    service.account_id = first
    return first, second


async def quiet(service) -> bool:
    return await service.pool.fetchval(
        """
        SELECT NOT EXISTS (SELECT FROM invoices WHERE due_at IS NOT NULL OR intent_id IS NOT NULL)
           AND NOT EXISTS (SELECT FROM customers WHERE due_at IS NOT NULL OR intent_id IS NOT NULL)
           AND NOT EXISTS (SELECT FROM intents)
           AND NOT EXISTS (SELECT FROM imports WHERE finished_at IS NULL)
           AND NOT EXISTS (SELECT FROM reconciliations WHERE finished_at IS NULL)
        """
    )


async def dies(sync_dsn, gateway_url, identities, failpoint) -> None:
    async with running_process(sync_dsn, gateway_url, identities, failpoint=failpoint) as victim:
        async with asyncio.timeout(60):
            ended = await victim.wait()
    assert ended == -signal.SIGKILL, f"{failpoint} was not passed"


@pytest.mark.parametrize("step", [*STEPS, *LOOKING_UP, *(STEPS_OF_OTHERS if IS_DEEP else ())])
async def test_another_replica_ends_the_work_of_one_killed_at(
    service, sync_dsn, identities, serve, kinds_of_event, step
):
    async with (
        serve(gateway_app(service.gateway)) as gateway_url,
        standing_by(service, sync_dsn, gateway_url, identities) as other,
    ):
        accounts = await a_days_work(service, kinds_of_event)
        async with service.pool.acquire() as conn:
            await leases.mark_due(conn, accounts)
        if step in LOOKING_UP:
            await dies(sync_dsn, gateway_url, identities, "send:before")
            await service.age_intents(timedelta(minutes=6))
        await dies(sync_dsn, gateway_url, identities, step)
        await service.books.act("POST", "invoices/INV-0", {"Reference": "theirs"})
        other.send_signal(signal.SIGCONT)
        if step in LOOKING_UP:
            # A change of a contact that is not there may still be on its way for some minutes.
            await service.age_intents(timedelta(minutes=11))
            await service.pool.execute("UPDATE intents SET due_at = now()")
        await until(lambda: quiet(service), "all is quiet", seconds=60)
    await nothing_lost_doubled_or_overwritten(service)


def standing_by(service, sync_dsn, gateway_url, identities):
    """A replica that serves already, and is held while the other one works."""
    return _Held(service, running_process(sync_dsn, gateway_url, identities))


class _Held:
    def __init__(self, service, running):
        self.service, self.running = service, running

    async def __aenter__(self):
        before = await self._sessions()
        self.process = await self.running.__aenter__()
        await until(lambda: self._serves(before), "the replica has reached its database")
        self.process.send_signal(signal.SIGSTOP)
        return self.process

    async def __aexit__(self, *failure):
        self.process.send_signal(signal.SIGCONT)
        return await self.running.__aexit__(*failure)

    async def _sessions(self) -> int:
        return await self.service.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )

    async def _serves(self, before) -> bool:
        return await self._sessions() > before + 1


async def nothing_lost_doubled_or_overwritten(service) -> None:
    ledger = await service.books.ledger()
    numbers = [each["number"] for each in ledger["invoices"]]
    assert sorted(numbers) == ["INV-0", "INV-1", "INV-2", "INV-3", "OTHER-1"]
    invoices = {each["number"]: each for each in ledger["invoices"]}
    assert invoices["INV-0"]["reference"] == "theirs"
    assert invoices["INV-1"]["reference"] == "ours"
    assert invoices["INV-2"]["status"] == "VOIDED"
    contacts = {each["name"]: each for each in ledger["contacts"]}
    ours = [each["name"] for each in ledger["contacts"] if each["name"].startswith("Customer ")]
    assert sorted(ours) == [f"Customer {each}" for each in ("cust-1", "cust-2", "cust-3", "known")]
    assert {contacts[f"Customer cust-{each}"]["email"] for each in (1, 2)} == {"two@example.com"}
    assert await service.state("inv-0") in {"synced", "out_of_sync"}
    states = [await service.state(f"inv-{number}") for number in (1, 2, 3)]
    assert states == ["synced", "voided", "synced"]
    for number, versions in ((1, [1, 2]), (2, [1, 2]), (3, [1])):
        events = await service.told(f"inv-{number}")  # checks that sequences are 1..n
        assert [each.version for each in events if isinstance(each, InvoiceSynced)] == versions
    assert isinstance((await service.told("inv-0"))[-1], InvoiceSynced | OutOfSync)
    ids = await service.pool.fetch("SELECT headers FROM outbox")
    assert len(ids) == len({row["headers"] for row in ids}), "an event was written twice"


ACCEPT = """
import asyncio, os, sys
from datetime import UTC, datetime
import asyncpg
from invoice_sync.accept_events import accept_invoices
from pipeline_contracts.envelope import Envelope
from pipeline_contracts.invoice import InvoiceCreated

async def main():
    event = InvoiceCreated.model_validate_json(sys.argv[1])
    now = datetime.now(UTC)
    envelope = Envelope("id-1", "billing", event.TYPE, event.subject, now, None, event)
    conn = await asyncpg.connect(os.environ["DATABASE_URL"])
    async with conn.transaction():
        await accept_invoices(conn, [envelope])

asyncio.run(main())
"""


@pytest.mark.parametrize("step", TAKING_IN)
async def test_killed_while_taking_in_nothing_is_half_taken_in(service, sync_dsn, step):
    """The transaction is the subscriber's, with the inbox in it; it is read again, for no offset was committed."""
    await service.connect()
    event = service.invoice("inv-1").model_dump_json()

    async def take_in(failpoint="") -> int:
        environment = {**os.environ, "DATABASE_URL": sync_dsn, "FAILPOINT": failpoint}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ACCEPT, event, env=environment
        )
        return await asyncio.wait_for(child.wait(), 60)

    assert await take_in(step) == -signal.SIGKILL
    assert await service.pool.fetchval("SELECT count(*) FROM invoices") == 0
    assert await service.pool.fetchval("SELECT count(*) FROM timeline") == 0
    assert await take_in() == 0
    await service.know("cust-1")
    await service.settle()
    assert await service.kinds("inv-1") == ["InvoiceSynced"]


def test_every_step_named_in_the_code_is_killed_here():
    named = {
        step
        for path in SOURCES.rglob("*.py")
        for step in re.findall(r'failpoint\(\s*"([^"]+)"', path.read_text())
    }
    killed = {*STEPS, *STEPS_OF_OTHERS, *LOOKING_UP, *TAKING_IN}
    missing, unknown = sorted(named - killed), sorted(killed - named)
    assert not missing, (
        f"no test kills at {missing}: add them to STEPS here, and pass them in a_days_work"
    )
    assert not unknown, f"the code has no failpoint {unknown}: take them off the lists here"
