"""Xero, the ledger and the topic compared to the cent; the ledger rebuilt from either of the other two."""

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

import payment_ingest.__main__ as command
from payment_ingest.rebuild_ledger import rebuild_ledger
from payment_ingest.reconcile_topic import reconcile_topic
from payment_ingest.store import reconciliations
from pipeline_contracts.envelope import encode
from pipeline_messaging import outbox
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.outbox import unpack_headers

PAYMENTS = "pipeline.payments.v1"
LEDGER = {
    "payments": "payment_id, tenant_id, xero_invoice_id, kind, xero_payment_id, occurrence, amount, currency,"
    " paid_on, reference, reversed",
    "payment_movements": "payment_id, tenant_id, xero_invoice_id, change, event_id, invoice_status, amount_paid,"
    " amount_due, found_by, recorded_at, sequence",
    "payment_sequences": "account_id, invoice_id, last_sequence",
    "xero_invoices": "tenant_id, xero_invoice_id, account_id, invoice_id",
}


async def everything(pool, table):
    rows = await pool.fetch(f"SELECT {LEDGER[table]} FROM {table}")  # noqa: S608 - names of ours
    return set(map(tuple, rows))


async def in_topic(pool):
    async with pool.acquire() as conn:
        return await outbox.waiting(conn, PAYMENTS)


async def reading(records):
    for record in records:
        yield record


async def latest(service):
    async with service.pool.acquire() as conn:
        return await reconciliations.latest(conn)


async def differing(service) -> int:
    async with service.pool.acquire() as conn:
        return await reconciliations.count_differing(conn)


@pytest.fixture
async def busy(service):
    """Two invoices with a payment made and deleted, and a credit note allocated, taken back and allocated again."""
    first, second = service.xero.add("100.00"), service.xero.add("50.00")
    await service.link(first, "inv-1")
    await service.link(second, "inv-2")

    async def look():
        await service.ring(first, second)
        await service.turn()

    payment = service.xero.pay(first, "30.00")
    service.xero.pay(second, "50.00")
    credit = service.xero.allocate(first, "20.05")
    await look()
    service.xero.unpay(first, payment)
    credits_ = service.xero.invoices[first]["CreditNotes"]
    taken_back = credits_.pop()
    service.xero._touch(first)
    await look()
    credits_.append(taken_back)
    service.xero._touch(first)
    await look()
    assert taken_back["CreditNoteID"] == credit
    assert len(await service.told()) == 6
    return service


async def test_a_deep_sweep_compares_xero_ledger_and_events_to_the_cent(busy):
    stranger = busy.xero.add("9.00")
    busy.xero.pay(stranger, "9.00")
    await busy.pool.execute(
        "UPDATE tenant_sweeps SET page_size = 2, next_at = now() WHERE kind = 'deep'"
    )
    await busy.sweep("deep")
    (found,) = await latest(busy)
    assert (found.currency, found.invoices, found.differing) == ("NZD", 2, 0)
    assert found.in_xero == found.in_ledger == found.published == Decimal("70.05")


async def test_what_differs_is_shown_and_counted(busy):
    incomplete = busy.xero.add("80.00")
    await busy.link(incomplete, "inv-3")
    busy.xero.pay(incomplete, "80.00")
    busy.xero.invoices[incomplete]["Payments"] = []
    await busy.pool.execute("UPDATE payment_movements SET change = 'reversed' WHERE amount_due = 0")
    await busy.sweep("deep")
    (found,) = await latest(busy)
    assert (found.in_xero, found.in_ledger) == (Decimal("150.05"), Decimal("70.05"))
    assert found.published == Decimal("-29.95")
    assert found.differing == await differing(busy) == 2


