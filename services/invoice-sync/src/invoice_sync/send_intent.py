"""Send a recorded write to Xero and record what became of it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from invoice_sync import metrics
from invoice_sync.deps import Deps
from invoice_sync.domain import contacts, lifecycle, retry, trouble, xero_messages
from invoice_sync.domain.outcome import Answer, answer_to, outcome_of
from invoice_sync.domain.pace import rest_after
from invoice_sync.domain.plan import read_body
from invoice_sync.domain.promptness import seconds_taken
from invoice_sync.domain.retry import LookUp
from invoice_sync.domain.state import Account, Intent, Invoice, State, Step
from invoice_sync.domain.trouble import Effect, Trouble
from invoice_sync.read_codes import await_readings
from invoice_sync.record_contact_changes import (
    doubt_contacts,
    is_about_the_contact,
    record_contact_changes,
)
from invoice_sync.record_contacts import block_customers, record_contacts, refuse_customers
from invoice_sync.store import (
    account_settings,
    accounts,
    contact_mappings,
    customers,
    intents,
    invoice_links,
    invoices,
    steps,
)
from invoice_sync.trace_sends import traced
from pipeline_contracts.problems import ProblemCode
from pipeline_messaging.connection import Connection
from pipeline_messaging.failpoints import failpoint
from pipeline_messaging.worker import Lease
from pipeline_xero.answers import Reply
from pipeline_xero.errors import NotFound, UnexpectedAnswer, XeroError
from pipeline_xero.outcomes import ElementResult, element_results
from pipeline_xero.wire import elements, loads

log = structlog.get_logger(__name__)

# A write that cannot be settled now (its organisation is not the one connected) is looked at this often.
_LOOK_AGAIN = timedelta(hours=1)
_TELL_FROM_ATTEMPT = 3
_FROZEN_SECONDS = 10.0
_CONTACT_PROBLEMS = frozenset({ProblemCode.CONTACT_ARCHIVED, ProblemCode.CONTACT_NOT_FOUND})
# unitdp=4 keeps four decimals of unit amounts; summarizeErrors=false lets 49 good invoices pass beside a bad one.
PARAMS = {"summarizeErrors": "false", "unitdp": "4"}


async def send_intent(
    deps: Deps,
    lease: Lease,
    account: Account,
    intent: Intent,
    *,
    chosen_at: float,
    is_first: bool = True,
) -> None:
    """Send the intent's exact bytes under its key.

    Args:
        deps: What the verbs share.
        lease: The account's lease.
        account: The account as read when the work was chosen.
        intent: The committed intent.
        chosen_at: When sending it was decided, by the monotonic clock.
        is_first: Whether it certainly was never sent before; only then does "nothing was done" settle it.

    Raises:
        LeaseLost: The outcome was not recorded; whoever has the lease now finds it out.
    """
    failpoint("send:before")
    async with traced(deps.pool, intent):
        # Looked at last: to trace the call, the database was asked.
        if time.monotonic() - chosen_at > _FROZEN_SECONDS:
            # This process stood still. Another may have taken over and gone on: our bytes could undo its work.
            log.warning("not_sent_after_standstill", account_id=intent.account_id, kind=intent.kind)
            return
        await _send_and_record(deps, lease, account, intent, is_first=is_first)


async def _send_and_record(
    deps: Deps, lease: Lease, account: Account, intent: Intent, *, is_first: bool
) -> None:
    try:
        reply = await _call(deps, intent)
        results = _results(intent, reply)
    except XeroError as error:
        failpoint("send:after")
        await record_trouble(deps, lease, account, intent, error, is_first=is_first)
        return
    failpoint("send:after")
    if rest := rest_after(reply.calls_left, is_full=len(results) >= deps.batch_size):
        deps.rests_until[intent.account_id] = time.monotonic() + rest
    if intent.kind == "contacts":
        record = record_contacts if intent.method == "PUT" else record_contact_changes
        await record(deps, lease, account, intent, results)
    else:
        await _record_invoices(deps, lease, account, intent, reply, results)
    failpoint("record:after")
    deps.on_recorded()


async def _call(deps: Deps, intent: Intent) -> Reply:
    write = deps.gateway.put if intent.method == "PUT" else deps.gateway.post
    params = {"summarizeErrors": "false"} if intent.kind == "contacts" else PARAMS
    return await write(
        intent.account_id,
        intent.path,
        body=intent.body,
        idempotency_key=intent.idempotency_key,
        params=params,
        tenant_id=intent.tenant_id,
    )


def _results(intent: Intent, reply: Reply) -> tuple[ElementResult, ...]:
    collection = "Contacts" if intent.kind == "contacts" else "Invoices"
    results = element_results(reply.json(), collection)
    if not results:
        raise UnexpectedAnswer(f"{intent.path}: an answer without {collection}")
    return results


async def _record_invoices(
    deps: Deps,
    lease: Lease,
    account: Account,
    intent: Intent,
    reply: Reply,
    results: Sequence[ElementResult],
) -> None:
    """Record the verdict on each invoice. One whose number is taken stays open: it may be our own, to be looked up."""
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        current, now = await accounts.lock(conn, intent.account_id)
        rows = await invoices.lock_of_intent(conn, intent.id)
        failpoint("record:before")
        links = {}
        if intent.kind != "create":
            ids = [row.invoice_id for row in rows]
            links = await invoice_links.links_of(conn, intent.account_id, ids)
        answer = Answer(current, intent, deps.xero_web_url, now, reply.correlation_id)
        if intent.kind == "update":
            policy = (await account_settings.find(conn, intent.account_id)).edit_policy
            sent = elements(loads(intent.body), "Invoices")
            answer = replace(answer, sent=sent, edit_policy=policy)
        # Answers without an id are matched by place: where one is missing, nobody can say whose.
        placed = results if len(results) == len(rows) else ()
        outcomes = [
            outcome_of(row, answer_to(row, link, results, placed), link, answer)
            for row in rows
            for link in (links.get(row.invoice_id),)
        ]
        steps_of_codes = [each.step for each in outcomes]
        recorded = await await_readings(conn, deps, intent, steps_of_codes, now)
        await steps.save(conn, await _mapped_since(conn, intent, recorded, now), now)
        await _doubt_contacts(conn, intent, recorded)
        if any(each.look_up for each in outcomes):
            await intents.defer(
                conn, intent.id, until=now, must_look_up=True, attempts=intent.attempts
            )
        else:
            await intents.close(conn, intent.id)
        if account.pause_count:
            await accounts.resume(conn, intent.account_id)
        failpoint("record:before_commit")
    metrics.count_in_xero(seconds_taken(rows, recorded, now))


async def _mapped_since(
    conn: Connection, intent: Intent, recorded: Sequence[Step], now: datetime
) -> list[Step]:
    """The steps; what waits for a contact that was chosen while the call was under way is due at once."""
    waiting = {
        each.row.customer_id or ""
        for each in recorded
        if each.row.state is State.WAITING_FOR_CONTACT
    }
    if not waiting:
        return list(recorded)
    mapped = await contact_mappings.mappings_of(
        conn, intent.account_id, intent.tenant_id, sorted(waiting)
    )
    newly = {
        each.customer_id
        for each in mapped.values()
        if each.mapped_at is not None and each.mapped_at > intent.first_sent_at
    }
    return [
        replace(each, row=replace(each.row, due_at=now))
        if each.row.state is State.WAITING_FOR_CONTACT and each.row.customer_id in newly
        else each
        for each in recorded
    ]


async def _doubt_contacts(conn: Connection, intent: Intent, recorded: Sequence[Step]) -> None:
    """Have the contacts looked at because of which Xero refused invoices; it never says which of them were merged."""
    refused = {
        each.row.customer_id
        for each in recorded
        if each.row.state is State.WAITING_FOR_CONTACT
        and each.row.customer_id is not None
        and each.row.block is not None
        and each.row.block.code in _CONTACT_PROBLEMS
    }
    if refused:
        await contact_mappings.doubt(
            conn,
            intent.account_id,
            intent.tenant_id,
            sorted(refused),
            linked_before=intent.first_sent_at,
        )


async def record_trouble(
    deps: Deps, lease: Lease, account: Account, intent: Intent, error: XeroError, *, is_first: bool
) -> None:
    """Record that a call with this intent failed: settle it if that is certain, else keep it open."""
    found = trouble.of(error, count=account.pause_count + 1, chance=deps.chance())
    log.warning(
        "xero_call_failed",
        account_id=intent.account_id,
        kind=intent.kind,
        code=found.block.code,
        effect=found.effect.value,
        error=type(error).__name__,
        request_id=error.request_id,
    )
    async with deps.pool.acquire() as conn, conn.transaction():
        await lease.verify(conn)
        if found.pause is not None:
            await _pause(conn, account, found)
        if found.effect is Effect.UNKNOWN or (found.effect is Effect.NOTHING and not is_first):
            await _keep_open(conn, intent, found)
        elif intent.kind == "contacts":
            await _give_back_customers(conn, intent, found, is_gone=isinstance(error, NotFound))
        else:
            await _give_back_invoices(conn, deps, intent, found)
    deps.on_recorded()


async def _pause(conn: Connection, account: Account, found: Trouble) -> None:
    _, now = await accounts.find(conn, account.account_id)
    await accounts.pause(
        conn,
        account.account_id,
        until=now + (found.pause or timedelta(0)),
        code=found.block.code,
        count=account.pause_count + 1,
    )


async def _keep_open(conn: Connection, intent: Intent, found: Trouble) -> None:
    _, now = await accounts.find(conn, intent.account_id)
    attempts = intent.attempts + (1 if found.effect is Effect.UNKNOWN else 0)
    until = now + (found.pause or _LOOK_AGAIN)
    plan = retry.after_unknown(
        first_sent_at=intent.first_sent_at,
        attempts=attempts,
        must_look_up=intent.must_look_up,
        now=until,
    )
    await intents.defer(
        conn, intent.id, until=until, must_look_up=isinstance(plan, LookUp), attempts=attempts
    )
    if intent.kind != "contacts":
        rows = await invoices.lock_of_intent(conn, intent.id)
        kept = [
            lifecycle.unclear(row, until, found.block, tell=_is_worth_telling(row, attempts, found))
            for row in rows
        ]
        await steps.save(conn, kept, now)


def _is_worth_telling(row: Invoice, attempts: int, found: Trouble) -> bool:
    """A lasting trouble, of this write or of the invoice's writes before it, or one that only a person can end."""
    lasts = max(attempts, row.attempts + 1) >= _TELL_FROM_ATTEMPT
    return lasts or found.state is State.WAITING_FOR_CONNECTION


