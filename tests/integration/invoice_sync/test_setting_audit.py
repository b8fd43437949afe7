"""The chains of changed settings prove themselves, by the command operators run; and the command for reconciliations."""

import asyncio
import os
import sys
from datetime import date

import pytest

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings, EditPolicy
from invoice_sync.domain.codes import CodeKind
from invoice_sync.map_code import map_code, unmap_code
from invoice_sync.store import account_settings, setting_changes
from invoice_sync.verify_audit import verify_audit


async def run(dsn, *arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "invoice_sync",
        *arguments,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


@pytest.fixture
async def lived(service):
    """An account with changes of all sorts, and one with a single mapping."""
    one, two = service.account_id, "other"
    first = AccountSettings(start_date=date(2026, 1, 1))
    second = AccountSettings(number_prefix="PL-", edit_policy=EditPolicy.MERGE)
    await change_settings(service.deps, one, first, version=0, actor="user:a")
    await map_code(service.deps, one, CodeKind.ACCOUNT, "200", "4000", "user:a")
    await change_settings(service.deps, one, second, version=1, actor="user:b")
    await map_code(service.deps, one, CodeKind.TAX, "GST", "OUTPUT2", "user:b")
    await unmap_code(service.deps, one, CodeKind.ACCOUNT, "200", "user:b")
    await map_code(service.deps, two, CodeKind.ITEM, "x", "y", "user:c")
    return service


async def test_a_history_as_it_happened_holds_and_a_broken_one_is_said(lived, sync_dsn):
    assert await run(sync_dsn, "verify-audit") == (0, "6 rows read, 0 broken chains.\n")
    await lived.pool.execute("UPDATE setting_changes SET actor = 'x' WHERE sequence = 2")
    status, said = await run(sync_dsn, "verify-audit")
    assert status == 1
    assert said.splitlines() == [
        f"BROKEN: account {lived.account_id!r}, change 2: altered, or not the row that was written.",
        "6 rows read, 1 broken chains.",
    ]


async def test_settings_that_came_later_have_their_defaults(lived):
    """The last change was recorded by a release that knew fewer settings."""
    account_id = "older"
    told = '{"number_prefix": "A-", "version": 1}'
    async with lived.pool.acquire() as conn, conn.transaction():
        await setting_changes.add(
            conn, account_id, actor="x", subject="settings", before=None, after=told
        )
        await account_settings.save(
            conn, account_id, AccountSettings(number_prefix="A-", version=1)
        )
    async with lived.pool.acquire() as conn:
        assert await verify_audit(conn) == (7, [])


TAMPERED = [
    ("UPDATE setting_changes SET actor = 'x' WHERE sequence = 2", "change 2: altered, or not the row that was written"),
    ("UPDATE setting_changes SET after = '5000' WHERE sequence = 4", "change 4: altered"),
    ("UPDATE setting_changes SET hash = '\\x00' WHERE sequence = 3", "change 3: altered"),
    ("DELETE FROM setting_changes WHERE sequence = 1 AND actor = 'user:a'", "change 2: change 1 is missing before it"),
    ("DELETE FROM setting_changes WHERE sequence = 5", "the mapping account:200 is not what the changes made it"),
    ("DELETE FROM setting_changes WHERE sequence >= 3", "the settings are not what the changes made them"),
    ("DELETE FROM setting_changes WHERE account_id = 'other'", "account 'other': the mapping item:x is not what"),
    ("UPDATE account_settings SET number_prefix = 'X-'", "the settings are not what the changes made them"),
    ("UPDATE account_settings SET edit_policy = 'block'", "the settings are not what the changes made them"),
    ("DELETE FROM account_settings", "the settings are not what the changes made them"),
    ("UPDATE code_mappings SET xero_code = 'z' WHERE kind = 'tax'", "the mapping tax:GST is not what"),
    ("DELETE FROM code_mappings WHERE kind = 'tax'", "the mapping tax:GST is not what"),
    ("INSERT INTO code_mappings VALUES ('third', 'tax', 'a', 'b', 'x', now())", "account 'third': the mapping tax:a is not"),
]  # fmt: skip


@pytest.mark.parametrize(("tampering", "named"), TAMPERED)
async def test_what_was_tampered_with_is_named(lived, tampering, named):
    assert await lived.pool.execute(tampering) not in {"UPDATE 0", "DELETE 0"}
    async with lived.pool.acquire() as conn:
        _, (only,) = await verify_audit(conn)
    assert only.startswith("account ")
    assert named in only


async def test_the_command_for_reconciliations_needs_the_database_alone(service, sync_dsn):
    status, said = await run(sync_dsn, "reconcile", "--account", "nobody")
    assert (status, "nobody: not connected to Xero" in said) == (1, True)
    status, said = await run(sync_dsn, "reconcile", "--all")
    assert (status, said) == (0, "No account is connected to Xero.\n")
    status, said = await run(sync_dsn, "reconcile")
    assert (status, "--account" in said) == (2, True)
    status, said = await run("", "verify-audit")
    assert (status, "DATABASE_URL" in said) == (2, True)
