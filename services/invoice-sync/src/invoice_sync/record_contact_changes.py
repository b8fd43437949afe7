"""Record what became of changes to contacts: what both sides agree on now, and why Xero refused one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from invoice_sync.deps import Deps
from invoice_sync.domain import contacts, xero_messages
from invoice_sync.domain.contact_fields import ContactFields, fields_of, held, landed, wanted
from invoice_sync.domain.outcome import LANDS_WITHIN
from invoice_sync.domain.state import Account, ContactMapping, Customer, Intent
from invoice_sync.read_contacts import contacts_by_id
from invoice_sync.store import accounts, contact_mappings, customers, intents
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import UnexpectedAnswer
from pipeline_xero.outcomes import ElementResult
from pipeline_xero.wire import XeroContact

_UNUSABLE = frozenset({ProblemCode.CONTACT_ARCHIVED, ProblemCode.CONTACT_NOT_FOUND})


async def record_contact_changes(
    deps: Deps, lease: Lease, account: Account, intent: Intent, results: Sequence[ElementResult]
) -> None:
    """Record the verdict on each contact of a change. What Xero's answer does not settle is looked up."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, intent.account_id)
        rows = await customers.lock_of_intent(conn, intent.id)
        mapped = await contact_mappings.mappings_of(
            conn, intent.account_id, intent.tenant_id, [row.customer_id for row in rows]
        )
        failpoint("record_contact_changes:before")
        agreed: list[ContactMapping] = []
        after: list[Customer] = []
        unusable: list[str] = []
        answered = results if len(results) == len(rows) else ()
        for row in rows:
            result = answered[row.intent_position or 0] if answered else None
            if result is None:
                continue
            if result.accepted and (contact := _changed(row, intent, result)) is not None:
                # Xero may hold it in its own words: that is agreed all the same.
                sent = _sent(row, intent)
                mapping = _agreed(mapped.get(row.customer_id), contact, sent)
                agreed += [mapping] if mapping else []
                after.append(_next(row, mapping, now))
            elif result.errors and not result.accepted:
                if contacts.moved_on(row, intent.body):
                    after.append(contacts.again(row, now, failed=False))
                elif is_about_the_contact(result.errors):
                    unusable.append(row.customer_id)
                    after.append(contacts.settled(row))
                else:
                    after.append(contacts.refused(row, result.errors))
        await contact_mappings.update(conn, agreed)
        await doubt_contacts(conn, intent, unusable)
        await customers.save(conn, after)
        if len(after) < len(rows):
            await intents.defer(
                conn, intent.id, until=now, must_look_up=True, attempts=intent.attempts
            )
        else:
            await intents.close(conn, intent.id)
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
        failpoint("record_contact_changes:before_commit")


async def look_up_contact_changes(
    deps: Deps, lease: Lease, account: Account, intent: Intent, *, key_counts: bool
) -> bool:
    """Settle a change of unknown outcome by reading the contacts.

    What Xero holds of what was sent is our own work, not an edit of somebody in Xero. A change that is not there may
    still be on its way: sending another before that is over could end with the older one in Xero. The same call may be
    repeated while Xero knows its key (``key_counts``), but only if nobody has touched the fields that it writes.

    Returns:
        True, with nothing recorded, if all is as before and the same call is to be repeated.

    Raises:
        XeroError: A contact could not be read; nothing was recorded.
    """
    async with deps.pool.acquire() as conn:
        open_rows = await customers.lock_of_intent(conn, intent.id)
    ids = {_contact_id(row, intent) for row in open_rows}
    read = await contacts_by_id(deps, account, ids - {""})
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, intent.account_id)
        rows = await customers.lock_of_intent(conn, intent.id)
        mapped = await contact_mappings.mappings_of(
            conn, intent.account_id, intent.tenant_id, [row.customer_id for row in rows]
        )
        if key_counts and all(
            _is_as_before(row, intent, mapped.get(row.customer_id), read.found) for row in rows
        ):
            return True
        agreed: list[ContactMapping] = []
        settled: list[Customer] = []
        for row in rows:
            mapping = mapped.get(row.customer_id)
            contact = read.found.get(_contact_id(row, intent))
            if contact is not None and mapping is not None:
                sent, observed = _sent(row, intent), held(contact)
                is_there = landed(sent, mapping.base or mapping.agreed or {}, observed)
                if not is_there and now - intent.first_sent_at < LANDS_WITHIN:
                    continue
                arrived = {name: each for name, each in sent.items() if observed[name] == each}
                agreed += [each] if (each := _agreed(mapping, contact, arrived)) else []
            settled.append(contacts.again(row, now, failed=True))
        await contact_mappings.update(conn, agreed)
        await customers.save(conn, settled)
        if len(settled) == len(rows):
            await intents.close(conn, intent.id)
        else:
            until = intent.first_sent_at + LANDS_WITHIN
            await intents.defer(
                conn, intent.id, until=until, must_look_up=True, attempts=intent.attempts
            )
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
    return False


def _is_as_before(
    row: Customer,
    intent: Intent,
    mapping: ContactMapping | None,
    found: Mapping[str, XeroContact],
) -> bool:
    contact = found.get(_contact_id(row, intent))
    if contact is None or mapping is None or mapping.contact_id != contact.contact_id:
        return False
    base, observed = mapping.base or mapping.agreed or {}, held(contact)
    return all(observed[name] == base.get(name) for name in _sent(row, intent))


def _contact_id(row: Customer, intent: Intent) -> str:
    return str(contacts.sent_element(row, intent.body).get("ContactID") or "")


def _sent(row: Customer, intent: Intent) -> ContactFields:
    return fields_of(contacts.sent_element(row, intent.body))


def _changed(row: Customer, intent: Intent, result: ElementResult) -> XeroContact | None:
    """The contact of an accepted element, if it is the one that was sent: answers are matched by place."""
    try:
        contact = XeroContact.from_json(result.source)
    except UnexpectedAnswer:
        return None
    return contact if contact.contact_id == _contact_id(row, intent) else None


def _agreed(
    mapping: ContactMapping | None, contact: XeroContact, arrived: ContactFields
) -> ContactMapping | None:
    """The mapping with what was sent and arrived as agreed; None if the customer is linked to another contact now."""
    if mapping is None or mapping.contact_id != contact.contact_id or mapping.agreed is None:
        return None
    observed = held(contact)
    return replace(
        mapping,
        contact_name=contact.name,
        agreed={**mapping.agreed, **arrived},
        base={**(mapping.base or mapping.agreed), **{name: observed[name] for name in arrived}},
    )


def _next(row: Customer, mapping: ContactMapping | None, now: datetime) -> Customer:
    """In step; or, if Pipeline has moved on meanwhile or the link has, due at once."""
    agreed = mapping.agreed if mapping else None
    disputed = {each.field for each in mapping.differences} if mapping else set()
    behind = agreed is None or any(
        value != agreed[name] for name, value in wanted(row).items() if name not in disputed
    )
    return contacts.again(row, now, failed=False) if behind else contacts.settled(row)


def is_about_the_contact(messages: Sequence[str]) -> bool:
    """Whether Xero refused a change because the contact cannot be changed at all, whatever is in it."""
    return xero_messages.code_of_all(messages) in _UNUSABLE


async def doubt_contacts(conn: Connection, intent: Intent, customer_ids: Sequence[str]) -> None:
    """Have the contacts looked at that Xero refused to change; what Pipeline changed stays due until they are usable."""
    await contact_mappings.doubt(
        conn,
        intent.account_id,
        intent.tenant_id,
        customer_ids,
        linked_before=intent.first_sent_at,
    )
