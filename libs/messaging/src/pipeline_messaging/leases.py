"""The table of leases: who works on which account, until when, and when it is due. All times are the database's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline_messaging.connection import Connection


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one account. `epoch` is the fencing token; `lease_until` as of the claim."""

    account_id: str
    epoch: int
    lease_until: datetime

    async def verify(self, conn: Connection) -> None:
        """Make sure, inside the transaction that writes results, that nobody else has taken the account over.

        Until that transaction ends no one can: claiming needs FOR UPDATE, which conflicts with this lock, while
        `mark_due` and the renewal do not.

        Raises:
            LeaseLost: the account was claimed by another worker since; write nothing.
        """
        held = await conn.fetchval(
            "SELECT true FROM account_leases WHERE account_id = $1 AND epoch = $2 FOR KEY SHARE",
            self.account_id,
            self.epoch,
        )
        if not held:
            raise LeaseLost(self)


class LeaseLost(Exception):  # noqa: N818 - it names what happened, as the house's other errors do
    """Another worker has claimed this account since; whatever was being done must not be written."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"the lease on account {lease.account_id} (epoch {lease.epoch}) was lost")
        self.lease = lease


@dataclass(frozen=True, slots=True)
class Claim:
    """A new lease, with what is needed to end it: the wake-ups seen and the failed runs so far."""

    lease: Lease
    wakeups: int
    failures: int


async def mark_due(
    conn: Connection, account_ids: Sequence[str], at: datetime | None = None
) -> None:
    """There is work for these accounts, at `at` or (None) now; in the caller's transaction.

    An earlier due time is kept. A mark made while an account is processed makes it due again right afterwards. The
    rows are locked in sorted order, so that two transactions marking several accounts do not dead-lock.
    """
    await conn.execute(
        """
        INSERT INTO account_leases AS l (account_id, due_at, wakeups)
        SELECT account_id, coalesce($2, now()), 1
          FROM unnest($1::text[]) AS a (account_id) ORDER BY account_id
        ON CONFLICT (account_id) DO UPDATE
           SET due_at = least(l.due_at, excluded.due_at), wakeups = l.wakeups + 1
        """,
        sorted(set(account_ids)),
        at,
    )


async def claim(conn: Connection, *, limit: int, seconds: float) -> list[Claim]:
    """Lease up to `limit` due accounts that nobody holds, longest due first."""
    rows = await conn.fetch(
        """
        WITH due AS (
            SELECT account_id, due_at FROM account_leases
             WHERE due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
             ORDER BY due_at
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        )
        UPDATE account_leases l
           SET epoch = l.epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $2)
          FROM due WHERE l.account_id = due.account_id
        RETURNING l.account_id, l.epoch, l.lease_until, l.wakeups, l.failures
        """,
        limit,
        seconds,
    )
    return [
        Claim(
            Lease(row["account_id"], row["epoch"], row["lease_until"]),
            row["wakeups"],
            row["failures"],
        )
        for row in rows
    ]


async def renew(conn: Connection, lease: Lease, *, seconds: float) -> bool:
    """Extend a lease; False when it is no longer ours."""
    status = await conn.execute(
        """
        UPDATE account_leases SET lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE account_id = $1 AND epoch = $2 AND lease_until IS NOT NULL
        """,
        lease.account_id,
        lease.epoch,
        seconds,
    )
    return bool(status == "UPDATE 1")


async def release(conn: Connection, lease: Lease, *, wakeups: int, due_at: datetime | None) -> bool:
    """End a lease after a good run; False when it was no longer ours.

    Marked since the claim: due now, at the end of the queue, for the run may have looked before the mark.
    """
    status = await conn.execute(
        """
        UPDATE account_leases
           SET lease_until = NULL, failures = 0,
               due_at = CASE WHEN wakeups = $3 THEN $4 ELSE clock_timestamp() END
         WHERE account_id = $1 AND epoch = $2
        """,
        lease.account_id,
        lease.epoch,
        wakeups,
        due_at,
    )
    return bool(status == "UPDATE 1")


async def retry_later(conn: Connection, lease: Lease, *, seconds: float) -> None:
    """End a lease after a failed run: due again after a pause, marked meanwhile or not."""
    await conn.execute(
        """
        UPDATE account_leases
           SET lease_until = NULL, failures = failures + 1,
               due_at = clock_timestamp() + make_interval(secs => $3)
         WHERE account_id = $1 AND epoch = $2
        """,
        lease.account_id,
        lease.epoch,
        seconds,
    )


async def give_back(conn: Connection, lease: Lease) -> None:
    """End a lease without a result: the account is as due as it was."""
    await conn.execute(
        "UPDATE account_leases SET lease_until = NULL WHERE account_id = $1 AND epoch = $2",
        lease.account_id,
        lease.epoch,
    )
