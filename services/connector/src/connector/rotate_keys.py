"""Bring every sealed value under the current key while the services run, and say what is left under others.

Value by value: read, wrapped anew, put in place of exactly what was read, each in a transaction of its own. A refresh or
a consent that stores new tokens meanwhile wins, and stores them under its own current key. Killed anywhere, what is done
is done and the next run goes on with the rest: no value is ever stored that does not open where it stands.
"""

from collections.abc import Mapping

import structlog

from connector.domain.connection import Reason, Refused
from connector.domain.refresh import RENEWED_WITHIN
from connector.domain.sealing import OuterKeys, SealingError, key_version, rewrap
from connector.record_change import change_all_of_user
from connector.store import key_rotations, sealed_values, token_sets
from connector.store.sealed_values import SealedColumn
from pipeline_messaging.connection import Connection as Db
from pipeline_messaging.failpoints import failpoint

log = structlog.get_logger(__name__)

BATCH = 100


class KeysMissing(Exception):  # noqa: N818 - reads as what happened
    """Grants in use need keys that are not configured here; the message names the versions."""


class KeyInUse(Exception):  # noqa: N818 - reads as what happened
    """A key that is to be given up was used lately; the message is for the operator."""

    def __init__(self, version: str) -> None:
        super().__init__(
            f"A grant was renewed under key {version} within {RENEWED_WITHIN} hours: somebody has it. Nothing was erased."
        )


async def require_keys(conn: Db, keys: OuterKeys) -> None:
    """Refuse to start without a key that others use. Raises KeysMissing.

    A release that lacks a key must not take the place of replicas that have it. Asked at the start only, and only about
    keys in use: one value that nobody can open must not take every replica, and so everybody's connection, down.
    """
    in_use = await sealed_values.keys_in_use(conn, RENEWED_WITHIN)
    missing = sorted(version for version in in_use if not keys.opens(version))
    if missing:
        raise KeysMissing(f"TOKEN_KEYS lacks {', '.join(missing)}")


async def rotate_keys(conn: Db, keys: OuterKeys) -> Mapping[str, int]:
    """Rewrap all there is; how many values are left under each version other than the current one.

    Anything left means: its key is not configured here, it was altered, or a replica still seals under an older key.
    """
    left = await note_progress(conn, keys)
    if left:
        failpoint("rotate:after_begun")
        for column in sealed_values.COLUMNS:
            await rewrap_column(conn, keys, column)
        failpoint("rotate:before_ended")
        left = await note_progress(conn, keys)
    return left


async def left_under_others(conn: Db, keys: OuterKeys) -> Mapping[str, int]:
    """How many values are sealed under each version other than the current one."""
    found = await sealed_values.count(conn)
    return {version: number for version, number in found.items() if version != keys.current}


async def note_progress(conn: Db, keys: OuterKeys) -> Mapping[str, int]:
    """What is left, with the beginning and the end of a rotation in the audit, once each however often it is resumed."""
    async with conn.transaction():
        await key_rotations.lock(conn)
        left = await left_under_others(conn, keys)
        under_way = await key_rotations.under_way(conn, keys.current)
        if under_way != bool(left):
            happening = "ended" if under_way else "begun"
            await key_rotations.add(conn, happening, keys.current, sum(left.values()))
    return left


async def rewrap_column(conn: Db, keys: OuterKeys, where: SealedColumn) -> None:
    """One pass over a column. What cannot be opened stays as it is, and is reported."""
    after = None
    while rows := await sealed_values.under_other_keys(conn, where, keys.current, after, BATCH):
        for row in rows:
            try:
                rewrapped = rewrap(keys, row["sealed"], where.place(row))
            except SealingError as error:
                log.error(  # noqa: TRY400 - the trace would add nothing but frames
                    "value_not_rewrapped",
                    table=where.table,
                    column=where.column,
                    error=type(error).__name__,
                )
                continue
            failpoint("rotate:before_swap")
            await sealed_values.swap(conn, where, row["key"], row["sealed"], rewrapped)
            failpoint("rotate:after_swap")
        after = rows[-1]["key"]


async def give_up_key(conn: Db, version: str) -> int:
    """A key is gone for good: erase what only it could open, and let people connect again; how many grants it was.

    Each grant in a transaction of its own, the audit's link last: killed in between, the next run does the rest.
    Raises KeyInUse: a running replica has the key, only this command was given others.
    """
    if version in await sealed_values.keys_in_use(conn, RENEWED_WITHIN):
        raise KeyInUse(version)
    await sealed_values.forget_unreadable(conn, version)
    users = await sealed_values.users_under(conn, version)
    for xero_userid in users:
        await give_up_grant(conn, version, xero_userid)
        failpoint("rotate:after_given_up")
    async with conn.transaction():
        await key_rotations.lock(conn)
        await key_rotations.add(conn, "given_up", version, len(users))
    return len(users)


async def give_up_grant(conn: Db, version: str, xero_userid: str) -> None:
    """Erase this user's unreadable tokens. Without a refresh token the connections expire, and Connect is offered."""
    async with conn.transaction():
        tokens = await token_sets.lock(conn, xero_userid)
        if tokens is None:
            return
        await token_sets.erase_unreadable(
            conn,
            xero_userid,
            access=under(tokens.access_sealed, version),
            refresh=under(tokens.refresh_sealed, version),
            previous=tokens.previous_sealed is not None and under(tokens.previous_sealed, version),
        )
        if under(tokens.refresh_sealed, version):
            await change_all_of_user(conn, xero_userid, Refused(Reason.KEY_LOST), None)


def under(sealed: bytes, version: str) -> bool:
    """Whether a value is sealed under this key version."""
    try:
        return key_version(sealed) == version
    except SealingError:
        return False
