"""Token pairs per Xero user, sealed. Opening and sealing happen here, so that no other place handles ciphertext."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from connector.domain.refresh import GRACE, Pair
from connector.domain.sealing import OuterKeys, place, seal, unseal
from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True, repr=False)
class TokenSet:
    """A row as stored: the tokens stay sealed until asked for. `now` is the database's clock at reading."""

    xero_userid: str
    version: int
    access_sealed: bytes
    access_expires_at: datetime
    refresh_sealed: bytes
    refreshed_at: datetime
    previous_sealed: bytes | None
    previous_valid_until: datetime | None
    rejected_at: datetime | None
    unavailable_since: datetime | None
    last_problem: str | None
    leased: bool
    refresh_failures: int
    refresh_after: datetime
    scopes_missing: bool
    now: datetime

    def access_token(self, ring: OuterKeys) -> str:
        """Raises SealingError."""
        return unseal(
            ring, self.access_sealed, token_place(self.xero_userid, "access_token", self.version)
        )

    def refresh_token(self, ring: OuterKeys) -> str:
        """Raises SealingError."""
        return unseal(
            ring, self.refresh_sealed, token_place(self.xero_userid, "refresh_token", self.version)
        )

    def previous_token(self, ring: OuterKeys) -> str | None:
        """The replaced refresh token while Xero's grace may still hold. Raises SealingError."""
        if (
            self.previous_sealed is None
            or self.previous_valid_until is None
            or self.previous_valid_until <= self.now
        ):
            return None
        where = token_place(self.xero_userid, "previous_refresh_token", self.version)
        return unseal(ring, self.previous_sealed, where)


def token_place(xero_userid: str, column: str, version: int) -> bytes:
    """What a token's ciphertext is bound to."""
    return place("token_sets", xero_userid, column, version)


def orphan_place(orphan_id: UUID, xero_userid: str) -> bytes:
    """What an orphan's ciphertext is bound to."""
    return place("orphan_tokens", str(orphan_id), xero_userid)


COLUMNS_BUT_USER = """version, access_token, access_expires_at, refresh_token, refreshed_at, previous_refresh_token,
              previous_valid_until, rejected_at, unavailable_since, last_problem, refresh_failures, refresh_after,
              scopes_missing, coalesce(lease_until > clock_timestamp(), false) AS leased, clock_timestamp() AS now"""
_COLUMNS = f"xero_userid, {COLUMNS_BUT_USER}"


def of_row(row: asyncpg.Record) -> TokenSet:
    """The tokens in a row that has at least their columns and `xero_userid`."""
    return TokenSet(
        row["xero_userid"],
        row["version"],
        row["access_token"],
        row["access_expires_at"],
        row["refresh_token"],
        row["refreshed_at"],
        row["previous_refresh_token"],
        row["previous_valid_until"],
        row["rejected_at"],
        row["unavailable_since"],
        row["last_problem"],
        row["leased"],
        row["refresh_failures"],
        row["refresh_after"],
        row["scopes_missing"],
        row["now"],
    )


async def find(conn: Db, xero_userid: str) -> TokenSet | None:
    """The user's tokens."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM token_sets WHERE xero_userid = $1",  # noqa: S608 - a constant
        xero_userid,
    )
    return of_row(row) if row else None


async def lock(conn: Db, xero_userid: str) -> TokenSet | None:
    """The user's tokens, locked until the transaction ends."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM token_sets WHERE xero_userid = $1 FOR NO KEY UPDATE",  # noqa: S608 - a constant
        xero_userid,
    )
    return of_row(row) if row else None


async def insert_consented(
    conn: Db, ring: OuterKeys, xero_userid: str, pair: Pair, renew_after: datetime
) -> bool:
    """Store the pair of a user's first consent; False when another consent of the same user was first."""
    done = await conn.fetchval(
        """
        INSERT INTO token_sets (xero_userid, version, access_token, access_expires_at, refresh_token, refreshed_at,
                                scopes, refresh_after, last_used_at)
        VALUES ($1, 1, $2, clock_timestamp() + $4, $3, clock_timestamp(), $5, $6, clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING true
        """,
        xero_userid,
        seal(ring, pair.access_token, token_place(xero_userid, "access_token", 1)),
        seal(ring, pair.refresh_token, token_place(xero_userid, "refresh_token", 1)),
        pair.lifetime,
        pair.scopes,
        renew_after,
    )
    return bool(done)


