"""The connector, tried with whatever its own OpenAPI document allows and forbids, by every kind of caller."""

import asyncio

import pytest
from fuzzing import fuzz
from serving import listen, serving


@pytest.fixture
async def served(make_stack):
    stack = await make_stack(xero_minute_limit=6000)
    stack.sim.world.limits.settings.minute = None
    await stack.connect("acc-1")
    listener = listen()
    async with serving(stack.apps[0], listener=listener):
        yield stack, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_no_500_no_undocumented_answer_and_no_trace_of_what_was_refused(served):
    stack, url = served
    keys = stack.keys
    callers = {
        "nobody": {},
        "rubbish": {"Authorization": "Bearer x.y.z"},
        "viewer": {"Authorization": f"Bearer {keys.person_token('acc-1', 'viewer')}"},
        "admin": {"Authorization": f"Bearer {keys.person_token('acc-1')}"},
        "admin's browser": {
            "Cookie": f"pipeline_session={keys.person_token('acc-1')}",
            "Accept": "text/html",
        },
        "invoice-sync": {"Authorization": f"Bearer {keys.service_token('invoice-sync')}"},
        "payment-ingest": {"Authorization": f"Bearer {keys.service_token('payment-ingest')}"},
    }
    loop = asyncio.get_running_loop()

    def everything() -> tuple[list[str], int]:
        return asyncio.run_coroutine_threadsafe(state(stack), loop).result()

    tried = await asyncio.to_thread(
        fuzz,
        url,
        callers,
        examples=4,
        known={"account_id": "acc-1", "path": "Invoices", "name": "code-expired"},
        unchanged=everything,
    )
    assert tried > 500


async def state(stack) -> tuple[list[str], int]:
    """Every row but the gateway's own book-keeping, and how often Xero was called for a change."""
    names = await stack.db.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        " AND tablename NOT IN ('call_slots', 'call_counts', 'tenant_budgets', 'lane_wishes', 'app_permits')"
    )
    rows = [
        await stack.db.fetchval(
            f"SELECT '{name}' || coalesce(string_agg(t::text, ';' ORDER BY t::text), '') FROM {name} t"  # noqa: S608 - the catalogue's own names
        )
        for (name,) in names
    ]
    return rows, len([c for c in stack.sim.world.calls.calls if "/api.xro/" not in c.path])
