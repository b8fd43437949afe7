"""What a failed call means for the work it carried. Pure: an error of the call tree in, a verdict out."""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

from invoice_sync.domain import retry, xero_messages
from invoice_sync.domain.blocks import block, never_connected, not_connected
from invoice_sync.domain.state import Block, State
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.errors import (
    NotAllowed,
    NotConnected,
    NotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    TenantChanged,
    UnexpectedAnswer,
    XeroError,
    XeroUnavailable,
)

# The connector tells of a reconnection by an event; should that have come before we began to wait, we look again.
LOOK_AGAIN = timedelta(minutes=1)
# HTTP's own figures. Xero answers 412 to conditional headers it cannot read and to outdated encryption: our doing.
_BAD_CONDITION = 412
_TOO_LARGE = 413


class Effect(Enum):
    """What a failed call may have done in Xero."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    """Xero read the request and took nothing of it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failed call: what it did, why in words, in which state its invoices wait and for how long the account rests."""

    effect: Effect
    block: Block
    state: State
    pause: timedelta | None
    messages: tuple[str, ...] = ()


def of(error: XeroError, *, count: int, chance: float) -> Trouble:  # noqa: PLR0911 - one return per leaf
    """Judge a failed call.

    Args:
        error: What the gateway's client raised.
        count: The account's failures in a row, this one included.
        chance: A random number from 0 to 1, for jitter.
    """
    wait = retry.backoff(count, chance)
    match error:
        case RateLimited():
            pause = retry.limit_pause(error.retry_after, chance)
            limited = block(ProblemCode.RATE_LIMITED, retry_at=_spoken(pause))
            return Trouble(Effect.NOTHING, limited, State.WAITING_FOR_BUDGET, pause)
        case NotConnected():
            unconnected = not_connected(error.message or error.reason, error.hint)
            return Trouble(Effect.NOTHING, unconnected, State.WAITING_FOR_CONNECTION, LOOK_AGAIN)
        case NotFound(by_gateway=True):
            return Trouble(
                Effect.NOTHING, never_connected(), State.WAITING_FOR_CONNECTION, LOOK_AGAIN
            )
        case TenantChanged():
            moved = block(ProblemCode.TENANT_CHANGED)
            return Trouble(Effect.NOTHING, moved, State.WAITING_FOR_CONNECTION, None)
        case NotAllowed():
            # The connector refuses us, not Xero the account: nothing its owner could do would help.
            refused = replace(block(ProblemCode.INTERNAL_ERROR), retryable=True)
            return Trouble(Effect.NOTHING, refused, State.PENDING, max(wait, LOOK_AGAIN))
        case NotSent() | XeroUnavailable():
            if isinstance(error, NotSent) and error.retry_after is not None:
                # The gateway watches Xero for everybody: its word is sooner and truer than our growing pauses.
                wait = retry.limit_pause(error.retry_after, chance)
            away = block(ProblemCode.XERO_UNAVAILABLE, retry_at=_spoken(wait))
            return Trouble(Effect.NOTHING, away, State.PENDING, wait)
        case RequestRejected():
            if error.idempotency_key_reused:
                return _unknown(wait)
            facts = xero_messages.facts_of(error.messages)
            whole = block(_cause_of(error), xero_errors=error.messages, **facts)
            return Trouble(Effect.REFUSED, whole, State.FAILED, None, error.messages)
        case NotFound():
            gone = block(ProblemCode.XERO_VALIDATION, detail=str(error), xero_errors=(str(error),))
            return Trouble(Effect.REFUSED, gone, State.FAILED, None, (str(error),))
        case OutcomeUnknown() | UnexpectedAnswer():
            return _unknown(wait)
        case _:
            return _unknown(wait)


def _cause_of(error: RequestRejected) -> ProblemCode:
    """Why a request was refused as a whole. Only a validation (Xero's ErrorNumber 10) is about the invoice."""
    if error.status == _TOO_LARGE:
        return ProblemCode.TOO_MANY_LINES
    unreadable = {RequestRejected.UNREADABLE_BODY, RequestRejected.UNREADABLE_QUERY}
    if error.error_number in unreadable or error.status == _BAD_CONDITION:
        return ProblemCode.INTERNAL_ERROR
    return xero_messages.code_of_all(error.messages)


def _unknown(wait: timedelta) -> Trouble:
    unclear = block(ProblemCode.OUTCOME_UNKNOWN, retry_at=_spoken(wait))
    return Trouble(Effect.UNKNOWN, unclear, State.SYNCING, wait)


def _spoken(wait: timedelta) -> str:
    """A wait in words that stay true for a while after they were written."""
    minutes = wait.total_seconds() / 60
    if minutes < 1:
        return "within a minute"
    if minutes < 90:  # noqa: PLR2004 - from here on hours read better
        return f"in about {minutes:.0f} minutes"
    return f"in about {minutes / 60:.0f} hours"
