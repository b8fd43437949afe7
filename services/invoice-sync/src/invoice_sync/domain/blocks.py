"""Problem codes with their facts, as the block an invoice or a customer shows."""

from collections.abc import Sequence

from invoice_sync.domain.state import Block
from pipeline_contracts.problems import PROBLEMS, Mover, ProblemCode


def block(code: ProblemCode, *, xero_errors: Sequence[str] = (), **facts: object) -> Block:
    """The block for a code, its sentences filled with the facts known."""
    problem = PROBLEMS[code].render(**facts)
    return Block(code, problem.message, problem.hint, problem.retryable, tuple(xero_errors))


def mover_of(code: str) -> str:
    """Whose move a code is; a code no release knows any more is for support."""
    try:
        return PROBLEMS[ProblemCode(code)].mover
    except (ValueError, KeyError):
        return Mover.SUPPORT
