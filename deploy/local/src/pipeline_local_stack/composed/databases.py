"""Makes the services' databases and roles in the Postgres of `deploy/compose.yaml`; run again, it changes nothing.

OWNER_DATABASE_URL is the superuser's; every other `…_DATABASE_URL` is one to make.
"""

import asyncio
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline_local_stack.databases import create_database

_OWNER = "OWNER_DATABASE_URL"


async def make_databases(environment: Mapping[str, str]) -> None:
    """Make each database that the environment names, under the password in its address."""
    for name, dsn in environment.items():
        if name.endswith("_DATABASE_URL") and name != _OWNER:
            wanted = urlsplit(dsn)
            await create_database(
                environment[_OWNER], wanted.path.removeprefix("/"), wanted.password or ""
            )


if __name__ == "__main__":
    asyncio.run(make_databases(os.environ))
