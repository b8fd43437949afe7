"""`mappings`: which Xero contact a customer is, and what Pipeline's codes are called in Xero."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline_operator.failure import Failure, Status
from pipeline_operator.services import path_of
from pipeline_operator.session import Account, Json, Yes, session_of

app = typer.Typer(no_args_is_help=True, help="Customers and contacts, codes and codes in Xero.")


class Kind(StrEnum):
    """What can be mapped."""

    contact = "contact"
    account = "account"
    tax = "tax"
    tracking = "tracking"
    item = "item"


KindOf = Annotated[Kind, typer.Argument(help="What is mapped.")]


def _path(account_id: str, kind: Kind, *more: str) -> str:
    if kind is Kind.contact:
        return path_of("accounts", account_id, "contact-mappings", *more)
    return path_of("accounts", account_id, "code-mappings", kind.value, *more)


@app.command("list")
def list_(
    context: typer.Context, kind: KindOf, account: Account = None, as_json: Json = False
) -> None:
    """All of one kind."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    found = list(
        session.services.pages("invoice-sync", _path(account_id, kind), "mappings", limit=500)
    )
    if as_json:
        screen.document({"account_id": account_id, "kind": kind.value, "mappings": found})
        return
    columns: tuple[str, ...]
    if kind is Kind.contact:
        columns = ("customer_id", "contact_id", "contact_name", "mapped_by", "problem")
    else:
        columns = ("code", "xero_code", "mapped_by", "mapped_at")
    screen.table(columns, ([each[name] for name in columns] for each in found))


@app.command()
def suggest(
    context: typer.Context,
    customer: Annotated[
        str | None,
        typer.Argument(help="One customer; else those told of by Pipeline whose invoices wait."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the customer is called, where Pipeline has not told of it."),
    ] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Contacts in Xero that customers may be, and why."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    if name is not None and customer is None:
        raise Failure(
            Status.USAGE, "Whose name that is, is not said.", "Name the customer's id, too."
        )
    account_id = session.account(account)
    more = ("suggestions",) if customer is None else (customer, "suggestions")
    found = session.services.get("invoice-sync", _path(account_id, Kind.contact, *more), name=name)
    if as_json:
        screen.document(found)
        return
    suggested = found["customers"] if customer is None else [found]
    if not suggested:
        # Of one whom Pipeline has not told of there is no name to compare: its invoices may wait all the same.
        screen.say(
            "No customer whom Pipeline has told of waits for a contact. For another, give its id and --name;"
            " `failures list` says what waits."
        )
    for each in suggested:
        screen.say(f"{each['customer_id']}: {each['customer_name']}", "bold")
        screen.table(
            ("contact", "name", "email", "reasons"),
            (
                (one["contact_id"], one["name"], one["email"], ", ".join(one["reasons"]))
                for one in each["suggestions"]
            ),
        )


@app.command("set")
def set_(
    context: typer.Context,
    kind: KindOf,
    ours: Annotated[str, typer.Argument(help="Pipeline's customer id or code.")],
    in_xero: Annotated[str, typer.Argument(help="Xero's ContactID or code.")],
    account: Account = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Map one; invoices that waited for it follow by themselves."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    screen.confirm(
        f"Map {kind.value} {ours} of {account_id} to {in_xero}? Invoices that wait for it go to Xero so.",
        yes=yes,
    )
    name = "contact_id" if kind is Kind.contact else "xero_code"
    found = session.services.send(
        "invoice-sync", "PUT", _path(account_id, kind, ours), {name: in_xero}
    )
    if as_json:
        screen.document(found)
    else:
        screen.say(f"{ours} is {in_xero}; {found['released'] or 0} invoices follow.")


@app.command()
def remove(
    context: typer.Context,
    kind: KindOf,
    ours: Annotated[str, typer.Argument(help="Pipeline's customer id or code.")],
    account: Account = None,
    yes: Yes = False,
) -> None:
    """Undo one; what is in Xero stays."""
    session = session_of(context)
    screen = session.show(as_json=False)
    account_id = session.account(account)
    screen.confirm(f"Undo the mapping of {kind.value} {ours} of {account_id}?", yes=yes)
    session.services.send("invoice-sync", "DELETE", _path(account_id, kind, ours))
    screen.say(f"{ours} is mapped no more.")
