"""What can go wrong between us and Xero, drawn as a tree.

    XeroError
    ├── NotConnected      no usable connection of this account; nothing was sent
    ├── TenantChanged     the account now points at another organisation; nothing was sent
    ├── NotAllowed        this caller may not make this call; nothing was sent
    ├── NotFound          Xero (or the gateway) knows nothing under this address
    ├── RateLimited       out of quota; nothing was done, come back later
    ├── RequestRejected   Xero read the request and refused it; the same bytes fail again
    ├── NotSent           the request never reached Xero; safe to send again
    ├── OutcomeUnknown    a write was sent and may or may not have happened
    ├── XeroUnavailable   a read got no usable answer; safe to ask again
    └── UnexpectedAnswer  an answer arrived that we cannot read

The leaves answer one question for the caller: may I send this again? ``NotSent``, ``RateLimited`` and
``XeroUnavailable`` say yes; ``OutcomeUnknown`` says only with the same bytes and Idempotency-Key inside
Xero's six minutes, otherwise look it up first; the rest say not before something has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

PROBLEM_UNKNOWN = "unknown"


class XeroError(Exception):
    """Root of everything this package raises about a call to Xero.

    ``request_id`` names the call in the gateway's log, where Xero's own correlation id stands beside it.
    """

    request_id: str | None = None


class NotConnected(XeroError):  # noqa: N818 - the tree reads as plain statements
    """The account has no usable connection; nothing was sent.

    Args:
        status: The connection's status (``DISCONNECTED``, ``TOKEN_EXPIRED``), or ``UNKNOWN``.
        reason: Short machine word for why, as the gateway or Xero gave it.
        message: One sentence for the owner of the account.
        hint: The next step for them.
    """

    def __init__(self, status: str, reason: str, message: str, hint: str) -> None:
        super().__init__(f"{message} ({status}: {reason})")
        self.status = status
        self.reason = reason
        self.message = message
        self.hint = hint


class TenantChanged(XeroError):  # noqa: N818 - as above
    """The account is connected to another organisation than the one this call was meant for."""


class NotAllowed(XeroError):  # noqa: N818 - as above
    """The gateway refused this caller, method or path; nothing was sent."""


class NotFound(XeroError):  # noqa: N818 - as above
    """Nothing exists under this address.

    Args:
        message: What was asked for.
        by_gateway: True when the gateway itself answered (unknown account or path), False for Xero.
    """

    def __init__(self, message: str, *, by_gateway: bool = False) -> None:
        super().__init__(message)
        self.by_gateway = by_gateway


class RateLimited(XeroError):  # noqa: N818 - as above
    """Out of quota. Nothing was done.

    Args:
        retry_after: How long Xero asks us to wait; None when it did not say (concurrency limits).
        problem: ``minute``, ``day``, ``appminute``, ``concurrent`` or ``unknown``.
    """

    def __init__(self, retry_after: timedelta | None, problem: str = PROBLEM_UNKNOWN) -> None:
        wait = "" if retry_after is None else f", retry after {retry_after.total_seconds():.0f} s"
        super().__init__(f"Xero's {problem} limit is used up{wait}")
        self.retry_after = retry_after
        self.problem = problem


@dataclass(frozen=True, slots=True)
class RejectedElement:
    """One element Xero named in a 400 answer: its own id if it has one, and its messages in order."""

    entity_id: str | None
    messages: tuple[str, ...]


class RequestRejected(XeroError):  # noqa: N818 - as above
    """Xero read the request and refused it; sending the same bytes again fails again.

    Args:
        status: HTTP status (400, 412, 413, …).
        error_number: Xero's ErrorNumber: 10 validation, 14 unreadable body, 16 unreadable query; None if absent.
        message: Xero's message, or the status in words.
        elements: The refused elements with their validation messages; empty when Xero named none.
    """

    VALIDATION = 10
    UNREADABLE_BODY = 14
    UNREADABLE_QUERY = 16

    def __init__(
        self,
        status: int,
        error_number: int | None,
        message: str,
        elements: tuple[RejectedElement, ...] = (),
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.error_number = error_number
        self.message = message
        self.elements = elements

    @property
    def messages(self) -> tuple[str, ...]:
        """Every validation message in order, or the message of the whole answer when there is none."""
        found = tuple(text for element in self.elements for text in element.messages)
        return found or (self.message,)

    @property
    def idempotency_key_reused(self) -> bool:
        """True when the key was already used for a different request (Xero's idempotency page).

        The first request with that key may have been carried out: look up before sending anything again.
        """
        return any(
            "used with a different request" in text for text in (self.message, *self.messages)
        )


class NotSent(XeroError):  # noqa: N818 - as above
    """The request never reached Xero; sending it again cannot double anything.

    Args:
        message: What was asked for, and what stood in the way.
        retry_after: When the gateway will know more, where it said so (Xero is known to be down).
    """

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknown(XeroError):  # noqa: N818 - as above
    """A write was sent and no clear answer came back: it may have happened, or not, or be about to."""


class XeroUnavailable(XeroError):  # noqa: N818 - as above
    """A read got no usable answer (timeout, lost connection, 500, 503). Asking again is safe."""


class UnexpectedAnswer(XeroError):  # noqa: N818 - as above
    """An answer arrived that does not have Xero's documented form.

    After a write this does not say whether the write happened: treat it like ``OutcomeUnknown``.
    """
