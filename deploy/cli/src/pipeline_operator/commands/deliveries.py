"""`deliveries`: Xero's stored webhooks, and reading again what they announced."""

import re
from typing import Annotated, Any

import typer

from pipeline_operator.failure import Failure, Status
from pipeline_operator.screen import moment
from pipeline_operator.services import path_of
from pipeline_operator.session import Json, Session, Since, Until, Yes, now, session_of, since

app = typer.Typer(no_args_is_help=True, help="Xero's stored webhooks.")
Tenant = Annotated[str | None, typer.Option("--tenant", help="Of this Xero organisation only.")]


@app.command("list")
def list_(
    context: typer.Context,
    since_: Since = "24h",
    until: Until = None,
    tenant: Tenant = None,
    as_json: Json = False,
) -> None:
    """Webhooks by the time they arrived, the last day's by default."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    found = session.services.get(
        "payment-ingest", path_of("deliveries"), **_wanted(since_, until, tenant)
    )
    if as_json:
        screen.document(found)
    else:
        _show(session, found)


@app.command()
def replay(
    context: typer.Context,
    delivery: Annotated[str | None, typer.Argument(help="One delivery's id.")] = None,
    since_: Since = None,
    until: Until = None,
    tenant: Tenant = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Have what deliveries announced read again in Xero. Harmless however often; it spends Xero's calls."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    if (delivery is None) == (since_ is None):
        raise Failure(
            Status.USAGE, "Name a delivery or a time.", "One of DELIVERY and --since, with --until."
        )
    if delivery is not None:
        if not re.fullmatch(r"[0-9a-f]{64}", delivery):
            raise Failure(
                Status.USAGE,
                f"{delivery!r} is no delivery.",
                "A delivery's id has 64 hex digits; `deliveries list` and each payment's story show it.",
            )
        found = session.services.send(
            "payment-ingest", "POST", path_of("deliveries", delivery, "replay")
        )
        if as_json:
            screen.document(found)
        else:
            screen.say(f"Asked for at {found['requested_at']}; it is read again at once.")
        return
    wanted = _wanted(since_, until, tenant)
    screen.confirm("Read again in Xero what every delivery of that time announced?", yes=yes)
    found = session.services.send("payment-ingest", "POST", path_of("deliveries", "replay"), wanted)
    if as_json:
        screen.document(found)
        return
    _show(session, found)
    if found["deliveries"]:
        screen.say("Asked for; what these announced is read again at once.")


def _wanted(since_: str | None, until: str | None, tenant: str | None) -> dict[str, str]:
    first, last = since(since_, now()), since(until, now()) or now()
    assert first is not None  # noqa: S101 - both callers have a beginning
    wanted = {"received_from": first.isoformat(), "received_until": last.isoformat()}
    return wanted | ({"tenant_id": tenant} if tenant else {})


def _show(session: Session, found: Any) -> None:
    session.screen.table(
        ("received", "read", "outcome", "events", "not understood", "delivery"),
        (
            (moment(each["received_at"]), moment(each["processed_at"]), each["outcome"],
             each["events"], each["not_understood"], each["delivery_id"])
            for each in found["deliveries"]
        ),
    )  # fmt: skip
    if found["more"]:
        last = found["deliveries"][-1]["received_at"]
        session.screen.say(f"There may be more: ask again with --since {last}.")
