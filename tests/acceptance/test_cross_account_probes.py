"""People and programs of one account ask for everything of another's, by every route and every id it has.

`PROBES=50000` asks more often.
"""

import asyncio
import os
from random import Random

import httpx
from every_route import filled, routes

PROBES = int(os.environ.get("PROBES", "2000"))
AT_ONCE = 20
PROBER = "prober"
"""Never connected, so that nobody else's tests are met by what it does to itself."""
CANARY = "Quietwater"
"""In every name that the other account has."""
REFUSED = {401, 403, 404, 405, 409, 412, 413, 415, 422, 428, 429}
BODIES = ({}, {"contact_id": "x"}, {"xero_code": "200"}, {"keep": "pipeline", "fingerprint": "x"}, {"dry_run": True})  # fmt: skip


async def test_nothing_of_another_account_is_told_or_touched(stack, company):
    customer = company.customer("buyer").model_copy(update={"name": f"{CANARY} Estates"})
    invoice = company.invoice("probed", reference=f"{CANARY} 4711")
    await company.publish(customer)
    await company.publish(invoice)
    await company.until(invoice, "synced")
    (row,) = await asyncio.to_thread(company.in_xero, invoice)
    before = await asyncio.to_thread(picture, company, invoice)
    assert CANARY in str(before), "nothing to be found would prove nothing"
    ids = {
        "invoice_id": invoice.invoice_id,
        "customer_id": customer.customer_id,
        "payment_id": row["document_id"],
        "path": "Invoices/" + row["document_id"],
        "kind": "account",
        "code": "200",
        "number": "1",
        "topic": "pipeline.invoices.v1.dlq",
        "partition": "0",
        "offset": "0",
    }
    chance = Random(PROBES)
    everything = list(routes(stack))
    callers = tokens_of(PROBER, stack)
    wanted = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(timeout=60) as http:

        async def probe() -> int:
            service, method, path = chance.choice(everything)
            account = chance.choice((company.account_id, PROBER, company.account_id.upper()))
            url = stack.urls[service] + filled(path, account, ids)
            query = {"account_id": company.account_id} if chance.random() < 0.3 else {}
            headers = {"Authorization": f"Bearer {chance.choice(callers)}"}
            if chance.random() < 0.3:
                headers["X-Account-Id"] = company.account_id
            async with wanted:
                reply = await http.request(
                    method, url, headers=headers, params=query, json=chance.choice(BODIES)
                )
            assert CANARY.encode() not in reply.content, f"{method} {url}: {reply.text[:500]}"
            if account != PROBER and "{account_id}" in path:
                assert reply.status_code in REFUSED, f"{method} {url}: {reply.status_code}"
            return reply.status_code

        told = await asyncio.gather(*(probe() for _ in range(PROBES)))
    assert told.count(404) > PROBES / 4
    assert await asyncio.to_thread(picture, company, invoice) == before


def tokens_of(account_id: str, stack) -> list[str]:
    """Of each role of its people."""
    return [
        stack.identities.person_token(account_id, role, name="Dora", user_id=f"user-{role}")
        for role in ("viewer", "operator", "admin")
    ]


def picture(company, invoice) -> dict[str, object]:
    """How the other account stands, as its own backend sees it."""
    asked = (
        "/summary",
        "/settings",
        "/contact-mappings",
        "/failures",
        f"/invoices/{invoice.invoice_id}/sync",
    )
    return {path: company.service.get(path).json() for path in asked}
