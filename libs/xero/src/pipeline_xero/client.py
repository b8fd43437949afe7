"""The client of the connector's gateway: one HTTP call in, a ``Reply`` or one leaf of the error tree out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote

import httpx
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline_xero.answers import Reply, classify_answer, classify_failure
from pipeline_xero.errors import OutcomeUnknown, UnexpectedAnswer, XeroError
from pipeline_xero.json_forms import format_datetime, mapping

__all__ = ["MAX_IDEMPOTENCY_KEY", "CallLimits", "GatewayClient", "KnownConnection", "Lane", "Reply"]

MAX_IDEMPOTENCY_KEY = 128

_W3C = TraceContextTextMapPropagator()

Lane = Literal["people", "payments", "invoices", "sweeps"]
"""Whose turn a call is, when Xero's limits are short: in this order."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long one call may take, in seconds, and how much it may bring back.

    ``total`` bounds the whole call: httpx's own timeouts start anew with every byte that trickles in.
    ``read`` is longer than the gateway's own patience with Xero, so that its verdict (sent or not) arrives.
    """

    connect: float = 5.0
    read: float = 75.0
    write: float = 20.0
    pool: float = 30.0
    total: float = 120.0
    response_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownConnection:
    """An account's connection as the connector knows it.

    Attributes:
        sequence: How many changes it has seen; 0: it was never connected.
        calls_left_today: Calls to Xero left to the organisation today; None until Xero has said so.
        calls_a_day: Of how many; None likewise.
    """

    sequence: int
    calls_left_today: int | None = None
    calls_a_day: int | None = None


class GatewayClient:
    """Calls Xero through the connector, which holds the tokens and spends the quota.

    Nothing is retried here and no redirect is followed: whether a call may be repeated is the caller's decision,
    taken from the leaf of the error tree it gets.

    Args:
        http: The connection pool; its lifetime belongs to the caller.
        base_url: The connector's address, such as ``http://localhost:8001``.
        token: Gives a service token for the audience ``connector``; asked on every call.
        limits: Time and size bounds.

    Raises:
        httpx.InvalidURL: ``base_url`` is not an address.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        token: Callable[[], str],
        *,
        limits: CallLimits | None = None,
    ) -> None:
        self._http = http
        self._root = str(httpx.URL(base_url)).rstrip("/")
        self._token = token
        self._limits = limits or CallLimits()
        self._timeout = httpx.Timeout(
            connect=self._limits.connect,
            read=self._limits.read,
            write=self._limits.write,
            pool=self._limits.pool,
        )

    async def get(
        self,
        account_id: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        if_modified_since: datetime | None = None,
        tenant_id: str | None = None,
        lane: Lane | None = None,
    ) -> Reply:
        """Read from Xero.

        Args:
            account_id: Whose connection to use.
            path: Relative to ``api.xro/2.0``, such as ``Invoices``.
            params: Query parameters (see ``queries``).
            if_modified_since: Only what changed since; sent in whole seconds UTC, rounded down.
            tenant_id: Fail with ``TenantChanged`` unless the account is connected to this organisation.
            lane: Whose turn it is; the calling service's own lane if not named.

        Raises:
            NotConnected, TenantChanged, NotAllowed, NotFound, RateLimited, RequestRejected: Settled refusals.
            NotSent, XeroUnavailable: Safe to ask again.
            UnexpectedAnswer: An answer without meaning (redirect, oversized body).
        """
        headers = {}
        if if_modified_since is not None:
            headers["If-Modified-Since"] = format_datetime(if_modified_since)
        return await self._call(
            "GET",
            account_id,
            path,
            params=params,
            headers=headers,
            body=None,
            tenant_id=tenant_id,
            lane=lane,
        )

    async def connection(self, account_id: str) -> KnownConnection:
        """What the connector knows of the account's connection. Costs no call to Xero.

        Raises:
            NotAllowed, NotFound, NotSent, XeroUnavailable, UnexpectedAnswer: As for ``get``.
        """
        url = f"{self._root}/v1/accounts/{quote(account_id, safe='')}/connection"
        reply = await self._request("GET", url, "GET connection", None, {}, None)
        told = mapping(reply.json(), "connection")
        sequence = told.get("sequence")
        if not isinstance(sequence, int):
            raise UnexpectedAnswer("GET connection: no sequence")
        left, a_day = told.get("calls_left_today"), told.get("calls_a_day")
        return KnownConnection(
            sequence,
            left if isinstance(left, int) else None,
            a_day if isinstance(a_day, int) else None,
        )

    async def put(
        self,
        account_id: str,
        path: str,
        *,
        body: bytes,
        idempotency_key: str,
        params: Mapping[str, str] | None = None,
        tenant_id: str | None = None,
        lane: Lane | None = None,
    ) -> Reply:
        """Create in Xero. ``body`` is sent as it is: a repeat must match byte for byte.

        Raises:
            NotConnected, TenantChanged, NotAllowed, NotFound, RateLimited, RequestRejected, NotSent: Not done.
            OutcomeUnknown, UnexpectedAnswer: May have been done.
            ValueError: The Idempotency-Key is empty, too long or not printable ASCII.
        """
        return await self._write(
            "PUT",
            account_id,
            path,
            body=body,
            idempotency_key=idempotency_key,
            params=params,
            tenant_id=tenant_id,
            lane=lane,
        )

    async def post(
        self,
        account_id: str,
        path: str,
        *,
        body: bytes,
        idempotency_key: str,
        params: Mapping[str, str] | None = None,
        tenant_id: str | None = None,
        lane: Lane | None = None,
    ) -> Reply:
        """Update in Xero (a POST without an id may overwrite another document). Errors as for ``put``."""
        return await self._write(
            "POST",
            account_id,
            path,
            body=body,
            idempotency_key=idempotency_key,
            params=params,
            tenant_id=tenant_id,
            lane=lane,
        )

    async def _write(
        self,
        method: str,
        account_id: str,
        path: str,
        *,
        body: bytes,
        idempotency_key: str,
        params: Mapping[str, str] | None,
        tenant_id: str | None,
        lane: Lane | None,
    ) -> Reply:
        key = idempotency_key
        if not (0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
            raise ValueError("an Idempotency-Key is 1 to 128 printable ASCII characters")
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        return await self._call(
            method,
            account_id,
            path,
            params=params,
            headers=headers,
            body=body,
            tenant_id=tenant_id,
            lane=lane,
        )

    async def _call(
        self,
        method: str,
        account_id: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        body: bytes | None,
        tenant_id: str | None,
        lane: Lane | None,
    ) -> Reply:
        if tenant_id is not None:
            headers["X-Expected-Tenant"] = tenant_id
        if lane is not None:
            headers["X-Lane"] = lane
        url = f"{self._root}/v1/accounts/{quote(account_id, safe='')}/xero/{_checked_path(path)}"
        return await self._request(method, url, f"{method} {path}", params, headers, body)

    async def _request(
        self,
        method: str,
        url: str,
        target: str,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        body: bytes | None,
    ) -> Reply:
        is_write = method != "GET"
        headers["Accept"] = "application/json"
        headers["Authorization"] = f"Bearer {self._token()}"
        headers["X-Request-Id"] = request_id = uuid.uuid4().hex
        _W3C.inject(headers)
        request = self._http.build_request(
            method,
            url,
            params=params,
            headers=headers,
            content=body,
            timeout=self._timeout,
        )
        try:
            async with asyncio.timeout(self._limits.total):
                answer = await self._exchange(request, is_write=is_write, target=target)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            failure = classify_failure(error, is_write=is_write, target=target)
            failure.request_id = request_id
            raise failure from error
        if isinstance(answer, XeroError):
            answer.request_id = request_id
            raise answer
        return answer

    async def _exchange(
        self, request: httpx.Request, *, is_write: bool, target: str
    ) -> Reply | XeroError:
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._limits.response_bytes:
                    text = (
                        f"{target}: the answer is larger than {self._limits.response_bytes} bytes"
                    )
                    return OutcomeUnknown(text) if is_write else UnexpectedAnswer(text)
        finally:
            await response.aclose()
        return classify_answer(
            response.status_code,
            response.headers,
            bytes(body),
            is_write=is_write,
            target=target,
        )


def _checked_path(path: str) -> str:
    """Quote the path; refuse what would leave the place it is relative to."""
    parts = path.strip("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{path!r} is not a path of Xero's accounting API")
    return "/".join(quote(part, safe="") for part in parts)
