"""uvicorn's fast HTTP protocol with bounds on how long a request may take to arrive and how large its head may be.

The parser underneath has neither: a client that never finishes its headers would hold a connection for ever, and one
that never stops sending them would fill the memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
HEAD_SECONDS = 15.0
MESSAGE_SECONDS = 60.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection; closed without an answer when its request does not arrive in time or in bounds."""

    head_seconds = HEAD_SECONDS
    message_seconds = MESSAGE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._expect_within(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what an unfinished head has sent so far."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request's first byte has arrived."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_within(self.head_seconds)

    def on_headers_complete(self) -> None:
        """The head is complete; the body has its own time."""
        self._in_head = False
        self._expect_within(self.message_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is complete; how long its answer takes is no concern of this class."""
        self._stop_waiting()
        super().on_message_complete()

    def _expect_within(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
