"""Raw deliveries go by age, a day at a time: nothing unread goes with them, and nothing waits for the tidying."""

import asyncio
import hashlib
import signal
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import asyncpg
import pytest
from ingest_processes import environment_of, running_ingest
from service_processes import until

from payment_ingest.accept_delivery import DeliveryWriter
from payment_ingest.replay_delivery import (
    Requester,
    UnknownDeliveryError,
    find_deliveries,
    replay_deliveries,
    replay_delivery,
)
from payment_ingest.ring_doorbells import ring_doorbells
from payment_ingest.store import deliveries, retention
from payment_ingest.store.deliveries import Delivery, Search
from payment_ingest.tend_deliveries import DAYS_AHEAD, tend_deliveries
from pipeline_service_defaults.migrate import directories_of, migrate

PROGRAM = Requester("service:pipeline-backend", None)
EVER = Search(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
KEPT = 30
AGED = ("raw_deliveries", "unread_deliveries", "delivery_readings", "delivery_mentions")


@pytest.fixture
async def conn(pool):
    async with pool.acquire() as found:
        yield found


async def age(conn, days: int) -> None:
    """Let everything stored today have come `days` days ago."""
    today = datetime.now(UTC).date()
    await retention.make_partitions(conn, DAYS_AHEAD)
    await conn.execute("SELECT make_delivery_partitions($1, $1)", today - timedelta(days))
    for table in AGED:
        day = ", day = day - $1::int" if table == "raw_deliveries" else ""
        await conn.execute(
            f"UPDATE {table} SET received_at = received_at - make_interval(days => $1::int){day}"  # noqa: S608 - names of tables
            " WHERE received_at >= date_trunc('day', now(), 'UTC')",
            days,
        )


async def days_of(conn) -> list[date]:
    rows = await conn.fetch(
        "SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
        " WHERE inhparent = ANY($1::regclass[]::oid[]) GROUP BY 1 HAVING count(*) = 3 ORDER BY 1",
        ["raw_deliveries", "delivery_readings", "delivery_mentions"],
    )
    return [row["day"] for row in rows]


async def test_old_deliveries_go_by_dropping_their_day_and_what_is_unread_stays(
    conn, service, webhook_of
):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    await service.hear(webhook_of((service.xero.tenant_id, invoice)))
    await age(conn, KEPT + 2)
    await service.hear(b"read, and within the time")
    await age(conn, KEPT)
    await service.store(b"nobody has read this")
    await age(conn, KEPT + 1)

    await tend_deliveries(conn, KEPT)

    today = datetime.now(UTC).date()
    kept = [today - timedelta(KEPT + 1), today - timedelta(KEPT)]
    ahead = [today + timedelta(number) for number in range(DAYS_AHEAD + 1)]
    assert await days_of(conn) == kept + ahead
    bodies = await conn.fetch("SELECT body FROM raw_deliveries ORDER BY day")
    assert [row["body"] for row in bodies] == [
        b"nobody has read this",
        b"read, and within the time",
    ]
    assert await conn.fetchval("SELECT count(*) FROM delivery_mentions") == 0

    while await ring_doorbells(conn):
        pass
    await tend_deliveries(conn, KEPT)
    assert await days_of(conn) == [kept[1], *ahead]


async def test_a_replay_older_than_what_is_kept_changes_nothing(conn, service, webhook_of):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "40.00")
    body = webhook_of((service.xero.tenant_id, invoice))
    await service.hear(body)
    await service.turn()
    story = [one.id for one in await service.told()]
    assert len(story) == 1
    await age(conn, KEPT + 1)
    await tend_deliveries(conn, KEPT)
    assert await find_deliveries(conn, EVER, PROGRAM, 10) == []
    with pytest.raises(UnknownDeliveryError):
        await replay_delivery(conn, hashlib.sha256(body).digest(), PROGRAM)

    await service.hear(body)
    assert await service.doorbells() == 1
    await service.turn()
    assert [one.id for one in await service.told()] == story
    assert await service.payments_sum() == Decimal("40.00")
    assert await conn.fetchval("SELECT count(*) FROM webhook_sequences WHERE hole_since IS NULL")


async def test_the_same_body_on_two_days_is_found_twice_and_each_is_read_again(
    conn, service, webhook_of
):
    body = webhook_of((service.xero.tenant_id, service.xero.add()))
    await service.hear(body)
    await age(conn, 1)
    await service.hear(body, body)
    found = await find_deliveries(conn, EVER, Requester("u", service.account_id), 10)
    assert len(found) == 2
    await replay_deliveries(conn, EVER, PROGRAM, 10)
    waiting = await find_deliveries(conn, EVER, PROGRAM, 10)
    assert [(one.processed_at, one.outcome) for one in waiting] == [(None, "rung")] * 2
    assert await ring_doorbells(conn) == 2
    await replay_delivery(conn, hashlib.sha256(body).digest(), PROGRAM)
    assert await conn.fetchval("SELECT received_at FROM unread_deliveries") == found[1].received_at


