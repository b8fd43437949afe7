"""Change how an account wants its invoices in Xero."""

from dataclasses import dataclass, replace

from invoice_sync.check_code import Look, keep_list, look_up
from invoice_sync.deps import Deps
from invoice_sync.domain.account_settings import AccountSettings, EditPolicy
from invoice_sync.domain.codes import CodeKind, fix
from invoice_sync.domain.setting_audit import SETTINGS, told
from invoice_sync.store import (
    account_settings,
    accounts,
    customers,
    invoices,
    setting_changes,
)
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due
from pipeline_service_defaults.problems import Problem


@dataclass(frozen=True, slots=True)
class Changed:
    """The settings as they now are, and how many invoices the change released."""

    settings: AccountSettings
    released: int
    is_checked: bool = True
    """Whether Xero is known to have the codes that were chosen anew."""


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
        Problem: 412 SETTINGS_CHANGED, they are another version now; 422 XERO_CODE_UNKNOWN or XERO_CODE_UNUSABLE, a default
            that Xero has not; 429 QUESTIONS_USED_UP.
    """
    looked = await _look_up_defaults(deps, account_id, wanted, version)
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, _now = await accounts.lock(conn, account_id)
        is_checked = all(each.is_checked and each.tenant_id == account.tenant_id for each in looked)
        before = await account_settings.find(conn, account_id)
        if before.version != version:
            raise _changed_meanwhile(before.version)
        if replace(wanted, version=version) == before:
            return Changed(before, 0)
        after = replace(wanted, version=version + 1)
        await account_settings.save(conn, account_id, after)
        released = 0
        for each in looked:
            released += await keep_list(conn, deps, account, each)
        released += await _release(conn, account_id, before, after)
        await setting_changes.add(
            conn,
            account_id,
            actor=actor,
            subject=SETTINGS,
            before=told(before),
            after=told(after),
        )
    deps.on_recorded()
    return Changed(after, released, is_checked)


async def _look_up_defaults(
    deps: Deps, account_id: str, wanted: AccountSettings, version: int
) -> list[Look]:
    """Look up the default codes that are chosen anew. Those of another version are not asked for: they are not taken."""
    async with deps.pool.acquire() as conn:
        before = await account_settings.find(conn, account_id)
    if before.version != version:
        raise _changed_meanwhile(before.version)
    chosen = (
        (CodeKind.ACCOUNT, before.default_account_code, wanted.default_account_code, "default_account_code"),
        (CodeKind.TAX, before.default_tax_type, wanted.default_tax_type, "default_tax_type"),
    )  # fmt: skip
    return [
        await look_up(deps, account_id, kind, now, field=f"body.{field}")
        for kind, former, now, field in chosen
        if now is not None and now != former
    ]


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
