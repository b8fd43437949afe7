"""The colour of a connection: green all is well, amber somebody should look, red it does not work, grey never heard of."""

from typing import Final

from pipeline_contracts.connection import DAY_REASONS

TONES: Final = {
    "good": "Connected",
    "warn": "Needs a look",
    "bad": "Not working",
    "never": "Never connected",
}
"""The tones in words; `accounts.tone` holds one of them."""

_RUNS_LOW: Final = DAY_REASONS - {"DAY_BUDGET_RESTORED"}
_NEVER: Final = "NEVER_CONNECTED"


def tone(status: str, reason: str, *, can_refresh: bool) -> str:
    """The tone of a connection in this state; a word that is not known is looked at by a person."""
    match status:
        case "CONNECTED":
            return "warn" if reason in _RUNS_LOW else "good"
        case "DISCONNECTED":
            return "never" if reason == _NEVER else "bad"
        case "TOKEN_EXPIRED":
            return "warn" if can_refresh else "bad"
        case _:
            return "warn"
