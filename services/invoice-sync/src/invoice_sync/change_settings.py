"""Change how an account wants its invoices in Xero, and what its codes are called there."""

from dataclasses import dataclass, replace

from invoice_sync.deps import Deps
from invoice_sync.domain.account_settings import AccountSettings, EditPolicy
from invoice_sync.domain.codes import CodeKind, fix
from invoice_sync.domain.setting_audit import SETTINGS, told
from invoice_sync.store import (
    account_settings,
    accounts,
    codes,
    customers,
    invoices,
    setting_changes,
)
from invoice_sync.store.codes import CodeMapping
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due
from pipeline_service_defaults.problems import Problem


@dataclass(frozen=True, slots=True)
class Changed:
    """The settings as they now are, and how many invoices the change released."""

    settings: AccountSettings
    released: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping as it now is, and how many invoices the change released."""

    mapping: CodeMapping
    released: int


async def change_settings(
    deps: Deps, account_id: str, wanted: AccountSettings, *, version: int, actor: str
) -> Changed:
    """Replace the account's settings. The same settings again change nothing and release nothing.

    Args:
        deps: What the verbs share.
        account_id: Whose settings.
        wanted: All of them; its own version is of no account.
        version: The version the caller has seen.
        actor: Who changes them.

    Raises:
        Problem: 412 SETTINGS_CHANGED, they are another version now.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        before = await account_settings.find(conn, account_id)
        if before.version != version:
            raise _changed_meanwhile(before.version)
        if replace(wanted, version=version) == before:
            return Changed(before, 0)
        after = replace(wanted, version=version + 1)
        await account_settings.save(conn, account_id, after)
        released = await _release(conn, account_id, before, after)
        await setting_changes.add(
            conn,
            account_id,
            actor=actor,
            subject=SETTINGS,
            before=told(before),
            after=told(after),
        )
    deps.on_recorded()
    return Changed(after, released)


async def _release(
    conn: Connection, account_id: str, before: AccountSettings, after: AccountSettings
) -> int:
    """Release what waited for a setting to change as it did."""
    released = 0
    if before.mapping_policy != after.mapping_policy:
        await customers.release_for_policy(conn, account_id)
    if before.start_date != after.start_date:
        released += await invoices.release_from_date(conn, account_id, after.start_date)
        await invoices.retell_start_date(conn, account_id)
        if after.start_date is not None:
            await invoices.hold_before_date(conn, account_id, after.start_date)
    if before.edit_policy != after.edit_policy and after.edit_policy is EditPolicy.MERGE:
        released += await invoices.compare_conflicts(conn, [account_id])
    fixes = []
    if before.default_account_code != after.default_account_code:
        fixes.append(fix(CodeKind.ACCOUNT, ""))
    if before.default_tax_type != after.default_tax_type:
        fixes.append(fix(CodeKind.TAX, ""))
    if fixes:
        released += await invoices.release_for_codes(conn, account_id, fixes)
    return released


def _changed_meanwhile(version: int) -> Problem:
    return Problem(
        412,
        "SETTINGS_CHANGED",
        "These are not the settings you read",
        "If-Match does not name the settings as they are now: somebody changed them after you read them, or it is no "
        "ETag of theirs.",
        hint="Read them again, and send your change with the new ETag in If-Match.",
        headers={"ETag": etag(version)},
    )


def etag(version: int) -> str:
    """The entity tag of a version of the settings."""
    return f'"{version}"'


async def map_code(
    deps: Deps, account_id: str, kind: CodeKind, code: str, xero_code: str, actor: str
) -> Mapped:
    """Say what a code of Pipeline's is called in Xero; what waited for that code is released.

    The same mapping again changes nothing. Whether Xero has the code is asked there before an invoice is stopped.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        before = await codes.find_mapping(conn, account_id, kind, code)
        if before is not None and before.xero_code == xero_code:
            return Mapped(before, 0)
        await codes.save_mapping(conn, account_id, kind, code, xero_code, actor)
        after = await codes.find_mapping(conn, account_id, kind, code)
        assert after is not None  # noqa: S101 - just saved, under the account's lock
        released = await _remapped(conn, account_id, before, after, actor)
    deps.on_recorded()
    return Mapped(after, released)


async def unmap_code(deps: Deps, account_id: str, kind: CodeKind, code: str, actor: str) -> bool:
    """Let a code be the same in both again; False if it is already. What is in Xero stays as it is."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        await accounts.lock(conn, account_id)
        before = await codes.find_mapping(conn, account_id, kind, code)
        if before is None:
            return False
        await codes.remove_mapping(conn, account_id, kind, code)
        await _remapped(conn, account_id, before, None, actor)
    deps.on_recorded()
    return True


async def _remapped(
    conn: Connection,
    account_id: str,
    before: CodeMapping | None,
    after: CodeMapping | None,
    actor: str,
) -> int:
    """Record the change of a mapping and release what waited for its code."""
    now = after or before
    assert now is not None  # noqa: S101 - a change has a side
    subject = fix(now.kind, now.code)
    await setting_changes.add(
        conn,
        account_id,
        actor=actor,
        subject=subject,
        before=before.xero_code if before else None,
        after=after.xero_code if after else None,
    )
    return await invoices.release_for_codes(conn, account_id, [subject])
