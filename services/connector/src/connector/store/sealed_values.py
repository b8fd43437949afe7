"""Every sealed value there is, whatever table it stands in: found by the key it is under, and put under another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from connector.store.oauth_states import state_place
from connector.store.token_sets import orphan_place, token_place
from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """One column of sealed values, how its rows are told apart, and what a row's value is bound to."""

    table: str
    column: str
    key: str
    key_type: str
    also: str
    place: Callable[[asyncpg.Record], bytes]


def _of_token_set(column: str) -> SealedColumn:
    def where(row: asyncpg.Record) -> bytes:
        return token_place(row["key"], column, row["also"])

    return SealedColumn("token_sets", column, "xero_userid", "text", "version", where)


def _of_attempt(column: str) -> SealedColumn:
    def where(row: asyncpg.Record) -> bytes:
        return state_place(row["key"], column)

    return SealedColumn("oauth_states", column, "state_hash", "bytea", "NULL", where)


COLUMNS: Final = (
    _of_token_set("access_token"),
    _of_token_set("refresh_token"),
    _of_token_set("previous_refresh_token"),
    SealedColumn(
        "orphan_tokens",
        "refresh_token",
        "id",
        "uuid",
        "xero_userid",
        lambda row: orphan_place(row["key"], row["also"]),
    ),
    _of_attempt("verifier"),
    _of_attempt("nonce"),
)


def _version(column: str) -> str:
    # The name of the key stands in front of every sealed value: a byte of form, a byte of length, the name. See sealing.
    return f"encode(substring({column} FROM 3 FOR get_byte({column}, 1)), 'escape')"


_VERSIONS: Final = " UNION ALL ".join(
    f"SELECT {_version(c.column)} AS version FROM {c.table} WHERE octet_length({c.column}) > 2"  # noqa: S608 - constants
    for c in COLUMNS
)


async def count(conn: Db) -> Mapping[str, int]:
    """How many values are sealed under each key version."""
    rows = await conn.fetch(
        f"SELECT version, count(*) FROM ({_VERSIONS}) AS every GROUP BY version"  # noqa: S608 - constants
    )
    return {row["version"]: row["count"] for row in rows}


async def keys_in_use(conn: Db, within: timedelta) -> frozenset[str]:
    """The keys under which grants were renewed lately: there is somebody who has them."""
    rows = await conn.fetch(
        f"""
        SELECT DISTINCT {_version("refresh_token")} AS version FROM token_sets
         WHERE octet_length(refresh_token) > 2 AND refreshed_at > clock_timestamp() - $1::interval
        """,  # noqa: S608 - a constant
        within,
    )
    return frozenset(row["version"] for row in rows)


async def under_other_keys(
    conn: Db, where: SealedColumn, current: str, after: Any, limit: int
) -> list[asyncpg.Record]:
    """The next values of a column that are not under the current key, in the order of their rows: key, also, sealed."""
    rows: list[asyncpg.Record] = await conn.fetch(
        f"""
        SELECT {where.key} AS key, {where.also} AS also, {where.column} AS sealed FROM {where.table}
         WHERE octet_length({where.column}) > 2 AND {_version(where.column)} <> $1
           AND ($2::{where.key_type} IS NULL OR {where.key} > $2)
         ORDER BY {where.key} LIMIT $3
        """,  # noqa: S608 - constants of this module
        current,
        after,
        limit,
    )
    return rows


async def swap(conn: Db, where: SealedColumn, key: Any, old: bytes, new: bytes) -> bool:
    """Put a value in place of exactly the one read; False when somebody stored another meanwhile, which then stands.

    No two sealings are alike, so equal bytes mean the very same row, column and version.
    """
    done = await conn.fetchval(
        f"UPDATE {where.table} SET {where.column} = $3 WHERE {where.key} = $1 AND {where.column} = $2 RETURNING true",  # noqa: S608 - constants of this module
        key,
        old,
        new,
    )
    return bool(done)


async def users_under(conn: Db, version: str) -> list[str]:
    """Xero users with a token under this key version."""
    rows = await conn.fetch(
        f"""
        SELECT xero_userid FROM token_sets
         WHERE (octet_length(refresh_token) > 2 AND {_version("refresh_token")} = $1)
            OR (octet_length(access_token) > 2 AND {_version("access_token")} = $1)
            OR (octet_length(previous_refresh_token) > 2 AND {_version("previous_refresh_token")} = $1)
         ORDER BY xero_userid
        """,  # noqa: S608 - constants of this module
        version,
    )
    return [row["xero_userid"] for row in rows]


async def forget_unreadable(conn: Db, version: str) -> None:
    """Drop what nobody can open any more and nobody waits for: orphans, and attempts to connect that are under way."""
    await conn.execute(
        f"DELETE FROM orphan_tokens WHERE {_version('refresh_token')} = $1",  # noqa: S608 - a constant
        version,
    )
    await conn.execute(
        f"DELETE FROM oauth_states WHERE {_version('verifier')} = $1 OR {_version('nonce')} = $1",  # noqa: S608 - constants
        version,
    )
