"""A number for each account that grows with every change, for streams to compare."""

from collections.abc import Iterable, Sequence

from pipeline_messaging.connection import Connection


async def count_up(conn: Connection, account_ids: Iterable[str]) -> None:
    """Say that something about these accounts is new. Called last: the rows stay locked until the commit.

    In the order of the ids, so that two transactions with accounts in common wait for each other, and not in a circle.
    """
    await conn.execute(
        """
        INSERT INTO account_versions AS v (account_id, version) SELECT a, 1 FROM unnest($1::text[]) AS a
        ON CONFLICT (account_id) DO UPDATE SET version = v.version + 1
        """,
        sorted(account_ids),
    )


async def of(conn: Connection, account_ids: Sequence[str]) -> dict[str, int]:
    """The numbers of these accounts; 0 for one of which nothing was ever heard."""
    rows = await conn.fetch(
        "SELECT account_id, version FROM account_versions WHERE account_id = ANY($1::text[])",
        account_ids,
    )
    return dict.fromkeys(account_ids, 0) | {row["account_id"]: row["version"] for row in rows}
