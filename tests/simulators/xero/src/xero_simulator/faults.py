"""Scripted faults: by call number or by probability, from one seed.

Where a fault strikes:
    edge   before limits and idempotency: the request never gets through
    inner  inside the idempotent part: what it answers is replayed for the key
    reply  after the commit: the work is done, the answer is lost or late
"""

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

EDGE = frozenset(
    {
        "rate_limit_minute",
        "rate_limit_day",
        "rate_limit_concurrent",
        "rate_limit_appminute",
        "unavailable_503",
        "reset_before",
        "slow",
        "token_expired",
        "disconnect",
        "revoke_consent",
        "idempotency_store_down",
    }
)
INNER = frozenset({"error_500_before", "error_500_after", "refused"})
REPLY = frozenset({"commit_then_timeout", "commit_then_reset", "slow_reply", "refresh_reply_lost"})
KINDS = EDGE | INNER | REPLY


class ReplyLost(Exception):  # noqa: N818 -- tells the outermost layer to cut the connection
    """The connection is to be cut without (another) byte, after `delay` real seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(delay)
        self.delay = delay


@dataclass(slots=True)
class Fault:
    """One scripted fault.

    Attributes:
        kind: One of KINDS.
        method: HTTP method, or `*`.
        path: Shell pattern of the path, such as `/api.xro/2.0/Invoices*`.
        tenant_id: Only calls of this tenant; empty for all.
        nth: Strike from this matching call on (1 is the next); 0 leaves it to `probability`.
        times: How often at most; 0 is without end.
        probability: Chance per matching call when `nth` is 0.
        seconds: Delay of the slow kinds, Retry-After of the 429s.
        text: Which 503 (`maintenance`, `unavailable`, `organisation`); for `refused` what Xero says of every
            element of a write.
    """

    fault_id: str
    kind: str
    method: str = "*"
    path: str = "*"
    tenant_id: str = ""
    nth: int = 1
    times: int = 1
    probability: float = 0.0
    seconds: float = 30.0
    text: str = "unavailable"
    seen: int = 0
    struck: int = 0

    def matches(self, method: str, path: str, tenant_id: str) -> bool:
        """Whether a call is of the kind this fault waits for."""
        return (
            self.method in {"*", method}
            and fnmatchcase(path, self.path)
            and self.tenant_id in {"", tenant_id}
        )

    def strikes(self, draw: float) -> bool:
        """Counts a matching call and says whether it is hit."""
        self.seen += 1
        if self.times and self.struck >= self.times:
            return False
        hit = self.seen >= self.nth if self.nth else draw < self.probability
        self.struck += hit
        return hit


@dataclass(slots=True)
class FaultScript:
    """The faults in force, in the order they were added."""

    seed: int
    faults: list[Fault] = field(default_factory=list)
    added: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def add(self, **fields: Any) -> Fault:
        """Adds a fault.

        Raises:
            ValueError: An unknown kind.
        """
        if fields.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {sorted(KINDS)}, got {fields.get('kind')!r}")
        self.added += 1
        fault = Fault(fault_id=f"fault-{self.added}", **fields)
        self.faults.append(fault)
        return fault

    def reseed(self, seed: int) -> None:
        """Restarts the drawing."""
        self.seed = seed
        self._random = random.Random(seed)

    def draw(self, method: str, path: str, tenant_id: str) -> Fault | None:
        """The fault that hits this call, if any; every matching fault counts the call."""
        hit = None
        for fault in self.faults:
            if fault.matches(method, path, tenant_id) and fault.strikes(self._random.random()):
                hit = hit or fault
        return hit
