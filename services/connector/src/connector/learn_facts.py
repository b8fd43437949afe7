"""Learn what an organisation did not tell when it was connected: its short code (for links) and its currency."""

from datetime import timedelta
from typing import Final

from connector import metrics
from connector.clients.xero_api import organisation_facts
from connector.deps import Deps
from connector.domain.connection import FactsLearnt, next_connection
from connector.for_each import for_each
from connector.record_change import record_change
from connector.refresh_tokens import access_token
from connector.store import connections, organisations
from connector.take_slot import ask_organisation

ASK_AGAIN: Final = timedelta(hours=1)
"""An organisation that has no short code would else spend calls for ever: this is at most 24 a day."""

AT_ONCE: Final = 20


async def learn_facts(deps: Deps) -> None:
    """Ask for what is missing, and announce each account's once, when something new was learnt."""
    async with deps.pool.acquire() as conn:
        accounts = await organisations.claim_without_facts(conn, AT_ONCE, ASK_AGAIN)
    await for_each(accounts, lambda account_id: learn(deps, account_id))


async def learn(deps: Deps, account_id: str) -> None:
    """Ask for one account's organisation. Raises CannotRefresh."""
    async with deps.pool.acquire() as conn:
        asked = await connections.find(conn, account_id)
    if asked is None or asked.tenant_id is None or asked.xero_userid is None:
        return
    access = await access_token(deps, asked.xero_userid)
    answer = await ask_organisation(deps, asked.tenant_id, access.token, account_id)
    if answer is None:
        return
    learnt = FactsLearnt(asked.tenant_id, *organisation_facts(answer))
    async with deps.pool.acquire() as conn, conn.transaction():
        old = await connections.lock(conn, account_id)
        now = await conn.fetchval("SELECT clock_timestamp()")
        new = next_connection(old, learnt, now=now, actor=None) if old else None
        if old is None or new is None:
            return
        await record_change(conn, old, new, None)
    deps.wake()


async def count_organisations(deps: Deps) -> None:
    """Show how many of the places that Xero gives this app are taken."""
    async with deps.pool.acquire() as conn:
        metrics.ORGANISATIONS_HELD.set(await organisations.held(conn))
    limit = deps.settings.xero_connection_limit
    if limit is not None:
        metrics.ORGANISATIONS_LIMIT.set(limit)
