"""Choose one of several organisations that were granted: the second half of a connect that could not decide by itself."""

from dataclasses import dataclass

from connector.connect_tenant import Asker, Bound, Ending, Failed, bind, noted
from connector.deps import Deps
from connector.domain.connection import Organisation
from connector.domain.failures import Failure
from connector.refresh_tokens import CannotRefresh, GrantDead, access_token
from connector.store import connections, oauth_states
from connector.store.oauth_states import Attempt, Choice


@dataclass(frozen=True, slots=True, repr=False)
class Chosen:
    """What a person chose of an open choice, and the token that reaches it."""

    attempt: Attempt
    organisation: Organisation
    xero_userid: str
    token: str


async def choose_organisation(deps: Deps, asked: Asker, tenant_id: str) -> Ending:
    """Bind the organisation chosen from the list this session was offered."""
    ending = await _choose(deps, asked, tenant_id)
    return noted(asked.account_id, await unless_done(deps, asked.account_id, tenant_id, ending))


async def _choose(deps: Deps, asked: Asker, tenant_id: str) -> Ending:
    async with deps.pool.acquire() as conn:
        choice = await oauth_states.open_choice(
            conn, account_id=asked.account_id, user_id=asked.by.user_id, session=asked.session
        )
    if choice is None:
        return Failed(Failure.CHOICE_EXPIRED)
    chosen = await chosen_of(deps, choice, asked, tenant_id)
    if isinstance(chosen, Failed):
        return chosen
    return await bind_chosen(deps, chosen, oauth_states.CHOOSE)


async def chosen_of(deps: Deps, choice: Choice, asked: Asker, tenant_id: str) -> Chosen | Failed:
    """One of what is offered, by its id, ready to be bound; why not, when it is not offered or Xero is in the way."""
    offered = next((o for o in choice.offers if o.tenant_id == tenant_id), None)
    if offered is None:
        return Failed(Failure.CHOICE_EXPIRED)
    try:
        access = await access_token(deps, choice.xero_userid)
    except GrantDead:
        return Failed(Failure.CHOICE_EXPIRED)
    except CannotRefresh:
        return Failed(Failure.XERO_DOWN)
    return Chosen(
        Attempt(choice.state_hash, asked.account_id, asked.by),
        Organisation(offered.tenant_id, offered.tenant_name),
        choice.xero_userid,
        access.token,
    )


async def bind_chosen(deps: Deps, chosen: Chosen, awaited: str) -> Bound | Failed:
    """Bind what was chosen, by an attempt that waits for a choice of the kind `awaited`."""
    return await bind(
        deps,
        chosen.attempt,
        chosen.xero_userid,
        chosen.organisation,
        chosen.token,
        chosen=awaited,
    )


async def unless_done(deps: Deps, account_id: str, tenant_id: str, ending: Ending) -> Ending:
    """The ending; but a form sent twice did not come too late when what it asks for is so."""
    if ending != Failed(Failure.CHOICE_EXPIRED):
        return ending
    async with deps.pool.acquire() as conn:
        bound = await connections.find(conn, account_id)
    done = bound is not None and bound.usable and bound.tenant_id == tenant_id
    return Bound() if done else ending


async def has_connected(deps: Deps, asked: Asker) -> bool:
    """Whether the latest attempt of this session and person ended well, so that there is nothing left to choose."""
    async with deps.pool.acquire() as conn:
        outcome = await oauth_states.latest_outcome(
            conn, account_id=asked.account_id, user_id=asked.by.user_id, session=asked.session
        )
    return outcome == oauth_states.CONNECTED