async def test_payments_on_an_invoice_that_xero_no_longer_lists_are_shown_and_looked_for(busy):
    (gone,) = [one for one, row in busy.xero.invoices.items() if not row["AmountDue"]]
    kept = busy.xero.invoices.pop(gone)
    # Within a minute it may be Xero's servers whose clocks differ: nothing is said of it yet.
    busy.xero.now += timedelta(seconds=59)
    await busy.sweep("deep")
    assert (await differing(busy), await busy.doorbells()) == (0, 0)
    busy.xero.now += timedelta(seconds=2)
    await busy.sweep("deep")
    (found,) = await latest(busy)
    assert (found.in_xero, found.in_ledger) == (Decimal("20.05"), Decimal("70.05"))
    assert (found.published, found.differing) == (Decimal("70.05"), 1)
    assert (found.example, await busy.doorbells()) == (gone, 1)
    # Not listed for a while, as it turns out; nothing was reversed meanwhile.
    await busy.turn()
    busy.xero.invoices[gone] = kept
    busy.xero.now += timedelta(seconds=1)
    await busy.pool.execute("UPDATE doorbells SET next_at = now()")
    await busy.turn()
    await busy.sweep("deep")
    assert (await differing(busy), await busy.doorbells(), len(await busy.told())) == (0, 0, 6)


async def test_only_the_last_complete_comparison_counts(busy):
    await busy.sweep("deep")
    await busy.pool.execute(
        "UPDATE reconciliations SET differing = 1, began_at = began_at - interval '1 day'"
    )
    await busy.pool.execute(
        "INSERT INTO reconciliations SELECT tenant_id, now(), currency, 9, 9, 9, 9, 9, 'x', NULL FROM reconciliations"
    )
    assert [one.differing for one in await latest(busy)] == [1]
    assert await differing(busy) == 1
    await busy.sweep("deep")
    assert [one.differing for one in await latest(busy)] == [0]
    assert await differing(busy) == 0


async def test_the_topic_is_compared_event_by_event(busy):
    records = await in_topic(busy.pool)
    (found,) = (await reconcile_topic(busy.pool, reading(records))).values()
    assert found.agrees
    assert found.published == found.in_topic == Decimal("70.05")

    # Copies count once; what is in the outbox still is no difference, what is nowhere is one.
    (found,) = (await reconcile_topic(busy.pool, reading([*records[1:], *records[1:]]))).values()
    assert (found.agrees, found.published - found.in_topic) == (True, found.waiting)
    # An amount that somebody changed in the ledger is one, too: it was told otherwise.
    await busy.pool.execute("UPDATE payments SET amount = amount + 5 WHERE NOT reversed")
    (found,) = (await reconcile_topic(busy.pool, reading(records))).values()
    changed = (found.published - found.in_topic) / 5
    assert (found.agrees, len(found.unlike)) == (False, changed)
    await busy.pool.execute("UPDATE payments SET amount = amount - 5 WHERE NOT reversed")
    await busy.pool.execute("DELETE FROM outbox")
    (found,) = (await reconcile_topic(busy.pool, reading(records[1:]))).values()
    assert (len(found.missing), len(found.strange)) == (1, 0)
    await busy.pool.execute(
        "UPDATE payment_movements SET event_id = gen_random_uuid() WHERE id = (SELECT min(id) FROM payment_movements)"
    )
    (found,) = (await reconcile_topic(busy.pool, reading(records))).values()
    assert (len(found.missing), len(found.strange)) == (1, 1)


async def forget_ledger(pool) -> None:
    await pool.execute(
        "TRUNCATE payments, payment_movements, payment_sequences, xero_invoices, outbox RESTART IDENTITY"
    )


async def test_the_ledger_is_rebuilt_from_its_events_alone_under_the_same_ids(busy):
    before = {table: await everything(busy.pool, table) for table in LEDGER}
    records = await in_topic(busy.pool)
    await forget_ledger(busy.pool)
    done = await rebuild_ledger(busy.pool, reading([*records[:4], *records]))
    assert (done.read, done.put_back, done.strange) == (10, 6, 0)
    assert {table: await everything(busy.pool, table) for table in LEDGER} == before
    assert (await rebuild_ledger(busy.pool, reading(records))).put_back == 0
    known = await busy.pool.fetch(
        "SELECT DISTINCT delivery, rung_at, fetched_at FROM payment_movements"
    )
    assert [tuple(each) for each in known] == [(None, None, None)]

    # Life goes on where it was: nothing is told twice, and the next event has the next number.
    await busy.sweep("deep")
    assert await busy.told() == []
    (invoice,) = [one for one, row in busy.xero.invoices.items() if row["AmountDue"]]
    busy.xero.pay(invoice, "1.00")
    await busy.ring(invoice)
    await busy.turn()
    assert [one.event.sequence for one in await busy.told()] == [6]


