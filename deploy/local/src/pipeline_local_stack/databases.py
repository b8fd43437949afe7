"""One database and one role for each service; no role can open another's database."""

import asyncpg


async def create_database(superuser_dsn: str, role: str, password: str) -> None:
    """Make the role and the database of its name, with the rights that a service needs; what is there is kept.

    Args:
        superuser_dsn: of any database of the server.
        role: a plain identifier.
        password: without a quotation mark; an existing role gets it, too.
    """
    connection = await asyncpg.connect(superuser_dsn)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await connection.execute(f"CREATE ROLE {role}")
        await connection.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{password}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", role):
            await connection.execute(f"CREATE DATABASE {role}")
        await connection.execute(f"REVOKE ALL ON DATABASE {role} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {role} TO {role}")
    finally:
        await connection.close()
    # The service reads and writes rows; only migrations, run by the owner, change tables.
    connection = await asyncpg.connect(as_superuser(superuser_dsn, role))
    try:
        await connection.execute(
            f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
        )
        await connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {role}")
    finally:
        await connection.close()


def as_superuser(superuser_dsn: str, database: str) -> str:
    """The owner's address of a database; migrations run as the owner."""
    return f"{superuser_dsn.rsplit('/', 1)[0]}/{database}"
