"""One run of the program: the installation that is meant, the screen, and the options many commands share."""

import logging
import re
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaError

from pipeline_messaging.broker import KafkaSettings
from pipeline_operator.access import Access, find_access
from pipeline_operator.failure import Failure, Status
from pipeline_operator.screen import Screen
from pipeline_operator.services import Services

Result = TypeVar("Result")
_SPAN = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Session:
    """What every command starts from."""

    profile: str | None = None
    token_stdin: bool = False
    screen: Screen = field(default_factory=Screen)

    def show(self, *, as_json: bool) -> Screen:
        """The screen, in the form that was asked for."""
        self.screen = Screen(as_json=as_json)
        return self.screen

    @cached_property
    def access(self) -> Access:
        """The installation. Raises Failure."""
        return find_access(self.profile, from_stdin=self.token_stdin)

    @cached_property
    def services(self) -> Services:
        """Its services. Raises Failure."""
        return Services(self.access, self.screen.note)

    @property
    def kafka(self) -> KafkaSettings:
        """Its Kafka. Raises Failure."""
        return self.access.kafka()

    def account(self, given: str | None) -> str:
        """The account that is meant. Raises Failure."""
        account = given or self.access.account
        if not account:
            raise Failure(
                Status.USAGE,
                "Which account is not said.",
                "Add --account, or set PIPELINE_XERO_ACCOUNT.",
            )
        return account


def session_of(context: typer.Context) -> Session:
    """The run's session."""
    found: Session = context.obj
    return found


def on_kafka(work: Coroutine[Any, Any, Result]) -> Result:
    """Do something with Kafka. Raises Failure for what Kafka does not do."""
    import asyncio  # noqa: PLC0415 - most commands need none of it

    # Its own lines would stand beside the one sentence (or the one document) that says what went wrong.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        return asyncio.run(work)
    except (KafkaError, OSError) as error:
        words = str(error).partition("\n")[0][:200] or type(error).__name__
        raise Failure(
            Status.UNREACHABLE,
            f"Kafka did not do it: {words}.",
            "Check KAFKA_BOOTSTRAP_SERVERS and your principal's rights; what was told as done before is done.",
        ) from None


def since(text: str | None, now: datetime) -> datetime | None:
    """A moment a person wrote: `90m`, `24h`, `7d` ago, or RFC 3339 with a zone. Raises Failure."""
    if text is None:
        return None
    if span := _SPAN.fullmatch(text.strip()):
        return now - timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Failure(
            Status.USAGE,
            f"{text!r} is no time.",
            "Give a span such as 90m, 24h or 7d, or a time with a zone such as 2026-03-01T09:30:00Z.",
        )
    return found.astimezone(UTC)


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


Account = Annotated[
    str | None,
    typer.Option("--account", "-a", envvar="PIPELINE_XERO_ACCOUNT", help="Pipeline's account id."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="From then on: 90m, 24h, 7d, or a time with a zone."),
]
Until = Annotated[str | None, typer.Option("--until", help="Before then: as --since.")]
