"""`GET` and `POST …/dead-letters/{topic}/{partition}/{offset}/replay`: what a service set aside, taken up again."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import structlog
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from pipeline_contracts.fields import Id
from pipeline_messaging.batch import HandlerError
from pipeline_messaging.faults import told
from pipeline_messaging.stored_letters import Place
from pipeline_messaging.taking_up import Judged, OwnLetters
from pipeline_service_defaults.auth import Person, Principal, require_access
from pipeline_service_defaults.problems import Problem

log = structlog.get_logger(__name__)

Reader = Annotated[Principal, Depends(require_access("viewer", "pipeline-backend"))]
Writer = Annotated[Principal, Depends(require_access("operator", "pipeline-backend"))]
Topic = Annotated[str, Path(max_length=255, pattern=r"^[A-Za-z0-9._-]+$")]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Path(ge=0, le=2**63 - 1)]
_PATH: Final = "/v1/accounts/{account_id}/dead-letters/{topic}/{partition}/{offset}/replay"
_SECONDS: Final = 10.0


class ObjectionView(BaseModel):
    """Something that speaks against it."""

    why: str
    sentence: str


class ReplayView(BaseModel):
    """What was done to it before."""

    by: str
    at: datetime
    step: str


class DeadLetterView(BaseModel):
    """A dead letter, and what would come of taking it up."""

    place: str
    set_aside_at: datetime
    code: str
    reason: str
    event_type: str | None
    follows: str = Field(description="What taking it up does.")
    objections: list[ObjectionView] = Field(description="Empty where it can be taken up.")
    replays: list[ReplayView]


class TakenUpView(BaseModel):
    """What came of it."""

    outcome: Literal["taken_up", "known"] = Field(
        description="`known`: the event was had already, and nothing changed."
    )


def dead_letter_routes(service: str) -> APIRouter:
    """The two routes of a service, whose application has its `OwnLetters` as `app.state.own_letters`."""
    router = APIRouter(tags=["dead letters"])
    answers: Mapping[int | str, dict[str, Any]] = {
        404: {"description": f"No dead letter of {service} that names this account."},
        503: {"description": "Kafka does not answer; nothing was done."},
    }

    @router.get(_PATH, summary="What would taking up this dead letter do?", responses=dict(answers))
    async def get_dead_letter(
        request: Request, account_id: Id, topic: Topic, partition: Number, offset: Offset, _: Reader
    ) -> DeadLetterView:
        """Why it was set aside, what follows from taking it up, and what speaks against that. Changes nothing."""
        found = await _found(request, service, account_id, Place(topic, partition, offset))
        return _shown(found, service)

    @router.post(
        _PATH,
        summary="Take a dead letter up again",
        responses={**answers, 409: {"description": "DEAD_LETTER_NOT_REPLAYABLE; FAILED_AGAIN."}},
    )
    async def post_replay(
        request: Request,
        account_id: Id,
        topic: Topic,
        partition: Number,
        offset: Offset,
        caller: Writer,
    ) -> TakenUpView:
        """Once, however often it is asked for; noted with the caller's name in the topic of replays."""
        found = await _found(request, service, account_id, Place(topic, partition, offset))
        return await _taken_up(request, service, found, caller)

    return router


def _shown(found: Judged, service: str) -> DeadLetterView:
    refused = found.letter.refused
    return DeadLetterView(
        place=str(found.letter.place),
        set_aside_at=found.letter.at,
        code=refused.code if refused else "",
        reason=refused.reason if refused else "",
        event_type=found.letter.header("ce_type"),
        follows=f"{service} takes the event in as if it had just arrived. If it has had it before, or has a newer "
        "version, nothing changes. Other readers of the topic hear nothing of it.",
        objections=[ObjectionView(why=each.why, sentence=each.sentence) for each in found.against],
        replays=[ReplayView(by=each.by, at=each.at, step=each.step) for each in found.past],
    )


async def _taken_up(
    request: Request, service: str, found: Judged, caller: Principal
) -> TakenUpView:
    if found.against:
        raise Problem(
            409,
            "DEAD_LETTER_NOT_REPLAYABLE",
            "It cannot be taken up",
            f"This dead letter is not taken up: {'; '.join(each.sentence for each in found.against)}.",
            hint="If the record itself is wrong, its producer publishes the event again under a new version.",
        )
    by = f"user:{caller.user_id}" if isinstance(caller, Person) else f"service:{caller.name}"
    try:
        is_new = await _own(request).take_up(found, by, datetime.now(UTC))
    except HandlerError as error:
        log.exception("dead_letter_failed_again", place=str(found.letter.place), exc_info=error)
        raise Problem(
            409,
            "FAILED_AGAIN",
            "It failed again",
            f"{service} failed on this event as before; nothing was changed.",
            hint=f"Its log has the trace: tell whoever looks after {service}.",
        ) from None
    return TakenUpView(outcome="taken_up" if is_new else "known")


async def _found(request: Request, service: str, account_id: str, place: Place) -> Judged:
    try:
        async with asyncio.timeout(_SECONDS):
            found = await _own(request).find(account_id, place, datetime.now(UTC))
    except (KafkaError, OSError) as error:  # TimeoutError is an OSError
        log.warning("dead_letter_not_read", **told(error))
        raise Problem(
            503,
            "KAFKA_UNREACHABLE",
            "Not at the moment",
            f"{service} cannot read the dead letter now; nothing was done.",
            hint="Try again in a minute.",
        ) from None
    if found is None:
        raise Problem(
            404,
            "DEAD_LETTER_UNKNOWN",
            "Not found",
            f"{service} has no such dead letter of this account, or it is older than 90 days.",
        )
    return found


def _own(request: Request) -> OwnLetters:
    own: OwnLetters = request.app.state.own_letters
    return own