async def test_while_the_ledger_is_rebuilt_the_service_waits_and_then_tells_nothing_twice(busy):
    """What it read meanwhile is compared with all that was put back, not with a half; with what came since, it goes on."""
    before = {table: await everything(busy.pool, table) for table in LEDGER}
    records = await in_topic(busy.pool)
    await forget_ledger(busy.pool)
    late = busy.xero.add("10.00")
    half, service_reads = asyncio.Event(), asyncio.Event()

    async def slowly():
        for number, record in enumerate(records):
            yield record
            if number == 2:
                half.set()
                await service_reads.wait()

    rebuilding = asyncio.create_task(rebuild_ledger(busy.pool, slowly()))
    await half.wait()
    busy.xero.pay(late, "10.00")
    await busy.ring(*busy.xero.invoices)
    looking = asyncio.create_task(busy.turn())
    linking = asyncio.create_task(busy.link(late, "inv-9"))
    while await waiting_for_the_ledger(busy.pool) < 2:  # noqa: ASYNC110 - Postgres has no event to wait on
        await asyncio.sleep(0.01)
    service_reads.set()
    assert (await rebuilding).put_back == 6
    await asyncio.gather(looking, linking)
    assert [(one.subject, one.event.sequence) for one in await busy.told()] == [("inv-9", 1)]
    for table in LEDGER:
        assert before[table] <= await everything(busy.pool, table)


async def test_a_rebuild_that_stands_still_is_ended_and_the_service_goes_on(busy, dsn, monkeypatch):
    records = await in_topic(busy.pool)
    monkeypatch.setattr(command, "_STANDS_STILL_MS", "200")
    frozen = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"

    async def standing_still():
        yield records[0]
        while await busy.pool.fetchval(frozen):  # noqa: ASYNC110 - Postgres has no event to wait on
            await asyncio.sleep(0.02)
        for record in records:
            yield record

    async with command._pool(SecretStr(dsn)) as pool:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await rebuild_ledger(pool, standing_still())
    busy.xero.pay(next(iter(busy.xero.invoices)), "1.00")
    await busy.ring(*busy.xero.invoices)
    await busy.turn()
    assert len(await busy.told()) == 7


async def waiting_for_the_ledger(pool) -> int:
    return await pool.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def test_what_was_read_from_xero_before_the_rebuild_becomes_what_was_told(busy):
    """A service started on the empty database takes an allocation made anew for the first of its kind."""
    before = {table: await everything(busy.pool, table) for table in LEDGER}
    records = await in_topic(busy.pool)
    await forget_ledger(busy.pool)
    await busy.sweep("deep")
    assert await busy.told() == []
    await rebuild_ledger(busy.pool, reading(records))
    await busy.sweep("deep")
    assert await busy.told() == []
    for table in ("payments", "payment_sequences", "xero_invoices"):
        assert await everything(busy.pool, table) == before[table]


async def test_what_an_old_copy_had_not_told_yet_is_not_told_again_under_another_number(service):
    """The copy was made while a payment waited for its invoice's link; the link and the event came after it."""
    invoice = service.xero.add()
    service.xero.pay(invoice, "30.00")
    await service.ring(invoice)
    await service.turn()
    await service.pool.execute("CREATE TABLE copied AS SELECT * FROM payment_movements")
    await service.link(invoice, "inv-1")
    told = await in_topic(service.pool)
    await service.pool.execute(
        "TRUNCATE payment_movements, payment_sequences, outbox;"
        "UPDATE xero_invoices SET account_id = NULL, invoice_id = NULL, linked_at = NULL;"
        "INSERT INTO payment_movements OVERRIDING SYSTEM VALUE SELECT * FROM copied"
    )
    await rebuild_ledger(service.pool, reading(told))
    service.xero.pay(invoice, "1.00")
    await service.ring(invoice)
    await service.turn()
    assert [(one.event.amount, one.event.sequence) for one in await service.told()] == [
        (Decimal("1.00"), 2)
    ]


async def test_records_that_are_none_of_the_ledgers_are_left(busy):
    records = await in_topic(busy.pool)
    odd = [type(records[0])(PAYMENTS, b"k", b"{", ()), *records]
    assert (await rebuild_ledger(busy.pool, reading(odd))).strange == 1


