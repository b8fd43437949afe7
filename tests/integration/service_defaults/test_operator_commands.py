"""Commands for operators that the database keeps from being done say why, in a sentence with the next step."""

import asyncio
import os
import sys
from base64 import b64encode
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pipeline_service_defaults.operator_commands import EXIT_NOT_DONE, run_command, why_not

NOBODY_LISTENS = "postgresql://u:hush-hush@127.0.0.1:1/db"
COMMANDS = (
    ("connector", "verify-audit"),
    ("connector", "rotate-keys"),
    ("invoice_sync", "verify-audit"),
    ("invoice_sync", "reconcile", "--all"),
    ("payment_ingest", "reconcile"),
    ("payment_ingest", "rebuild-ledger"),
    ("payment_ingest", "deep-sweep"),
    ("ops_dashboard", "rebuild"),
)


async def ended(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": NOBODY_LISTENS,
            "TOKEN_KEYS": f"v1:{b64encode(bytes(32)).decode()}",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_every_command_says_in_a_sentence_that_the_database_is_away():
    for command, (status, said) in zip(
        COMMANDS, await asyncio.gather(*(ended(*each) for each in COMMANDS)), strict=True
    ):
        assert status == EXIT_NOT_DONE, (command, said)
        assert said.startswith("Not done. DATABASE_URL: the database cannot be reached"), command
        assert said.count("\n") == 1, command
        assert "hush-hush" not in said, command


def elsewhere(dsn: str, **changes: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(**changes))


async def refused(dsn: str, statement: str) -> Exception:
    try:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return error
    pytest.fail(f"was done: {statement}")


async def test_what_is_said_names_the_cause_and_the_next_step(make_database):
    dsn = await make_database()
    forbidden = (
        "CREATE TABLE t (i int); CREATE ROLE nobody_at_all; SET ROLE nobody_at_all; SELECT * FROM t"
    )
    cases = (
        (elsewhere(dsn, path="/there_is_none"), "", "no database of that name"),
        (dsn, "SELECT * FROM connection_changes", "migrate it"),
        (dsn, f"BEGIN; {forbidden}", "permission denied for table t"),
        (dsn, "SELECT pg_terminate_backend(pg_backend_pid())", "what was done stays done"),
        (dsn, "SELECT 1/0", "The database refused (division by zero)"),
    )
    for address, statement, words in cases:
        told = why_not(await refused(address, statement))
        assert words in told, told
        assert told.count(". ") <= 1, told
        assert told.endswith("."), told


def test_a_verdict_is_passed_on():
    async def verdict() -> int:
        return 1

    assert run_command(verdict()) == 1
