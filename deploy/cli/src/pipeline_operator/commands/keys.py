"""`rotate-keys`: where a rotation of the connector's sealing keys stands, and the next step.

The keys are in the connector's settings alone, and its database is nobody else's: this program sees neither. It reads
the connector's figures and says what to do there.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import typer

from pipeline_operator.failure import Status
from pipeline_operator.session import Json, session_of

_SEALED = re.compile(r'xero_sealed_values\{key_version="([^"]*)",opens="(yes|no)"\}')


@dataclass(frozen=True, slots=True)
class SealedUnder:
    """How many stored secrets are sealed under one key, and whether the connector has that key."""

    key_version: str
    opens: bool
    values: int


def sealed_under(metrics: Mapping[str, float]) -> list[SealedUnder]:
    """What the connector's figures say of the keys in use."""
    found = ((_SEALED.fullmatch(name), value) for name, value in metrics.items())
    return sorted(
        (
            SealedUnder(match[1], match[2] == "yes", int(value))
            for match, value in found
            if match and value
        ),
        key=lambda each: each.key_version,
    )


def next_step(keys: list[SealedUnder]) -> str:
    """What the runbook says comes next."""
    if missing := [each.key_version for each in keys if not each.opens]:
        return (
            f"The connector lacks {', '.join(missing)}: put it back as the last of TOKEN_KEYS and restart. If it is lost"
            " for good, see the runbook."
        )
    if not keys:
        return "Nothing is sealed yet, or the connector that answered has not counted: it does twice a minute. Ask again."
    if len(keys) == 1:
        only = keys[0].key_version
        return (
            f"Everything is under {only}; no rotation is half done. To rotate: add a new key as the second of TOKEN_KEYS on"
            " all replicas, then make it the first, then run `python -m connector rotate-keys` there."
        )
    return (
        "Values lie under several keys: a rotation is under way. When every replica has the new key first, run"
        " `python -m connector rotate-keys` where the connector runs, and again until it ends with 0; then remove the old"
        " key."
    )


def rotate_keys(context: typer.Context, as_json: Json = False) -> None:
    """Where a rotation of the sealing keys stands and what comes next. Changes nothing. Ends with 1 mid-way."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    keys = sealed_under(session.services.metrics("connector"))
    step = next_step(keys)
    if as_json:
        screen.document({"keys": [asdict(each) for each in keys], "next_step": step})
    else:
        screen.table(
            ("key", "the connector has it", "values"),
            ((each.key_version, each.opens, each.values) for each in keys),
        )
        screen.say(step)
        screen.say(
            "The whole procedure: docs/runbooks/rotate-token-keys.md; on a local stack `make rotate-keys`."
        )
    if len(keys) > 1 or any(not each.opens for each in keys):
        raise typer.Exit(Status.FOUND)
