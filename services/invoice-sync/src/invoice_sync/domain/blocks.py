"""Problem codes with their facts, as the block an invoice or a customer shows."""

from collections.abc import Sequence

from invoice_sync.domain.state import Block
from pipeline_contracts.problems import PROBLEMS, Mover, ProblemCode

# Xero names each bad line of an invoice; an event has a size limit, and the first few tell it all.
_MOST_ERRORS = 100
_LONGEST_ERROR = 1_000


def block(code: ProblemCode, *, xero_errors: Sequence[str] = (), **facts: object) -> Block:
    """The block for a code, its sentences filled with the facts known."""
    problem = PROBLEMS[code].render(**facts)
    errors = tuple(error[:_LONGEST_ERROR] for error in xero_errors[:_MOST_ERRORS])
    return Block(code, problem.message, problem.hint, problem.retryable, errors)


def not_connected(message: str, hint: str | None) -> Block:
    """The block of work whose account has no usable connection, in the connection's own words."""
    return block(
        ProblemCode.NOT_CONNECTED,
        connection=message.rstrip("."),
        next_step=(hint or "").rstrip(".") or None,
    )


def never_connected() -> Block:
    """The block of work whose account nobody has connected yet."""
    return not_connected(
        "The account was never connected to Xero",
        "An administrator opens the Xero card and presses Connect to Xero",
    )


def contact_pending() -> Block:
    """The block of an invoice whose customer's contact is being made: nothing anybody would have to do."""
    return Block(
        "CONTACT_PENDING",
        "The customer's contact is being created in Xero.",
        "Nothing to do: the invoice follows by itself.",
        retryable=True,
    )


# Causes that are no problems of an invoice: one passes by itself, the other is two people's work.
_NO_PROBLEMS = {"CONTACT_PENDING": Mover.SYSTEM, "OUT_OF_SYNC": Mover.BOOKKEEPER}


def mover_of(code: str) -> str:
    """Whose move a code is; a code no release knows any more is for support."""
    if code in _NO_PROBLEMS:
        return _NO_PROBLEMS[code]
    try:
        return PROBLEMS[ProblemCode(code)].mover
    except (ValueError, KeyError):
        return Mover.SUPPORT
