"""A small model of invoices that live in two books at once, and the hands of everybody who works in them.

The model knows what Pipeline published, what arrived, and what somebody left in Xero that Pipeline's newest version
does not hold. It says what may be in Xero after a worker's turn, and where each invoice must stand once all is quiet.
It reads the simulator's ledger and the columns `state`, `version`, `synced_version` and `block_*`, nothing else of ours.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from emptying import EMPTY
from left_by_hand import Hand
from operators import Operators
from two_books import GONE, Content, Published, as_wanted, in_xero

from invoice_sync.domain import mapping
from invoice_sync.retry_sync import retry_invoice
from pipeline_contracts.invoice import Invoice
from pipeline_contracts.sync import InvoiceSynced, OutOfSync, SyncFailed, SyncResumed
from xero_simulator import ledger
from xero_simulator.idempotency import Keys

CUSTOMERS = ("cust-1", "cust-2")


@dataclass
class LifeCycle:
    """One account with its two books; every method is something that somebody does, or a check."""

    service: Any
    kinds: dict[str, type]
    line: Any
    died: type[BaseException]
    published: dict[str, Published] = field(default_factory=dict)
    hands: dict[str, Hand] = field(default_factory=dict)
    """By document: what somebody left there, where Pipeline's newest version holds something else."""
    strangers: dict[str, Content] = field(default_factory=dict)
    counter: int = 0

    def __post_init__(self) -> None:
        self.operators = Operators(self)

    @property
    def organisation(self) -> Any:
        return self.service.books.world.books[self.service.books.tenant_id].organisation

    @property
    def contacts(self) -> list[Any]:
        world = self.service.books.world
        return list(world.books[self.service.books.tenant_id].contacts.values())

    async def begin(self, account_id: str) -> None:
        """Empty books on both sides, a connected account, and customers whose contacts are in Xero."""
        service, world = self.service, self.service.books.world
        await service.pool.execute(EMPTY)
        self.operators.lock_up_to(None, None)
        world.add_organisation(self.organisation)
        world.clock.reset()  # or the access token would run out after some hundred lives
        world.keys = Keys()
        world.faults.faults.clear()
        world.calls.calls.clear()
        service.gateway.tenants.clear()
        service.gateway.before = service.gateway.after = None
        service.account_id, service.connection_sequence = account_id, 0
        await service.connect()
        await service.know(*CUSTOMERS)
        await service.settle()

    # What Pipeline does

    def unique(self, what: str) -> str:
        self.counter += 1
        return f"{what}-{self.counter}"

    def publish(self, invoice_id: str, **changes: Any) -> int:
        """The invoice's next version, which has arrived nowhere yet."""
        known = self.published.setdefault(invoice_id, Published())
        version = len(known.versions) + 1
        values: dict[str, Any] = {"version": version, "reference": self.unique("ours")}
        if version > 1:
            before = known.body(version - 1)
            names = ("invoice_number", "reference", "due_date", "customer_id", "lines")
            values |= {name: getattr(before, name) for name in names}
            values["kind"] = self.kinds["updated"]
        event = self.service.invoice(invoice_id, **(values | changes))
        known.versions.append(event)
        return version

    def withdraw(self, invoice_id: str) -> int:
        known = self.published[invoice_id]
        version = len(known.versions) + 1
        known.versions.append(
            self.kinds["voided"](
                account_id=self.service.account_id, invoice_id=invoice_id, version=version
            )
        )
        return version

    async def deliver(self, invoice_id: str, *versions: int) -> None:
        """These versions arrive, in this order, in one batch; older and repeated ones are among what may come."""
        known = self.published[invoice_id]
        await self.service.want(*(known.versions[version - 1] for version in versions))
        known.arrived = max(known.arrived, *versions)
        self.operators.arrived(invoice_id)
        self._look_at_hands()

    # What people do in Xero

    def documents(self) -> list[dict[str, Any]]:
        world = self.service.books.world
        found: list[dict[str, Any]] = ledger.dump(world.books[self.service.books.tenant_id])[
            "invoices"
        ]
        return found

    def document_of(self, invoice_id: str) -> dict[str, Any] | None:
        """Our invoice in Xero, by its marker; that there are never two of them is checked with every turn."""
        url = self._marker(invoice_id)
        return next((each for each in self.documents() if each["url"] == url), None)

    def _marker(self, invoice_id: str) -> str:
        root = self.service.deps.write.pipeline_web_url
        return mapping.marker(root, self.service.account_id, invoice_id)

    async def by_hand(self, method: str, path: str, body: dict[str, Any] | None = None) -> bool:
        """Somebody works in Xero; False if Xero does not let them."""
        books = self.service.books
        before = {each["document_id"]: in_xero(each) for each in self.documents()}
        reply = await books.http.request(
            method, f"{books.url}/admin/tenants/{books.tenant_id}/{path}", json=body or {}
        )
        for each in self.documents():
            document_id, now = each["document_id"], in_xero(each)
            if document_id in before:
                if before[document_id] != now:
                    self.hands.setdefault(document_id, Hand()).wrote(before[document_id], now)
            elif document_id not in self.strangers:
                self.strangers[document_id] = now
        self._look_at_hands()
        return reply.status_code < 300

    def _look_at_hands(self) -> None:
        for invoice_id, known in self.published.items():
            document = self.document_of(invoice_id)
            hand = self.hands.get(document["document_id"]) if document else None
            if hand and known.arrived:
                hand.agrees_with(known.content(known.arrived))

    # What the worker does

    async def work(self, *, dies: str = "", at_call: int = 1) -> None:
        """One turn of the worker with everything due; it may be killed before or after one of its calls."""
        calls = 0

        def die(_request: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == at_call:
                raise self.died

        if dies:
            setattr(self.service.gateway, dies, die)
        await self.service.hurry()
        try:
            await self.service.turn()
        except self.died:
            pass
        finally:
            self.service.gateway.before = self.service.gateway.after = None
        await self.check()

    async def time_passes(self, minutes: int) -> None:
        self.service.books.world.clock.advance(minutes * 60)
        await self.service.pool.execute(
            "UPDATE intents SET first_sent_at = first_sent_at - make_interval(mins => $1)", minutes
        )

    async def look_again(self) -> None:
        """As payment-ingest would after every change in Xero: whatever rests is compared."""
        await self.service.pool.execute(
            "UPDATE invoices SET due_at = now() WHERE state IN ('synced', 'out_of_sync')"
        )

    # What must be true

    async def check(self) -> None:
        """After every turn: nothing doubled, nobody's work overwritten, and every state says why."""
        documents = self.documents()
        urls = Counter(each["url"] for each in documents if each["url"])
        doubled = [url for url, count in urls.items() if count > 1]
        assert not doubled, f"doubled in Xero: {doubled}"
        numbers = Counter(each["number"] for each in documents if each["status"] not in GONE)
        assert max(numbers.values(), default=0) <= 1, f"a number twice: {numbers}"
        for each in documents:
            now = in_xero(each)
            assert now == self.strangers.get(each["document_id"], now), "a stranger's was changed"
        self._check_hands()
        self.operators.check()
        for row in await self.rows():
            await self._says_why(row)

    def _check_hands(self) -> None:
        for invoice_id, known in self.published.items():
            document = self.document_of(invoice_id)
            hand = self.hands.get(document["document_id"]) if document else None
            if document is None or hand is None or not known.arrived:
                continue
            ours = known.content(known.arrived)
            self.operators.took_effect(invoice_id, hand, ours)
            lost = hand.overwritten(in_xero(document), ours, merges=self.operators.merges)
            assert not lost, f"{document['number']}: somebody's work was overwritten: {lost}"

    async def rows(self) -> list[Any]:
        found: list[Any] = await self.service.pool.fetch(
            "SELECT * FROM invoices ORDER BY invoice_id"
        )
        return found

    async def _says_why(self, row: Any) -> None:
        known = self.published[row["invoice_id"]]
        assert row["version"] == known.arrived, "the highest version that arrived wins"
        if row["state"] in {"failed", "out_of_sync", "waiting_for_connection"}:
            assert row["block_code"], f"{row['invoice_id']} is {row['state']} and does not say why"
            assert row["block_message"].endswith("."), row["block_message"]
            assert row["block_hint"], f"{row['block_code']} names no next step"
        document = self.document_of(row["invoice_id"])
        if row["synced_version"] is not None:
            assert document is not None, f"{row['invoice_id']} is said to be in Xero and is not"

    # The end

    async def heal(self) -> None:
        """No faults, a connection, usable contacts, nothing paid; every write has landed or never will."""
        world = self.service.books.world
        world.faults.faults.clear()
        self.operators.lock_up_to(None, None)
        await self.service.connect()
        for customer_id in CUSTOMERS:
            await self.operators.contact_is(customer_id, "ACTIVE")
        payments = ledger.dump(world.books[self.service.books.tenant_id])["payments"]
        for each in payments:
            if each["status"] == "AUTHORISED":
                assert await self.by_hand("DELETE", f"payments/{each['payment_id']}")
        await self.quiet()
        for customer_id in CUSTOMERS:
            await self.operators.map(customer_id)

    async def quiet(self) -> None:
        """Until nothing is due and nothing is open; that this comes to an end is one of the promises."""
        await self.time_passes(11)
        for row in await self.rows():
            await retry_invoice(
                self.service.deps, self.service.account_id, row["invoice_id"], "somebody"
            )
        await self.look_again()
        for _ in range(30):
            await self.service.hurry()
            rests = await self.service.turn() is None
            await self.check()
            if rests:
                break
        else:
            rows = [
                (row["invoice_id"], row["state"], row["block_code"]) for row in await self.rows()
            ]
            raise AssertionError(f"never quiet: {rows}")
        assert await self.service.pool.fetchval("SELECT count(*) FROM intents") == 0

    async def judge(self) -> None:
        """Each invoice stands where the three states it is made of put it."""
        rows = {row["invoice_id"]: row for row in await self.rows()}
        arrived = {key for key, known in self.published.items() if known.arrived}
        assert rows.keys() == arrived, "each has exactly one row"
        for invoice_id, row in rows.items():
            expected = self.expected(invoice_id, row["synced_version"])
            told = (row["state"], row["block_code"], row["block_message"])
            assert row["state"] in expected, f"{invoice_id}: {told} where {expected} is right"
            self._as_told(row, await self.service.told(invoice_id))

    def expected(self, invoice_id: str, synced_version: int | None) -> set[str]:
        """Where an invoice may stand when all is quiet and nothing is in its way."""
        known = self.published[invoice_id]
        ours, document = known.content(known.arrived), self.document_of(invoice_id)
        if document is None:
            assert synced_version is None
            if not ours["live"]:
                return {"voided"}
            taken = any(ours["number"] == each["number"] for each in self.strangers.values())
            assert taken, f"{invoice_id} is wanted, nothing is in its way, and it is not in Xero"
            return {"failed"}
        xero = in_xero(document)
        if not ours["live"] and not xero["live"]:
            return {"voided"}
        if ours == xero:
            return {"synced"}
        base = known.content(synced_version) if synced_version else None
        assert xero != base, f"{invoice_id} was not changed in Xero, and Pipeline's is not there"
        if not xero["live"]:
            hand = self.hands.get(document["document_id"])
            is_accepted = hand is not None and "live" in hand.accepted
            return {"voided", "out_of_sync"} if is_accepted else {"out_of_sync"}
        # Only Xero changed: it stays as somebody left it. A conflict stays one until both are equal.
        return {"synced", "out_of_sync"} if ours == base else {"out_of_sync"}

    def _as_told(self, row: Any, events: list[Any]) -> None:
        """The last event says what the state says; `told` has checked that sequences are 1..n."""
        last = events[-1] if events else None
        match row["state"]:
            case "synced":
                assert isinstance(last, InvoiceSynced | SyncResumed), f"told last: {last}"
                assert last.version == row["version"], "subscribers wait for this version"
            case "voided" if any(isinstance(each, InvoiceSynced) for each in events):
                assert isinstance(last, InvoiceSynced), f"told last: {last}"
                assert (last.version, last.xero_status) == (row["version"], "VOIDED")
            case "voided":
                assert last is None or isinstance(last, SyncFailed)
            case "failed":
                assert isinstance(last, SyncFailed)
                assert last.code == row["block_code"]
            case "out_of_sync":
                assert isinstance(last, OutOfSync)
                assert last.message == row["block_message"]
        versions = [each.version for each in events if isinstance(each, InvoiceSynced)]
        assert versions == sorted(versions), "a version was taken back"

    async def align(self, *, in_xero_first: bool) -> None:
        """Somebody makes every pair equal, on the one side or the other."""
        for invoice_id, known in self.published.items():
            document = self.document_of(invoice_id)
            if not known.arrived or document is None:
                continue
            ours, xero = known.content(known.arrived), in_xero(document)
            if ours == xero or not (ours["live"] or xero["live"]):
                continue
            if not ours["live"]:
                assert await self.by_hand(
                    "POST", f"invoices/{document['document_id']}", {"Status": "VOIDED"}
                )
            elif not xero["live"]:
                await self.deliver(invoice_id, self.withdraw(invoice_id))
            elif in_xero_first:
                body = known.body(known.arrived)
                assert await self.by_hand(
                    "POST", f"invoices/{document['document_id']}", as_wanted(body, document)
                )
            else:
                await self.deliver(invoice_id, self.publish(invoice_id, **self.as_left(document)))

    def as_left(self, document: dict[str, Any]) -> dict[str, Any]:
        """Pipeline's next version when it adopts what Xero holds."""
        known = {
            each.description: each.line_id
            for published in self.published.values()
            for event in published.versions
            if isinstance(event, Invoice) and self._marker(event.invoice_id) == document["url"]
            for each in event.lines
        }
        return {
            "invoice_number": document["number"],
            "reference": document["reference"] or None,
            "due_date": date.fromisoformat(document["due_date"]),
            "lines": [
                self.line(
                    known.get(each["description"]) or self.unique("adopted"),
                    description=each["description"],
                    quantity=each["quantity"],
                    unit_amount=each["unit_amount"],
                )
                for each in document["lines"]
            ],
        }

    async def converge(self, *, in_xero_first: bool) -> None:
        """The end of every life: healed, quiet and judged; then aligned, and everything agrees."""
        await self.heal()
        await self.quiet()
        await self.judge()
        for invoice_id, known in self.published.items():
            # Only a new number helps where somebody else's invoice has it.
            if known.arrived and not known.is_void and self.document_of(invoice_id) is None:
                number = self.unique("FREE")
                latest = self.publish(invoice_id, invoice_number=number)
                await self.deliver(invoice_id, latest)
            elif known.arrived:
                await self.deliver(invoice_id, len(known.versions))
        await self.quiet()
        await self.align(in_xero_first=in_xero_first)
        await self.quiet()
        await self.judge()
        for row in await self.rows():
            told = (row["invoice_id"], row["state"], row["block_message"])
            assert row["state"] in {"synced", "voided"}, (
                f"both agree, and it did not resume: {told}"
            )
