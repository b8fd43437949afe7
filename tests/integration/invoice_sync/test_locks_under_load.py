"""Events, people and the worker at once on the same rows: nobody waits for each other in a circle, nothing is lost."""

import asyncio
import random
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import asyncpg
import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import MappingPolicy
from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code, unmap_code
from invoice_sync.map_contact import map_contact, unmap_contact
from invoice_sync.retry_sync import retry_cause, retry_invoice
from invoice_sync.store import account_settings
from invoice_sync.sync_account import sync_account
from pipeline_messaging import leases
from pipeline_service_defaults.problems import Problem

ROUNDS = 12
INVOICES = [f"inv-{number:02}" for number in range(40)]
CUSTOMERS = [f"cust-{number:02}" for number in range(10)]


@contextmanager
def told(status):
    """What a caller is told in so many words is no accident."""
    try:
        yield
    except Problem as refused:
        if refused.status != status:
            raise


class Crowd:
    """Everybody who acts on one account, each with luck of their own."""

    def __init__(self, service, kinds, line_of, seed):
        self.service, self.kinds, self.line_of = service, kinds, line_of
        self.luck = random.Random(seed)
        self.versions = dict.fromkeys(INVOICES, 0)
        self.customer_versions = dict.fromkeys(CUSTOMERS, 0)
        self.contacts: list[str] = []
        self.over = False

    def invoice(self, invoice_id, **fields):
        self.versions[invoice_id] += 1
        version = self.versions[invoice_id]
        kind = self.kinds["created" if version == 1 else "updated"]
        customer = CUSTOMERS[int(invoice_id[-2:]) % len(CUSTOMERS)]
        values = {"customer_id": customer, "reference": f"version {version}"} | fields
        lines = [self.line_of("1", account_code="SALES")]
        return self.service.invoice(invoice_id, kind=kind, version=version, lines=lines, **values)

    async def know(self, customer_ids):
        for each in customer_ids:
            self.customer_versions[each] += 1
        await asyncio.gather(
            *(
                self.service.know(each, version=self.customer_versions[each], name=f"Name {each}")
                for each in customer_ids
            )
        )

    async def publish(self):
        for _ in range(ROUNDS):
            some = self.luck.sample(INVOICES, 30)
            await self.service.want(*(self.invoice(each) for each in some))
            await self.know(self.luck.sample(CUSTOMERS, 4))
            await asyncio.sleep(0)

    async def link(self):
        service = self.service
        for _ in range(ROUNDS):
            customer = self.luck.choice(CUSTOMERS)
            if self.luck.random() < 0.5:
                await unmap_contact(service.deps, service.account_id, customer, "user:1")
            else:
                contact = self.luck.choice(self.contacts)
                with told(409):  # not connected at the moment
                    await map_contact(service.deps, service.account_id, customer, contact, "user:1")

    async def choose(self, **chosen):
        service = self.service
        async with service.pool.acquire() as conn:
            before = await account_settings.find(conn, service.account_id)
        with told(412):  # somebody else was faster
            await change_settings(
                service.deps,
                service.account_id,
                replace(before, **chosen),
                version=before.version,
                actor="user:1",
            )

    async def decide(self):
        service = self.service
        for _ in range(ROUNDS):
            await self.choose(
                start_date=self.luck.choice([None, date(2026, 1, 1), date(2027, 1, 1)]),
                mapping_policy=self.luck.choice(list(MappingPolicy)),
                default_account_code=self.luck.choice([None, "200", "260"]),
            )
            if self.luck.random() < 0.5:
                await unmap_code(
                    service.deps, service.account_id, CodeKind.ACCOUNT, "SALES", "user:1"
                )
            else:
                await map_code(
                    service.deps, service.account_id, CodeKind.ACCOUNT, "SALES", "200", "user:1"
                )

    async def insist(self):
        service = self.service
        causes = ["CUSTOMER_NOT_MAPPED", "BEFORE_START_DATE", "ACCOUNT_NOT_MAPPED", "OUT_OF_SYNC"]
        for _ in range(ROUNDS):
            await retry_cause(service.deps, service.account_id, self.luck.choice(causes), "user:1")
            invoice = self.luck.choice(INVOICES)
            await retry_invoice(service.deps, service.account_id, invoice, "user:1")

    async def reconnect(self):
        for _ in range(ROUNDS // 4):
            await self.service.connect("DISCONNECTED")
            await asyncio.sleep(0)
            await self.service.connect()

    async def work(self):
        service = self.service
        while not self.over:
            async with service.pool.acquire() as conn:
                await leases.mark_due(conn, [service.account_id])
                claims = await leases.claim(conn, limit=1, seconds=60)
            for claim in claims:
                await sync_account(service.deps, claim.lease)
                async with service.pool.acquire() as conn:
                    await leases.give_back(conn, claim.lease)


async def deadlocks(pool) -> int:
    return await pool.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )


@pytest.mark.parametrize("seed", range(2))
async def test_nobody_deadlocks_and_nothing_is_lost(service, kinds_of_event, line_of, seed):
    crowd = Crowd(service, kinds_of_event, line_of, seed)
    await service.connect()
    for number in range(3):
        made = await service.books.act("POST", "contacts", {"Name": f"Contact {number}"})
        crowd.contacts.append(made["contact_id"])
    # Against the order of their ids: whoever goes by age and whoever goes by id meet in the middle.
    for each in reversed(INVOICES):
        await service.want(crowd.invoice(each))
    for each in reversed(CUSTOMERS):
        await crowd.know([each])
    before = await deadlocks(service.pool)
    work = asyncio.create_task(crowd.work())
    people = [crowd.publish(), crowd.link(), crowd.decide(), crowd.insist(), crowd.reconnect()]
    try:
        failed = [each for each in await asyncio.gather(*people, return_exceptions=True) if each]
    finally:
        crowd.over = True
    await work
    assert not [each for each in failed if isinstance(each, asyncpg.PostgresError)]
    assert failed == []
    assert await deadlocks(service.pool) == before

    # Everything is put right, in any order; then everything is in Xero, once, at its newest version.
    await map_code(service.deps, service.account_id, CodeKind.ACCOUNT, "SALES", "200", "user:1")
    await crowd.choose(start_date=None, mapping_policy=MappingPolicy.STRICT)
    for customer in CUSTOMERS:
        await map_contact(service.deps, service.account_id, customer, crowd.contacts[0], "user:1")
    await service.settle(20)
    states = {each: await service.state(each) for each in INVOICES}
    assert set(states.values()) == {"synced"}, states
    found = {each["number"]: each["reference"] for each in await service.books.invoices()}
    expected = {each.upper(): f"version {crowd.versions[each]}" for each in INVOICES}
    assert found == expected
    assert len(await service.books.invoices()) == len(INVOICES)
