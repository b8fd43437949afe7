"""invoice-sync, asked one question: how many invoices of an account are where."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import structlog

from connector.clients.bounded import Bounds, ExchangeFailed, exchange

log = structlog.get_logger(__name__)

# A person waits for the page meanwhile, and it is of use without the counts.
BOUNDS: Final = Bounds(connect=1.0, read=2.0, total=2.5, max_bytes=64 * 1024)
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Counts:
    """Invoices on their way to Xero, those in step with it, and those that need somebody's help."""

    waiting: int
    synced: int
    needing_help: int


class InvoiceSync:
    """The client. `token` gives a service token for it."""

    def __init__(self, http: httpx.AsyncClient, url: str, token: Callable[[], str]) -> None:
        self._http = http
        self._url = url
        self._token = token

    async def counts(self, account_id: str) -> Counts | None:
        """The account's counts; None when no usable answer comes in time. Redirects are not followed."""
        request = self._http.build_request(
            "GET",
            f"{self._url}/v1/accounts/{quote(account_id, safe='')}/summary",
            headers={"Authorization": f"Bearer {self._token()}", "Accept": "application/json"},
        )
        try:
            answer = await exchange(self._http, request, BOUNDS)
        except ExchangeFailed as error:
            log.warning("counts_not_answered", error=type(error).__name__)
            return None
        found = read_counts(answer.body) if answer.status == OK else None
        if found is None:
            log.warning("counts_not_usable", status=answer.status)
        return found


def read_counts(body: bytes) -> Counts | None:
    """The counts of a summary; None for anything else."""
    try:
        decoded: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    states = decoded.get("states") if isinstance(decoded, dict) else None
    if not isinstance(states, dict):
        return None
    numbers = [decoded.get("waiting"), decoded.get("synced")]
    numbers += [states.get("failed"), states.get("out_of_sync")]
    counted = [number for number in numbers if type(number) is int and number >= 0]
    if len(counted) != len(numbers):
        return None
    waiting, synced, failed, out_of_sync = counted
    return Counts(waiting, synced, failed + out_of_sync)
