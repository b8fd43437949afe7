"""When to try again: exponential with jitter and a cap for what heals, Xero's own word for what it limits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST = timedelta(seconds=1)
CAP = timedelta(minutes=5)
# Xero gives no Retry-After for its concurrency limit: a short pause is what its documentation asks for.
CONCURRENT_PAUSE = timedelta(seconds=1)
# From this attempt on the wait is worth telling: before it, a blip would only make noise.
TELL_FROM_ATTEMPT = 3

# Xero keeps an Idempotency-Key six minutes from the first call; a minute is left for the call itself.
RESEND_WINDOW = timedelta(minutes=5)


def backoff(attempt: int, chance: float) -> timedelta:
    """How long to wait after failure number ``attempt`` (from 1).

    Args:
        attempt: Failures in a row, this one included.
        chance: A random number from 0 to 1; half the wait is fixed, half is spread by it.
    """
    longest = min(FIRST * 2 ** min(attempt - 1, 16), CAP)
    return timedelta(seconds=longest.total_seconds() * (0.5 + chance / 2))


def limit_pause(retry_after: timedelta | None, chance: float) -> timedelta:
    """How long an account rests after a 429: Xero's Retry-After and a little spread, so replicas do not return at once."""
    return (CONCURRENT_PAUSE if retry_after is None else retry_after) + timedelta(seconds=chance)


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Repeat the same bytes under the same key: Xero replays its first answer or carries the write out once."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask Xero what became of it before sending anything."""


def after_unknown(
    *, first_sent_at: datetime, attempts: int, must_look_up: bool, now: datetime
) -> SendAgain | LookUp:
    """What to do with a write whose outcome nobody knows.

    Args:
        first_sent_at: When it was first sent.
        attempts: How often it was sent and not answered. The stored answer may itself be an internal error, which
            is replayed as well: after two unclear answers looking is quicker than insisting.
        must_look_up: Whether an earlier decision to look up stands.
        now: The database's clock, which also stamped ``first_sent_at``.
    """
    if must_look_up or attempts > 1 or now - first_sent_at >= RESEND_WINDOW:
        return LookUp()
    return SendAgain()
