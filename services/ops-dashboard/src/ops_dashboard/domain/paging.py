"""Where the next page begins: the key of the last row, so that pages stay right while rows come and go."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LONGEST = 4_000


@dataclass(frozen=True, slots=True)
class After:
    """The last row of the page before: its time, and what tells rows of one time apart."""

    at: datetime
    id: str


def written(after: After) -> str:
    """The mark as an address carries it."""
    text = json.dumps([after.at.isoformat(), after.id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(mark: str | None) -> After | None:
    """The mark of an address; None for none, or for one that was not written by `written`."""
    if not mark or len(mark) > _LONGEST:
        return None
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4)))
        at, last = found
        moment = datetime.fromisoformat(at)
        if moment.utcoffset() is None or "\0" in last:
            return None
        last.encode()  # not half a character, which no database takes
        return After(moment.astimezone(UTC), last)
    except (
        binascii.Error,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return None
