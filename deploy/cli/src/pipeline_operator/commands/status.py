"""`status`: how the whole stands, and how one account or all of them do."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from pipeline_contracts import topics
from pipeline_contracts.connection import ConnectionStatusChanged
from pipeline_contracts.envelope import decode
from pipeline_contracts.errors import UndecodableRecord
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.history import held, history, lag_of
from pipeline_operator.access import SERVICES
from pipeline_operator.failure import Failure, Status
from pipeline_operator.screen import Screen, ago, moment
from pipeline_operator.services import path_of
from pipeline_operator.session import Account, Json, Session, now, on_kafka, session_of

_CONSUMED: tuple[tuple[str, Topic], ...] = (
    ("invoice-sync", topics.INVOICES),
    ("invoice-sync", topics.CUSTOMERS),
    ("invoice-sync", topics.CONNECTIONS),
    ("invoice-sync", topics.CHANGES),
    ("payment-ingest", topics.CONNECTIONS),
    ("payment-ingest", topics.SYNC),
)


@dataclass(frozen=True, slots=True)
class Part:
    """How one service stands."""

    service: str
    ready: bool
    message: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a service is behind a topic, and what was set aside of it."""

    service: str
    topic: str
    lag: int


def status(
    context: typer.Context,
    account: Account = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every account there is, by the topic of connections.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Services, lag and dead letters; of accounts the connection, budget, backlog and sweeps. Ends with 1 at trouble."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    parts = [_part(session, service) for service in SERVICES]
    readings, letters, trouble = _kafka_part(session)
    accounts = _accounts(session, account, all_=all_)
    standings = [_standing(session, each) for each in accounts]
    if as_json:
        screen.document(
            {
                "services": [asdict(part) for part in parts],
                "kafka": {"trouble": trouble, "lag": [asdict(each) for each in readings]},
                "dead_letters": letters,
                "accounts": standings,
            }
        )
    else:
        _show(screen, parts, readings, letters, trouble)
        _show_accounts(screen, standings)
    away = trouble is not None or not all(part.ready for part in parts)
    if away or any(each["error"] or each["status"] != "CONNECTED" for each in standings):
        raise typer.Exit(Status.FOUND)


def _part(session: Session, service: str) -> Part:
    try:
        found = session.services.get(service, "/health/ready")
    except Failure as failure:
        return Part(service, ready=False, message=failure.message)
    return Part(service, ready=True, message=str(found.get("status", "ready")))


def _kafka_part(session: Session) -> tuple[list[Reading], dict[str, int], str | None]:
    try:
        return (*on_kafka(_measured(session.kafka)), None)
    except Failure as failure:
        return [], {}, failure.message


async def _measured(kafka: KafkaSettings) -> tuple[list[Reading], dict[str, int]]:
    readings = [
        Reading(service, topic.name, await lag_of(kafka, topic, f"{service}.{topic.name}"))
        for service, topic in _CONSUMED
    ]
    letters = {
        topic.name: number
        for topic in topics.DEAD_LETTER_TOPICS
        if (number := await held(kafka, topic))
    }
    return readings, letters


def _accounts(session: Session, given: str | None, *, all_: bool) -> list[str]:
    if all_:
        return on_kafka(_all_accounts(session.kafka))
    one = given or session.access.account
    return [one] if one else []


async def _all_accounts(kafka: KafkaSettings) -> list[str]:
    found = set()
    async for record in history(kafka, topics.CONNECTIONS):
        try:
            event = decode(key=record.key, value=record.value, headers=record.headers).event
        except UndecodableRecord:
            continue
        if isinstance(event, ConnectionStatusChanged):
            found.add(event.account_id)
    return sorted(found)


def _standing(session: Session, account_id: str) -> dict[str, Any]:
    """What three services say of an account; of the one that does not answer, why."""
    standing: dict[str, Any] = {
        "account_id": account_id, "status": None, "reason": None, "message": None, "hint": None,
        "calls_left_today": None, "calls_a_day": None, "states": {}, "failures": None,
        "swept_at": None, "swept_whole_at": None, "error": None,
    }  # fmt: skip
    try:
        connection = session.services.get(
            "connector", path_of("accounts", account_id, "connection")
        )
        standing |= {
            name: connection.get(name)
            for name in ("status", "reason", "message", "hint", "calls_left_today", "calls_a_day")
        }
        summary = session.services.get("invoice-sync", path_of("accounts", account_id, "summary"))
        standing["states"] = {name: n for name, n in summary["states"].items() if n}
        standing["failures"] = summary["failed"]
        sweeps = session.services.get("payment-ingest", path_of("accounts", account_id, "sweeps"))
        standing["swept_at"] = sweeps["recent"]
        standing["swept_whole_at"] = sweeps["deep"]
    except Failure as failure:
        standing["error"] = failure.message
    return standing


def _show(
    screen: Screen,
    parts: Iterable[Part],
    readings: Iterable[Reading],
    letters: Mapping[str, int],
    trouble: str | None,
) -> None:
    screen.table(
        ("service", "ready", "says"), ((each.service, each.ready, each.message) for each in parts)
    )
    if trouble:
        screen.say(trouble)
    else:
        screen.table(
            ("reader", "topic", "records behind"),
            ((each.service, each.topic, each.lag) for each in readings),
        )
        for topic, number in letters.items():
            screen.say(f"{topic} holds {number}: pipeline-xero dead-letters list")


def _show_accounts(screen: Screen, standings: Iterable[Mapping[str, Any]]) -> None:
    for each in standings:
        screen.say(f"{each['account_id']}: {each['status'] or 'unknown'}", "bold")
        if each["error"]:
            screen.say(each["error"])
        if each["status"] not in {None, "CONNECTED"}:
            screen.say(f"{each['message']} {each['hint']}")
        if each["calls_left_today"] is not None:
            screen.say(f"{each['calls_left_today']} of {each['calls_a_day']} calls left today")
        if each["states"]:
            counted = ", ".join(f"{n} {name}" for name, n in each["states"].items())
            screen.say(f"Invoices: {counted}")
        if each["swept_at"]:
            swept = ago(moment(each["swept_at"]), now())
            whole = ago(moment(each["swept_whole_at"]), now())
            screen.say(f"Payments looked for {swept}, in all invoices {whole}")
