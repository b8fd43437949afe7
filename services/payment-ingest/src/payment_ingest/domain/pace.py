"""How fast doorbells are answered when Xero's minute is running out.

A read takes up to 50 invoices and costs one call however many they are. While calls are plenty every ring is answered
at once; when few are left, waiting a little gathers more rings into each call, so that reading payments does not eat
the minute that writing invoices needs.
"""

from datetime import timedelta

_PLENTY = 30
_FEW = 10
"""Of the 60 calls a minute that Xero allows a tenant; it states the rest in X-MinLimit-Remaining."""

UNSTATED_LIMIT = timedelta(seconds=2)
"""Xero gives no Retry-After for its limit of concurrent calls: a short pause is enough."""


def pace(left: int | None) -> timedelta | None:
    """The pause before the next read, given the calls left in this minute (None: not stated)."""
    if left is None or left >= _PLENTY:
        return None
    return timedelta(seconds=2) if left >= _FEW else timedelta(seconds=5)