async def _give_back_invoices(conn: Connection, deps: Deps, intent: Intent, found: Trouble) -> None:
    """Nothing was written, for certain: the invoices wait, go singly, or are refused."""
    _, now = await accounts.lock(conn, intent.account_id)
    rows = await invoices.lock_of_intent(conn, intent.id)
    if found.effect is Effect.REFUSED and len(rows) == 1 and _may_be_ours(found, intent):
        await steps.save(conn, [lifecycle.taken(row, found.messages) for row in rows], now)
        await intents.defer(conn, intent.id, until=now, must_look_up=True, attempts=intent.attempts)
        return
    given_back: list[Step] = []
    for row in rows:
        if found.effect is Effect.REFUSED and len(rows) > 1:
            given_back.append(
                lifecycle.again_alone(row, now, "Xero refused the whole call; sent alone")
            )
        elif found.effect is Effect.REFUSED:
            code = ProblemCode(found.block.code)
            given_back.append(
                lifecycle.refused_as(row, code, found.messages, now, sent=read_body(row.sent))
            )
        elif found.state is State.WAITING_FOR_CONNECTION:
            at = now + (found.pause or trouble.LOOK_AGAIN)
            given_back.append(lifecycle.waits(row, found.state, found.block, look_again_at=at))
        else:
            until = now + (found.pause or _LOOK_AGAIN)
            given_back.append(lifecycle.postponed(row, found.state, until, found.block))
    given_back = await await_readings(conn, deps, intent, given_back, now)
    await steps.save(conn, given_back, now)
    await _doubt_contacts(conn, intent, given_back)
    await intents.close(conn, intent.id)


