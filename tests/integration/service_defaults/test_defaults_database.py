"""Migrating and opening a real Postgres."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pipeline_service_defaults.database import (
    SchemaOutOfDateError,
    check_database,
    create_pool,
    require_schema,
)
from pipeline_service_defaults.migrate import MigrationError, migrate, versions_in
from pipeline_service_defaults.settings import ServiceSettings


def migration(folder: Path, version: str, up: str) -> None:
    folder.mkdir(exist_ok=True)
    text = f"-- migrate:up\n{up}\n-- migrate:down\n"
    (folder / f"{version}_pre_test.sql").write_text(text)


@pytest.fixture
def folders(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    migration(shared, "20261122000001", "CREATE TABLE one (i int); SELECT pg_sleep(0.3);")
    migration(own, "20261122000100", "CREATE TABLE two (i int);")
    return shared, own


@pytest.fixture
def settings(tmp_path, make_database):
    issuers = tmp_path / "issuers.json"
    issuers.write_text("{}")

    def make(dsn: str, **changes) -> ServiceSettings:
        return ServiceSettings(
            database_url=dsn,
            kafka_bootstrap_servers="localhost:9092",
            http_port=0,
            auth_issuers_file=issuers,
            **changes,
        )

    return make


async def applied(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT version FROM schema_migrations ORDER BY version")
        await connection.execute("SELECT FROM one, two")
    finally:
        await connection.close()
    return [row["version"] for row in rows]


async def test_several_folders_share_one_table_and_replicas_may_race(make_database, folders):
    dsn = await make_database()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(4) as threads:
        await asyncio.gather(
            *(loop.run_in_executor(threads, lambda: migrate(dsn, *folders)) for _ in range(4))
        )
    assert await applied(dsn) == ["20261122000001", "20261122000100"]
    migrate(dsn, *folders)
    assert await applied(dsn) == ["20261122000001", "20261122000100"]


async def test_replicas_may_race_for_an_index_built_while_others_write(make_database, folders):
    dsn = await make_database()
    migration(
        folders[1], "20261122000101", "SELECT pg_sleep(1.2);"
    )  # past Postgres' own look for dead-locks
    (folders[1] / "20261122000102_pre_test.sql").write_text(
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY one_by_i ON one (i);\n-- migrate:down\n"
    )
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(3) as threads:
        await asyncio.gather(
            *(loop.run_in_executor(threads, lambda: migrate(dsn, *folders)) for _ in range(3))
        )
    assert (await applied(dsn))[-1] == "20261122000102"


async def test_a_failing_migration_leaves_nothing_of_itself(make_database, folders):
    dsn = await make_database()
    migration(folders[1], "20261122000101", "CREATE TABLE three (i int); CREATE NONSENSE;")
    with pytest.raises(MigrationError, match="syntax error"):
        migrate(dsn, *folders)
    assert await applied(dsn) == ["20261122000001", "20261122000100"]
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT to_regclass('three')") is None
    await connection.close()


async def test_an_error_never_quotes_the_password(make_database, folders):
    parts = urlsplit(await make_database())
    wrong = urlunsplit(parts._replace(netloc=f"postgres:hush-hush@{parts.hostname}:{parts.port}"))
    missing = urlunsplit(parts._replace(path="/no_such_database"))
    for dsn in (wrong, missing, "postgresql://u:hush-hush@127.0.0.1:1/db"):
        with pytest.raises(MigrationError) as caught:
            migrate(dsn, *folders, wait_seconds=0)
        assert "hush" not in str(caught.value)
        assert (parts.password or "hush") not in str(caught.value)


async def test_the_command_migrates_a_service(make_database, tmp_path):
    dsn = await make_database()
    package = tmp_path / "a_service"
    package.mkdir()
    (package / "__init__.py").touch()
    migration(package / "migrations", "20261122000100", "CREATE TABLE one (i int);")
    migration(package / "migrations", "20261122000101", "CREATE TABLE two (i int);")
    command = [sys.executable, "-m", "pipeline_service_defaults.migrate", "a_service"]
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this test
        command,
        env={**os.environ, "DATABASE_URL": dsn, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(await applied(dsn)) >= {"20261122000100", "20261122000101"}


async def test_a_database_behind_this_release_is_refused(make_database, folders, settings):
    dsn = await make_database()
    pool = await create_pool(settings(dsn))
    try:
        expected = versions_in(*folders)
        with pytest.raises(SchemaOutOfDateError, match=r"20261122000001, 20261122000100"):
            await require_schema(pool, expected)
        migrate(dsn, folders[0])
        with pytest.raises(SchemaOutOfDateError, match=r"lacks the migrations 20261122000100; run"):
            await require_schema(pool, expected)
        migrate(dsn, *folders)
        await require_schema(pool, expected)
        # A newer release has already migrated: still fine for this one.
        migration(folders[1], "20261122000102", "CREATE TABLE newer (i int);")
        migrate(dsn, *folders)
        await require_schema(pool, expected)
    finally:
        await pool.close()


async def test_the_second_phase_waits_until_the_former_release_is_gone(
    make_database, folders, settings
):
    dsn = await make_database()
    later = folders[1] / "20261122000102_post_test.sql"
    later.write_text("-- migrate:up\nCREATE TABLE later (i int);\n-- migrate:down\n")
    migration(folders[1], "20261122000103", "CREATE TABLE newer (i int);")
    migrate(dsn, *folders, phase="pre")
    assert "20261122000103" in await applied(dsn)
    assert "20261122000102" not in await applied(dsn)
    pool = await create_pool(settings(dsn))
    try:
        await require_schema(pool, versions_in(*folders))
    finally:
        await pool.close()
    migrate(dsn, *folders, phase="pre")
    migrate(dsn, *folders)
    assert "20261122000102" in await applied(dsn)


async def test_the_pool(make_database, settings):
    dsn = await make_database()
    pool = await create_pool(settings(dsn, database_pool_size=2))
    try:
        await check_database(pool)
        assert pool.get_max_size() == 2
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW timezone") == "UTC"
            assert await connection.fetchval("SHOW statement_timeout") == "1min"
            assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "15s"
            assert await connection.fetchval("SHOW transaction_timeout") == "30s"
    finally:
        await pool.close()
    with pytest.raises(asyncpg.InterfaceError):
        await check_database(pool)


async def test_a_client_frozen_between_the_two_parts_of_a_statement_frees_its_rows(
    make_database, settings
):
    """Neither idle nor at work, for the server: the other two limits leave such a session alone."""
    limits = {
        "statement_timeout": "500",
        "idle_in_transaction_session_timeout": "500",
        "transaction_timeout": "1000",
    }
    pool = await create_pool(settings(await make_database()), server_settings=limits)
    try:
        await pool.execute("CREATE TABLE held (i int); INSERT INTO held VALUES (1)")
        frozen = await pool.acquire()
        await frozen.execute("BEGIN; SELECT * FROM held FOR UPDATE")
        await frozen.prepare("SELECT i FROM held")  # the first part; the second never comes
        async with asyncio.timeout(30):
            while await pool.fetchval("SELECT i FROM held FOR UPDATE SKIP LOCKED") is None:  # noqa: ASYNC110 - the server's doing
                await asyncio.sleep(0.05)
    finally:
        pool.terminate()


async def test_a_transaction_left_open_never_reaches_the_next_user(make_database, settings):
    pool = await create_pool(settings(await make_database(), database_pool_size=1))
    try:
        async with pool.acquire() as connection:
            await connection.execute("CREATE TABLE left_open (i int)")
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO left_open VALUES (1)")
        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM left_open") == 0
    finally:
        await pool.close()


_INDEXED = "CREATE TABLE rows (i int); INSERT INTO rows SELECT generate_series(1, 100);"
_INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS rows_i ON rows (i);"


def indexing(folder: Path) -> None:
    migration(folder, "20261122000001", _INDEXED)
    text = f"-- migrate:up transaction:false\n{_INDEX}\n-- migrate:down\n"
    (folder / "20261122000002_pre_index.sql").write_text(text)


async def indexes(connection):
    rows = await connection.fetch(
        "SELECT indexrelid::regclass::text AS name, indisvalid FROM pg_index WHERE indrelid = 'rows'::regclass"
    )
    return {row["name"]: row["indisvalid"] for row in rows}


async def building(connection):
    while not (  # noqa: ASYNC110 - another process builds
        pid := await connection.fetchval("SELECT pid FROM pg_stat_progress_create_index")
    ):
        await asyncio.sleep(0.02)
    return pid


async def test_an_index_that_was_cut_off_is_built_by_the_next_run(make_database, tmp_path):
    dsn = await make_database()
    indexing(tmp_path)
    writer, watcher = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        await writer.execute(_INDEXED)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO rows VALUES (0)")
        text = "CREATE TABLE IF NOT EXISTS rows (i int);"
        migration(tmp_path, "20261122000001", text)
        first = asyncio.create_task(asyncio.to_thread(migrate, dsn, tmp_path))
        # Cut off as by a server that is stopped while the index waits for a writer.
        await watcher.execute("SELECT pg_terminate_backend($1)", await building(watcher))
        with pytest.raises(MigrationError):
            await first
        await transaction.commit()
        assert await indexes(watcher) == {"rows_i": False}

        await asyncio.to_thread(migrate, dsn, tmp_path)

        assert await indexes(watcher) == {"rows_i": True}
    finally:
        await writer.close()
        await watcher.close()


async def test_an_index_left_invalid_by_a_former_release_is_built(make_database, tmp_path):
    dsn = await make_database()
    indexing(tmp_path)
    await asyncio.to_thread(migrate, dsn, tmp_path)
    connection = await asyncpg.connect(dsn)
    try:
        # Of a unique index over rows that were not, and of a rebuild of it that was cut off.
        await connection.execute("INSERT INTO rows VALUES (1)")
        for name in ("rows_unique", "rows_i_ccnew"):
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON rows (i)")
        with pytest.raises(MigrationError, match="rows_unique"):
            await asyncio.to_thread(migrate, dsn, tmp_path)
        await connection.execute("DELETE FROM rows WHERE i = 1")

        await asyncio.to_thread(migrate, dsn, tmp_path)

        assert await indexes(connection) == {"rows_i": True, "rows_unique": True}
    finally:
        await connection.close()


async def test_an_index_that_is_still_being_built_is_waited_for(make_database, tmp_path):
    """Its migrator died, and the server builds on."""
    dsn = await make_database()
    indexing(tmp_path)
    writer, builder, watcher = [await asyncpg.connect(dsn) for _ in range(3)]
    try:
        await writer.execute(_INDEXED)
        migration(tmp_path, "20261122000001", "CREATE TABLE IF NOT EXISTS rows (i int);")
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO rows VALUES (0)")
        orphan = asyncio.create_task(builder.execute(_INDEX))
        await building(watcher)
        second = asyncio.create_task(asyncio.to_thread(migrate, dsn, tmp_path))
        while not await watcher.fetchval(  # noqa: ASYNC110 - another process locks
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        ):
            await asyncio.sleep(0.02)
        identity = "SELECT relfilenode FROM pg_class WHERE relname = 'rows_i'"
        begun = await watcher.fetchval(identity)

        await transaction.commit()
        await asyncio.gather(orphan, second)

        assert await indexes(watcher) == {"rows_i": True}
        assert await watcher.fetchval(identity) == begun
    finally:
        for each in (writer, builder, watcher):
            await each.close()


async def test_a_table_that_a_backup_holds_stays_usable_while_a_migration_waits_for_it(
    make_database, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline_service_defaults.migrate._LOCK_MILLISECONDS", 200)
    monkeypatch.setattr("pipeline_service_defaults.migrate._PAUSE_SECONDS", 0.1)
    dsn = await make_database()
    backup, service = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        await service.execute(_INDEXED)
        indexing(tmp_path)
        migration(tmp_path, "20261122000001", "ALTER TABLE rows ADD COLUMN j int;")
        transaction = backup.transaction(isolation="repeatable_read")
        await transaction.start()
        await backup.execute("LOCK TABLE rows IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(migrate, dsn, tmp_path))
        waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        tries = set()
        while len(tries) < 3:
            tries |= {await service.fetchval(waiting)} - {None}
            # Behind the migration in the queue, and on in a moment all the same.
            await service.execute("INSERT INTO rows VALUES (0)", timeout=5)
        assert not migrating.done()

        await transaction.commit()
        await migrating

        assert await indexes(service) == {"rows_i": True}
        assert await service.fetchval("SELECT count(j) FROM rows") == 0
    finally:
        await backup.close()
        await service.close()
