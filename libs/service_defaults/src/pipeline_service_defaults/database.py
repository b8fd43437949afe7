"""The Postgres pool, and the check that the schema is the one this release was written for."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import asyncpg

from pipeline_service_defaults.settings import ServiceSettings

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool

_LOG = logging.getLogger(__name__)


class SchemaOutOfDateError(Exception):
    """The database lacks migrations this release needs. The message names them and the command to run."""


class DatabaseRefusedError(Exception):
    """The database does not let us in, and the message says what to look at."""


def refusal(error: BaseException) -> str | None:
    """Why a database does not let us in, in a sentence; None for any other error, such as one that is away."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"DATABASE_URL: the server shows a certificate that cannot be trusted ({error.verify_message});"
                " sslrootcert (or PGSSLROOTCERT) must hold the authority that signed it, and the address a name that is"
                " in it"
            )
        case asyncpg.InvalidPasswordError():
            return "DATABASE_URL: the server refuses the user or its password"
        case asyncpg.InvalidAuthorizationSpecificationError() if "no encryption" in str(error):
            return "DATABASE_URL: the server takes no connection without TLS; expected sslmode=verify-full"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return (
                f"DATABASE_URL: the server does not let us in ({str(error).partition(chr(10))[0]})"
            )
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return "DATABASE_URL: sslmode asks for TLS, which the server does not speak; switch it on there"
    return None


async def create_pool(settings: ServiceSettings, **options: Any) -> Pool:
    """Open the connection pool.

    Statements time out, and a transaction somebody forgot is ended by the server, so that a stuck replica cannot hold
    row locks for ever. Only ``transaction_timeout`` (PostgreSQL 17) does so wherever the client stopped: asyncpg sends
    a statement in two parts, and a process frozen between them is neither idle nor running a statement.

    Args:
        settings: Gives address and size.
        options: Passed on to ``asyncpg.create_pool``.

    Raises:
        DatabaseRefusedError: See `refusal`.
        OSError, asyncpg.PostgresError: The database cannot be reached.
    """
    defaults: dict[str, Any] = {
        "min_size": min(2, settings.database_pool_size),
        "max_size": settings.database_pool_size,
        "timeout": 10,
        "command_timeout": 60,
        "reset": _leave_as_is_unless_open,
        "server_settings": {
            "timezone": "UTC",
            "statement_timeout": "60000",
            "idle_in_transaction_session_timeout": "15000",
            "transaction_timeout": "30000",
        },
    }
    try:
        return await asyncpg.create_pool(
            settings.database_url.get_secret_value(), **(defaults | options)
        )
    except (OSError, asyncpg.PostgresError) as error:
        if sentence := refusal(error):
            raise DatabaseRefusedError(sentence) from error
        raise


async def _leave_as_is_unless_open(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Instead of asyncpg's reset after each use: a round trip, for session state that nothing here leaves behind.

    A transaction that was left open all the same (its roll-back was cancelled) must not reach the next user.
    """
    if connection.is_in_transaction():
        await connection.reset()


async def require_schema(pool: Pool, expected: Collection[str]) -> None:
    """Refuse to start on a database that lacks a migration.

    Versions the database has beyond ``expected`` are fine: they belong to a newer release rolling out.

    Args:
        pool: The service's database.
        expected: Migration versions, as ``migrate.versions(import_name)`` lists them.

    Raises:
        SchemaOutOfDateError: A version is missing.
    """
    async with pool.acquire() as connection:
        try:
            rows = await connection.fetch("SELECT version FROM schema_migrations")
        except asyncpg.UndefinedTableError:
            rows = []
    missing = sorted(set(expected) - {row["version"] for row in rows})
    if missing:
        raise SchemaOutOfDateError(
            f"the database lacks the migrations {', '.join(missing)};"
            " run python -m pipeline_service_defaults.migrate <service> and start again"
        )


async def check_database(pool: Pool) -> None:
    """A readiness check: one round trip on a pooled connection.

    Raises:
        OSError, asyncpg.PostgresError, TimeoutError: The database does not answer.
    """
    await pool.fetchval("SELECT 1", timeout=2)
