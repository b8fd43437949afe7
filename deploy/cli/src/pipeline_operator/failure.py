"""What can go wrong, as one sentence and the next step, with the status the program ends with."""

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses; part of what scripts rely on (docs/operate/cli.md)."""

    DONE = 0
    FOUND = 1
    """It was done, and something needs attention: differences, refusals, trouble."""
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    NOT_ALLOWED = 5
    REFUSED = 6
    LIMITED = 7


class Failure(Exception):  # noqa: N818 - reads as what happened
    """The command cannot go on.

    Args:
        status: what the program ends with.
        message: one sentence for the operator.
        hint: the next step.
    """

    def __init__(self, status: Status, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
