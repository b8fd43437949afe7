import secrets
from urllib.parse import urlsplit

import asyncpg
import pytest

from pipeline_local_stack.composed.databases import make_databases
from pipeline_local_stack.databases import as_superuser


@pytest.fixture
async def wanted(postgres_dsn):
    names = [f"composed_{secrets.token_hex(4)}" for _ in range(2)]
    server = urlsplit(postgres_dsn).netloc.rpartition("@")[2]
    yield {
        "OWNER_DATABASE_URL": postgres_dsn,
        **{
            f"{name.upper()}_DATABASE_URL": f"postgresql://{name}:first@{server}/{name}"
            for name in names
        },
    }
    admin = await asyncpg.connect(postgres_dsn)
    for name in names:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.execute(f"DROP ROLE IF EXISTS {name}")
    await admin.close()


async def test_made_twice_each_role_has_rows_of_its_own_database_and_nothing_else(wanted):
    owner, mine, other = wanted.values()
    await make_databases(wanted)
    again = {name: dsn.replace(":first@", ":second@") for name, dsn in wanted.items()}
    await make_databases(again)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(mine)
    mine, other = (dsn.replace(":first@", ":second@") for dsn in (mine, other))
    database = urlsplit(mine).path.removeprefix("/")
    migrating = await asyncpg.connect(as_superuser(owner, database))
    await migrating.execute("CREATE TABLE things (id bigserial PRIMARY KEY)")
    await migrating.close()
    service = await asyncpg.connect(mine)
    await service.execute("INSERT INTO things DEFAULT VALUES")
    for refused in ("DROP TABLE things", "CREATE TABLE more ()", "CREATE DATABASE another"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(refused)
    await service.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(as_superuser(mine, urlsplit(other).path.removeprefix("/")))
