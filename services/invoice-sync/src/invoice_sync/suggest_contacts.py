"""Suggest contacts in Xero that customers may be, each with the reason. Read only; a person decides."""

from collections.abc import Sequence
from dataclasses import dataclass

from invoice_sync.ask_for_people import spend_calls
from invoice_sync.deps import Deps
from invoice_sync.domain import matching
from invoice_sync.domain.matching import Suggestion
from invoice_sync.domain.state import Account, Customer
from invoice_sync.map_contact import connected_account, problem_of
from invoice_sync.read_contacts import contacts_like, contacts_with, questions_about
from invoice_sync.store import contact_mappings, customers
from pipeline_service_defaults.problems import Problem
from pipeline_xero.errors import XeroError
from pipeline_xero.wire import XeroContact


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What may be linked to one customer."""

    account: Account
    customer: Customer
    contacts: tuple[Suggestion, ...]
    linked: dict[str, list[str]]
    """Customers that are linked to these contacts already, by ContactID."""


async def suggest_for(
    deps: Deps, account_id: str, customer_id: str, name: str | None = None
) -> Suggestions:
    """Suggest contacts for one customer, those of similar names among them: two calls (more only for very long names).

    ``name`` is what a customer is called that Pipeline has not told of.

    Raises:
        Problem: Not connected, no such customer, or Xero could not be asked.
    """
    account = await connected_account(deps, account_id)
    async with deps.pool.acquire() as conn:
        known = await customers.customers_of(conn, account_id, [customer_id])
    customer = known.get(customer_id)
    if customer is None and name is not None:
        customer = Customer(account_id, customer_id, 0, name)
    if customer is None:
        raise Problem(
            404,
            "CUSTOMER_UNKNOWN",
            "Not found",
            "Pipeline has told of no such customer of this account, so there is nothing to compare contacts with.",
            hint="Ask again with `?name=` and what it is called, or link the customer by the id of its contact in Xero.",
        )
    word = matching.search_word(customer.name)
    (only,) = await _suggest(deps, account, [customer], word)
    return only


async def suggest_waiting(deps: Deps, account_id: str, *, limit: int) -> list[Suggestions]:
    """Suggest contacts for the customers with the most invoices waiting for one, a few calls for all of them.

    Raises:
        Problem: Not connected, or Xero could not be asked.
    """
    account = await connected_account(deps, account_id)
    async with deps.pool.acquire() as conn:
        waiting = await customers.unlinked_waiting(conn, account_id, limit=limit)
    return await _suggest(deps, account, waiting, None) if waiting else []


async def _suggest(
    deps: Deps, account: Account, asked: Sequence[Customer], word: str | None
) -> list[Suggestions]:
    await spend_calls(deps, account.account_id, questions_about(asked) + (word is not None))
    try:
        found: list[XeroContact] = await contacts_like(deps, account, asked, lane="people", pages=1)
        if word is not None:
            found += await contacts_with(deps, account, word, lane="people")
    except XeroError as error:
        raise problem_of(error) from error
    chosen = {each.customer_id: tuple(matching.suggest(each, found)) for each in asked}
    ids = {each.contact.contact_id or "" for every in chosen.values() for each in every}
    async with deps.pool.acquire() as conn:
        linked = await contact_mappings.linked_to(
            conn, account.account_id, account.tenant_id or "", sorted(ids)
        )
    return [Suggestions(account, each, chosen[each.customer_id], linked) for each in asked]
