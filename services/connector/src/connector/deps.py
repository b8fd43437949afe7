"""What the verbs need, built once in `app.py` and passed down."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import httpx

from connector.clients.identity import XeroIdentity
from connector.clients.invoice_sync import InvoiceSync
from connector.clients.xero_api import XeroApi
from connector.domain.app_minute import Permits
from connector.domain.lanes import Lane
from connector.domain.sealing import KeyRing, OuterKeys
from connector.settings import Settings
from connector.watch_xero import XeroWatch
from pipeline_service_defaults.database import Pool


@dataclass(slots=True, weakref_slot=True)
class Line:
    """This process's queue for one tenant's slots: one caller asks the database, the others stand in line behind it."""

    callers: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Deps:
    """The connector's ports: database, Xero, keys. `tasks` are refreshes under way, which a shutdown waits for."""

    settings: Settings
    pool: Pool
    http: httpx.AsyncClient
    identity: XeroIdentity
    api: XeroApi
    ring: OuterKeys
    form_keys: KeyRing
    """Stamp the forms of pages; no key service is asked for that."""
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    lines: WeakValueDictionary[tuple[str, Lane], Line] = field(default_factory=WeakValueDictionary)
    """By tenant and lane; forgotten when nobody is in line."""
    permits: Permits = field(default_factory=Permits)
    permits_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Calls of the app's minute this process may make, and whose turn it is to fetch more."""
    invoice_sync: InvoiceSync | None = None
    """None where its address is not configured: then nobody counts what a disconnect would stop."""
    heartbeats: dict[str, float] = field(default_factory=dict)
    """When each background chore last came round, by the monotonic clock."""
    watch: XeroWatch = field(default_factory=XeroWatch)
    wake: Callable[[], None] = lambda: None
    """Called after an event was committed to the outbox, so that the relay need not find it by polling."""
