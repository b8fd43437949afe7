"""Carry a caller's request to Xero: under the tenant's limits, with a fresh token, and never after a disconnect."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import structlog

from connector.clients.bounded import Answer
from connector.deps import Deps
from connector.domain.connection import Connection, Reason, Status, never_connected
from connector.domain.lanes import Lane
from connector.refresh_tokens import (
    Access,
    GrantDead,
    Unavailable,
    access_token,
    check_tenants,
    scopes_missing,
)
from connector.store import connected_tokens, connections
from connector.store.token_sets import TokenSet
from connector.take_slot import Fenced, returning, slot_in_time, still_allowed
from connector.trace_calls import asking_xero

log = structlog.get_logger(__name__)

BUFFERED_BYTES: Final = 32 * 1024
"""Half of what uvicorn takes without waiting for the reader (its flow control, HIGH_WATER_LIMIT)."""


class NotCarried(Exception):  # noqa: N818 - reads as what happened
    """Nothing was sent to Xero.

    NotCarried
    ├── NotConnected     no usable connection; `connection` says why
    └── OtherTenant      connected to another organisation than the caller expects
    """


class NotConnected(NotCarried):
    """No usable connection.

    A disconnect under way is told as done, and a grant that died a moment ago as expired: the row may not say so yet,
    and a caller that reads CONNECTED here would only ask again.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.reason.value)
        if connection.fenced_at is not None:
            connection = replace(
                connection, status=Status.DISCONNECTED, reason=Reason.DISCONNECTED_BY_USER
            )
        elif connection.usable:
            connection = replace(
                connection, status=Status.TOKEN_EXPIRED, reason=Reason.REFRESH_REJECTED
            )
        self.connection = connection


class OtherTenant(NotCarried):
    """Connected to another organisation than the caller expects."""


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """A judged request; `path` is relative to api.xro/2.0 and sent as it is."""

    account_id: str
    caller: str
    lane: Lane
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    expected_tenant: str | None


@asynccontextmanager
async def call_xero(deps: Deps, call: GatewayCall) -> AsyncIterator[Answer]:
    """Xero's reply to one request, passed on as it is, except that an expired token is renewed once.

    Repeating after a 401 repeats nothing: Xero refuses before it looks at the request. No other answer, and no lost
    one, is ever repeated here; the caller holds the Idempotency-Key and decides.

    A reply with a `rest` is read inside: until it ended, well or not, it holds its slot.

    Raises:
        NotCarried, OutOfBudget, Unavailable, XeroDown, NotSent: Nothing arrived at Xero.
        TimedOut, Lost: It may have.
        TooLarge: It did; the reply is too large.
    """
    connection, tokens = await usable_connection(deps, call)
    access = await access_for(deps, connection, just_read=tokens)
    async with AsyncExitStack() as under_way:
        answer = await under_way.enter_async_context(send(deps, call, connection, access))
        if answer.status == 401 and not lacks_scope(answer):  # noqa: PLR2004 - HTTP
            await under_way.aclose()
            access = await access_for(deps, connection, stale_version=access.version)
            answer = await under_way.enter_async_context(send(deps, call, connection, access))
        if answer.rest is None and not handed_on_at_once(answer):
            # Nothing more comes from Xero: the slot is free while the caller reads.
            await under_way.aclose()
        if answer.status in {401, 403}:
            await find_out_why(deps, call, connection, access, answer)
        yield answer


def handed_on_at_once(answer: Answer) -> bool:
    """Whether a reply is neither looked into nor waited for, so that its call can be ended after it went out.

    Such a reply fits into the server's buffer, however slowly its caller reads.
    """
    return answer.status < HTTPStatus.BAD_REQUEST and len(answer.body) <= BUFFERED_BYTES


async def find_out_why(
    deps: Deps, call: GatewayCall, connection: Connection, access: Access, answer: Answer
) -> None:
    """Record what a refusal says about the connection. Raises NotConnected when the organisation is gone."""
    if lacks_scope(answer):
        # Every resource on the allowlist is one that we ask a scope for.
        await scopes_missing(deps, connection.xero_userid or "", access.version)
        return
    present = await check_tenants(deps, connection.xero_userid or "")
    if present is not None and connection.tenant_id not in present:
        now = await current(deps, call.account_id)
        # Still usable: connected anew while Xero was asked; then its answer stands.
        if not now.usable:
            raise NotConnected(now)


async def usable_connection(deps: Deps, call: GatewayCall) -> tuple[Connection, TokenSet | None]:
    """The account's connection if calls may start on it, with its tokens. Raises NotConnected, OtherTenant."""
    async with deps.pool.acquire() as conn:
        found = await connected_tokens.find(conn, call.account_id)
    connection, tokens = found or (never_connected(call.account_id), None)
    if not connection.usable:
        raise NotConnected(connection)
    if call.expected_tenant is not None and call.expected_tenant != connection.tenant_id:
        raise OtherTenant("the account is connected to another organisation")
    return connection, tokens


async def current(deps: Deps, account_id: str) -> Connection:
    """The account's connection as recorded."""
    async with deps.pool.acquire() as conn:
        return await connections.find(conn, account_id) or never_connected(account_id)


async def access_for(
    deps: Deps,
    connection: Connection,
    *,
    stale_version: int | None = None,
    just_read: TokenSet | None = None,
) -> Access:
    """An access token for the connection. Raises NotConnected when the grant is dead, Unavailable."""
    try:
        return await access_token(
            deps,
            connection.xero_userid or "",
            stale_version=stale_version,
            just_read=just_read,
        )
    except GrantDead:
        raise NotConnected(await current(deps, connection.account_id)) from None


def lacks_scope(answer: Answer) -> bool:
    """Whether Xero refuses for a missing scope, which no new token would cure."""
    return "insufficient_scope" in answer.headers.get("www-authenticate", "") or (
        answer.status == 401 and b"insufficient_scope" in answer.body[:2000]  # noqa: PLR2004 - HTTP
    )


@asynccontextmanager
async def send(
    deps: Deps, call: GatewayCall, connection: Connection, access: Access
) -> AsyncIterator[Answer]:
    """Take a slot, send, give the slot back with what the reply teaches."""
    tenant_id = connection.tenant_id or ""
    try:
        # Whether Xero is there comes first: a call that is not made takes no slot.
        with deps.watch.call(tenant_id) as watched, asking_xero(call.method, call.path) as span:
            slot = await slot_in_time(
                deps,
                tenant_id=tenant_id,
                account_id=call.account_id,
                caller=call.caller,
                lane=call.lane,
            )
            async with (
                returning(deps, slot, tenant_id, connection) as ended,
                deps.api.carry(
                    call.method,
                    call.path,
                    call.query,
                    call.headers,
                    call.body,
                    access_token=access.token,
                    tenant_id=tenant_id,
                    before_sending=lambda: still_allowed(deps, call.account_id, tenant_id, slot),
                ) as answer,
            ):
                span.set_attribute("http.response.status_code", answer.status)
                watched.answered(answer.status)
                ended.append(answer)
                note(call, answer)
                yield answer
    except Fenced:
        await usable_connection(deps, call)
        # Connected anew in this very moment: the caller starts over with what is recorded now.
        raise Unavailable("the connection changed meanwhile") from None


def note(call: GatewayCall, answer: Answer) -> None:
    """One line for each reply; the request's id stands in every line of the request, Xero's own beside it."""
    log.info(
        "xero_called",
        account_id=call.account_id,
        caller=call.caller,
        method=call.method,
        resource=call.path.partition("/")[0],
        status=answer.status,
        xero_correlation_id=answer.headers.get("xero-correlation-id"),
    )
