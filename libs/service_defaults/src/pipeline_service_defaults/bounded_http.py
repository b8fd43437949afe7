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
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._expect_within(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every timer."""
        self._deadline = None
        self._drop_timer()
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
        self._deadline = None
        super().on_message_complete()

    def _expect_within(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._drop_timer()
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        # One timer serves request after request: to set one for each and take it back would cost a busy connection
        # more than parsing does.
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() >= self._deadline:
            self.transport.abort()
        else:
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
