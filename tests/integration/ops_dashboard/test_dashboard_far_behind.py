"""A view that begins far behind reads on, and its pages answer meanwhile and say so.

`FAR_BEHIND=1000000 pytest -s -o timeout=0 <this file>` is the size that docs/ops-dashboard.md speaks of.
"""

import asyncio
import os
import time

from dashboard_world import Telling

EVENTS = int(os.environ.get("FAR_BEHIND", "10000"))
ACCOUNTS = 20
OF_AN_INVOICE = 4
AT_ONCE = 1_000


async def produced(world) -> int:
    """Everything that happens to invoices of many accounts, as fast as Kafka takes it; gives the number of invoices."""
    told = [Telling(f"acc-{number}") for number in range(ACCOUNTS)]
    invoices = EVENTS // OF_AN_INVOICE
    for first in range(0, invoices, AT_ONCE):
        records = [
            record
            for number in range(first, min(first + AT_ONCE, invoices))
            for record in life_of(f"inv-{number}", told[number % ACCOUNTS])
        ]
        await asyncio.gather(*[await sending(world, record) for record in records])
    world.sent += invoices * OF_AN_INVOICE
    return invoices


def life_of(name, told):
    return told.issued(name), told.failed(name), told.synced(name), told.paid(name, name)


async def sending(world, record):
    topic, headers = f"{world.prefix}.{record.topic}", list(record.headers)
    return await world.producer.send(topic, record.value, key=record.key, headers=headers)


async def test_pages_answer_and_say_how_far_behind_they_are_until_everything_is_read(world):
    invoices = await produced(world)
    began = time.monotonic()
    answered, behind = [], 0
    reading = asyncio.create_task(world.all_stored(seconds=EVENTS / 200))
    async with (
        world.running() as url,
        world.client(url, world.keys.token("acc-1")) as person,
    ):
        # The first look may come before the first measurement of what there is.
        while not reading.done():
            asked = time.monotonic()
            page = await person.get("/accounts/acc-1")
            answered.append(time.monotonic() - asked)
            assert page.status_code == 200
            behind += "records behind" in page.text
            await asyncio.wait([reading], timeout=0.2)
        await reading
        took = time.monotonic() - began
        listed = await person.get("/accounts/acc-1/invoices")
        paid = await person.get("/accounts/acc-1/payments")
    async with world.pool.acquire() as conn:
        states = await conn.fetch("SELECT state, count(*) FROM invoices GROUP BY state")
        payments = await conn.fetchval("SELECT count(*) FROM payments")
    print(  # noqa: T201 - what a run of a million is made for
        f"{invoices * OF_AN_INVOICE:,} events in {took:.0f} s, {invoices * OF_AN_INVOICE / took:,.0f} a second;"
        f" {len(answered)} pages, the slowest after {max(answered):.2f} s, {behind} said how far behind"
    )
    assert behind
    assert {row["state"]: row["count"] for row in states} == {"synced": invoices}
    assert payments == invoices
    assert "inv-" in listed.text
    assert "100.00" in paid.text
