"""Attempts to connect: one row per click, recognised by the hash of its state, usable once."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from connector.domain.authorization import CHOICE_LIFETIME, FlowSecrets, Tenant, digest
from connector.domain.connection import Actor
from connector.domain.sealing import OuterKeys, place, seal, unseal
from pipeline_messaging.connection import Connection as Db


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that came back from Xero: which, for which account, and whose."""

    state_hash: bytes
    account_id: str
    by: Actor


@dataclass(frozen=True, slots=True, repr=False)
class Flow(Attempt):
    """An attempt whose state was just used up, with what proves the answer to it."""

    verifier: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a state that could not be used."""

    session_hash: bytes
    used: bool
    expired: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """One organisation to choose from."""

    tenant_id: str
    tenant_name: str
    taken: bool


CHOOSE: Final = "choose"
"""The outcome of an attempt that waits for a choice among several organisations."""

CONNECTED: Final = "connected"
"""The outcome of an attempt that bound an organisation."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An attempt that waits for a choice of organisation; `bound` is the one a switch would leave: id and name."""

    state_hash: bytes
    xero_userid: str
    offers: tuple[Offer, ...]
    bound_tenant_id: str | None
    bound_tenant_name: str | None


def state_place(state_hash: bytes, column: str) -> bytes:
    """What an attempt's ciphertext is bound to."""
    return place("oauth_states", state_hash.hex(), column)


async def add(
    conn: Db,
    ring: OuterKeys,
    flow: FlowSecrets,
    *,
    account_id: str,
    by: Actor,
    session: str,
    lifetime: timedelta,
) -> None:
    """Remember an attempt; the state only by its hash, verifier and nonce sealed to it."""
    hashed = digest(flow.state)
    await conn.execute(
        """
        INSERT INTO oauth_states (state_hash, account_id, user_id, user_name, session_hash, verifier, nonce, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8)
        """,
        hashed,
        account_id,
        by.user_id,
        by.name,
        digest(session),
        seal(ring, flow.verifier, state_place(hashed, "verifier")),
        seal(ring, flow.nonce, state_place(hashed, "nonce")),
        lifetime,
    )


async def use(
    conn: Db,
    ring: OuterKeys,
    *,
    state: str,
    session: str,
    user_id: str,
    account_id: str,
) -> Flow | None:
    """Use a state up, if it is unused, in time, and this browser session, person and account began it.

    A foreign session cannot burn it: the row only changes when everything matches. Raises SealingError.
    """
    row = await conn.fetchrow(
        """
        UPDATE oauth_states SET used_at = clock_timestamp()
         WHERE state_hash = $1 AND session_hash = $2 AND user_id = $3 AND account_id = $4
           AND used_at IS NULL AND expires_at > clock_timestamp()
        RETURNING state_hash, account_id, user_id, user_name, verifier, nonce
        """,
        digest(state),
        digest(session),
        user_id,
        account_id,
    )
    if row is None:
        return None
    hashed: bytes = row["state_hash"]
    return Flow(
        hashed,
        row["account_id"],
        Actor(row["user_id"], row["user_name"]),
        unseal(ring, row["verifier"], state_place(hashed, "verifier")),
        unseal(ring, row["nonce"], state_place(hashed, "nonce")),
    )


async def known(conn: Db, state: str) -> Known | None:
    """What is known about a state, to tell a person why it did not work."""
    row = await conn.fetchrow(
        """
        SELECT session_hash, used_at IS NOT NULL AS used, expires_at <= clock_timestamp() AS expired
          FROM oauth_states WHERE state_hash = $1
        """,
        digest(state),
    )
    return Known(**dict(row)) if row else None


async def attach_user(conn: Db, state_hash: bytes, xero_userid: str, lifetime: timedelta) -> None:
    """Note whose tokens an attempt brought, which keeps them while it goes on."""
    await conn.execute(
        """
        UPDATE oauth_states SET xero_userid = $2, choice_until = clock_timestamp() + $3 WHERE state_hash = $1
        """,
        state_hash,
        xero_userid,
        lifetime,
    )


