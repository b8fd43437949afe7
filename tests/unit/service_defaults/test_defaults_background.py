import asyncio
from contextlib import AsyncExitStack

from pipeline_service_defaults.background import run_beside


async def test_work_is_asked_to_stop_and_waited_for_last_started_first():
    ended: list[str] = []

    def work(name: str):
        asked = asyncio.Event()

        async def run() -> None:
            await asked.wait()
            await asyncio.sleep(0)
            ended.append(name)

        return run(), asked.set

    async with AsyncExitStack() as stack:
        for name in ("first", "second"):
            task = await run_beside(stack, *work(name))
    assert task.done()
    assert ended == ["second", "first"]


async def test_work_without_a_way_to_stop_is_cancelled():
    async with AsyncExitStack() as stack:
        task = await run_beside(stack, asyncio.sleep(3600), None)
    assert task.cancelled()
