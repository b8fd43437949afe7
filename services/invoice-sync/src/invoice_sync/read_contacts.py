"""Read contacts in Xero: by id with what they were merged into, and by what a customer and a contact have in common."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from urllib.parse import quote

from invoice_sync.deps import Deps
from invoice_sync.domain import trouble
from invoice_sync.domain.contact_fields import wanted
from invoice_sync.domain.contact_health import MOST_MERGES, ContactsRead
from invoice_sync.domain.contacts import contact_number
from invoice_sync.domain.state import Account, Customer
from invoice_sync.store import accounts
from pipeline_messaging.connection import Connection
from pipeline_xero.client import Lane
from pipeline_xero.errors import UnexpectedAnswer, XeroError
from pipeline_xero.json_forms import entity_id
from pipeline_xero.queries import ids, where_text
from pipeline_xero.wire import XeroContact, elements

_PAGE = 1_000
# As it is written in the address: those beyond some two thousand characters are refused on the way.
_WHERE_LENGTH = 1_800
# Xero's limit of names and addresses ("Contacts"): no contact can hold a longer one.
_LONGEST = 255


async def contacts_by_id(
    deps: Deps, account: Account, contact_ids: Iterable[str], *, lane: Lane | None = None
) -> ContactsRead:
    """These contacts and those they were merged into; one call for all, and one more for each step of merges.

    Raises:
        XeroError: Xero could not be asked.
    """
    found: dict[str, XeroContact] = {}
    unreadable: set[str] = set()
    asked: set[str] = set()
    wanted_ids = set(contact_ids)
    for _ in range(1 + MOST_MERGES):
        if not wanted_ids:
            break
        asked |= wanted_ids
        # Only a page says into which contact one was merged; archived ones are left out unless asked for.
        query = {"IDs": ids(sorted(wanted_ids)), "includeArchived": "true"}
        for contact_id, contact in await _page(deps, account, query, 1, lane):
            if contact is None:
                unreadable.add(contact_id)
            else:
                found[contact_id] = contact
        wanted_ids = {each.merged_to for each in found.values() if each.merged_to} - asked
    return ContactsRead(found, frozenset(unreadable))


def questions_about(customers: Sequence[Customer]) -> int:
    """How many questions to Xero `contacts_like` asks about these customers, or more if an answer has several pages."""
    return len(_conditions(customers))


async def contacts_like(
    deps: Deps,
    account: Account,
    customers: Sequence[Customer],
    *,
    lane: Lane | None = None,
    pages: int | None = None,
) -> list[XeroContact]:
    """Every contact, archived or not, with the number, email or name of one of these customers.

    ``pages`` bounds how many are asked for of each question; without it the answer is whole.

    Raises:
        XeroError: Xero could not be asked, or an answer could not be read: what is not known whole proves nothing.
    """
    found: dict[str, XeroContact] = {}
    for where in _conditions(customers):
        query = {"where": where, "includeArchived": "true"}
        page, is_full = 1, True
        while is_full and (pages is None or page <= pages):
            rows = await _page(deps, account, query, page, lane)
            for contact_id, contact in rows:
                if contact is None:
                    raise UnexpectedAnswer(f"contact {contact_id} could not be read")
                found[contact_id] = contact
            page, is_full = page + 1, len(rows) == _PAGE
    return list(found.values())


async def contacts_with(
    deps: Deps, account: Account, word: str, *, lane: Lane | None = None
) -> list[XeroContact]:
    """The first page of active contacts in whose names, numbers or addresses this word stands.

    Raises:
        XeroError: Xero could not be asked.
    """
    rows = await _page(deps, account, {"searchTerm": word}, 1, lane)
    return [contact for _, contact in rows if contact is not None]


async def rest_after(
    conn: Connection, deps: Deps, account: Account, error: XeroError
) -> tuple[datetime, trouble.Trouble]:
    """Contacts could not be read, so nothing has happened: let the account rest as its trouble asks; until when."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    _, now = await accounts.find(conn, account.account_id)
    until = now + (found.pause or trouble.LOOK_AGAIN)
    # An answer that cannot be read is no trouble of the account's invoices.
    if found.pause is not None and not isinstance(error, UnexpectedAnswer):
        await accounts.pause(
            conn,
            account.account_id,
            until=until,
            code=found.block.code,
            count=account.pause_count + 1,
        )
    return until, found


async def _page(
    deps: Deps, account: Account, query: dict[str, str], page: int, lane: Lane | None
) -> list[tuple[str, XeroContact | None]]:
    reply = await deps.gateway.get(
        account.account_id,
        "Contacts",
        params={**query, "page": str(page), "pageSize": str(_PAGE)},
        tenant_id=account.tenant_id,
        lane=lane,
    )
    rows: list[tuple[str, XeroContact | None]] = []
    for element in elements(reply.json(), "Contacts"):
        contact_id = entity_id(element, "ContactID")
        if contact_id is None:
            raise UnexpectedAnswer("Contacts: one without ContactID")
        try:
            rows.append((contact_id, XeroContact.from_json(element)))
        except UnexpectedAnswer:
            rows.append((contact_id, None))
    return rows


def _conditions(customers: Sequence[Customer]) -> list[str]:
    """``where`` conditions that find all these customers, as few as fit into addresses."""
    single: dict[str, None] = {}
    for customer in customers:
        fields = wanted(customer)
        single[where_text("ContactNumber", contact_number(customer.customer_id))] = None
        for field, name in (("EmailAddress", "email"), ("Name", "name")):
            if 0 < len(fields[name]) <= _LONGEST:
                single[where_text(field, fields[name])] = None
    joined: list[str] = []
    for condition in single:
        if joined and len(quote(f"{joined[-1]} OR {condition}")) < _WHERE_LENGTH:
            joined[-1] += f" OR {condition}"
        else:
            joined.append(condition)
    return joined