async def test_what_came_before_and_is_read_already_holds_up_nothing_that_waits(
    conn, service, webhook_of
):
    again = webhook_of((service.xero.tenant_id, service.xero.add()))
    await service.hear(again)
    await service.store(b"waits since yesterday")
    await age(conn, 1)
    await service.store(again)
    # The copy of yesterday alone would fill the batch.
    assert await ring_doorbells(conn, max_bytes=len(again)) > 0
    await ring_doorbells(conn, max_bytes=len(again))
    assert await conn.fetchval("SELECT count(*) FROM unread_deliveries") == 0


async def test_without_a_partition_for_today_the_webhook_makes_it_also_in_two_replicas_at_once(
    dsn, conn
):
    for day in await days_of(conn):
        await conn.execute(
            f"DROP TABLE raw_deliveries_{day:%Y%m%d}, delivery_readings_{day:%Y%m%d},"
            f" delivery_mentions_{day:%Y%m%d}"
        )
    writers = [
        DeliveryWriter(partial(asyncpg.connect, dsn), on_stored=lambda: None) for _ in range(3)
    ]
    running = [asyncio.create_task(writer.run()) for writer in writers]
    bodies = [b"body %d" % number for number in range(9)]
    await asyncio.gather(
        *(
            writers[number % 3].accept(Delivery(hashlib.sha256(body).digest(), body, 0))
            for number, body in enumerate(bodies)
        )
    )
    for writer in writers:
        writer.stop()
    await asyncio.gather(*running)
    assert await ring_doorbells(conn) == len(bodies)


async def test_who_looks_at_old_deliveries_is_waited_for_only_shortly_and_webhooks_go_on(
    pool, conn, service, webhook_of
):
    body = webhook_of((service.xero.tenant_id, service.xero.add()))
    await service.hear(body)
    await age(conn, KEPT + 1)
    async with pool.acquire() as other:
        reading = other.transaction()
        await reading.start()
        await replay_deliveries(other, EVER, PROGRAM, 10)
        dropping = asyncio.create_task(retention.drop_partition(conn, KEPT))
        async with asyncio.timeout(2):  # what a commit of webhooks may take
            await service.store(b"meanwhile")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await dropping
        await reading.commit()
    # Asked for before it was dropped: now it is unread, and stays.
    assert await retention.drop_partition(conn, KEPT) is None
    assert await ring_doorbells(conn) == 2
    assert await retention.drop_partition(conn, KEPT) == (
        datetime.now(UTC).date() - timedelta(KEPT + 1)
    )


async def test_the_services_role_may_drop_old_days_and_no_others(dsn, conn, service):
    """The role that the service has can write rows; only through the two functions does it make and drop partitions."""
    role = f"role_{dsn.rsplit('_', 1)[1]}"
    await conn.execute(f"CREATE ROLE {role}")
    try:
        await conn.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )
        await conn.execute(f"SET ROLE {role}")
        await deliveries.keep(conn, [Delivery(b"h", b"old", 0)])
        await ring_doorbells(conn)
        await age(conn, KEPT + 1)
        await tend_deliveries(conn, KEPT)
        assert await conn.fetchval("SELECT count(*) FROM raw_deliveries") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("DROP TABLE raw_deliveries")
    finally:
        await conn.execute("RESET ROLE")
        await conn.execute(f"DROP OWNED BY {role}")
        await conn.execute(f"DROP ROLE {role}")


