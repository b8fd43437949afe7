"""invoice-sync's HTTP API, called in the name of the person at the page: with their token and nothing of ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import structlog

log = structlog.get_logger(__name__)

_SECONDS: Final = httpx.Timeout(5.0, connect=1.0)
_DEAD_LETTER_SECONDS: Final = httpx.Timeout(15.0, connect=1.0)
"""invoice-sync reads the letter and its past from Kafka, and gives up after ten seconds."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_DONE: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Answer:
    """What invoice-sync said; `status` 0: nothing usable in time, so whether it acted is not known."""

    status: int
    body: Mapping[str, Any]

    @property
    def is_done(self) -> bool:
        """Whether it did what was asked."""
        return self.status in _DONE

    def text(self, name: str) -> str:
        """A text of the answer, empty if it has none of that name."""
        found = self.body.get(name)
        return found if isinstance(found, str) else ""


_NO_ANSWER: Final = Answer(
    0,
    {
        "detail": "invoice-sync does not answer at the moment.",
        "hint": "Look at the invoice in a minute, and try again if nothing has changed.",
    },
)


class InvoiceSync:
    """The client."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url.rstrip("/")

    async def conflict(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """What can be decided on an invoice; an empty body if it is in no conflict."""
        return await self._ask("GET", token, self._sync(account_id, invoice_id, "/resolve"))

    async def status(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """Where the invoice stands, its place in the queue and when it is expected in Xero."""
        return await self._ask("GET", token, self._sync(account_id, invoice_id, ""))

    async def resolve(
        self, token: str, account_id: str, invoice_id: str, keep: str, fingerprint: str
    ) -> Answer:
        """Choose whose version stands, on exactly the picture that the fingerprint names."""
        body = {"keep": keep, "fingerprint": fingerprint}
        return await self._ask("POST", token, self._sync(account_id, invoice_id, "/resolve"), body)

    async def retry(self, token: str, account_id: str, invoice_id: str) -> Answer:
        """Take an invoice up again now."""
        return await self._ask("POST", token, self._sync(account_id, invoice_id, "/retry"))

    async def retry_cause(self, token: str, account_id: str, code: str) -> Answer:
        """Take up every invoice of one cause again."""
        account = quote(account_id, safe="")
        path = f"/v1/accounts/{account}/failures/{quote(code, safe='')}/retry"
        return await self._ask("POST", token, path)

    async def dead_letter(self, token: str, account_id: str, place: str) -> Answer:
        """What would come of taking up a dead letter, and what speaks against it."""
        return await self._ask(
            "GET", token, _replay(account_id, place), seconds=_DEAD_LETTER_SECONDS
        )

    async def take_up(self, token: str, account_id: str, place: str) -> Answer:
        """Take a dead letter in again."""
        return await self._ask(
            "POST", token, _replay(account_id, place), seconds=_DEAD_LETTER_SECONDS
        )

    def _sync(self, account_id: str, invoice_id: str, rest: str) -> str:
        account, invoice = quote(account_id, safe=""), quote(invoice_id, safe="")
        return f"/v1/accounts/{account}/invoices/{invoice}/sync{rest}"

    async def _ask(
        self,
        method: str,
        token: str,
        path: str,
        body: Mapping[str, str] | None = None,
        *,
        seconds: httpx.Timeout = _SECONDS,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        try:
            async with self._http.stream(
                method, self._url + path, headers=headers, json=body, timeout=seconds
            ) as response:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        return _NO_ANSWER
                found = json.loads(content or b"null")
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            log.warning("invoice_sync_not_answered", method=method, error=type(error).__name__)
            return _NO_ANSWER
        return Answer(response.status_code, found if isinstance(found, dict) else {})


def _replay(account_id: str, place: str) -> str:
    return f"/v1/accounts/{quote(account_id, safe='')}/dead-letters/{quote(place)}/replay"
