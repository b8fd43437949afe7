"""Switch an account to another Xero organisation, after a person confirmed it.

A switch is a disconnect of the former organisation followed by a connect to the other one, from one attempt that may
do so once. Dying in between leaves the account disconnected, as the person asked for in the first half; confirming
again, or connecting, goes on from there.
"""

from connector.choose_organisation import bind_chosen, chosen_of, unless_done
from connector.connect_tenant import Asker, Ending, Failed, noted
from connector.deps import Deps
from connector.disconnect_tenant import clean_up, drain, record_disconnect
from connector.domain.connection import Status
from connector.domain.failures import Failure
from connector.store import connections, oauth_states
from connector.store.oauth_states import Choice
from pipeline_messaging.failpoints import failpoint

SWITCH = Failure.WRONG_ORGANISATION.value
"""The outcome of an attempt that may still become a switch."""


async def switchable(deps: Deps, asked: Asker) -> Choice | None:
    """What this session may switch to; None when there is nothing, or the account is bound elsewhere by now."""
    async with deps.pool.acquire() as conn:
        choice = await oauth_states.open_choice(
            conn,
            account_id=asked.account_id,
            user_id=asked.by.user_id,
            session=asked.session,
            awaited=SWITCH,
        )
        bound = await connections.find(conn, asked.account_id)
    if choice is None or bound is None or bound.tenant_id != choice.bound_tenant_id:
        return None
    return choice


async def switch_organisation(deps: Deps, asked: Asker, tenant_id: str) -> Ending:
    """Leave the bound organisation and bind the chosen one; what was granted for the former is undone at Xero."""
    ending = await _switch(deps, asked, tenant_id)
    return noted(asked.account_id, await unless_done(deps, asked.account_id, tenant_id, ending))


async def _switch(deps: Deps, asked: Asker, tenant_id: str) -> Ending:
    choice = await switchable(deps, asked)
    if choice is None:
        return Failed(Failure.CHOICE_EXPIRED)
    # Everything that may fail at Xero comes before the former organisation is left.
    chosen = await chosen_of(deps, choice, asked, tenant_id)
    if isinstance(chosen, Failed):
        return chosen
    refused = await fence_former(deps, asked, choice.bound_tenant_id, tenant_id)
    if refused is not None:
        return Failed(refused)
    failpoint("switch:after_fence")
    await drain(deps, asked.account_id)
    cleanup_id = await record_disconnect(deps, asked.account_id)
    failpoint("switch:after_disconnect")
    ending = await bind_chosen(deps, chosen, SWITCH)
    if cleanup_id is not None:
        await clean_up(deps, cleanup_id)
    return ending


async def fence_former(deps: Deps, asked: Asker, former: str | None, chosen: str) -> Failure | None:
    """Let no further call go to the former organisation; why not, when the switch no longer applies."""
    async with deps.pool.acquire() as conn, conn.transaction():
        old = await connections.lock(conn, asked.account_id)
        if old is None or old.tenant_id != former:
            return Failure.CHOICE_EXPIRED
        if await connections.taken_tenants(conn, asked.account_id, [chosen]):
            return Failure.TAKEN
        if old.status is not Status.DISCONNECTED:
            await connections.fence(conn, asked.account_id, asked.by)
    return None