async def replace_consented(
    conn: Db, ring: OuterKeys, old: TokenSet, pair: Pair, renew_after: datetime
) -> None:
    """Put a newly consented pair in place of `old` (locked). A refresh under way loses its compare-and-set."""
    version = old.version + 1
    await conn.execute(
        """
        UPDATE token_sets
           SET version = $2, access_token = $3, access_expires_at = clock_timestamp() + $5, refresh_token = $4,
               refreshed_at = clock_timestamp(), previous_refresh_token = NULL, previous_valid_until = NULL,
               scopes = $6, refresh_after = $7, lease_id = NULL, lease_until = NULL, refresh_pending = false,
               refresh_failures = 0, unavailable_since = NULL, last_problem = NULL, rejected_at = NULL,
               scopes_missing = false, last_used_at = clock_timestamp()
         WHERE xero_userid = $1
        """,
        old.xero_userid,
        version,
        seal(ring, pair.access_token, token_place(old.xero_userid, "access_token", version)),
        seal(ring, pair.refresh_token, token_place(old.xero_userid, "refresh_token", version)),
        pair.lifetime,
        pair.scopes,
        renew_after,
    )


async def claim(
    conn: Db, xero_userid: str, version: int, lease_id: UUID, lease: timedelta
) -> TokenSet | None:
    """T1: take the right to talk to the token endpoint for this version; None when someone else has it, or it is dead."""
    row = await conn.fetchrow(
        f"""
        UPDATE token_sets
           SET lease_id = $3, lease_until = clock_timestamp() + $4, refresh_pending = true,
               refresh_after = clock_timestamp() + $4
         WHERE xero_userid = $1 AND version = $2 AND rejected_at IS NULL
           AND (lease_until IS NULL OR lease_until <= clock_timestamp())
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant
        xero_userid,
        version,
        lease_id,
        lease,
    )
    return of_row(row) if row else None


async def store_rotated(
    conn: Db,
    ring: OuterKeys,
    old: TokenSet,
    lease_id: UUID,
    pair: Pair,
    *,
    used_token: str,
    expires_at: datetime,
    renew_after: datetime,
) -> TokenSet | None:
    """T3: compare-and-set by version and lease; the row as it now is, None when it moved on.

    The token used becomes the previous one.
    """
    version = old.version + 1
    where = old.xero_userid
    row = await conn.fetchrow(
        f"""
        UPDATE token_sets
           SET version = $4, access_token = $5, access_expires_at = $6, refresh_token = $7,
               refreshed_at = clock_timestamp(), previous_refresh_token = $8,
               previous_valid_until = clock_timestamp() + $9, scopes = CASE WHEN $10 = '' THEN scopes ELSE $10 END,
               refresh_after = $11, lease_id = NULL, lease_until = NULL, refresh_pending = false,
               refresh_failures = 0, unavailable_since = NULL, last_problem = NULL, rejected_at = NULL
         WHERE xero_userid = $1 AND version = $2 AND lease_id = $3
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant
        where,
        old.version,
        lease_id,
        version,
        seal(ring, pair.access_token, token_place(where, "access_token", version)),
        expires_at,
        seal(ring, pair.refresh_token, token_place(where, "refresh_token", version)),
        seal(ring, used_token, token_place(where, "previous_refresh_token", version)),
        GRACE,
        pair.scopes,
        renew_after,
    )
    return of_row(row) if row else None


