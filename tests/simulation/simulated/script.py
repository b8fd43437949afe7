"""What happens in one life, drawn from a seed: a list of short steps that can be printed, cut down and run again."""

from collections.abc import Sequence
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
ON_THEIR_WAY = ("to xero", "from xero", "carry", "confirm", "webhook")
FROZEN = 0.12
OVERTAKEN = 0.15
UNHEARD = 0.15
PAID_EARLY = 0.3
INGESTING = 0.3
"""Lives in which payments are taken in as well; they take twice the time."""
MATCHING = 0.2
INVOICE_SYNC = ("a", "b")
PAYMENT_INGEST = ("p", "q")
"""The replicas of each service, by name."""
SHARED_FAILPOINTS = named_in("pipeline_messaging")
FAILPOINTS = {
    **dict.fromkeys(INVOICE_SYNC, named_in("invoice_sync") + SHARED_FAILPOINTS),
    **dict.fromkeys(PAYMENT_INGEST, named_in("payment_ingest") + SHARED_FAILPOINTS),
}
AMOUNTS = ("0.01", "7.35", "60.00", "200.00")
"""The last one is refused: no invoice comes to so much."""


def drawn(seed: int) -> Script:
    """The script of a seed."""
    chance = Random(seed)
    invoices = chance.randint(1, 3)
    replicas = INVOICE_SYNC
    script: Script = [("match",)] if chance.random() < MATCHING else []
    if chance.random() < INGESTING:
        replicas += PAYMENT_INGEST
        script.append(("ingest",))
    script += [("publish", each, "create") for each in range(invoices)]
    if replicas != INVOICE_SYNC and chance.random() < PAID_EARLY:
        script.extend(_paid_before_it_is_linked(chance))
    for _ in range(chance.randint(6, 14)):
        script.append(("go", chance.randint(1, 40), chance.getrandbits(16)))
        script.extend(_happening(chance, invoices, replicas))
    return script


def _happening(chance: Random, invoices: int, replicas: Sequence[str]) -> Script:
    which, replica = chance.randrange(invoices), chance.choice(replicas)
    if chance.random() < FROZEN:
        return _frozen_past_its_lease(chance, replica)
    if chance.random() < OVERTAKEN:
        return _overtaken(chance, which)
    ingests = replicas != INVOICE_SYNC
    if ingests and chance.random() < UNHEARD:
        return _unheard(chance, which)
    kinds: dict[str, tuple[int, Step]] = {
        "publish": (4, ("publish", which, chance.choice(("update", "update", "update", "void")))),
        "again": (2, ("again", chance.getrandbits(8))),
        "customer": (1, ("customer",)),
        "edit": (2, ("edit", which)),
        "pay": (3 * ingests + 1, ("pay", which, chance.choice(AMOUNTS))),
        "unpay": (2 * ingests, ("unpay", chance.getrandbits(8))),
        "credit": (ingests, ("credit", which, chance.choice(AMOUNTS))),
        "webhook": (2 * ingests, ("webhook", chance.choice(("lost", "unanswered")))),
        "xero": (5, ("xero", chance.choice(XERO_FAULTS))),
        "kafka": (2, ("kafka", chance.choice(("lost", "unconfirmed")))),
        "pass": (3, ("pass", chance.choice(PASSES))),
        "ask": (
            2,
            ("ask", chance.choice(INVOICE_SYNC), chance.choice(("import", "reconciliation"))),
        ),
        "crash": (4, ("crash", replica)),
        "crash_while": (3, ("crash_while", chance.choice(ON_THEIR_WAY))),
        "freeze": (2, ("freeze", replica)),
        "thaw": (2, ("thaw", replica)),
        "die_at": (
            3,
            ("die_at", replica, chance.choice(FAILPOINTS[replica]), chance.randint(1, 2)),
        ),
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
        *(("thaw", each) for each in INVOICE_SYNC + PAYMENT_INGEST),
        ("go", chance.randint(1, 10), chance.getrandbits(16)),
        ("publish", which, "update"),
    ]


def _unheard(chance: Random, which: int) -> Script:
    """Xero tells nothing of a payment: only looking over everything finds it."""
    return [
        ("silence", True),
        ("pay", which, chance.choice(AMOUNTS)),
        ("unpay", chance.getrandbits(8)),
        ("go", chance.randint(1, 20), chance.getrandbits(16)),
        ("silence", False),
    ]


def _paid_before_it_is_linked(chance: Random) -> Script:
    """An invoice has come to Xero and is paid there, before anybody is told that it has come."""
    return [
        ("freeze_while", "from xero PUT Invoices"),
        ("pay", 0, chance.choice(AMOUNTS)),
        ("go", chance.randint(20, 60), chance.getrandbits(16)),
        *(("thaw", each) for each in INVOICE_SYNC),
    ]
