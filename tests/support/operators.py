"""What people do who keep an account in step: link contacts, choose between versions, set policies, lock periods."""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from left_by_hand import Hand, name_of
from two_books import Content, in_xero

from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.resolution import Conflict
from invoice_sync.domain.state import Choice, Keep
from invoice_sync.map_contact import map_contact, unmap_contact
from invoice_sync.resolve_conflict import ConflictChanged, find_conflict, resolve_conflict
from invoice_sync.store import account_settings
from pipeline_service_defaults.problems import Problem


@dataclass
class Chosen:
    """A choice that was taken down and may not have taken effect yet."""

    keep: Keep
    version: int
    seen: Content
    """The fields that differed, as they were in Xero."""


@dataclass
class Operators:
    """The hands of one account's people; ``life`` is the rest of the account."""

    life: Any
    looked: dict[str, Conflict] = field(default_factory=dict)
    """The conflicts as somebody has them on the screen, however old."""
    chosen: dict[str, Chosen] = field(default_factory=dict)
    merges: bool = False
    """Whether disjoint edits were ever merged in this life."""
    contacts_left: dict[str, str] = field(default_factory=dict)
    """By contact: the email somebody typed in Xero."""
    customer_versions: dict[str, int] = field(default_factory=dict)

    @property
    def _deps(self) -> Any:
        return self.life.service.deps

    @property
    def _account_id(self) -> str:
        return str(self.life.service.account_id)

    # Conflicts

    async def look(self, invoice_id: str) -> None:
        """Somebody opens the invoice's page."""
        _, conflict = await find_conflict(self._deps, self._account_id, invoice_id)
        self.looked.pop(invoice_id, None)
        if conflict is not None:
            self.looked[invoice_id] = conflict

    async def choose(self, invoice_id: str, keep: Keep) -> None:
        """Somebody chooses on the page as they have it, which may be an old one."""
        conflict = self.looked.get(invoice_id)
        document = self.life.document_of(invoice_id)
        if conflict is None or document is None:
            return
        choice = Choice(keep, conflict.fingerprint, "somebody")
        try:
            await resolve_conflict(self._deps, self._account_id, invoice_id, choice)
        except (ConflictChanged, Problem):
            return
        now = in_xero(document)
        names = {name for each in conflict.differences if (name := name_of(each.field))}
        told = {name_of(each.field): each.xero for each in conflict.differences}
        seen = {name: now[name] for name in names}
        seen |= {name: told[name] or "" for name in names & {"number", "reference", "due_date"}}
        self.chosen[invoice_id] = Chosen(keep, self.life.published[invoice_id].arrived, seen)

    def arrived(self, invoice_id: str) -> None:
        """A newer version: a choice on the former takes no effect any more."""
        known = self.chosen.get(invoice_id)
        if known is not None and known.version != self.life.published[invoice_id].arrived:
            del self.chosen[invoice_id]

    def took_effect(self, invoice_id: str, hand: Hand, ours: Content) -> None:
        """The invoice was compared: what was chosen may be done."""
        known = self.chosen.get(invoice_id)
        if known is None:
            return
        if known.keep is Keep.PIPELINE:
            hand.given_up |= known.seen
        else:
            hand.accepted |= {name: (value, ours[name]) for name, value in known.seen.items()}

    # Settings of the account and of the organisation

    async def set_policy(self, policy: EditPolicy) -> None:
        self.merges = self.merges or policy is EditPolicy.MERGE
        async with self.life.service.pool.acquire() as conn:
            before = await account_settings.find(conn, self._account_id)
        await change_settings(
            self._deps,
            self._account_id,
            replace(before, edit_policy=policy),
            version=before.version,
            actor="somebody",
        )

    def lock_up_to(self, period: date | None, year: date | None) -> None:
        """An adviser closes the books up to a day, or opens them."""
        organisation = self.life.organisation
        organisation.period_lock_date, organisation.end_of_year_lock_date = period, year

    async def days_pass(self) -> None:
        """What was read of the organisation is old, and what is to be read again is due."""
        pool = self.life.service.pool
        await pool.execute(
            "UPDATE lock_dates SET read_at = read_at - interval '2 days', tried_at = tried_at - interval '2 days'"
        )
        await pool.execute(
            "UPDATE accounts SET codes_due_at = now() WHERE codes_due_at IS NOT NULL"
        )

    # Customers and contacts

    def contact_of(self, customer_id: str) -> str | None:
        contacts = self.life.contacts
        name = f"Customer {customer_id}"
        return next((each.contact_id for each in contacts if each.name == name), None)

    async def contact_is(self, customer_id: str, status: str) -> None:
        if contact_id := self.contact_of(customer_id):
            await self.life.by_hand("POST", f"contacts/{contact_id}", {"ContactStatus": status})

    async def contact_gets(self, customer_id: str, email: str) -> None:
        """Somebody types another address into Xero."""
        contact_id = self.contact_of(customer_id)
        if contact_id is None:
            return
        body = {"EmailAddress": email}
        if await self.life.by_hand("POST", f"contacts/{contact_id}", body):
            self.contacts_left[contact_id] = email

    async def customer_gets(self, customer_id: str, email: str) -> None:
        """Pipeline's customer has another address."""
        version = self.customer_versions.get(customer_id, 1) + 1
        self.customer_versions[customer_id] = version
        name = f"Customer {customer_id}"
        await self.life.service.know(customer_id, version=version, name=name, email=email)

    async def unmap(self, customer_id: str) -> None:
        await unmap_contact(self._deps, self._account_id, customer_id, "somebody")

    async def map(self, customer_id: str) -> bool:
        """Somebody links the customer to the contact of its name; False if that cannot be done now."""
        contact_id = self.contact_of(customer_id)
        if contact_id is None:
            return False
        try:
            await map_contact(self._deps, self._account_id, customer_id, contact_id, "somebody")
        except Problem:
            return False
        # What was in dispute is settled as Xero has it; from then on Pipeline's next change counts.
        self.contacts_left.pop(contact_id, None)
        return True

    def check(self) -> None:
        """No contact is there twice, and no address typed in Xero is written over."""
        contacts = {each.contact_id: each for each in self.life.contacts}
        names = [each.name for each in contacts.values() if each.status == "ACTIVE"]
        assert len(names) == len(set(names)), f"a contact twice: {names}"
        for contact_id, email in self.contacts_left.items():
            found = contacts[contact_id].email
            assert found == email, f"somebody's address was overwritten: {email} by {found}"