async def release(
    conn: Db, old: TokenSet, lease_id: UUID, *, retry_in: timedelta, problem: str
) -> bool:
    """Give the lease back after no answer, and come again soon: the rotation may have happened.

    False when the row moved on meanwhile: then the problem is somebody else's past.
    """
    done = await conn.fetchval(
        """
        UPDATE token_sets
           SET lease_id = NULL, lease_until = NULL, refresh_after = clock_timestamp() + $4,
               refresh_failures = refresh_failures + 1, last_problem = $5,
               unavailable_since = coalesce(unavailable_since, clock_timestamp())
         WHERE xero_userid = $1 AND version = $2 AND lease_id = $3
        RETURNING true
        """,
        old.xero_userid,
        old.version,
        lease_id,
        retry_in,
        problem[:200],
    )
    return bool(done)


async def reject(conn: Db, old: TokenSet, lease_id: UUID) -> bool:
    """Record that every token of this version is refused; False when the row moved on meanwhile."""
    done = await conn.fetchval(
        """
        UPDATE token_sets
           SET lease_id = NULL, lease_until = NULL, refresh_pending = false, rejected_at = clock_timestamp(),
               unavailable_since = NULL, last_problem = 'invalid_grant'
         WHERE xero_userid = $1 AND version = $2 AND lease_id = $3
        RETURNING true
        """,
        old.xero_userid,
        old.version,
        lease_id,
    )
    return bool(done)


async def note_missing_scopes(conn: Db, xero_userid: str, version: int) -> bool:
    """Remember that Xero found this version's grant too narrow; False when the row moved on meanwhile."""
    done = await conn.fetchval(
        "UPDATE token_sets SET scopes_missing = true WHERE xero_userid = $1 AND version = $2 RETURNING true",
        xero_userid,
        version,
    )
    return bool(done)


async def add_orphan(
    conn: Db, ring: OuterKeys, xero_userid: str, orphan_id: UUID, refresh_token: str
) -> None:
    """Keep a refresh token that was received too late to be stored in its row."""
    await conn.execute(
        """
        INSERT INTO orphan_tokens (id, xero_userid, refresh_token, received_at)
        SELECT $1, $2, $3, clock_timestamp() WHERE EXISTS (SELECT FROM token_sets WHERE xero_userid = $2)
        """,
        orphan_id,
        xero_userid,
        seal(ring, refresh_token, orphan_place(orphan_id, xero_userid)),
    )


async def revive(conn: Db, xero_userid: str) -> None:
    """A grant that was given up is due again: a token of it has turned up that was not tried."""
    await conn.execute(
        """
        UPDATE token_sets SET rejected_at = NULL, refresh_pending = true, refresh_after = clock_timestamp()
         WHERE xero_userid = $1 AND rejected_at IS NOT NULL AND octet_length(refresh_token) > 0
        """,
        xero_userid,
    )


async def orphans(conn: Db, ring: OuterKeys, xero_userid: str) -> list[tuple[UUID, str]]:
    """Orphaned refresh tokens, the newest first. Raises SealingError."""
    rows = await conn.fetch(
        "SELECT id, refresh_token FROM orphan_tokens WHERE xero_userid = $1 ORDER BY received_at DESC LIMIT 5",
        xero_userid,
    )
    return [
        (
            row["id"],
            unseal(ring, row["refresh_token"], orphan_place(row["id"], xero_userid)),
        )
        for row in rows
    ]


async def erase_unreadable(
    conn: Db, xero_userid: str, *, access: bool, refresh: bool, previous: bool
) -> None:
    """Erase tokens nobody can open any more; without its refresh token a grant counts as rejected.

    A refresh under way loses its lease with it, so that its late answer cannot say otherwise.
    """
    await conn.execute(
        """
        UPDATE token_sets
           SET access_token = CASE WHEN $2 OR $3 THEN '' ELSE access_token END,
               access_expires_at = CASE WHEN $2 OR $3 THEN clock_timestamp() ELSE access_expires_at END,
               refresh_token = CASE WHEN $3 THEN '' ELSE refresh_token END,
               rejected_at = CASE WHEN $3 THEN clock_timestamp() ELSE rejected_at END,
               previous_refresh_token = CASE WHEN $3 OR $4 THEN NULL ELSE previous_refresh_token END,
               previous_valid_until = CASE WHEN $3 OR $4 THEN NULL ELSE previous_valid_until END,
               lease_id = CASE WHEN $3 THEN NULL ELSE lease_id END,
               lease_until = CASE WHEN $3 THEN NULL ELSE lease_until END,
               unavailable_since = NULL, last_problem = NULL
         WHERE xero_userid = $1
        """,
        xero_userid,
        access,
        refresh,
        previous,
    )


