"""Which caller may ask Xero for what, and which paths are paths at all. Everything not listed is refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

LONGEST_PATH: Final = 600
LONGEST_QUERY: Final = 16_000
"""50 ids of 36 characters and room for a filter; Xero's own servers refuse more than about 16 KB."""

_RAW = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:@]+(/[A-Za-z0-9\-._~%!$&'()*+,;=:@]+)*")
_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

READING: Final = frozenset({"GET"})
WRITING: Final = frozenset({"GET", "PUT", "POST"})

ALLOWED: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "invoice-sync": {
        "Invoices": WRITING,
        "Contacts": WRITING,
        "Organisation": READING,
        "Organisations": READING,
        "Accounts": READING,
        "TaxRates": READING,
        "Currencies": READING,
        "TrackingCategories": READING,
        "Items": READING,
        "BrandingThemes": READING,
        "CreditNotes": READING,
        "Payments": READING,
    },
    "payment-ingest": {
        "Invoices": READING,
        "Payments": READING,
        "CreditNotes": READING,
        "Overpayments": READING,
        "Prepayments": READING,
        "BatchPayments": READING,
        "Contacts": READING,
        "Organisation": READING,
        "Organisations": READING,
    },
}
"""Caller -> first path segment -> methods. What is open below the segment shares its methods."""

OPEN_BELOW: Final = frozenset({"History"})
"""What may follow an id. The rest (mail to somebody's customers, files) is closed, however it is spelt."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request may not go to Xero, in one sentence for the caller's logs."""

    why: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """The path to append to Xero's address, exactly as it will be sent."""

    path: str


def check(caller: str, method: str, raw_path: bytes, query: bytes) -> Allowed | Refused:
    """Decide about one request from its undecoded path, before anything else looks at it.

    The raw bytes are judged, because a server that decoded %2F or %2E first would have hidden the trick.
    """
    refused = shape_problem(raw_path, query)
    if refused is not None:
        return Refused(refused)
    segments = [
        unquote_to_bytes(segment).decode("utf-8", "replace") for segment in raw_path.split(b"/")
    ]
    methods = ALLOWED.get(caller, {}).get(segments[0])
    if methods is None:
        return Refused(f"{caller} may not call {segments[0]!r}.")
    if method not in methods:
        return Refused(f"{caller} may not {method} {segments[0]}.")
    if len(segments) > 3 or not OPEN_BELOW.issuperset(segments[2:]):  # noqa: PLR2004 - resource, id, part
        return Refused("This part of Xero's API is not open here.")
    return Allowed(raw_path.decode("ascii"))


def shape_problem(raw_path: bytes, query: bytes) -> str | None:
    """What is wrong with the form of a path, or None: dots, empty segments, encoded separators, absolute URLs."""
    if len(raw_path) > LONGEST_PATH or len(query) > LONGEST_QUERY:
        return "The path or the query is too long."
    if not _RAW.fullmatch(raw_path) or _PERCENT.search(raw_path):
        return "The path has an empty segment or a character that does not belong there."
    for segment in raw_path.split(b"/"):
        decoded = unquote_to_bytes(segment)
        if decoded.strip(b".") == b"":
            return "The path has a segment of dots."
        if any(byte < 0x20 or byte == 0x7F or byte in b"/\\?#%" for byte in decoded):  # noqa: PLR2004 - ASCII
            return "The path hides a separator or a control character."
    if any(byte <= 0x20 or byte >= 0x7F or byte == ord("#") for byte in query):  # noqa: PLR2004 - ASCII
        return "The query has a character that must be percent-encoded."
    return None
