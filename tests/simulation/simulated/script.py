"""What happens in one life, drawn from a seed: a list of short steps that can be printed, cut down and run again."""

from random import Random
from typing import Any

from simulated.named_failpoints import named_in

Step = tuple[Any, ...]
Script = list[Step]

XERO_FAULTS = (
    "reset_before",
    "commit_then_reset",
    "commit_then_timeout",
    "error_500_before",
    "error_500_after",
    "unavailable_503",
    "rate_limit_minute",
    "rate_limit_day",
)
PASSES = (1, 6, 31, 61, 200, 400, 700)
"""Seconds: within a lease, beyond it, beyond Xero's minute, beyond the repeating of a key, beyond what is late."""
ON_THEIR_WAY = ("to xero", "from xero", "carry", "confirm")
FROZEN = 0.12
OVERTAKEN = 0.15
MATCHING = 0.2
FAILPOINTS = named_in("invoice_sync") + named_in("pipeline_messaging")


def drawn(seed: int) -> Script:
    """The script of a seed."""
    chance = Random(seed)
    invoices = chance.randint(1, 3)
    script: Script = [("match",)] if chance.random() < MATCHING else []
    script += [("publish", each, "create") for each in range(invoices)]
    for _ in range(chance.randint(6, 14)):
        script.append(("go", chance.randint(1, 40), chance.getrandbits(16)))
        script.extend(_happening(chance, invoices))
    return script


def _happening(chance: Random, invoices: int) -> Script:
    which, replica = chance.randrange(invoices), chance.choice("ab")
    if chance.random() < FROZEN:
        return _frozen_past_its_lease(chance, replica)
    if chance.random() < OVERTAKEN:
        return _overtaken(chance, which)
    kinds: dict[str, tuple[int, Step]] = {
        "publish": (4, ("publish", which, chance.choice(("update", "update", "update", "void")))),
        "again": (2, ("again", chance.getrandbits(8))),
        "customer": (1, ("customer",)),
        "edit": (2, ("edit", which)),
        "xero": (4, ("xero", chance.choice(XERO_FAULTS))),
        "kafka": (2, ("kafka", chance.choice(("lost", "unconfirmed")))),
        "pass": (3, ("pass", chance.choice(PASSES))),
        "ask": (2, ("ask", replica, chance.choice(("import", "reconciliation")))),
        "crash": (3, ("crash", replica)),
        "crash_while": (2, ("crash_while", chance.choice(ON_THEIR_WAY))),
        "freeze": (2, ("freeze", replica)),
        "thaw": (2, ("thaw", replica)),
        "die_at": (3, ("die_at", replica, chance.choice(FAILPOINTS), chance.randint(1, 2))),
    }
    (name,) = chance.choices(list(kinds), [weight for weight, _ in kinds.values()])
    return [kinds[name][1]]


def _frozen_past_its_lease(chance: Random, replica: str) -> Script:
    """One replica stands still, the other takes over what it had, and the first goes on where it stood."""
    return [
        ("freeze", replica),
        ("pass", chance.choice((31, 61, 400))),
        ("go", chance.randint(1, 40), chance.getrandbits(16)),
        ("thaw", replica),
        ("go", chance.randint(1, 10), chance.getrandbits(16)),
    ]


def _overtaken(chance: Random, which: int) -> Script:
    """Whoever has a request on its way stands still, and goes on with the answer when the other has long gone further."""
    return [
        ("publish", which, "update"),
        ("freeze_while", chance.choice(("to xero", "from xero"))),
        ("pass", 31),
        ("go", chance.randint(20, 120), chance.getrandbits(16)),
        ("publish", which, chance.choice(("update", "void"))),
        ("go", chance.randint(1, 60), chance.getrandbits(16)),
        ("thaw", "a"),
        ("thaw", "b"),
        ("go", chance.randint(1, 10), chance.getrandbits(16)),
        ("publish", which, "update"),
    ]
