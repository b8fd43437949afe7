"""`dead-letters`: what consumers set aside, and sending it back."""

import base64
import heapq
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer

from pipeline_contracts import topics
from pipeline_contracts.topics import Topic
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.replay import (
    Objection,
    Replay,
    ReplayUnconfirmed,
    Why,
    newest_offsets,
    objections,
    past_replays,
    replay,
)
from pipeline_messaging.stored_letters import Place, StoredLetter, stored_letter, stored_letters
from pipeline_operator.failure import Failure, Status
from pipeline_operator.session import (
    Json,
    Session,
    Since,
    Until,
    Yes,
    now,
    on_kafka,
    session_of,
    since,
)

app = typer.Typer(no_args_is_help=True, help="What consumers could not use, and sending it back.")
_REASON_SHOWN = 120

TopicName = Annotated[
    str | None, typer.Option("--topic", help="Of this topic, such as pipeline.invoices.v1.")
]
OfAccount = Annotated[
    str | None, typer.Option("--account", "-a", help="Of this account, where the record says so.")
]
Key = Annotated[str | None, typer.Option("--key", help="With this key, such as an invoice id.")]
Code = Annotated[str | None, typer.Option("--code", help="Refused so, such as PAYLOAD_INVALID.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant."""

    origins: Sequence[Topic]
    first: datetime | None = None
    last: datetime | None = None
    account: str | None = None
    key: str | None = None
    code: str | None = None

    def takes(self, letter: StoredLetter) -> bool:
        """Whether a letter is one of them."""
        code = letter.refused.code if letter.refused else None
        return (
            (self.last is None or letter.at < self.last)
            and (self.account is None or letter.account_id == self.account)
            and (self.key is None or letter.key_text == self.key)
            and (self.code is None or code == self.code)
        )


@app.command("list")
def list_(
    context: typer.Context,
    topic: TopicName = None,
    since_: Since = None,
    until: Until = None,
    account: OfAccount = None,
    key: Key = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest.")] = 200,
    as_json: Json = False,
) -> None:
    """Dead letters, oldest first."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    wanted = _wanted(topic, since_, until, account, key, code)
    listed, found = on_kafka(_newest(session.kafka, wanted, limit))
    if as_json:
        screen.document({"dead_letters": [_summary(each) for each in listed], "found": found})
        return
    screen.table(
        ("dead letter", "set aside", "code", "key", "account", "reason"),
        (
            (each.place, each.at, each.refused and each.refused.code, each.key_text,
             each.account_id, _reason(each))
            for each in listed
        ),
    )  # fmt: skip
    if found > len(listed):
        screen.say(f"{len(listed)} of {found}, the newest; --limit shows more.")


@app.command()
def show(
    context: typer.Context,
    place: Annotated[str, typer.Argument(help="topic/partition/offset.")],
    as_json: Json = False,
) -> None:
    """One dead letter with its content, what was done to it, and what speaks against replaying it."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    where = _place(place)
    letter, against, past = on_kafka(_looked_at(session.kafka, where))
    if as_json:
        screen.document(
            _summary(letter)
            | {
                "headers": [[name, _text(value)] for name, value in letter.headers],
                "value_text": _text(letter.value),
                "value_base64": _base64(letter.value),
                "key_base64": _base64(letter.key),
                "objections": [_objection(each) for each in against],
                "replays": [_replay(each) for each in past],
            }
        )
        return
    screen.say(f"{letter.place}, set aside {letter.at:%Y-%m-%d %H:%M:%S} UTC", "bold")
    if letter.refused:
        at = letter.refused
        screen.say(f"Read from {at.topic}/{at.partition}/{at.offset}; {at.code}: {at.reason}")
    if letter.replayed_from:
        screen.say(f"It came back from the replay of {letter.replayed_from}.")
    screen.say(f"Key: {letter.key_text}")
    for name, value in letter.headers:
        screen.say(f"{name}: {_text(value)}")
    screen.say("")
    for line in _pretty(letter.value).splitlines():
        screen.say(line)
    screen.say("")
    for done in past:
        screen.say(f"{done.at:%Y-%m-%d %H:%M:%S} UTC: replay {done.step} by {done.by}")
    for each in against:
        forced = "" if each.why.can_be_forced else " (cannot be forced)"
        screen.say(f"{each.why}: {each.sentence}{forced}")
    if not against:
        screen.say(f"Nothing speaks against: pipeline-xero dead-letters replay {letter.place}")


@app.command("replay")
def replay_(
    context: typer.Context,
    places: Annotated[
        list[str] | None, typer.Argument(help="Dead letters as topic/partition/offset.")
    ] = None,
    topic: TopicName = None,
    since_: Since = None,
    until: Until = None,
    account: OfAccount = None,
    key: Key = None,
    code: Code = None,
    do: Annotated[
        bool, typer.Option("--do", help="Do it; more than one is only shown otherwise.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also where something speaks against it that a person may overrule."
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to their topics. One at once; of several it is shown what would be done."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    if bool(places) == bool(topic):
        raise Failure(
            Status.USAGE,
            "Which dead letters are meant is not said.",
            "Name them (topic/partition/offset), or name a --topic, with --since, --code, --account or --key to narrow it.",
        )
    kafka = session.kafka
    named = sorted({_place(each) for each in places or ()})
    wanted = _wanted(topic, since_, until, account, key, code)

    def read() -> AsyncIterator[StoredLetter]:
        return _those(kafka, named) if named else _each(kafka, wanted)

    chosen = on_kafka(_judged(kafka, read()))
    ready = [letter.place for letter, against in chosen if _settled(against, force=force)]
    dry = len(chosen) > 1 and not do
    if not as_json:
        _show_plan(session, chosen, force=force)
    if force and ready and not dry:
        screen.confirm(f"Replay {len(ready)} although something may speak against it?", yes=yes)
    forced = {letter.place: [each.why for each in against] for letter, against in chosen}
    done: list[Replay] = []
    if not dry:
        done = on_kafka(_replayed(session, kafka, read(), ready, forced))
    if as_json:
        screen.document(
            {
                "dry_run": dry,
                "letters": [
                    {
                        "place": str(letter.place),
                        "would_go": _settled(against, force=force),
                        "objections": [_objection(each) for each in against],
                    }
                    for letter, against in chosen
                ],
                "replayed": [_replay(each) for each in done],
            }
        )
    elif dry:
        screen.say(f"{len(ready)} of {len(chosen)} would be replayed; nothing was done. Add --do.")
    else:
        screen.say(f"{len(done)} of {len(chosen)} replayed.")
    if len(ready) < len(chosen):
        raise typer.Exit(Status.FOUND)


def _settled(against: Sequence[Objection], *, force: bool) -> bool:
    return all(force and each.why.can_be_forced for each in against)


def _show_plan(
    session: Session, chosen: Sequence[tuple[StoredLetter, list[Objection]]], *, force: bool
) -> None:
    session.screen.table(
        ("dead letter", "key", "code", "goes", "because"),
        (
            (letter.place, letter.key_text, letter.refused and letter.refused.code,
             _settled(against, force=force), "; ".join(each.sentence for each in against))
            for letter, against in chosen
        ),
    )  # fmt: skip


async def _replayed(
    session: Session,
    kafka: KafkaSettings,
    found: AsyncIterator[StoredLetter],
    ready: Sequence[Place],
    forced: Mapping[Place, Sequence[Why]],
) -> list[Replay]:
    """Send those of `found` that are ready, read a second time: of a flood no more than one letter is held."""
    done = []
    by = session.access.operator
    places = frozenset(ready)
    letters = (each async for each in found if each.place in places)
    with session.screen.progress() as progress:
        task = progress.add_task("Replayed", total=len(ready))
        try:
            async for one in replay(kafka, letters, by=by, forced=forced):
                done.append(one)
                progress.advance(task)
        except ReplayUnconfirmed as error:
            raise Failure(
                Status.UNREACHABLE,
                f"{error}; {len(done)} of {len(ready)} are done, and the next may be.",
                "Run the same again: what is done is not done again.",
            ) from None
    return done


async def _each(kafka: KafkaSettings, wanted: Wanted) -> AsyncIterator[StoredLetter]:
    for origin in wanted.origins:
        async for letter in stored_letters(kafka, origin, since=wanted.first):
            if wanted.takes(letter):
                yield letter


async def _newest(
    kafka: KafkaSettings, wanted: Wanted, most: int
) -> tuple[list[StoredLetter], int]:
    """The newest letters, oldest first, and how many there are. A flood is never held as a whole."""
    newest: list[tuple[datetime, Place, StoredLetter]] = []
    count = 0
    async for letter in _each(kafka, wanted):
        count += 1
        heapq.heappush(newest, (letter.at, letter.place, letter))
        if len(newest) > most:
            heapq.heappop(newest)
    return [letter for *_, letter in sorted(newest)], count


async def _those(kafka: KafkaSettings, places: Sequence[Place]) -> AsyncIterator[StoredLetter]:
    for place in places:
        letter = await stored_letter(kafka, place)
        if letter is None:
            raise Failure(
                Status.NOT_FOUND,
                f"There is no dead letter at {place}, or it is older than what is kept.",
                "`pipeline-xero dead-letters list` shows those there are.",
            )
        yield letter


async def _judged(
    kafka: KafkaSettings, letters: AsyncIterator[StoredLetter]
) -> list[tuple[StoredLetter, list[Objection]]]:
    """Each letter without its content, which is let go once it was judged; oldest first."""
    past = await past_replays(kafka)
    newest: dict[str, Mapping[bytes, int]] = {}
    judged = []
    async for letter in letters:
        origin = _origin(letter.place)
        if origin.name not in newest:
            newest[origin.name] = await newest_offsets(kafka, origin)
        against = objections(
            letter,
            origin=origin,
            past=past.get(letter.place, ()),
            newest=newest[origin.name],
            now=now(),
        )
        judged.append((replace(letter, value=None, headers=()), against))
    return sorted(judged, key=lambda each: (each[0].at, each[0].place))


async def _looked_at(
    kafka: KafkaSettings, place: Place
) -> tuple[StoredLetter, list[Objection], list[Replay]]:
    (letter,) = [each async for each in _those(kafka, [place])]
    ((_, against),) = await _judged(kafka, _those(kafka, [place]))
    return letter, against, (await past_replays(kafka)).get(place, [])


def _wanted(
    topic: str | None,
    since_: str | None,
    until: str | None,
    account: str | None,
    key: str | None,
    code: str | None,
) -> Wanted:
    origins = topics.EVENT_TOPICS if topic is None else (_topic(topic.removesuffix(".dlq")),)
    moment = now()
    return Wanted(origins, since(since_, moment), since(until, moment), account, key, code)


def _topic(name: str) -> Topic:
    for each in topics.EVENT_TOPICS:
        if each.name == name:
            return each
    raise Failure(
        Status.USAGE,
        f"There is no topic of events {name!r}.",
        f"There are: {', '.join(each.name for each in topics.EVENT_TOPICS)}.",
    )


def _origin(place: Place) -> Topic:
    return _topic(place.topic.removesuffix(".dlq"))


def _place(text: str) -> Place:
    try:
        place = Place.parse(text)
    except ValueError as error:
        raise Failure(
            Status.USAGE, f"{error}.", "`pipeline-xero dead-letters list` shows those there are."
        ) from None
    origin = _origin(place)
    if place.topic != origin.dead_letters or place.partition >= origin.partitions:
        raise Failure(
            Status.NOT_FOUND,
            f"There is no dead letter at {place}.",
            f"Those of {origin.name} lie in {origin.dead_letters}, partitions 0 to {origin.partitions - 1}.",
        )
    return place


def _reason(letter: StoredLetter) -> str:
    if letter.refused is None:
        return "not set aside by a consumer of ours"
    back = f"came back from {letter.replayed_from}; " if letter.replayed_from else ""
    return back + letter.refused.reason[:_REASON_SHOWN]


def _summary(letter: StoredLetter) -> dict[str, Any]:
    at = letter.refused
    return {
        "place": str(letter.place),
        "set_aside_at": letter.at.isoformat(),
        "published_at": at.published_at.isoformat() if at and at.published_at else None,
        "topic": at.topic if at else None,
        "partition": at.partition if at else None,
        "offset": at.offset if at else None,
        "code": at.code if at else None,
        "reason": at.reason if at else None,
        "key": letter.key_text,
        "account_id": letter.account_id,
        "event_type": letter.header("ce_type"),
        "replayed_from": letter.replayed_from,
    }


def _objection(found: Objection) -> dict[str, Any]:
    return {
        "why": found.why.value,
        "sentence": found.sentence,
        "can_be_forced": found.why.can_be_forced,
    }


def _replay(done: Replay) -> dict[str, Any]:
    return {
        "place": str(done.place),
        "step": done.step,
        "by": done.by,
        "at": done.at.isoformat(),
        "forced": [each.value for each in done.forced],
        "published_to": done.published_to,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _pretty(value: bytes | None) -> str:
    with suppress(ValueError, RecursionError):
        return json.dumps(json.loads(value or b""), indent=2, ensure_ascii=False)
    return _text(value) or "(no body)"
