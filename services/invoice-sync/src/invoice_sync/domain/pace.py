"""How fast an account writes when Xero's minute is running out.

A write takes up to 50 invoices and costs one call however few they are. While calls are plenty every invoice goes at
once; when they get scarce, a short rest lets more invoices gather for each call. Without it a trickle of single
invoices would spend the minute in seconds, and the next invoice would wait for the rest of it.
"""

PLENTY = 30
"""Half of the 60 calls a minute that Xero allows a tenant: developer.xero.com, OAuth 2.0 API limits."""
REST_SECONDS = 1.0
"""At a call a second the minute never runs out, and a full batch each time is all that Xero ever takes."""


def rest_after(calls_left: int | None, *, is_full: bool) -> float:
    """Seconds to rest before the account's next write.

    Args:
        calls_left: Calls left in this minute, as Xero stated with the last reply; None when it did not.
        is_full: Whether the last call was full: there is nothing to gather, the backlog goes on.
    """
    return 0.0 if is_full or calls_left is None or calls_left >= PLENTY else REST_SECONDS
