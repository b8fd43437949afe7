"""An HTTP server in invoice-sync's place, for what the connector asks of it."""

import json
from typing import Any

SUMMARY = {
    "account_id": "acc-1",
    "states": {"pending": 12, "synced": 1480, "failed": 2, "out_of_sync": 1},
    "waiting": 12,
    "failed": 2,
    "synced": 1480,
}


class FakeInvoiceSync:
    """What it answers is set by the test; what it was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.status, self.body = 200, json.dumps(SUMMARY).encode()
        self.headers: list[tuple[bytes, bytes]] = []
        self.hangs = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], scope["raw_path"].decode(), headers))
        if self.hangs:
            # Ends when the client has had enough and goes away.
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})
