"""Operators' commands run as they run them: `python -m connector …` as a process of its own."""

import asyncio
import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a command ended, and all it said."""

    status: int
    said: str


async def command(
    dsn: str, keys: str, *arguments: str, failpoint: str = "", seconds: float = 60
) -> Ended:
    """Run a command with only the settings it needs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connector",
        *arguments,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn, "TOKEN_KEYS": keys}
        | ({"FAILPOINT": failpoint} if failpoint else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, said.decode())
