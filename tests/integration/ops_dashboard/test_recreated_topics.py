"""A topic of dead letters that was deleted and made anew counts from nothing: what stands there now is shown."""

from types import SimpleNamespace

from ops_dashboard.project_records import project_records
from ops_dashboard.store import generations, odd_records

TOPIC = "pipeline.invoices.v1.dlq"


def letter(reason, at, offset=0):
    about = {
        "x-dlq-topic": "pipeline.invoices.v1",
        "x-dlq-code": "HANDLER_FAILED",
        "x-dlq-reason": reason,
    }
    return SimpleNamespace(
        topic=TOPIC, partition=0, offset=offset, timestamp=at, key=b"k", value=b'{"account_id": "acc-1"}',
        headers=tuple((name, text.encode()) for name, text in about.items()),
    )  # fmt: skip


async def test_a_later_letter_at_the_same_place_is_shown_and_an_old_copy_changes_nothing(world):
    first, second = letter("before", 1_700_000_000_000), letter("after", 1_800_000_000_000)

    async def shown():
        async with world.pool.acquire() as conn:
            generation = await generations.current(conn)
            page = await odd_records.page(conn, generation, "acc-1", after=None, limit=10)
        return [(each.place, each.reason) for each in page]

    await project_records(world.pool, [first])
    await project_records(world.pool, [first])
    assert await shown() == [(f"{TOPIC}/0/0", "before")]
    await project_records(world.pool, [second])
    assert await shown() == [(f"{TOPIC}/0/0", "after")]
    await project_records(world.pool, [first, second])
    assert await shown() == [(f"{TOPIC}/0/0", "after")]
