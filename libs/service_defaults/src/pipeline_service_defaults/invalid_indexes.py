"""Indexes whose building CONCURRENTLY was cut off: Postgres keeps them, writes to them and reads by none of them.

`CREATE INDEX CONCURRENTLY IF NOT EXISTS` takes such an index for built, so that a migration that is tried again would
pass and leave the queries that need it without one (PostgreSQL, CREATE INDEX, "Building Indexes Concurrently").
"""

from __future__ import annotations

import asyncio

import asyncpg

_ASK_AGAIN_SECONDS = 0.25


async def build_again(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Build every invalid index of ours again, beside whoever reads and writes; returns their names.

    One that is being built is waited for: a server goes on building for a client that died. What a rebuild that was
    itself cut off left beside the index (`…_ccnew`, `…_ccold`) is dropped, as PostgreSQL's page on REINDEX says.

    Args:
        connection: As the owner of the tables, in no transaction and with no limit to a statement's time.

    Raises:
        asyncpg.PostgresError: An index cannot be built, such as a unique one over rows that are not.
    """
    built: list[str] = []
    while rows := await _invalid(connection):
        row = next((row for row in rows if not row["is_being_built"]), None)
        if row is None:
            # Asked again and again, since a building index waits for every statement that began before it.
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        elif row["is_leftover"]:
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {row['name']}")
        else:
            await connection.execute(f"REINDEX INDEX CONCURRENTLY {row['name']}")
            built.append(row["name"])
    return built


async def _invalid(connection: asyncpg.Connection[asyncpg.Record]) -> list[asyncpg.Record]:
    return await connection.fetch(
        r"""
        SELECT format('%I.%I', n.nspname, c.relname) AS name,
               c.relname ~ '_cc(new|old)\d*$' AS is_leftover,
               EXISTS (SELECT FROM pg_stat_progress_create_index p
                        WHERE p.datname = current_database() AND p.relid = i.indrelid) AS is_being_built
          FROM pg_index i
          JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = ANY(current_schemas(false))
           AND pg_has_role(c.relowner, 'USAGE')
         ORDER BY is_leftover DESC, name
        """
    )
