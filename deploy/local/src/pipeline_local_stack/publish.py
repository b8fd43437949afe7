"""Publishes one invoice by hand to the running local stack, as another service of Pipeline would.

`python -m pipeline_local_stack.publish --number INV-1 --customer "Ridgeway Bank" --amount 115.00`
"""

import argparse
import asyncio
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from pipeline_contracts.customer import CustomerCreated
from pipeline_contracts.invoice import InvoiceCreated, InvoiceLine
from pipeline_contracts.producer import EventPublisher
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.stack import read_stack_file

PATIENCE_SECONDS = 30
_ON_THE_WAY = {"unknown", "pending", "syncing", "waiting_for_budget"}


def main() -> int:
    """Publish and say where to look; 0 when Kafka has it."""
    parser = argparse.ArgumentParser(prog="pipeline_local_stack.publish", description=__doc__)
    parser.add_argument(
        "--number", required=True, help="the invoice number, unique in the organisation"
    )
    parser.add_argument("--customer", required=True, help="the customer's name")
    parser.add_argument("--amount", required=True, help="the total, tax included, e.g. 115.00")
    parser.add_argument("--currency", default="NZD")
    parser.add_argument(
        "--unmapped",
        action="store_true",
        help="do not announce the customer: see the invoice wait for it",
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(_publish(arguments))
    except (StackError, httpx.HTTPError) as error:
        print(f"Not published: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        wrong = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        print(f"Not published: {wrong}.", file=sys.stderr)
        return 1
    return 0


def amount_of(text: str) -> Decimal:
    """The amount a person typed.

    Raises:
        StackError: It is none.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise StackError(f"--amount is {text!r}; give a plain number such as 115.00.")
    return amount


def check_is_new(invoice_id: str, reply: httpx.Response) -> None:
    """Make sure that invoice-sync has not heard of the invoice: its first version is taken once only.

    Raises:
        StackError: It has.
    """
    if reply.status_code == httpx.codes.OK:
        raise StackError(
            f"{invoice_id} was published before and is {reply.json()['state']}; choose another --number."
        )


async def _publish(arguments: argparse.Namespace) -> None:
    amount = amount_of(arguments.amount)
    stack = read_stack_file()
    account = str(stack["account_id"])
    customer_id = "cust-" + re.sub(r"[^a-z0-9]+", "-", arguments.customer.lower()).strip("-")
    today = datetime.now(UTC).date()
    customer = CustomerCreated(
        account_id=account, customer_id=customer_id, version=1, name=arguments.customer
    )
    invoice = InvoiceCreated(
        account_id=account,
        invoice_id=f"inv-{arguments.number}",
        version=1,
        invoice_number=arguments.number,
        customer_id=customer_id,
        issue_date=today,
        due_date=today + timedelta(days=20),
        currency=arguments.currency,
        amounts_are="tax_inclusive",
        lines=(
            InvoiceLine(
                line_id="1",
                description="Services",
                quantity=Decimal(1),
                unit_amount=amount,
                account_code="200",
            ),
        ),
        total=amount,
    )
    urls = dict(stack["urls"])
    path = f"/v1/accounts/{account}/invoices/{quote(invoice.invoice_id, safe='')}/sync"
    url = f"{urls['invoice-sync']}{path}"
    token = str(stack["admin_session_token"])
    async with _caller(token) as http:
        check_is_new(invoice.invoice_id, await http.get(url))
    async with EventPublisher(
        stack["kafka_bootstrap_servers"],
        source="by-hand",
        enable_idempotence=stack["kafka_supports_idempotence"],
    ) as publisher:
        if not arguments.unmapped:
            await publisher.publish(customer)
        await publisher.publish(invoice)
    print(f"Published {invoice.invoice_id}.")
    found = await _follow(url, token)
    if found["state"] == "waiting_for_contact":
        print(how_to_link(urls["invoice-sync"], account, customer_id, arguments.customer))


def _caller(token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"})


def how_to_link(invoice_sync_url: str, account: str, customer_id: str, name: str) -> str:
    """What links the customer, and where the ContactID for it is found."""
    path = (
        f"{invoice_sync_url}/v1/accounts/{account}/contact-mappings/{quote(customer_id, safe='')}"
    )
    return (
        f"Contacts that it may be:  GET {path}/suggestions?name={quote(name)}\n"
        f'Link it to one of them:   PUT {path} with {{"contact_id": "…"}}\n'
        "both with `Authorization: Bearer <admin_session_token of .local/stack.json>`; the invoice then follows by itself."
    )


async def _follow(url: str, token: str) -> dict[str, Any]:
    """Ask invoice-sync until the invoice has come to rest, and print what it says; gives back the last answer."""
    print(f"Asking GET {url}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with _caller(token) as http:
        while True:
            reply = await http.get(url)
            found: dict[str, Any] = (
                reply.json() if reply.status_code == httpx.codes.OK else {"state": "unknown"}
            )
            if found["state"] not in _ON_THE_WAY or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
    print(f"State: {found['state']}")
    if found.get("in_xero"):
        print(f"In Xero as {found['in_xero']['invoice_number']}: {found['in_xero']['deep_link']}")
    if found.get("cause"):
        print(f"{found['cause']['message']} {found['cause']['hint']}")
    return found


if __name__ == "__main__":
    sys.exit(main())
