"""`failures`: what keeps invoices from Xero, by cause, and taking it up again."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline_operator.failure import Failure, Status
from pipeline_operator.services import path_of
from pipeline_operator.session import Account, Json, Yes, session_of

app = typer.Typer(no_args_is_help=True, help="What keeps invoices from Xero, by cause.")


@app.command("list")
def list_(context: typer.Context, account: Account = None, as_json: Json = False) -> None:
    """Each cause with how many invoices and how much money it keeps back, whose move it is and the next step."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    found = session.services.get("invoice-sync", path_of("accounts", account_id, "failures"))
    if as_json:
        screen.document(found)
        return
    if not found["failures"]:
        screen.say(f"Nothing keeps invoices of {account_id} from Xero.")
        return
    screen.table(
        ("code", "invoices", "money", "move", "message", "next step"),
        (
            (each["code"], each["invoices"], _money(each), each["whose_move"],
             each["message"], each["hint"])
            for each in found["failures"]
        ),
    )  # fmt: skip


@app.command()
def retry(
    context: typer.Context,
    invoice: Annotated[str | None, typer.Argument(help="One invoice.")] = None,
    code: Annotated[str | None, typer.Option(help="All invoices of this cause.")] = None,
    account: Account = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take up one invoice again now, or all of a cause."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    if (invoice is None) == (code is None):
        raise Failure(Status.USAGE, "Name an invoice or a cause.", "One of INVOICE and --code.")
    if code is not None:
        screen.confirm(
            f"Take up every invoice of {account_id} that {code} keeps from Xero?", yes=yes
        )
        path = path_of("accounts", account_id, "failures", code, "retry")
    else:
        path = path_of("accounts", account_id, "invoices", str(invoice), "sync", "retry")
    found = session.services.send("invoice-sync", "POST", path)
    if as_json:
        screen.document(found)
        return
    screen.say(f"{found['released']} taken up again. See what comes of it: pipeline-xero explain.")


def _money(failure: Mapping[str, Any]) -> str:
    return ", ".join(f"{each['total']} {each['currency']}" for each in failure["totals"])
