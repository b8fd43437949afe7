"""`reconcile`: an account's whole books compared with Xero's, to the cent."""

import time
from typing import Annotated, Any

import typer

from pipeline_operator.failure import Failure, Status
from pipeline_operator.services import path_of
from pipeline_operator.session import Account, Json, Session, session_of

_LOOK_SECONDS = 1.0


def reconcile(
    context: typer.Context,
    account: Account = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the result; 0 only asks for it.")
    ] = 600.0,
    last: Annotated[bool, typer.Option("--last", help="Show the last one; ask for none.")] = False,
    as_json: Json = False,
) -> None:
    """Have both books compared and tell what differs. Ends with 1 where something does."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    account_id = session.account(account)
    path = path_of("accounts", account_id, "reconciliations")
    if last:
        runs = session.services.get("invoice-sync", path, limit=1)["reconciliations"]
        if not runs:
            raise Failure(
                Status.NOT_FOUND,
                f"The books of {account_id} were never compared.",
                "Leave out --last to have it done.",
            )
        run = runs[0]
    else:
        run = session.services.send("invoice-sync", "POST", path)
        run = _finished(session, path, run, wait)
    found = {
        "reconciliation": run,
        "findings": list(
            session.services.pages(
                "invoice-sync",
                path_of("accounts", account_id, "reconciliations", str(run["number"]), "findings"),
                "found",
                limit=500,
            )
        )
        if run["findings"]
        else [],
    }
    if as_json:
        screen.document(found)
    else:
        _show(session, run, found["findings"])
    if run["outcome"] != "clean" and (run["outcome"] or wait):
        raise typer.Exit(Status.FOUND)


def _finished(session: Session, path: str, run: Any, wait: float) -> Any:
    """The comparison once it is done, or as it stands when the time is over."""
    deadline = time.monotonic() + wait
    with session.screen.progress() as progress:
        task = progress.add_task("Invoices read in Xero", total=None)
        while run["finished_at"] is None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            runs = session.services.get("invoice-sync", path, limit=100)["reconciliations"]
            run = next((each for each in runs if each["number"] == run["number"]), run)
            progress.update(task, completed=run["xero_invoices"])
    return run


def _show(session: Session, run: Any, findings: list[Any]) -> None:
    screen = session.screen
    screen.say(f"Comparison {run['number']}: {run['outcome'] or 'under way'}. {run['message']}")
    screen.table(
        ("currency", "invoices", "Pipeline", "in Xero", "Xero", "difference"),
        (
            (each["currency"], each["invoices"], each["total"],
             each["in_xero"], each["xero_total"], each["difference"])
            for each in run["totals"]
        ),
    )  # fmt: skip
    for each in run["findings"]:
        screen.say(f"{each['count']} x {each['kind']}: {each['message']} {each['hint']}")
    if findings:
        screen.table(
            ("kind", "invoice", "in Xero"),
            ((each["kind"], each["invoice_id"], each["xero_invoice_id"]) for each in findings),
        )
