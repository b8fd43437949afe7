"""Choose one of several organisations that were granted: the second half of a connect that could not decide by itself."""

from connector.connect_tenant import Bound, Callback, Ending, Failed, bind, noted
from connector.deps import Deps
from connector.domain.authorization import Tenant
from connector.domain.failures import Failure
from connector.refresh_tokens import CannotRefresh, GrantDead, access_token
from connector.store import connections, oauth_states
from connector.store.oauth_states import Flow


async def choose_organisation(deps: Deps, asked: Callback, tenant_id: str) -> Ending:
    """Bind the organisation chosen from the list this session was offered."""
    ending = await _choose(deps, asked, tenant_id)
    return noted(asked.account_id, await unless_done(deps, asked.account_id, tenant_id, ending))


async def _choose(deps: Deps, asked: Callback, tenant_id: str) -> Ending:
    async with deps.pool.acquire() as conn:
        choice = await oauth_states.open_choice(
            conn, account_id=asked.account_id, user_id=asked.by.user_id, session=asked.session
        )
    offered = next((o for o in choice.offers if o.tenant_id == tenant_id), None) if choice else None
    if choice is None or offered is None:
        return Failed(Failure.CHOICE_EXPIRED)
    try:
        access = await access_token(deps, choice.xero_userid)
    except GrantDead:
        return Failed(Failure.CHOICE_EXPIRED)
    except CannotRefresh:
        return Failed(Failure.XERO_DOWN)
    flow = Flow(choice.state_hash, asked.account_id, asked.by, "", "")
    tenant = Tenant("", offered.tenant_id, offered.tenant_name, "ORGANISATION", None)
    return await bind(
        deps, flow, choice.xero_userid, tenant, access.token, chosen=oauth_states.CHOOSE
    )


async def unless_done(deps: Deps, account_id: str, tenant_id: str, ending: Ending) -> Ending:
    """The ending; but a form sent twice did not come too late when what it asks for is so."""
    if ending != Failed(Failure.CHOICE_EXPIRED):
        return ending
    async with deps.pool.acquire() as conn:
        bound = await connections.find(conn, account_id)
    done = bound is not None and bound.usable and bound.tenant_id == tenant_id
    return Bound() if done else ending


async def has_connected(deps: Deps, asked: Callback) -> bool:
    """Whether the latest attempt of this session and person ended well, so that there is nothing left to choose."""
    async with deps.pool.acquire() as conn:
        outcome = await oauth_states.latest_outcome(
            conn, account_id=asked.account_id, user_id=asked.by.user_id, session=asked.session
        )
    return outcome == oauth_states.CONNECTED