async def test_an_empty_ledger_is_rebuilt_from_xero_alone_under_the_same_ids(busy):
    """Payments come back as they were; the numbers of events go on only where they were kept, or come from the topic."""
    live = await busy.pool.fetch(
        "SELECT kind, xero_payment_id, amount FROM payments WHERE NOT reversed"
    )
    ids = set(
        await busy.pool.fetch(
            "SELECT payment_id FROM payments WHERE NOT reversed AND occurrence = 1"
        )
    )
    await busy.pool.execute("TRUNCATE payments, payment_movements, outbox")
    await busy.sweep("deep")
    rebuilt = await busy.pool.fetch("SELECT kind, xero_payment_id, amount FROM payments")
    assert sorted(map(repr, rebuilt)) == sorted(map(repr, live))
    assert ids <= set(await busy.pool.fetch("SELECT payment_id FROM payments"))
    assert min(one.event.sequence for one in await busy.told() if one.subject == "inv-1") == 6


@pytest.fixture
async def real_topics(kafka, monkeypatch):
    """The topics the commands read, under names of their own."""
    made = {
        name: replace(getattr(command.topics, name), name=f"test.{secrets.token_hex(6)}")
        for name in ("PAYMENTS", "SYNC", "CONNECTIONS")
    }
    for name, topic in made.items():
        monkeypatch.setattr(command.topics, name, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(one.name, one.partitions, 1) for one in made.values()])
    yield made
    await admin.delete_topics([one.name for one in made.values()])
    await admin.close()


async def publish(pool, kafka) -> None:
    """Empty the outbox into Kafka."""
    rows = await pool.fetch("DELETE FROM outbox RETURNING id, topic, key, value, headers")
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for row in sorted(rows, key=lambda one: one["id"]):
            await producer.send_and_wait(
                row["topic"],
                key=row["key"],
                value=row["value"],
                headers=list(unpack_headers(row["headers"])),
            )


async def test_the_commands_on_a_real_topic(busy, kafka, real_topics, capsys):
    settings = KafkaSettings(kafka, client_id="test")
    topic = real_topics["PAYMENTS"].name
    await busy.pool.execute("UPDATE outbox SET topic = $1 WHERE topic = $2", topic, PAYMENTS)
    await busy.pool.execute("DELETE FROM outbox WHERE topic <> $1", topic)
    await publish(busy.pool, kafka)
    await busy.sweep("deep")
    assert await command.reconcile(busy.pool, settings) == 0
    said = capsys.readouterr().out
    assert "Books of the tests (" in said
    assert "Xero 70.05, ledger 70.05, published 70.05: agree" in said
    assert "published 70.05, topic 70.05, still to be sent 0.00: agree" in said

    await forget_ledger(busy.pool)
    assert await command.reconcile(busy.pool, settings) == 1
    said = capsys.readouterr().out
    assert "only in the topic 6 (" in said
    assert "published 0.00, topic 70.05" in said
    assert await command.rebuild(busy.pool, settings) == 0
    assert "6 records read, 6 movements put back, 0 records" in capsys.readouterr().out
    assert await command.reconcile(busy.pool, settings) == 0


async def test_payments_on_invoices_unpaid_when_the_database_was_lost_are_told_after_a_rebuild(
    service, kafka, real_topics
):
    """Kafka keeps how far the topics were read: links and connections do not come by themselves again."""
    invoice = service.xero.add()
    await service.pool.execute("DELETE FROM outbox")
    async with service.pool.acquire() as conn:
        for name, event in (
            ("CONNECTIONS", service.connected()),
            ("SYNC", service.synced(invoice, "inv-1")),
        ):
            record = encode(event, id=secrets.token_hex(8), source="test", time=datetime.now(UTC))
            await outbox.add(conn, replace(record, topic=real_topics[name].name))
    await publish(service.pool, kafka)
    await service.pool.execute(
        "TRUNCATE connections, tenant_sweeps, account_leases, payments, payment_movements, payment_sequences,"
        " xero_invoices, outbox"
    )
    for _ in range(2):
        assert await command.rebuild(service.pool, KafkaSettings(kafka, client_id="test")) == 0
    service.xero.pay(invoice, "10.00")
    await service.ring(invoice)
    await service.turn()
    assert [one.event.invoice_id for one in await service.told()] == ["inv-1"]
