"""Which generation of the projection pages read, and which are written."""

from pipeline_messaging.connection import Connection

PROJECTED = ("accounts", "customers", "invoices", "payments", "facts", "odd_records")
"""The tables that have generations."""
_ROWS = 5_000


class RebuildOvertaken(Exception):  # noqa: N818 - a fact about somebody else, told to the operator
    """Another rebuild has begun since, and this one's rows are forgotten."""


async def current(conn: Connection) -> int:
    """The generation that pages read."""
    found: int = await conn.fetchval("SELECT generation FROM generations WHERE is_current")
    return found


async def written(conn: Connection) -> list[int]:
    """The generations that every batch goes into: the current one, and one being rebuilt."""
    rows = await conn.fetch("SELECT generation FROM generations ORDER BY generation")
    return [row["generation"] for row in rows]


async def begin(conn: Connection) -> int:
    """Begin another generation; an unfinished one is forgotten."""
    await conn.execute("DELETE FROM generations WHERE NOT is_current")
    made: int = await conn.fetchval(
        "INSERT INTO generations (is_current) VALUES (false) RETURNING generation"
    )
    return made


async def switch_to(conn: Connection, generation: int) -> None:
    """Have pages read `generation`; the one before is written no more.

    Raises:
        RebuildOvertaken: `generation` is forgotten; to be rolled back, or there would be none to read.
    """
    await conn.execute("DELETE FROM generations WHERE is_current")
    done = await conn.execute(
        "UPDATE generations SET is_current = true WHERE generation = $1", generation
    )
    if done != "UPDATE 1":
        raise RebuildOvertaken("another rebuild has begun since this one lost its lock")


async def sweep(conn: Connection, table: str) -> int:
    """Delete some rows of `table` whose generation is gone; how many that were."""
    status = await conn.execute(
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"  # noqa: S608 - a name of `PROJECTED`
        " WHERE generation <> ALL(ARRAY(SELECT generation FROM generations)) LIMIT $1))",
        _ROWS,
    )
    return int(status.rpartition(" ")[2])
