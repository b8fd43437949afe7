"""Real Postgres on virtual time: sessions that are kept, a pool whose every loan is a seam, and sessions of one's own."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from emptying import EMPTY

from pipeline_service_defaults.migrate import directories_of, migrate
from simulated.seams import Seams

# Unqualified names are looked up in `simulated` first: what the services call now() is the simulation's moment.
VIRTUAL = r"""
    CREATE SCHEMA simulated;
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT coalesce(nullif(pg_catalog.current_setting('simulated.now', true), '')::timestamptz,
                        pg_catalog.now())
    $$;
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
        $$ SELECT simulated.now() $$;
    CREATE FUNCTION simulated.random() RETURNS float8 LANGUAGE sql IMMUTABLE AS
        $$ SELECT 0.5::float8 $$;
    DO $$
    DECLARE each record;
    BEGIN
        FOR each IN
            SELECT c.oid::regclass AS name, a.attname, pg_get_expr(d.adbin, d.adrelid) AS value
              FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
              JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        LOOP
            IF each.value ~ '\m(now|clock_timestamp)\(\)' THEN
                EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', each.name, each.attname,
                    regexp_replace(each.value, '\m(now|clock_timestamp)\(\)', 'simulated.now()', 'g'));
            END IF;
        END LOOP;
        EXECUTE format('ALTER DATABASE %I SET search_path = simulated, pg_catalog, public',
                       current_database());
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
        -- One plan for each statement, whoever executed it before; and none is worth compiling for a few rows.
        EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database());
        EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
    END $$;
"""


@asynccontextmanager
async def made_database(server_dsn: str, service: str) -> AsyncIterator[str]:
    """A migrated database of a service on virtual time; dropped at the end."""
    name = f"simulated_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server_dsn)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        dsn = urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
        migrate(dsn, *directories_of(service))
        conn = await asyncpg.connect(dsn)
        await conn.execute(VIRTUAL)
        await conn.close()
        yield dsn
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()


GRAIN = 0.02
"""Seconds: Postgres's clock moves by as much, so that not every statement has to tell it the time first."""


class Session(asyncpg.Connection):
    """A session that tells Postgres what time it is, and the loop that an answer is on its way."""

    loop: Any
    _told: int = -1

    @property
    def _knows_the_time(self) -> bool:
        return self._told == int(self.loop.now / GRAIN)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - as asyncpg has it
        with self.loop.waiting_for_postgres():
            if args or self.is_in_transaction() or self._knows_the_time:
                return await super().execute(query, *args, timeout=timeout)
            self._told = int(self.loop.now / GRAIN)
            moment = self.loop.utc(self._told * GRAIN).isoformat()
            told = f"SET simulated.now = '{moment}'; {query}"
            status: str = await super().execute(told, timeout=timeout)
            return status

    async def _execute(self, *args: Any, **named: Any) -> Any:
        if not self._knows_the_time and not self.is_in_transaction():
            await self.execute("")
        with self.loop.waiting_for_postgres():
            return await super()._execute(*args, **named)

    async def _executemany(self, *args: Any, **named: Any) -> Any:
        with self.loop.waiting_for_postgres():
            return await super()._executemany(*args, **named)


class Database:
    """One service's database: what every actor of that service uses, on few sessions that are kept."""

    def __init__(self, dsn: str, loop: Any) -> None:
        self.dsn = dsn
        self.loop = loop
        self._free: list[Session] = []
        self._all: list[Session] = []

    async def take(self) -> Session:
        if self._free:
            return self._free.pop()
        with self.loop.waiting_for_postgres():
            session: Session = await asyncpg.connect(
                self.dsn,
                connection_class=Session,
                server_settings={"timezone": "UTC"},
                # Lives are hours long, and their statements the same: each is prepared once.
                max_cached_statement_lifetime=0,
                statement_cache_size=1000,
            )
        session.loop = self.loop
        self._all.append(session)
        return session

    def give_back(self, session: Session) -> None:
        if not session.is_closed():
            self._free.append(session)

    async def empty(self) -> None:
        """As if it had just been migrated."""
        session = await self.take()
        await session.execute(EMPTY)
        self.give_back(session)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """For whoever judges: no seam."""
        session = await self.take()
        try:
            found: list[Any] = await session.fetch(query, *args)
            return found
        finally:
            self.give_back(session)

    async def close(self) -> None:
        for session in self._all:
            with self.loop.waiting_for_postgres():
                await session.close()


class Databases(NamedTuple):
    """One for each service that has a part in a life."""

    invoices: Database
    payments: Database


class Pool:
    """What a service takes for its asyncpg pool."""

    def __init__(self, database: Database, seams: Seams) -> None:
        self._database = database
        self._seams = seams

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Session]:  # noqa: ASYNC109 - asyncpg's own
        await self._seams.pause("database")
        session = await self._database.take()
        try:
            yield session
        finally:
            if session.is_in_transaction():
                await session.execute("ROLLBACK")
            self._database.give_back(session)

    def __getattr__(self, name: str) -> Any:
        async def run(*args: Any, **named: Any) -> Any:
            async with self.acquire() as conn:
                return await getattr(conn, name)(*args, **named)

        return run


class OwnSession:
    """What a relay, or who stores webhooks, takes for its connection: each statement is a seam, its end frees the locks."""

    def __init__(self, database: Database, seams: Seams, session: Session) -> None:
        self._database, self._seams, self._session = database, seams, session
        self._is_closed = False

    @classmethod
    async def open(cls, database: Database, seams: Seams) -> "OwnSession":
        await seams.pause("connect")
        return cls(database, seams, await database.take())

    def is_closed(self) -> bool:
        return self._is_closed

    def terminate(self) -> None:
        """The server sees the connection end, and the session with its lock."""
        if not self._is_closed:
            self._is_closed = True
            self._seams.clean_up(self._end())

    async def _end(self) -> None:
        if self._session.is_in_transaction():
            await self._session.execute("ROLLBACK")
        await self._session.execute("SELECT pg_advisory_unlock_all()")
        self._database.give_back(self._session)

    def __getattr__(self, name: str) -> Any:
        async def run(*args: Any, **named: Any) -> Any:
            await self._seams.pause(f"own {name}")
            if self._is_closed:
                raise asyncpg.ConnectionDoesNotExistError("connection was closed")
            return await getattr(self._session, name)(*args, **named)

        return run