async def forget_orphans(conn: Db, xero_userid: str) -> None:
    """Drop a user's orphans: a newer pair is stored, or the grant is gone for good."""
    await conn.execute("DELETE FROM orphan_tokens WHERE xero_userid = $1", xero_userid)


async def erase_expired(conn: Db) -> None:
    """Erase replaced tokens whose grace is over."""
    # now(), not clock_timestamp(): what may change within a statement is not looked up in an index.
    await conn.execute(
        """
        UPDATE token_sets SET previous_refresh_token = NULL, previous_valid_until = NULL
         WHERE previous_valid_until < now()
        """
    )


async def delete(conn: Db, xero_userid: str, version: int) -> bool:
    """Erase a user's tokens of this version unless a connection uses them; orphans and cleanups go with them."""
    done = await conn.fetchval(
        """
        DELETE FROM token_sets t
         WHERE xero_userid = $1 AND version = $2
           AND NOT EXISTS (SELECT FROM connections c WHERE c.xero_userid = t.xero_userid)
        RETURNING true
        """,
        xero_userid,
        version,
    )
    return bool(done)


async def due(conn: Db, limit: int) -> list[str]:
    """Users whose tokens want renewing: in use and near expiry, a day old, or a renewal with unknown end."""
    # now(), not clock_timestamp(): what may change within a statement is not looked up in an index.
    rows = await conn.fetch(
        """
        SELECT t.xero_userid FROM token_sets t
         WHERE t.rejected_at IS NULL AND t.refresh_after <= now()
           AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())
           AND (t.refresh_pending OR t.last_used_at >= t.refreshed_at
                OR t.refreshed_at < clock_timestamp() - interval '23 hours')
           AND EXISTS (SELECT FROM connections c WHERE c.xero_userid = t.xero_userid AND c.fenced_at IS NULL)
         ORDER BY t.refresh_after LIMIT $1
        """,
        limit,
    )
    return [row["xero_userid"] for row in rows]


async def claim_checks(conn: Db, limit: int, retry: timedelta) -> list[str]:
    """Take users whose organisations are to be looked at now; each goes to one replica, and comes again without an answer."""
    # now(), not clock_timestamp(): what may change within a statement is not looked up in an index.
    rows = await conn.fetch(
        """
        UPDATE token_sets SET check_after = clock_timestamp() + $2
         WHERE xero_userid IN (
               SELECT t.xero_userid FROM token_sets t
                WHERE t.rejected_at IS NULL AND t.check_after <= now()
                  AND EXISTS (SELECT FROM connections c WHERE c.xero_userid = t.xero_userid AND c.fenced_at IS NULL)
                ORDER BY t.check_after LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING xero_userid
        """,
        limit,
        retry,
    )
    return [row["xero_userid"] for row in rows]


async def checked(conn: Db, xero_userid: str, next_in: timedelta) -> None:
    """Xero said which organisations are connected; ask again after a while."""
    await conn.execute(
        "UPDATE token_sets SET check_after = clock_timestamp() + $2 WHERE xero_userid = $1",
        xero_userid,
        next_in,
    )


async def unreferenced(conn: Db) -> list[str]:
    """Users whose tokens serve no connection, no open choice and no pending cleanup: consent was abandoned."""
    rows = await conn.fetch(
        """
        SELECT t.xero_userid FROM token_sets t
         WHERE t.refreshed_at < clock_timestamp() - interval '30 minutes'
           AND NOT EXISTS (SELECT FROM connections c WHERE c.xero_userid = t.xero_userid)
           AND NOT EXISTS (SELECT FROM cleanups k WHERE k.xero_userid = t.xero_userid)
           AND NOT EXISTS (SELECT FROM oauth_states s
                            WHERE s.xero_userid = t.xero_userid AND s.choice_until > clock_timestamp())
         LIMIT 100
        """
    )
    return [row["xero_userid"] for row in rows]
