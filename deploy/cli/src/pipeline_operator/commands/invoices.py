"""`explain`, `preview` and `payments`: about one invoice, or an account's payments."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline_operator.failure import Failure, Status
from pipeline_operator.screen import moment
from pipeline_operator.services import path_of
from pipeline_operator.session import (
    Account,
    Json,
    Session,
    Since,
    Until,
    now,
    session_of,
    since,
)
from pipeline_operator.timeline import next_step, story

Invoice = Annotated[str, typer.Argument(help="Pipeline's invoice id.")]


def explain(
    context: typer.Context, invoice: Invoice, account: Account = None, as_json: Json = False
) -> None:
    """Where an invoice stands, why, the next step, and all that happened to it and its payments."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    sync = session.services.get(
        "invoice-sync", path_of("accounts", account_id, "invoices", invoice, "sync")
    )
    payments = _payments_of(session, account_id, invoice)
    happenings = story(sync, payments)
    says, step = next_step(sync)
    if as_json:
        screen.document(
            {
                "account_id": account_id,
                "invoice_id": invoice,
                "state": sync["state"],
                "message": says,
                "next_step": step,
                "sync": sync,
                "payments": payments,
                "timeline": [each.document() for each in happenings],
            }
        )
        return
    screen.say(f"{invoice} of {account_id}: {sync['state']}", "bold")
    screen.say(says)
    screen.say(f"Next: {step}")
    if sync["in_xero"]:
        screen.say(f"In Xero: {sync['in_xero']['deep_link']}")
    for words in (sync["conflict"] or {}).get("in_words", ()):
        screen.say(f"  {words}")
    if payments and payments["last_read"]:
        read = payments["last_read"]
        screen.say(
            f"Paid {read['amount_paid']}, credited {read['amount_credited']}, due {read['amount_due']}"
            f" {read['currency']}, as Xero said at {read['read_at']}."
        )
    screen.table(
        ("when", "told by", "what"), ((each.at, each.told_by, each.what) for each in happenings)
    )


def _payments_of(session: Session, account_id: str, invoice: str) -> Any:
    try:
        return session.services.get(
            "payment-ingest", path_of("accounts", account_id, "invoices", invoice, "payments")
        )
    except Failure as failure:
        if failure.status == Status.NOT_FOUND:
            return None  # not in Xero yet, as far as payment-ingest knows
        raise


def preview(
    context: typer.Context,
    invoice: Invoice,
    account: Account = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A JSON file with the invoice as InvoiceCreated, published or not."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What would be sent to Xero and what is in the way; nothing changes. Spends up to two calls of Xero's."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    found = session.services.send(
        "invoice-sync",
        "POST",
        path_of("accounts", account_id, "invoices", invoice, "sync", "preview"),
        None if file is None else _document(file),
    )
    if as_json:
        screen.document(found)
    else:
        screen.say(f"{invoice}, version {found['version']}: {found['ahead']}", "bold")
        for each in found["findings"]:
            sure = "" if each["is_certain"] else " (not certain)"
            screen.say(f"{each['code']}: {each['message']} {each['hint']}{sure}")
        if found["lines"]:
            columns = ("line", "description", "quantity", "unit", "amount", "tax")
            names = (
                "line_id",
                "description",
                "quantity",
                "unit_amount",
                "line_amount",
                "tax_amount",
            )
            screen.table(columns, ([line[name] for name in names] for line in found["lines"]))
        if found["request"]:
            request = found["request"]
            screen.say(f"{request['method']} {request['path']}")
            screen.say(request["text"])
    if found["findings"]:
        raise typer.Exit(Status.FOUND)


def _document(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Failure(
            Status.USAGE,
            f"{file} cannot be read as JSON ({type(error).__name__}).",
            "Give a file with one JSON object, the body of an InvoiceCreated.",
        ) from None


def payments(
    context: typer.Context,
    account: Account = None,
    invoice: Annotated[str | None, typer.Option(help="Those of this invoice only.")] = None,
    since_: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """Payments with how each was found: of an invoice, or of an account by the time they were recorded."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    if invoice is not None:
        path = path_of("accounts", account_id, "invoices", invoice, "payments")
        found = session.services.get("payment-ingest", path)["payments"]
    else:
        first, last = since(since_, now()), since(until, now())
        rows = session.services.pages(
            "payment-ingest",
            path_of("accounts", account_id, "payments"),
            "payments",
            recorded_from=first.isoformat() if first else None,
            recorded_until=last.isoformat() if last else None,
            limit=min(limit, 500),
        )
        found = list(islice(rows, limit))
    if as_json:
        screen.document({"account_id": account_id, "payments": found})
        return
    screen.table(
        ("recorded", "invoice", "kind", "amount", "paid on", "found by", "reversed", "payment"),
        (
            (
                moment(each["story"][0]["recorded_at"]),
                each["invoice_id"],
                each["kind"],
                f"{each['amount']} {each['currency']}",
                each["paid_on"],
                each["story"][0]["found_by"],
                each["reversed"],
                each["payment_id"],
            )
            for each in found
        ),
    )
