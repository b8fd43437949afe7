"""The organisations this app holds at Xero: how many, and what is not known of them yet."""

from datetime import timedelta

from pipeline_messaging.connection import Connection as Db

_HELD = """
    SELECT tenant_id FROM connections WHERE status <> 'DISCONNECTED'
     UNION
    SELECT tenant_id FROM cleanups WHERE tenant_id IS NOT NULL
     UNION
    SELECT o.tenant_id FROM offered_organisations o JOIN oauth_states s USING (state_hash)
     WHERE s.choice_until > clock_timestamp()
"""


async def held(conn: Db) -> int:
    """How many organisations count at Xero: connected, offered for a choice, or not undone yet."""
    found: int = await conn.fetchval(f"SELECT count(*) FROM ({_HELD}) held")  # noqa: S608 - a constant
    return found


async def has_place(conn: Db, account_id: str) -> bool:
    """Whether the account's organisation counts already, so that connecting it again takes no further place."""
    found: bool = await conn.fetchval(
        f"""SELECT EXISTS (SELECT FROM ({_HELD}) held JOIN connections c USING (tenant_id)
                            WHERE c.account_id = $1)""",  # noqa: S608 - a constant
        account_id,
    )
    return found


async def claim_without_facts(conn: Db, limit: int, pause: timedelta) -> list[str]:
    """Connected accounts whose organisation's short code or currency is missing; not to be asked for again for `pause`."""
    rows = await conn.fetch(
        """
        UPDATE connections SET facts_asked_at = clock_timestamp()
         WHERE account_id IN (
                SELECT account_id FROM connections
                 WHERE status = 'CONNECTED' AND fenced_at IS NULL
                   AND (short_code IS NULL OR base_currency IS NULL)
                   AND (facts_asked_at IS NULL OR facts_asked_at < clock_timestamp() - $2::interval)
                 ORDER BY account_id LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING account_id
        """,
        limit,
        pause,
    )
    return [row["account_id"] for row in rows]
