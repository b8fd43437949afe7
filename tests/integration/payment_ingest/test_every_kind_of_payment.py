"""Every way in which an invoice is settled in Xero, from a bookkeeper's hand to the exact events: by webhook, and by sweep."""

from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
import pytest
from bookkeeping import ThinGateway, simulated

from payment_ingest.domain.ledger import Change, Kind, event_id, payment_id
from payment_ingest.ring_doorbells import ring_doorbells
from pipeline_contracts.payment import PaymentRecorded

PAID, OPEN = "PAID", "AUTHORISED"
# A step is what the bookkeeper does, and what is told of it: (+ or -, kind, which of the documents made so far, its
# amount, then paid, due and status of the invoice as Xero shows it afterwards). Every invoice is of 100.00.
CASES = {
    "part payments, the last of which is deleted": [
        ("pay 40", [("+", "payment", 0, "40", "40", "60", OPEN)]),
        ("pay 35.55", [("+", "payment", 1, "35.55", "75.55", "24.45", OPEN)]),
        ("pay 24.45", [("+", "payment", 2, "24.45", "100", "0", PAID)]),
        ("unpay 2", [("-", "payment", 2, "24.45", "75.55", "24.45", OPEN)]),
    ],
    "paid at once, deleted, and paid anew": [
        ("pay 100", [("+", "payment", 0, "100", "100", "0", PAID)]),
        ("unpay 0", [("-", "payment", 0, "100", "0", "100", OPEN)]),
        ("pay 100", [("+", "payment", 1, "100", "100", "0", PAID)]),
    ],
    "a credit note pays all: PAID with nothing paid": [
        ("credit_note 100 of 100", [("+", "credit_note", 0, "100", "0", "0", PAID)]),
        ("unallocate 0", [("-", "credit_note", 0, "100", "0", "100", OPEN)]),
    ],
    "a credit note allocated, taken back and allocated again": [
        ("credit_note 20 of 50", [("+", "credit_note", 0, "20", "0", "80", OPEN)]),
        ("unallocate 0", [("-", "credit_note", 0, "20", "0", "100", OPEN)]),
        ("allocate 0 30", [("+", "credit_note", 0, "30", "0", "70", OPEN)]),
    ],
    "a second allocation of the same credit note counts with the first": [
        ("credit_note 20 of 50", [("+", "credit_note", 0, "20", "0", "80", OPEN)]),
        (
            "allocate 0 30",
            [
                ("-", "credit_note", 0, "20", "0", "50", OPEN),
                ("+", "credit_note", 0, "50", "0", "50", OPEN),
            ],
        ),
    ],
    "the rest of a credit note refunded: no business of the invoice": [
        ("credit_note 20 of 50", [("+", "credit_note", 0, "20", "0", "80", OPEN)]),
        ("refund 0 30", []),
    ],
    "an overpayment allocated beside a payment, and its rest refunded": [
        ("pay 70", [("+", "payment", 0, "70", "70", "30", OPEN)]),
        ("overpayment 30 of 45", [("+", "overpayment", 1, "30", "70", "0", PAID)]),
        ("refund 1 15", []),
        ("unpay 0", [("-", "payment", 0, "70", "0", "70", OPEN)]),
    ],
    "an overpayment taken back": [
        ("overpayment 10 of 45", [("+", "overpayment", 0, "10", "0", "90", OPEN)]),
        ("unallocate 0", [("-", "overpayment", 0, "10", "0", "100", OPEN)]),
    ],
    "a prepayment allocated in two parts of two documents, one taken back": [
        ("prepayment 60 of 60", [("+", "prepayment", 0, "60", "0", "40", OPEN)]),
        ("prepayment 40 of 90", [("+", "prepayment", 1, "40", "0", "0", PAID)]),
        ("unallocate 0", [("-", "prepayment", 0, "60", "0", "60", OPEN)]),
    ],
    "a batch over two invoices, deleted as a whole": [
        ("batch 100", [("+", "payment", 0, "100", "100", "0", PAID)]),
        ("unbatch", [("-", "payment", 0, "100", "0", "100", OPEN)]),
    ],
    "foreign currency at a rate of its own": [
        ("pay 33.33 at 1.6", [("+", "payment", 0, "33.33", "33.33", "66.67", OPEN)]),
        ("credit_note 66.67 of 66.67", [("+", "credit_note", 1, "66.67", "33.33", "0", PAID)]),
    ],
}


class Outbound(httpx.AsyncBaseTransport):
    """Takes every webhook Xero sends."""

    def __init__(self):
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request):
        self.bodies.append(await request.aread())
        return httpx.Response(200)


@asynccontextmanager
async def organisation(pool, new_service):
    outbound = Outbound()
    async with simulated(webhooks_to=outbound) as (xero, token):
        change = await xero.http.patch(
            f"/admin/organisations/{xero.tenant_id}", json={"currencies": ["USD"]}
        )
        change.raise_for_status()
        await xero.disturb(batch_seconds=0.0)
        gateway = ThinGateway(xero.http, token, xero.tenant_id)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway)) as client:
            service = new_service(pool, xero, client)
            await service.connect()
            await service.sweep()
            await service.sweep("deep")
            yield service, xero, outbound