def _may_be_ours(found: Trouble, intent: Intent) -> bool:
    return intent.kind == "create" and lifecycle.number_taken(found.messages)


async def _give_back_customers(
    conn: Connection, intent: Intent, found: Trouble, *, is_gone: bool
) -> None:
    _, now = await accounts.find(conn, intent.account_id)
    rows = await customers.lock_of_intent(conn, intent.id)
    is_refused = found.effect is Effect.REFUSED
    if is_refused and len(rows) == 1 and not contacts.moved_on(rows[0], intent.body):
        if intent.method == "PUT" and xero_messages.contact_name_taken(found.messages):
            # It may be our own, from a write whose answer we never saw.
            await customers.save(conn, [contacts.taken(rows[0], found.messages)])
            await intents.defer(
                conn, intent.id, until=now, must_look_up=True, attempts=intent.attempts
            )
            return
        refused = [contacts.refused(row, found.messages) for row in rows]
        if intent.method == "PUT":
            await refuse_customers(conn, intent, refused, now)
        elif is_gone or is_about_the_contact(found.messages):
            # An unknown ContactID is 404 for the whole call.
            await customers.save(conn, [contacts.settled(row) for row in rows])
            await doubt_contacts(conn, intent, [row.customer_id for row in rows])
        else:
            await block_customers(conn, intent.account_id, refused)
    else:
        pause = timedelta(0) if is_refused else trouble.LOOK_AGAIN
        until = now + (found.pause or pause)
        await customers.save(conn, [contacts.again(row, until, failed=is_refused) for row in rows])
    await intents.close(conn, intent.id)
