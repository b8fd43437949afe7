"""Which faults strike when: a pure function of the seed.

Every run is dealt its share of all faults, so that any `ROUNDS` runs whose seeds begin at a multiple of it meet each
fault once; chance alone would leave some out of a campaign for long.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_local_stack.chaos.fault_proxy import Trouble

ROUNDS = 4
LINKS = ("kafka", "postgres", "simulator", "connector")
SERVICES = ("connector", "invoice-sync", "payment-ingest")
_CALM_END = 0.15
"""The share of a run's time at its end in which no fault begins."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What goes wrong, and with whom."""

    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.target}"


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A fault in a run: from when, for how long, and how bad.

    Attributes:
        at: Seconds after the run began.
        lasts: Seconds.
        amount: Of what the fault is measured in: seconds of latency, bytes until the cut, a share of calls, …
        chance: From 0 to 1, for a choice that only the running system offers: a replica, an account.
    """

    at: float
    fault: Fault
    lasts: float
    amount: float
    chance: float


PROCESS_FAULTS = ("kill", "freeze", "roll")
LIMITS = ("rate_limit_minute", "rate_limit_day", "rate_limit_concurrent", "rate_limit_appminute")
CALL_FAULTS = (
    *LIMITS, "error_500_before", "error_500_after", "unavailable_503", "idempotency_store_down",
    "reset_before", "commit_then_timeout", "commit_then_reset", "slow_reply", "token_expired",
)  # fmt: skip
"""Faults of the simulator that strike a share of the calls."""
CONSENT_FAULTS = ("refresh_reply_lost", "revoke_consent", "disconnect", "clock")
WEBHOOK_FAULTS = ("lost", "doubled", "late", "reordered")

FAULTS: tuple[Fault, ...] = (
    *(Fault(trouble, link) for link in LINKS for trouble in Trouble if trouble is not Trouble.NONE),
    *(Fault(kind, service) for service in SERVICES for kind in PROCESS_FAULTS),
    Fault("restart", "kafka"),
    Fault("restart", "postgres"),
    *(Fault(kind, "xero") for kind in (*CALL_FAULTS, *CONSENT_FAULTS)),
    *(Fault(kind, "webhooks") for kind in WEBHOOK_FAULTS),
)
"""Everything that a campaign must have met."""

_AMOUNTS: dict[str, tuple[float, float]] = {
    Trouble.LATENCY: (0.02, 0.25),
    Trouble.CUT: (1, 20_000),
    # It is put right at the fault's end. After one that ran ahead, news from Xero is doubted until the time comes that it
    # said already, and everything must hold within 120 s.
    "clock": (-300, 45),
    "late": (1, 4),
    **dict.fromkeys(LIMITS, (1, 4)),
    "commit_then_timeout": (1, 10),
    "slow_reply": (1, 10),
}
"""Between which figures the amount lies; 0 to 1 for all others, which read it as a share."""


def plan(seed: int, seconds: float, freeze_seconds: float) -> list[Step]:
    """The steps of one run, in the order in which they begin.

    Args:
        seed: of the run.
        seconds: for how long faults strike.
        freeze_seconds: the least for which a process is frozen: longer than any lease.
    """
    chance = random.Random(seed)  # noqa: S311 - must be repeatable, not secret
    return sorted(_step(fault, chance, seconds, freeze_seconds) for fault in dealt(seed))


def dealt(seed: int) -> list[Fault]:
    """The faults that a run meets."""
    cycle, turn = divmod(seed, ROUNDS)
    deck = list(FAULTS)
    random.Random(cycle).shuffle(deck)  # noqa: S311 - as above
    return deck[turn::ROUNDS]


def _step(fault: Fault, chance: random.Random, seconds: float, freeze_seconds: float) -> Step:
    at = chance.uniform(0, seconds * (1 - _CALM_END))
    lasts = chance.uniform(1, max(1.0, seconds / 4))
    if fault.kind == "freeze":
        lasts += freeze_seconds
    low, high = _AMOUNTS.get(fault.kind, (0, 1))
    return Step(
        round(at, 2), fault, round(lasts, 2), round(chance.uniform(low, high), 3), chance.random()
    )


def missed(struck: Iterable[Fault]) -> list[Fault]:
    """The faults that a campaign never met: with any of them, it is void."""
    return sorted(set(FAULTS) - set(struck))
