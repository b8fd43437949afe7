"""Processes that race over one refresh: each waits at the same barrier, then asks for a usable access token.

Run as a program, with the connector's settings and RACERS, FIRST_RACE and LAST_RACE in the environment. It forks RACERS
times once everything is imported. The barrier is Postgres: whoever starts race 7 holds its lock until all wait for it.
"""

import asyncio
import hashlib
import os
import sys

import asyncpg

from connector.app import build, xero_client
from connector.deps import Deps
from connector.refresh_tokens import CannotRefresh, access_token
from connector.settings import Settings
from pipeline_service_defaults.database import create_pool

BARRIERS = 0x5EED
TABLE = """
CREATE TABLE IF NOT EXISTS race_results (
    race integer, pid integer, version bigint, token_hash bytea, problem text, PRIMARY KEY (race, pid)
)
"""


class NoRelay:
    """In the relay's place: races announce nothing."""

    def wake(self) -> None:
        """Nothing to wake."""


async def race(deps: Deps, barrier: asyncpg.Connection, number: int) -> None:
    """Wait for the start, then take part; how it went goes to `race_results`."""
    await barrier.execute("SELECT pg_advisory_lock_shared($1, $2)", BARRIERS, number)
    await barrier.execute("SELECT pg_advisory_unlock_shared($1, $2)", BARRIERS, number)
    try:
        access = await access_token(deps, os.environ["RACE_OVER"])
        outcome = (access.version, hashlib.sha256(access.token.encode()).digest(), None)
    except CannotRefresh as error:
        outcome = (None, None, repr(error))
    await barrier.execute(
        "INSERT INTO race_results VALUES ($1, $2, $3, $4, $5)", number, os.getpid(), *outcome
    )


async def take_part() -> None:
    """All races, one after the other."""
    settings = Settings()
    pool = await create_pool(settings, min_size=1, max_size=1)
    barrier = await asyncpg.connect(settings.database_url.get_secret_value())
    async with xero_client(None) as http:
        deps = build(settings, pool, http, NoRelay(), None)
        for number in range(int(os.environ["FIRST_RACE"]), int(os.environ["LAST_RACE"]) + 1):
            await race(deps, barrier, number)
        if deps.tasks:
            await asyncio.wait(set(deps.tasks))
    await barrier.close()
    await pool.close()


def main() -> int:
    """Fork the racers and wait for them; 0 when all came through."""
    children = []
    for _ in range(int(os.environ["RACERS"])):
        child = os.fork()
        if child == 0:
            asyncio.run(take_part())
            os._exit(0)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return max(map(abs, ends))


if __name__ == "__main__":
    sys.exit(main())
