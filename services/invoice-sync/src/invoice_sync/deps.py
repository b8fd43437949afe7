"""What the verbs of this service share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import SystemRandom

import asyncpg

from invoice_sync.domain.mapping import WriteSettings
from pipeline_xero.client import GatewayClient

_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class Deps:
    """Database, gateway and settings, built once in ``app.py``."""

    pool: asyncpg.Pool
    gateway: GatewayClient
    write: WriteSettings
    xero_web_url: str = "https://go.xero.com"
    batch_size: int = 50
    reconcile_every: timedelta | None = None
    """How often each account's books are compared with Xero's as a whole; None: only when somebody asks."""
    on_recorded: Callable[[], None] = field(default=lambda: None)
    """Called after a transaction that wrote events: wakes the relay."""
    rests_until: dict[str, float] = field(default_factory=dict)
    """Accounts that let invoices gather for their next call (``domain.pace``), by the monotonic clock."""
    chance: Callable[[], float] = field(default=_RANDOM.random)
    """A random number from 0 to 1, for jitter."""
