"""Keep this process from calling a Xero that is down: the circuit breaker, with its clock, its figures and its words.

Each process watches for itself. Sharing the state would put a write to the database beside every failed call, and save
each replica a handful of calls; and a replica whose own way to Xero is broken must not stop the others.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from connector import metrics
from connector.clients.bounded import Lost, NoConnection, TimedOut
from connector.domain import breaker
from connector.domain.breaker import DOWN, Closed, Go, Open, Probing, Refuse, State

log = structlog.get_logger(__name__)

_LEVELS: Final = {Closed: 0, Probing: 1, Open: 2}


class XeroDown(Exception):  # noqa: N818 - reads as what happened
    """Xero has not answered lately, so nothing was sent: `retry_after` seconds until it is worth asking again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Xero does not answer")
        self.retry_after = retry_after


class Call:
    """One call that was let through: tell it the status of Xero's reply as soon as there is one."""

    def __init__(self, judge: Callable[[int], None]) -> None:
        self._judge = judge
        self.judged = False

    def answered(self, status: int) -> None:
        """Xero's reply has begun; how the rest of it arrives, perhaps to a slow reader, says nothing new."""
        self.judged = True
        self._judge(status)


class XeroWatch:
    """What this process has seen of Xero."""

    def __init__(self) -> None:
        self._state: State = Closed()

    @contextmanager
    def call(self, tenant_id: str) -> Iterator[Call]:
        """Make a call inside; its end is judged by the reply told, or else by the error that passes through.

        Raises XeroDown instead of letting it begin.
        """
        self._state, verdict = breaker.ask(self._state, time.monotonic())
        metrics.XERO_BREAKER.set(_LEVELS[type(self._state)])
        if isinstance(verdict, Refuse):
            raise XeroDown(max(1, math.ceil(verdict.seconds)))
        call = Call(lambda status: self._become(self._after_reply(tenant_id, verdict, status)))
        try:
            yield call
        except BaseException as error:
            if not call.judged:
                self._become(self._after_error(tenant_id, verdict, error))
            raise
        if not call.judged:
            self._become(breaker.given_up(self._state, verdict, time.monotonic()))

    def _after_reply(self, tenant_id: str, go: Go, status: int) -> State:
        if status in DOWN:
            return self._failed(tenant_id, go, unreachable=False)
        return breaker.answered(self._state, tenant_id, time.monotonic())

    def _after_error(self, tenant_id: str, go: Go, error: BaseException) -> State:
        if isinstance(error, NoConnection | TimedOut | Lost):
            return self._failed(tenant_id, go, unreachable=isinstance(error, NoConnection))
        return breaker.given_up(self._state, go, time.monotonic())

    def _failed(self, tenant_id: str, go: Go, *, unreachable: bool) -> State:
        return breaker.failed(
            self._state,
            go,
            tenant_id,
            unreachable=unreachable,
            now=time.monotonic(),
            chance=random.random(),  # noqa: S311 - jitter
        )

    def _become(self, state: State) -> None:
        before, self._state = self._state, state
        metrics.XERO_BREAKER.set(_LEVELS[type(state)])
        if isinstance(state, Open) and isinstance(before, Closed):
            metrics.XERO_BREAKER_OPENED.inc()
            log.warning("xero_is_down", delay_seconds=state.pause_seconds)
        elif isinstance(state, Closed) and not isinstance(before, Closed):
            log.info("xero_is_back")
