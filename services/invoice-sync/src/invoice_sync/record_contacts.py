"""Record what became of contacts: mappings, ContactMapped, and the release of the invoices that waited for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from invoice_sync.deps import Deps
from invoice_sync.domain import contact_fields, contacts, retry, xero_messages
from invoice_sync.domain.state import Account, ContactMapping, Customer, Intent
from invoice_sync.store import accounts, contact_mappings, customers, intents, invoices, steps
from pipeline_contracts.sync import ContactMapped
from pipeline_messaging import outbox
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.errors import NotFound, UnexpectedAnswer
from pipeline_xero.outcomes import ElementResult
from pipeline_xero.queries import where_text
from pipeline_xero.wire import XeroContact, elements

OURSELVES = "service:invoice-sync"


async def record_contacts(
    deps: Deps, lease: Lease, account: Account, intent: Intent, results: Sequence[ElementResult]
) -> None:
    """Record the verdict on each contact of a write.

    A refusal that speaks of a name or number in use keeps the customer with the intent: the contact in the way may
    be ours, from a write whose answer we never saw.
    """
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        _, now = await accounts.lock(conn, intent.account_id)
        rows = await customers.lock_of_intent(conn, intent.id)
        failpoint("record_contacts:before")
        made: list[tuple[Customer, XeroContact]] = []
        refused: list[Customer] = []
        unsettled: list[Customer] = []
        again: list[Customer] = []
        answered = results if len(results) == len(rows) else ()
        for row in rows:
            result = _at(answered, row)
            if result is None or not _is_of(row, result):
                unsettled.append(row)
            elif result.accepted:
                contact = _read(result)
                if contact is None:
                    unsettled.append(row)
                else:
                    made.append((row, contact))
            elif not result.errors:
                unsettled.append(row)
            elif contacts.moved_on(row, intent.body):
                again.append(contacts.again(row, now, failed=False))
            elif xero_messages.contact_name_taken(result.errors):
                unsettled.append(contacts.taken(row, result.errors))
            else:
                refused.append(contacts.refused(row, result.errors))
        await map_customers(conn, intent, made, now)
        await refuse_customers(conn, intent, refused, now)
        await customers.save(conn, again)
        if unsettled:
            await customers.save(conn, unsettled)
            await intents.defer(
                conn, intent.id, until=now, must_look_up=True, attempts=intent.attempts
            )
        else:
            await intents.close(conn, intent.id)
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
        failpoint("record_contacts:before_commit")


def _at(results: Sequence[ElementResult], row: Customer) -> ElementResult | None:
    place = row.intent_position or 0
    return results[place] if place < len(results) else None


def _is_of(row: Customer, result: ElementResult) -> bool:
    """Whether an answer is this customer's: answers are matched by place, and places may shift."""
    named = result.source.get("ContactNumber")
    return named == contacts.contact_number(row.customer_id) or (
        not result.accepted and named in {None, ""}
    )


def _read(result: ElementResult) -> XeroContact | None:
    """The contact of an accepted element; None if it cannot be read, so that it is looked up."""
    try:
        contact = XeroContact.from_json(result.source)
    except UnexpectedAnswer:
        return None
    return contact if contact.contact_id else None


async def look_up_contacts(deps: Deps, lease: Lease, intent: Intent) -> None:
    """Settle a contact write of unknown outcome by looking each customer up under its ContactNumber.

    Raises:
        XeroError: A look-up failed; nothing was recorded.
        LeaseLost: As everywhere.
    """
    async with deps.pool.acquire() as conn:
        open_rows = await customers.lock_of_intent(conn, intent.id)
    found = {
        row.customer_id: await find_contact(deps, intent, row.customer_id) for row in open_rows
    }
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        account, now = await accounts.lock(conn, intent.account_id)
        rows = await customers.lock_of_intent(conn, intent.id)
        made = [(row, contact) for row in rows if (contact := found.get(row.customer_id))]
        await map_customers(conn, intent, made, now)
        absent = [row for row in rows if not found.get(row.customer_id)]
        await _try_again_or_refuse(conn, intent, absent, now, deps.chance())
        await intents.close(conn, intent.id)
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)


async def find_contact(deps: Deps, intent: Intent, customer_id: str) -> XeroContact | None:
    """The contact that carries this customer's ContactNumber, archived or not; None if there is none."""
    number = contacts.contact_number(customer_id)
    account_id, tenant_id = intent.account_id, intent.tenant_id
    try:
        if contacts.fits_a_path(number):
            reply = await deps.gateway.get(account_id, f"Contacts/{number}", tenant_id=tenant_id)
        else:
            params = {"where": where_text("ContactNumber", number), "includeArchived": "true"}
            reply = await deps.gateway.get(
                account_id, "Contacts", params=params, tenant_id=tenant_id
            )
    except NotFound as error:
        if error.by_gateway:
            raise
        return None
    every = [XeroContact.from_json(each) for each in elements(reply.json(), "Contacts")]
    return next((each for each in every if each.contact_number == number and each.contact_id), None)