class Bookkeeper:
    """Settles one invoice, in the words of the cases."""

    def __init__(self, xero, invoice, sibling):
        self.xero, self.invoice, self.sibling = xero, invoice, sibling
        self.made: list[str] = []
        self.allocations: dict[str, str] = {}
        self.batch_id = None

    async def do(self, words: str) -> None:
        verb, *given = words.split()
        await getattr(self, verb)(*given)

    async def pay(self, amount, _at="", rate=None):
        more = {} if rate is None else {"rate": rate}
        made = await self.xero.act(
            "POST", "/payments", invoice=self.invoice, amount=amount, reference="Bank", **more
        )
        self.made.append(made["payment_id"])

    async def unpay(self, which):
        await self.xero.act("DELETE", f"/payments/{self.made[int(which)]}")

    async def batch(self, amount):
        rows = [{"invoice": each, "amount": amount} for each in (self.invoice, self.sibling)]
        made = await self.xero.act("POST", "/batch-payments", payments=rows)
        self.batch_id = made["batch_payment_id"]
        self.made.append(made["payments"][0]["payment_id"])
        refused = await self.xero.http.delete(
            f"/admin/tenants/{self.xero.tenant_id}/payments/{self.made[-1]}"
        )
        assert refused.is_client_error

    async def unbatch(self):
        await self.xero.act("DELETE", f"/batch-payments/{self.batch_id}")

    async def _credit(self, kind, amount, total):
        made = await self.xero.act(
            "POST", "/credits", invoice=self.invoice, kind=kind, amount=amount, total=total
        )
        self.made.append(made["source_id"])
        self.allocations[made["source_id"]] = made["allocation_id"]

    async def credit_note(self, amount, _of, total):
        await self._credit("credit_note", amount, total)

    async def overpayment(self, amount, _of, total):
        await self._credit("overpayment", amount, total)

    async def prepayment(self, amount, _of, total):
        await self._credit("prepayment", amount, total)

    async def allocate(self, which, amount):
        source = self.made[int(which)]
        await self.xero.act(
            "POST", f"/credits/{source}/allocations", invoice=self.invoice, amount=amount
        )

    async def unallocate(self, which):
        await self.xero.act("DELETE", f"/allocations/{self.allocations[self.made[int(which)]]}")

    async def refund(self, which, amount):
        await self.xero.act("POST", f"/credits/{self.made[int(which)]}/refunds", amount=amount)


async def new_invoice(xero, currency, contact_id) -> str:
    made = await xero.act(
        "POST",
        "/invoices",
        Contact={"ContactID": contact_id},
        CurrencyCode=currency,
        LineAmountTypes="NoTax",
        LineItems=[
            {"Description": "Work", "Quantity": 1, "UnitAmount": "100.00", "AccountCode": "200"}
        ],
    )
    return made["document_id"]


async def looked_by_webhook(service, xero, outbound) -> None:
    await xero.webhooks_are_out()
    await service.store(*outbound.bodies)
    outbound.bodies.clear()
    async with service.pool.acquire() as conn:
        while await ring_doorbells(conn):
            pass
    await service.turn()


async def looked_by_sweep(service, xero, outbound) -> None:
    await xero.webhooks_are_out()
    outbound.bodies.clear()
    await service.sweep()


LOOKS = {"webhook": looked_by_webhook, "sweep": looked_by_sweep}


@pytest.mark.parametrize("found_by", LOOKS)
async def test_each_kind_of_settlement_becomes_its_events(pool, new_service, found_by):
    async with organisation(pool, new_service) as (service, xero, outbound):
        for name, steps in CASES.items():
            currency = "USD" if "foreign" in name else "NZD"
            contact = await xero.act("POST", "/contacts", Name=name)
            invoice, sibling = [
                await new_invoice(xero, currency, contact["contact_id"]) for _ in range(2)
            ]
            await service.link(invoice, name)
            bookkeeper = Bookkeeper(xero, invoice, sibling)
            await LOOKS[found_by](service, xero, outbound)
            expected, occurrences = [], {}
            for words, told in steps:
                await bookkeeper.do(words)
                await LOOKS[found_by](service, xero, outbound)
                for sign, kind, which, *amounts, status in told:
                    xero_id = bookkeeper.made[which]
                    key = (kind, xero_id)
                    occurrences[key] = occurrences.get(key, 0) + (sign == "+")
                    identity = payment_id(
                        xero.tenant_id, invoice, Kind(kind), xero_id, occurrences[key]
                    )
                    change = Change.RECORDED if sign == "+" else Change.REVERSED
                    shown = (tuple(map(Decimal, amounts)), status, currency, found_by)
                    expected.append(
                        (
                            *(
                                change,
                                str(event_id(identity, change)),
                                str(identity),
                                kind,
                                xero_id,
                            ),
                            *shown,
                            len(expected) + 1,
                        )
                    )
                assert await told_of(service, invoice) == expected, f"{name}: {words}"


async def told_of(service, invoice) -> list[tuple]:
    return [
        (
            Change.RECORDED if isinstance(one.event, PaymentRecorded) else Change.REVERSED,
            one.id,
            one.event.payment_id,
            one.event.kind,
            one.event.xero_payment_id,
            (one.event.amount, one.event.amount_paid, one.event.amount_due),
            one.event.invoice_status,
            one.event.currency,
            one.event.found_by,
            one.event.sequence,
        )
        for one in await service.told()
        if one.event.xero_invoice_id == invoice
    ]
