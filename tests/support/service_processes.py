"""A service as a process of its own: started, waited for, and ended as an operator ends it."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest


async def until(condition, what: str, seconds: float = 40) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - the condition is another process's
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited {seconds} s in vain until {what}")


@asynccontextmanager
async def running_module(module: str, environment: dict[str, str]):
    """`python -m <module>` with nothing of this process's environment but PATH; asked to end afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