async def consent_under_way(conn: Db, xero_userid: str) -> bool:
    """Whether an attempt has this user's new tokens and is not finished yet."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM oauth_states WHERE xero_userid = $1 AND choice_until > clock_timestamp())",
        xero_userid,
    )
    return found


async def finish(conn: Db, state_hash: bytes, outcome: str, name: str | None) -> None:
    """Note how an attempt ended, and the organisation it was about."""
    await conn.execute(
        "UPDATE oauth_states SET outcome = $2, outcome_name = $3, choice_until = NULL WHERE state_hash = $1",
        state_hash,
        outcome,
        name,
    )


async def last_outcome_name(conn: Db, *, account_id: str, session: str, outcome: str) -> str | None:
    """The organisation of this session's latest attempt that ended so."""
    found: str | None = await conn.fetchval(
        """
        SELECT outcome_name FROM oauth_states WHERE account_id = $1 AND session_hash = $2 AND outcome = $3
         ORDER BY expires_at DESC LIMIT 1
        """,
        account_id,
        digest(session),
        outcome,
    )
    return found


async def latest_outcome(conn: Db, *, account_id: str, user_id: str, session: str) -> str | None:
    """How the latest attempt of this session and person ended that came back from Xero; None while it goes on."""
    found: str | None = await conn.fetchval(
        """
        SELECT outcome FROM oauth_states
         WHERE account_id = $1 AND user_id = $2 AND session_hash = $3 AND used_at IS NOT NULL
         ORDER BY used_at DESC LIMIT 1
        """,
        account_id,
        user_id,
        digest(session),
    )
    return found


async def offer(
    conn: Db, state_hash: bytes, tenants: tuple[Tenant, ...], taken: frozenset[str]
) -> None:
    """Store the organisations to choose from."""
    await conn.executemany(
        """
        INSERT INTO offered_organisations (state_hash, tenant_id, tenant_name, taken)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        [(state_hash, t.tenant_id, t.tenant_name, t.tenant_id in taken) for t in tenants],
    )


async def open_choice(
    conn: Db, *, account_id: str, user_id: str, session: str, awaited: str = CHOOSE
) -> Choice | None:
    """The newest attempt of this session and person that waits for a choice of the kind `awaited`."""
    rows = await conn.fetch(
        """
        WITH newest AS (
            SELECT state_hash, xero_userid, bound_tenant_id, bound_tenant_name FROM oauth_states
             WHERE account_id = $1 AND user_id = $2 AND session_hash = $3 AND outcome = $4
               AND used_at > clock_timestamp() - $5::interval
             ORDER BY used_at DESC LIMIT 1
        )
        SELECT n.state_hash, n.xero_userid, n.bound_tenant_id, n.bound_tenant_name, o.tenant_id, o.tenant_name, o.taken
          FROM newest n JOIN offered_organisations o USING (state_hash)
         ORDER BY lower(o.tenant_name), o.tenant_id
        """,
        account_id,
        user_id,
        digest(session),
        awaited,
        CHOICE_LIFETIME,
    )
    if not rows:
        return None
    first = rows[0]
    offers = tuple(Offer(row["tenant_id"], row["tenant_name"], row["taken"]) for row in rows)
    return Choice(
        first["state_hash"],
        first["xero_userid"],
        offers,
        first["bound_tenant_id"],
        first["bound_tenant_name"],
    )


async def await_choice(conn: Db, state_hash: bytes) -> None:
    """Mark an attempt as waiting for a choice."""
    await conn.execute(
        "UPDATE oauth_states SET outcome = $2 WHERE state_hash = $1", state_hash, CHOOSE
    )


async def await_switch(
    conn: Db, state_hash: bytes, outcome: str, named: str, bound: tuple[str | None, str | None]
) -> None:
    """Mark an attempt as ended with `outcome`, which a person may still turn into a switch away from `bound`."""
    await conn.execute(
        """
        UPDATE oauth_states SET outcome = $2, outcome_name = $3, bound_tenant_id = $4, bound_tenant_name = $5
         WHERE state_hash = $1
        """,
        state_hash,
        outcome,
        named,
        *bound,
    )


async def leaves(conn: Db, state_hash: bytes) -> str | None:
    """The organisation that the account was bound to when a switch was offered."""
    found: str | None = await conn.fetchval(
        "SELECT bound_tenant_id FROM oauth_states WHERE state_hash = $1", state_hash
    )
    return found


async def settle_choice(conn: Db, state_hash: bytes, awaited: str) -> bool:
    """Use the choice up; False when another tab was first."""
    done = await conn.fetchval(
        """
        UPDATE oauth_states SET outcome = 'chosen', choice_until = NULL
         WHERE state_hash = $1 AND outcome = $2 RETURNING true
        """,
        state_hash,
        awaited,
    )
    return bool(done)


async def forget_old(conn: Db) -> None:
    """Delete attempts a day after they ended; until then they explain themselves to whoever returns late."""
    await conn.execute(
        "DELETE FROM oauth_states WHERE expires_at < clock_timestamp() - interval '1 day'"
    )
