"""Everything one simulated Xero knows, and the one place where committed changes are announced."""

from dataclasses import dataclass, field
from datetime import timedelta

import httpx

from xero_simulator.calls import CallLog
from xero_simulator.clock import Clock
from xero_simulator.config import Settings, Switches
from xero_simulator.contacts import Scene
from xero_simulator.faults import FaultScript
from xero_simulator.grants import Grants
from xero_simulator.idempotency import Keys
from xero_simulator.ids import IdSource
from xero_simulator.limits import Limits
from xero_simulator.records import Organisation
from xero_simulator.seed import User, people
from xero_simulator.state import Books
from xero_simulator.webhooks import Subscription, WebhookSender
from xero_simulator.wire import Json, stamp_string

_CATEGORIES = {
    "invoice": "INVOICE",
    "contact": "CONTACT",
    "credit_note": "CREDITNOTE",
    "prepayment": "PREPAYMENT",
    "overpayment": "OVERPAYMENT",
}


@dataclass(slots=True)
class AutoConsent:
    """How the consent page answers by itself, for programs.

    Attributes:
        user: E-mail of the person who signs in.
        tenants: Tenant ids or names to choose; empty for all of that person's.
        action: `allow` or `cancel`.
        times: How many pages it answers; 0 is without end.
    """

    user: str
    tenants: tuple[str, ...] = ()
    action: str = "allow"
    times: int = 1


@dataclass(slots=True)
class World:
    """The state of a simulator; routes read and change it, nothing else does."""

    settings: Settings
    clock: Clock
    webhooks: WebhookSender
    ids: IdSource
    switches: Switches = field(default_factory=Switches)
    users: dict[str, User] = field(default_factory=dict)
    books: dict[str, Books] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    keys: Keys = field(default_factory=Keys)
    calls: CallLog = field(default_factory=CallLog)
    grants: Grants = field(init=False)
    faults: FaultScript = field(init=False)
    auto_consent: AutoConsent | None = None
    redirect_uris: list[str] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the seeded beginning; the webhook subscription keeps its address."""
        self.clock.reset()
        self.ids.restart()
        self.switches = Switches()
        self.limits, self.keys, self.calls = Limits(), Keys(), CallLog()
        self.grants = Grants(self.ids)
        self.faults = FaultScript(self.settings.seed)
        self.auto_consent = None
        self.redirect_uris = list(self.settings.redirect_uris)
        self.webhooks.reset(self.settings.seed)
        users, organisations = people(self.ids, self.clock.now())
        self.users = {user.user_id: user for user in users}
        self.books = {}
        for organisation in organisations:
            self.add_organisation(organisation)

    def add_organisation(self, organisation: Organisation) -> Books:
        """Opens the books of a new organisation."""
        books = Books(organisation)
        self.books[organisation.tenant_id] = books
        return books

    def user_by_email(self, email: str) -> User | None:
        """The user who signs in with `email`."""
        return next((user for user in self.users.values() if user.email == email), None)

    def scene(self, books: Books, *, by_app: bool = True, unit_places: int = 2) -> Scene:
        """The surroundings a rule needs for one write."""
        return Scene(
            books=books,
            ids=self.ids,
            now=self.clock.now(),
            by_app=by_app,
            unit_places=unit_places,
            lock_date_format=self.switches.lock_date_format,
            is_adviser=self.switches.connected_by_adviser,
            whole_object_void_fails=self.switches.whole_object_void_fails,
            settlements_move_invoice=self.switches.settlements_move_invoice,
        )

    def commit(self, books: Books) -> None:
        """Makes a write final and rings the webhooks of a connected tenant."""
        tenant_id = books.organisation.tenant_id
        connected = self.grants.connected(tenant_id)
        for change in books.commit():
            category = _CATEGORIES.get(change.kind)
            if category is None or not connected:
                continue
            data: Json | None = None
            if change.kind in {"credit_note", "prepayment"}:
                document = books.documents[change.record_id]
                data = {"Type": document.type, "Status": document.status}
                if change.kind == "prepayment":
                    data["UpdatedDateUTCString"] = stamp_string(document.updated)
            self.webhooks.emit(
                tenant_id, category, change.record_id, created=change.created, data=data
            )

    @property
    def nested_contact_shift(self) -> timedelta:
        """The switch as a duration."""
        return timedelta(hours=self.switches.nested_contact_shift_hours)


def make_world(
    settings: Settings, *, webhook_transport: httpx.AsyncBaseTransport | None = None
) -> World:
    """A fresh world."""
    clock, ids = Clock(), IdSource(settings.seed)
    subscription = Subscription(settings.webhook_url, settings.webhook_key)
    sender = WebhookSender(subscription, clock, ids, settings.seed, webhook_transport)
    return World(settings, clock, sender, ids)
