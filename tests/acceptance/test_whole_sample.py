"""A whole public record of sales through the running system, with edits, voids and missing customers on the way."""

import asyncio
import re
from collections import Counter, defaultdict
from decimal import Decimal

import httpx
import pytest
from acceptance_support import until
from aiokafka import AIOKafkaProducer
from sample_fates import (
    ACCOUNT,
    EDITED,
    STATE,
    TOLD,
    UNMAPPED,
    Fate,
    Fated,
    customers_of,
    fates_of,
)

from pipeline_contracts.sync import SyncEvent
from pipeline_contracts.topics import SYNC
from pipeline_local_stack.bench.workload import publish_all
from pipeline_local_stack.connect import connect_account
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import InvoiceKey, only
from pipeline_local_stack.read_ledgers import read_ledgers
from pipeline_local_stack.sales import customer_of, read_sales
from pipeline_local_stack.xero_admin import XeroAdmin

ORGANISATION = "CDNOW Ltd"
PATIENCE_SECONDS = 240
ALL = 6_919


class Told:
    """What was told of each invoice, read once as it comes."""

    def __init__(self, seen) -> None:
        self.seen, self.position = seen, 0
        self.by_invoice = defaultdict(dict)

    def read(self) -> None:
        envelopes = self.seen.envelopes[SYNC.name]
        for envelope in envelopes[self.position :]:
            event = envelope.event
            if isinstance(event, SyncEvent) and event.account_id == ACCOUNT:
                self.by_invoice[event.invoice_id][envelope.id] = event
        self.position = len(envelopes)

    def of(self, fated: Fated) -> tuple[str, ...]:
        events = self.by_invoice.get(fated.sale.invoice_id, {}).values()
        return tuple(f"{type(event).__name__} {event.version}" for event in events)

    async def until(self, fated: list[Fated], events: int, what: str) -> None:
        """Wait until so many of the events that must be told of each invoice have been told, or more."""
        missing = {each.sale.invoice_id: each for each in fated}

        def come() -> bool:
            self.read()
            for invoice_id, each in list(missing.items()):
                if len(self.of(each)) >= min(events, len(TOLD[each.fate])):
                    del missing[invoice_id]
            return not missing

        try:
            await until(self.seen, come, f"{what} of {len(fated)}", PATIENCE_SECONDS)
        except AssertionError as error:
            left = {key: (each.fate.value, self.of(each)) for key, each in missing.items()}
            raise AssertionError(f"{len(left)} are left: {dict(list(left.items())[:5])}") from error


@pytest.fixture(scope="module")
def books(stack):
    """The organisation in which the sample's invoices are kept."""
    connect_account(stack, ACCOUNT, "books@example.com", ORGANISATION)
    admin = XeroAdmin(stack.urls["simulator"], ORGANISATION)
    yield admin
    admin.close()


@pytest.fixture
def service(stack):
    """invoice-sync's routes for the account, as another service of Pipeline calls them."""
    token = stack.identities.service_token("pipeline-backend", "invoice-sync")
    with httpx.Client(
        base_url=f"{stack.urls['invoice-sync']}/v1/accounts/{ACCOUNT}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ) as client:
        yield client


@pytest.fixture
async def publish(stack):
    """Publish events as fast as the broker takes them; each key's in their order."""
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.broker.bootstrap_servers, acks="all", enable_idempotence=True
    )
    await producer.start()
    yield lambda events: publish_all(producer, events)
    await producer.stop()


def of(fated, *fates):
    return [each for each in fated if each.fate in fates]


def edit_in_xero(books, rows, each, price) -> None:
    """What a person does in Xero's own page of an invoice: another price on its line."""
    row = rows[each.created.invoice_number]
    line = {"LineItemID": row["lines"][0]["line_id"], "UnitAmount": str(price)}
    line |= {"Description": row["lines"][0]["description"], "Quantity": each.sale.quantity}
    line["AccountCode"] = row["lines"][0]["account_code"]
    reply = books.http.post(
        f"/tenants/{books.tenant_id}/invoices/{row['document_id']}", json={"LineItems": [line]}
    )
    reply.raise_for_status()


def link_by_hand(books, service, sale) -> int:
    """A person makes the contact in Xero and links the customer to it; how many invoices that released."""
    contact = books.http.post(
        f"/tenants/{books.tenant_id}/contacts", json={"Name": f"By hand {sale.customer}"}
    ).raise_for_status()
    linked = service.put(
        f"/contact-mappings/{sale.customer_id}", json={"contact_id": contact.json()["contact_id"]}
    ).raise_for_status()
    return linked.json()["released"]


