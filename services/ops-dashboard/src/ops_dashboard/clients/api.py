"""HTTP APIs of other services, called in the name of the person at the page: with their token and nothing of ours."""

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
"""The service reads the letter and its past from Kafka, and gives up after ten seconds."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_DONE: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said; `status` 0: nothing usable in time, so whether it acted is not known."""

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


class Api:
    """What is asked of every service in the same way."""

    name: str

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url.rstrip("/")

    async def dead_letter(self, token: str, account_id: str, place: str) -> Answer:
        """What would come of taking up a dead letter that the service set aside, and what speaks against it."""
        return await self._ask(
            "GET", token, _replay(account_id, place), seconds=_DEAD_LETTER_SECONDS
        )

    async def take_up(self, token: str, account_id: str, place: str) -> Answer:
        """Take a dead letter in again."""
        return await self._ask(
            "POST", token, _replay(account_id, place), seconds=_DEAD_LETTER_SECONDS
        )

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
                        return self._silence()
                found = json.loads(content or b"null")
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            log.warning("not_answered", name=self.name, error=type(error).__name__)
            return self._silence()
        return Answer(response.status_code, found if isinstance(found, dict) else {})

    def _silence(self) -> Answer:
        return Answer(
            0,
            {
                "detail": f"{self.name} does not answer at the moment.",
                "hint": "Look again in a minute, and try again if nothing has changed.",
            },
        )


class PaymentIngest(Api):
    """payment-ingest, which sets aside and takes up what it reads of synced invoices."""

    name = "payment-ingest"


def _replay(account_id: str, place: str) -> str:
    return f"/v1/accounts/{quote(account_id, safe='')}/dead-letters/{quote(place)}/replay"
