"""What befalls the connection of `acc-1`, brought about where it comes from: at Xero, in our settings, or by time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from connector.announce_days import announce_days

OK, REFUSED = 200, 409
CALL = "/v1/accounts/acc-1/xero/Organisation"


async def call_xero(stack: Any) -> int:
    """The status that another service gets for a call through the gateway."""
    async with stack.caller() as client:
        answer = await client.get(CALL)
    return int(answer.status_code)


async def access_token_runs_out(stack: Any) -> None:
    """The access token is out of date, here and at Xero, as it is every half hour."""
    await stack.db.execute("UPDATE token_sets SET access_expires_at = now() - interval '1 second'")
    stack.sim.world.grants.expire_access(stack.sim.world.clock.now())


async def xero_ends_the_grant(stack: Any) -> None:
    """Xero takes none of our refresh tokens any more, and a call finds it."""
    stack.sim.world.grants.refreshes.clear()
    await access_token_runs_out(stack)
    assert await call_xero(stack) == REFUSED


async def sixty_days_pass_unused(stack: Any) -> None:
    """Nothing of ours ran for 60 days, so Xero let the grant expire; a call finds it."""
    refreshes = stack.sim.world.grants.refreshes
    for token, row in refreshes.items():
        refreshes[token] = replace(row, issued=row.issued - timedelta(days=61))
    await stack.db.execute("UPDATE token_sets SET refreshed_at = now() - interval '61 days'")
    await access_token_runs_out(stack)
    assert await call_xero(stack) == REFUSED


def refuse_the_app(stack: Any) -> None:
    """Xero takes Pipeline's own credentials no longer: its secret was changed there and not here."""
    stack.sim.world.settings = replace(stack.sim.world.settings, client_secret="another")


def accept_the_app(stack: Any) -> None:
    """The operators have put the credentials right."""
    secret = stack.settings.xero_client_secret.get_secret_value()
    stack.sim.world.settings = replace(stack.sim.world.settings, client_secret=secret)


async def xero_refuses_the_app(stack: Any) -> None:
    """Xero refuses the app when the access token has to be renewed; a call finds it."""
    refuse_the_app(stack)
    await access_token_runs_out(stack)
    assert await call_xero(stack) != OK
    assert (await stack.status("acc-1"))["reason"] == "CLIENT_REJECTED"


async def a_permission_is_taken_away(stack: Any) -> None:
    """The grant covers less from the next renewal on; a call finds it."""
    refreshes = stack.sim.world.grants.refreshes
    for token, row in refreshes.items():
        refreshes[token] = replace(row, scopes=row.scopes - {"accounting.invoices"})
    await access_token_runs_out(stack)
    await call_xero(stack)


async def xero_falls_silent(stack: Any) -> None:
    """Xero answers no renewal, and a call finds it."""
    stack.sim.world.faults.add(kind="unavailable_503", path="/connect/token", times=0)
    await access_token_runs_out(stack)
    await call_xero(stack)


def xero_answers_again(stack: Any) -> None:
    """The end of every scripted fault."""
    stack.sim.world.faults.faults.clear()


async def somebody_disconnects_inside_xero(stack: Any) -> None:
    """As a person does under Connected apps: nobody tells us, and the tokens go on working."""
    tenant = await stack.db.fetchval("SELECT tenant_id FROM connections")
    assert stack.sim.world.grants.disconnect_tenant(tenant) == 1


async def the_day_runs_low(stack: Any, left: int = 240) -> None:
    """Most of the day's calls are spent, the last of them at a rate that can be told; it is announced."""
    tenant = await stack.db.fetchval("SELECT tenant_id FROM connections")
    await stack.db.execute(
        """
        UPDATE tenant_budgets SET day_remaining = $2, day_limit = 5000, day_limit_at = clock_timestamp(),
               day_seen_at = clock_timestamp() WHERE tenant_id = $1
        """,
        tenant,
        left,
    )
    await stack.db.execute(
        """
        INSERT INTO call_slots (tenant_id, caller, started_at, lease_until, finished_at)
        SELECT $1, 'invoice-sync', now(), now(), now() FROM generate_series(1, 60)
        """,
        tenant,
    )
    await announce_days(stack.apps[0].state.deps)
