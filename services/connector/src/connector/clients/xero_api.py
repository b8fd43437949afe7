"""The few calls to Xero's API the connector makes for itself, and the one that carries everybody else's."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import httpx

from connector.clients.bounded import Answer, Bounds, exchange, opened
from connector.domain.authorization import Tenant, tenants
from connector.settings import Settings

OWN_BOUNDS_BYTES = 4 * 1024 * 1024
WHOLE_BYTES = 256 * 1024
"""Replies up to this size are carried whole: the slot is free before the caller reads, and a break is a clean refusal."""


class XeroApi:
    """Xero's API at `settings.xero_api_url`. Every method raises a leaf of ExchangeFailed without a complete reply."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._base = settings.xero_api_url
        self._own = Bounds(
            min(5.0, settings.identity_seconds),
            settings.identity_seconds,
            settings.identity_seconds,
            OWN_BOUNDS_BYTES,
        )
        self._carried = Bounds(
            settings.gateway_connect_seconds,
            settings.gateway_read_seconds,
            settings.gateway_total_seconds,
            settings.gateway_max_response_bytes,
        )

    async def connections(self, access_token: str) -> tuple[Tenant, ...] | None:
        """The organisations a token reaches; None when Xero does not answer the question.

        Source: xero-identity.yaml, GET /connections: a bare array. The whole list is asked for, because an
        organisation granted before may not be listed under a newer authentication event.
        """
        answer = await self._ask("GET", "/connections", access_token)
        return tenants(_json(answer.body)) if answer.status == 200 else None  # noqa: PLR2004 - HTTP

    async def delete_connection(self, access_token: str, connection_id: str) -> int:
        """Remove one organisation's connection; the status (204 done, 404 gone already).

        Source: xero-identity.yaml, DELETE /connections/{id}; the id of the connection, not of the tenant.
        """
        answer = await self._ask(
            "DELETE", f"/connections/{quote(connection_id, safe='')}", access_token
        )
        return answer.status

    async def organisation(self, access_token: str, tenant_id: str) -> Answer:
        """The organisation's details; `organisation_facts` reads them. Counts against the tenant's limits."""
        return await self._ask(
            "GET", "/api.xro/2.0/Organisation", access_token, {"xero-tenant-id": tenant_id}
        )

    def carry(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        access_token: str,
        tenant_id: str,
        before_sending: Callable[[], Awaitable[None]],
    ) -> AbstractAsyncContextManager[Answer]:
        """Send a caller's request, already judged, as it is; `path` is relative to api.xro/2.0.

        Large replies come as they arrive; `before_sending` has the last word (see `opened` for both).
        """
        address = f"{self._base}/api.xro/2.0/{path}" + (f"?{query}" if query else "")
        sent = {
            **headers,
            "Authorization": f"Bearer {access_token}",
            "xero-tenant-id": tenant_id,
            "User-Agent": "pipeline-connector",
        }
        request = self._http.build_request(method, address, headers=sent, content=body or None)
        return opened(
            self._http,
            request,
            self._carried,
            whole_bytes=WHOLE_BYTES,
            before_sending=before_sending,
        )

    async def _ask(
        self, method: str, path: str, access_token: str, extra: Mapping[str, str] | None = None
    ) -> Answer:
        headers = {
            "Authorization": f"Bearer {access_token}",
            "Accept": "application/json",
            "User-Agent": "pipeline-connector",
            **(extra or {}),
        }
        request = self._http.build_request(method, self._base + path, headers=headers)
        return await exchange(self._http, request, self._own)


def organisation_facts(answer: Answer) -> tuple[str | None, str | None]:
    """Short code and base currency of an Organisation reply, None for what it lacks."""
    decoded = _json(answer.body) if answer.status == 200 else None  # noqa: PLR2004 - HTTP
    listed = decoded.get("Organisations") if isinstance(decoded, dict) else None
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    short_code, currency = first.get("ShortCode"), first.get("BaseCurrency")
    return (
        short_code if isinstance(short_code, str) and 0 < len(short_code) <= 50 else None,  # noqa: PLR2004 - a bound
        currency if isinstance(currency, str) and len(currency) == 3 else None,  # noqa: PLR2004 - ISO 4217
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
