"""Say what a code of Pipeline's is called in Xero, and let it be the same in both again."""

from dataclasses import dataclass

from invoice_sync.check_code import keep_list, look_up
from invoice_sync.deps import Deps
from invoice_sync.domain.codes import CodeKind, fix
from invoice_sync.store import accounts, codes, invoices, setting_changes
from invoice_sync.store.codes import CodeMapping
from pipeline_messaging.connection import Connection
from pipeline_messaging.worker import mark_due


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping as it now is, how many invoices the change released, and whether Xero is known to have the code."""

    mapping: CodeMapping
    released: int
    is_checked: bool


async def map_code(
    deps: Deps, account_id: str, kind: CodeKind, code: str, xero_code: str, actor: str
) -> Mapped:
    """Say what a code of Pipeline's is called in Xero; what waited for that code is released.

    The same mapping again releases only what Xero's list brought, if it had to be read again.

    Raises:
        Problem: 422 XERO_CODE_UNKNOWN or XERO_CODE_UNUSABLE; 429 QUESTIONS_USED_UP.
    """
    looked = await look_up(deps, account_id, kind, xero_code, field="body.xero_code")
    async with deps.pool.acquire() as conn, conn.transaction():
        await mark_due(conn, [account_id])
        account, _ = await accounts.lock(conn, account_id)
        released = await keep_list(conn, deps, account, looked)
        is_checked = looked.is_checked and account.tenant_id == looked.tenant_id
        before = await codes.find_mapping(conn, account_id, kind, code)
        if before is not None and before.xero_code == xero_code:
            return Mapped(before, released, is_checked=is_checked)
        await codes.save_mapping(conn, account_id, kind, code, xero_code, actor)
        after = await codes.find_mapping(conn, account_id, kind, code)
        assert after is not None  # noqa: S101 - just saved, under the account's lock
        released += await _remapped(conn, account_id, before, after, actor)
    deps.on_recorded()
    return Mapped(after, released, is_checked=is_checked)


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