async def test_who_may_only_look_drops_nothing_and_makes_nothing(dsn, conn):
    """Functions that act for the tables' owner are open to everybody by default: a report's role must not lose a day."""
    role = f"role_{dsn.rsplit('_', 1)[1]}"
    await conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    try:
        await conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        await deliveries.keep(conn, [Delivery(b"h", b"kept", 0)])
        await ring_doorbells(conn)
        await conn.execute(f"SET SESSION AUTHORIZATION {role}")
        for statement in (
            "SELECT drop_delivery_partition('9999-01-01')",
            "SELECT make_delivery_partitions('2001-01-01', '2001-01-01')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
    finally:
        await conn.execute("RESET SESSION AUTHORIZATION")
        await conn.execute(f"DROP OWNED BY {role}")
        await conn.execute(f"DROP ROLE {role}")
    assert await conn.fetchval("SELECT count(*) FROM raw_deliveries") == 1


# The release before: its table, its statements.
KEEP_THEN = "INSERT INTO deliveries (body_hash, body, key_position) VALUES ($1, $2, 0) ON CONFLICT (body_hash) DO NOTHING"
READ_THEN = """
    UPDATE deliveries SET processed_at = now(), outcome = 'rung', events = 1, not_understood = 0, first_sequence = 4,
        last_sequence = 4 WHERE body_hash = $1
"""


async def test_an_installation_with_deliveries_comes_along_while_its_former_release_still_runs(
    make_database, new_service, webhook_of, tmp_path
):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    messaging, ours = directories_of("payment_ingest")
    for file in ours.glob("*.sql"):
        (before if file.name < "20261122000320" else after).joinpath(file.name).write_text(
            file.read_text()
        )
    dsn = await make_database(messaging, before)
    tenant = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
    stored = {
        name: webhook_of((tenant, f"00000000-0000-4000-8000-{number:012}"))
        for number, name in enumerate(("read", "waiting", "long ago", "again", "meanwhile"))
    }
    ids = {name: hashlib.sha256(body).digest() for name, body in stored.items()}
    old = await asyncpg.connect(dsn)
    for name in ("read", "waiting", "long ago", "again"):
        await old.execute(KEEP_THEN, ids[name], stored[name])
    for name in ("read", "long ago", "again"):
        await old.execute(READ_THEN, ids[name])
        await old.execute(
            "INSERT INTO delivery_tenants SELECT $1, received_at, body_hash FROM deliveries WHERE body_hash = $2",
            tenant,
            ids[name],
        )
    await old.execute(
        "UPDATE deliveries SET processed_at = NULL WHERE body_hash = $1", ids["again"]
    )
    await old.execute(
        "UPDATE deliveries SET received_at = now() - interval '100 days' WHERE body_hash = ANY($1)",
        [ids["waiting"], ids["long ago"]],
    )
    await old.execute(
        "INSERT INTO delivery_replays (body_hash, requested_by) VALUES ($1, 'u-1')", ids["again"]
    )

    migrate(dsn, messaging, before, after)
    # A replica of the former release goes on meanwhile.
    await old.execute(KEEP_THEN, ids["meanwhile"], stored["meanwhile"])
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3) as pool, pool.acquire() as conn:
        service = new_service(pool, None, None)
        await service.store(stored["meanwhile"])
        results = await asyncio.gather(tend_deliveries(conn, KEPT), _tend(pool))
        assert sum(results) == 5
        assert await conn.fetchval("SELECT count(*) FROM deliveries") == 0
        bodies = {row["body"] for row in await conn.fetch("SELECT body FROM raw_deliveries")}
        assert bodies == set(stored.values()) - {stored["long ago"]}
        unread = await conn.fetch("SELECT body_hash, again FROM unread_deliveries")
        assert {row["body_hash"]: row["again"] for row in unread} == {
            ids["waiting"]: False,
            ids["again"]: True,
            ids["meanwhile"]: False,
        }
        (read,) = [
            one
            for one in await find_deliveries(
                conn, Search(EVER.since, EVER.until, (tenant,)), PROGRAM, 10
            )
            if one.processed_at
        ]
        assert (read.body_hash, read.outcome, read.first_sequence) == (ids["read"], "rung", 4)
        assert await ring_doorbells(conn) == 3
        assert await conn.fetchval("SELECT count(*) FROM delivery_replays") == 1
    await old.close()


async def test_what_the_former_release_stored_does_not_wait_for_the_dropping_of_old_days(
    pool, conn, service
):
    await service.hear(b"read long ago")
    await age(conn, KEPT + 1)
    await conn.execute(KEEP_THEN, b"h", b"stored by the former release")
    async with pool.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE raw_deliveries IN ACCESS SHARE MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await tend_deliveries(conn, KEPT)
        assert await conn.fetchval("SELECT count(*) FROM unread_deliveries") == 1
    await tend_deliveries(conn, KEPT)
    assert await conn.fetchval("SELECT min(day) FROM raw_deliveries") == datetime.now(UTC).date()


async def test_killed_while_it_takes_over_what_the_former_release_stored_nothing_is_lost_or_doubled(
    dsn, conn, identities, webhook_of
):
    tenant = "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f"
    bodies = [webhook_of((tenant, f"00000000-0000-4000-8000-{each:012}")) for each in range(2)]
    for body in bodies:
        await conn.execute(KEEP_THEN, hashlib.sha256(body).digest(), body)
    environment = environment_of(dsn, "http://127.0.0.1:1", identities)
    async with running_ingest(environment, failpoint="retention:before_commit") as (process, _):
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert await conn.fetchval("SELECT count(*) FROM deliveries") == 2
    assert await conn.fetchval("SELECT count(*) FROM raw_deliveries") == 0

    async def all_read() -> bool:
        waiting = (
            "SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM unread_deliveries)"
        )
        return await conn.fetchval(waiting) == 0

    async with running_ingest(environment):
        await until(all_read, "what the former release stored is taken over and read")
    kept = await conn.fetch("SELECT body FROM raw_deliveries")
    assert sorted(row["body"] for row in kept) == sorted(bodies)
    assert await conn.fetchval("SELECT count(*) FROM doorbells") == 2


async def _tend(pool) -> int:
    async with pool.acquire() as conn:
        return await tend_deliveries(conn, KEPT)