async def _try_again_or_refuse(
    conn: Connection,
    intent: Intent,
    absent: Sequence[Customer],
    now: datetime,
    chance: float,
) -> None:
    """Nothing of ours is there: a name in use is a stranger's; what was never refused is tried again."""
    moved_on = {row.customer_id for row in absent if contacts.moved_on(row, intent.body)}
    strangers = [
        contacts.waits(row, row.block)
        for row in absent
        if row.block is not None and row.customer_id not in moved_on
    ]
    again = [
        contacts.again(row, now, failed=False) for row in absent if row.customer_id in moved_on
    ]
    again += [
        contacts.again(row, now + retry.backoff(row.attempts + 1, chance), failed=True)
        for row in absent
        if row.block is None and row.customer_id not in moved_on
    ]
    await customers.save(conn, again)
    await refuse_customers(conn, intent, strangers, now)


async def map_customers(
    conn: Connection,
    intent: Intent,
    made: Sequence[tuple[Customer, XeroContact]],
    now: datetime,
) -> None:
    """Map customers to their contacts and release what waited for them. One that a person has linked stays linked."""
    mapped = await contact_mappings.mappings_of(
        conn, intent.account_id, intent.tenant_id, [row.customer_id for row, _ in made]
    )
    mappings = [
        ContactMapping(
            row.account_id,
            intent.tenant_id,
            row.customer_id,
            contact.contact_id or "",
            contact.name,
            OURSELVES,
            agreed=contacts.sent_fields(row, intent.body),
            base=contact_fields.held(contact),
            # Found under our number after a refusal, it may be archived or merged: looked at before it is used.
            check_at=now if contact.is_archived or contact.merged_to else None,
        )
        for row, contact in made
        if row.customer_id not in mapped
    ]
    await customers.save(
        conn,
        [
            contacts.again(row, now, failed=False)
            if contacts.moved_on(row, intent.body)
            else contacts.settled(row)
            for row, _ in made
        ],
    )
    await save_mappings(conn, mappings, now, {row.customer_id: row.traceparent for row, _ in made})


async def save_mappings(
    conn: Connection,
    mappings: Sequence[ContactMapping],
    now: datetime,
    traceparents: Mapping[str, str | None] = MappingProxyType({}),
) -> int:
    """Save mappings of one account, publish ContactMapped for those that are new, and release exactly the invoices that
    waited; how many those were. `traceparents` are, by customer, of what had them mapped.
    """
    if not mappings:
        return 0
    before = await contact_mappings.mappings_of(
        conn,
        mappings[0].account_id,
        mappings[0].tenant_id,
        [each.customer_id for each in mappings],
    )
    await contact_mappings.save(conn, mappings)
    news = [
        each
        for each in mappings
        if (known := before.get(each.customer_id)) is None or known.contact_id != each.contact_id
    ]
    await outbox.add(
        conn,
        *(
            steps.record_of(
                _event(each),
                now,
                id=_id(each, now),
                traceparent=traceparents.get(each.customer_id),
            )
            for each in news
        ),
    )
    ids = [each.customer_id for each in mappings]
    return await invoices.release_for_contacts(conn, mappings[0].account_id, ids)


async def refuse_customers(
    conn: Connection, intent: Intent, refused: Sequence[Customer], now: datetime
) -> None:
    """Record that no contact was made of these customers. One that a person linked meanwhile needs none any more."""
    mapped = await contact_mappings.mappings_of(
        conn, intent.account_id, intent.tenant_id, [each.customer_id for each in refused]
    )
    linked = [each for each in refused if each.customer_id in mapped]
    await customers.save(conn, [contacts.again(each, now, failed=False) for each in linked])
    left = [each for each in refused if each.customer_id not in mapped]
    await block_customers(conn, intent.account_id, left)


async def block_customers(conn: Connection, account_id: str, blocked: Sequence[Customer]) -> None:
    """Record customers that did not become contacts; their waiting invoices are told why."""
    await customers.save(conn, blocked)
    if blocked:
        ids = [each.customer_id for each in blocked]
        await invoices.release_for_contacts(conn, account_id, ids)


def _event(mapping: ContactMapping) -> ContactMapped:
    return ContactMapped(
        account_id=mapping.account_id,
        customer_id=mapping.customer_id,
        contact_id=mapping.contact_id,
        contact_name=mapping.contact_name,
        mapped_by=mapping.mapped_by,
    )


def _id(mapping: ContactMapping, now: datetime) -> str:
    # A customer may be mapped back to a former contact: the moment tells the two events apart.
    return f"{mapping.account_id[:60]}/{mapping.customer_id[:60]}/{mapping.contact_id}/{now.timestamp():.6f}"
