"""Run what an operator asked for beside the service, and say in a sentence why the database does not take part."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from pipeline_service_defaults.database import refusal

if TYPE_CHECKING:
    from pydantic import SecretStr

Verify: TypeAlias = Callable[[Any], Awaitable[tuple[int, list[str]]]]
EXIT_NOT_DONE = 3
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


def run_command(work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end.

    Returns:
        What it returns; `EXIT_NOT_DONE` when the database kept it from being done, which is said on standard error.
        That is none of the verdicts (0 and 1) that commands give.
    """
    try:
        return asyncio.run(work)
    except DATABASE_ERRORS as error:
        sys.stderr.write(f"Not done. {why_not(error)}\n")
        return EXIT_NOT_DONE


def say(sentence: str) -> None:
    """Tell the operator."""
    sys.stdout.write(f"{sentence}\n")


async def audit_holds(database_url: SecretStr, verify: Verify) -> int:
    """Check the hash chains of an audit, and tell; 0 when every one holds, 1 when not.

    Args:
        database_url: The service's database.
        verify: Gives the number of rows read, and a sentence for each broken chain.
    """
    conn = await asyncpg.connect(database_url.get_secret_value())
    try:
        read, broken = await verify(conn)
    finally:
        await conn.close()
    for sentence in broken:
        say(f"BROKEN: {sentence}.")
    say(f"{read} rows read, {len(broken)} broken chains.")
    return 1 if broken else 0


def why_not(error: BaseException) -> str:  # noqa: PLR0911 - a table of reasons
    """What the database has against it, and what to do, in a sentence or two that show no password."""
    if told := refusal(error):
        return f"{told}. Put that right and run this again."
    match error:
        case asyncpg.InvalidCatalogNameError():
            return "DATABASE_URL: the server has no database of that name. Give the one that the service uses."
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return (
                "DATABASE_URL: the database lacks what this release needs, or is another service's. Give the one that the"
                " service uses, and migrate it (python -m pipeline_service_defaults.migrate)."
            )
        case asyncpg.InsufficientPrivilegeError():
            return f"DATABASE_URL: its user may not do this ({error.message}). Give the user that the service has."
        case asyncpg.TooManyConnectionsError() | asyncpg.CannotConnectNowError():
            return f"The database takes nobody now ({_words(error)}). Run this again in a minute."
        case asyncpg.PostgresConnectionError() | asyncpg.InterfaceError() | ConnectionResetError():
            return "The connection to the database broke. Run this again: what was done stays done."
        case OSError():
            return (
                f"DATABASE_URL: the database cannot be reached ({_words(error)}). See that it runs, and that host and port"
                " are right."
            )
    return f"The database refused ({_words(error)}). Run this again; if it stays so, see the database's log."


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
