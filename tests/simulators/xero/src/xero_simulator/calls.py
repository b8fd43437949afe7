"""The log of every API and OAuth call: what a judge needs to prove limits and promises kept."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from time import time as _time
from typing import Any

KEEP = 200_000


@dataclass(slots=True)
class Call:
    """One call. Never holds tokens or bodies.

    Attributes:
        time: By the simulator's clock.
        real_time: By the machine's clock, which no test moves.
    """

    sequence: int
    time: float
    method: str
    path: str
    query: str
    tenant_id: str = ""
    status: int = 0
    in_flight: int = 0
    idempotency_key: str = ""
    replayed: bool = False
    fault: str = ""
    limited: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    real_time: float = field(default_factory=_time)


@dataclass(slots=True)
class CallLog:
    """The newest calls, oldest first."""

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=KEEP))
    count: int = 0

    def open(self, now: float, method: str, path: str, query: str) -> Call:
        """Starts the record of a call."""
        self.count += 1
        call = Call(self.count, now, method, path, query)
        self.calls.append(call)
        return call

    def select(self, since: int, tenant_id: str, path: str) -> Iterator[dict[str, Any]]:
        """Calls after `since`, optionally of one tenant and with `path` in their path."""
        for call in self.calls:
            if call.sequence > since and tenant_id in {"", call.tenant_id} and path in call.path:
                yield asdict(call)

    def summary(self) -> dict[str, Any]:
        """Counts per tenant and status, with the peaks a limit check needs."""
        tenants: dict[str, Any] = {}
        for call in self.calls:
            if not call.tenant_id:
                continue
            row = tenants.setdefault(
                call.tenant_id,
                {"calls": 0, "limited": 0, "max_in_flight": 0, "by_status": {}, "times": []},
            )
            row["calls"] += 1
            row["limited"] += bool(call.limited)
            row["max_in_flight"] = max(row["max_in_flight"], call.in_flight)
            status = str(call.status)
            row["by_status"][status] = row["by_status"].get(status, 0) + 1
            if not call.limited:
                row["times"].append(call.time)
        for row in tenants.values():
            row["max_per_minute"] = _peak(sorted(row.pop("times")))
        return {"calls": self.count, "tenants": tenants}


def _peak(times: list[float]) -> int:
    peak, first = 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - 60:
            first += 1
        peak = max(peak, last - first + 1)
    return peak
