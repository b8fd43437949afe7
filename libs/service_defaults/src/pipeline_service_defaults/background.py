"""Work that runs beside a service's requests for as long as it lives."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any


async def run_beside(
    stack: AsyncExitStack, work: Coroutine[Any, Any, None], stop: Callable[[], None] | None
) -> asyncio.Task[None]:
    """Run `work` in a task that ends with the stack.

    Args:
        stack: The service's lifespan; it ends what was started last first.
        work: Runs until it is stopped.
        stop: Asks `work` to end gracefully, which is then waited for; None for work that may be cancelled anywhere.
    """
    task = asyncio.create_task(work)

    async def finish() -> None:
        if stop is None:
            task.cancel()
        else:
            stop()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(finish)
    return task