@pytest.mark.timeout(600)
async def test_every_row_of_the_sample_is_accounted_for_to_the_cent(
    stack, seen, books, service, publish
):
    fated = fates_of(list(read_sales()))
    told = Told(seen)
    late = {sale.customer_id for sale in customers_of(fated, *UNMAPPED)}
    known = {
        each.sale.customer_id: each.sale for each in fated if each.sale.customer_id not in late
    }
    await publish([customer_of(sale, ACCOUNT) for sale in known.values()])
    await publish([each.created for each in fated])
    await told.until(fated, 1, "the first news")

    rows = {row["number"]: row for row in (await asyncio.to_thread(books.ledger))["invoices"]}
    assert len(rows) == ALL - len(of(fated, *UNMAPPED))
    edited = of(fated, *EDITED)
    for each in edited:
        await asyncio.to_thread(edit_in_xero, books, rows, each, each.price_in_xero)
    await publish([each.updated(2, each.price_in_pipeline) for each in edited])
    await publish([each.voided for each in of(fated, Fate.VOIDED, Fate.VOIDED_WAITING)])
    await told.until([*edited, *of(fated, Fate.VOIDED)], 2, "the second news")

    for each in of(fated, Fate.CONFLICT_ENDED_IN_XERO):
        await asyncio.to_thread(edit_in_xero, books, rows, each, each.price_in_pipeline)
    await publish(
        [each.updated(3, each.price_in_xero) for each in of(fated, Fate.CONFLICT_ENDED_IN_PIPELINE)]
    )
    by_hand = {sale.customer_id for sale in customers_of(fated, Fate.LINKED_LATE)}
    announced = [s for s in customers_of(fated, *UNMAPPED) if s.customer_id not in by_hand]
    await publish([customer_of(sale, ACCOUNT) for sale in announced])
    released = [
        await asyncio.to_thread(link_by_hand, books, service, sale)
        for sale in customers_of(fated, Fate.LINKED_LATE)
    ]
    assert sum(released) == len(of(fated, Fate.LINKED_LATE))
    await told.until(fated, 4, "the last news")

    await everything_is_accounted_for(stack, seen, books, told, fated)


async def everything_is_accounted_for(stack, seen, books, told, fated) -> None:
    await seen.read_to_the_end()
    told.read()
    assert {each.sale.row: told.of(each) for each in fated} == {
        each.sale.row: TOLD[each.fate] for each in fated
    }
    asked = [each for each in fated if each.fate is not Fate.PLAIN]
    ledgers = await read_ledgers(
        stack,
        accounts=[ACCOUNT],
        invoices=[InvoiceKey(ACCOUNT, each.sale.invoice_id) for each in asked],
    )
    assert [str(each) for each in violations(only(ledgers, [ACCOUNT]))] == []
    assert {key.invoice_id: state for key, state in ledgers.states.items()} == {
        each.sale.invoice_id: STATE[each.fate] for each in asked
    }
    counted = Counter(STATE[each.fate] for each in fated)
    assert +Counter(ledgers.counts[ACCOUNT]) == counted
    assert counted.total() == ALL
    held = await asyncio.to_thread(books.documents)
    live = {each.number: each.total for each in held if each.is_live}
    expected = {
        each.created.invoice_number: each.booked for each in fated if each.booked is not None
    }
    assert live == expected
    withdrawn = {each.number for each in held if not each.is_live}
    assert withdrawn == {each.created.invoice_number for each in of(fated, Fate.VOIDED)}
    assert sum(live.values(), Decimal(0)) == sum(expected.values(), Decimal(0))
    in_xero = [each.booked for each in fated if STATE[each.fate] == "synced"]
    await the_dashboard_says_the_same(stack, counted, sum(in_xero, Decimal(0)))


async def the_dashboard_says_the_same(stack, counted, in_xero) -> None:
    """Made from the topics alone, it comes to what invoice-sync and the books say: in each state, and to the cent."""
    token = stack.identities.person_token(ACCOUNT, "viewer", name="Vera", user_id="user-vera")
    async with httpx.AsyncClient(
        base_url=stack.urls["ops-dashboard"], cookies={"pipeline_session": token}, timeout=30
    ) as person:
        overview = f"/accounts/{ACCOUNT}"
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while tiles := tiles_of((await person.get(overview)).raise_for_status().text):
            shown = Counter({state: number for state, (number, _) in tiles.items()})
            if +shown == counted:
                break
            assert asyncio.get_running_loop().time() < deadline, (shown, counted)
            await asyncio.sleep(0.5)
        assert [money.split()[1] for money in tiles["synced"][1]] == [f"{in_xero:,.2f}"]
        assert "No dead letters" in (await person.get(overview)).text


def tiles_of(page: str) -> dict[str, tuple[int, list[str]]]:
    """The overview's tiles: of each state the number of invoices, and the money in each currency."""
    return {
        state: (
            int(re.search(r'class="number">([\d,]+)<', tile)[1].replace(",", "")),
            re.findall(r'class="money">([^<]+)<', tile),
        )
        for state, tile in re.findall(r'<li class="(\w+)(?: none)?"><a(.*?)</li>', page, re.DOTALL)
    }


def test_the_seed_gives_each_fate_its_share():
    shares = Counter(each.fate for each in fates_of(list(read_sales())))
    assert shares[Fate.PLAIN] == ALL - 69 - (69 - 6) - 138
    assert sum(shares[fate] for fate in EDITED) == 69
    assert shares[Fate.VOIDED] + shares[Fate.VOIDED_WAITING] == 69
    assert sum(shares[fate] for fate in UNMAPPED) == 138
    assert all(shares[fate] for fate in Fate)
