"""One invoice's story over both services, in the order in which it happened. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_operator.screen import moment


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, and which service tells it."""

    at: datetime
    told_by: str
    what: str

    def document(self) -> dict[str, str]:
        """The happening for programs."""
        return {"at": self.at.isoformat(), "told_by": self.told_by, "what": self.what}


def story(sync: Mapping[str, Any], payments: Mapping[str, Any] | None) -> list[Happening]:
    """Everything both services tell of an invoice.

    Args:
        sync: what invoice-sync answers of it.
        payments: what payment-ingest answers of it; None where it does not know the invoice in Xero.
    """
    found = [*_synced(sync["timeline"]), *_paid((payments or {}).get("payments", ()))]
    return sorted(found, key=lambda each: each.at)


def next_step(sync: Mapping[str, Any]) -> tuple[str, str]:
    """Where the invoice stands in a sentence, and the next step with whose move it is."""
    cause = sync["cause"]
    if cause is not None:
        when = sync["next_attempt_at"]
        again = f" It is tried again at {_minute(when)} by itself." if when else ""
        return cause["message"], f"{cause['hint']} (Move: {cause['whose_move']}.){again}"
    if sync["state"] == "synced":
        in_xero = sync["in_xero"]
        number = in_xero["invoice_number"] if in_xero else "?"
        return f"It is in Xero as {number}, as Pipeline wants it.", "Nothing to do."
    if sync["state"] == "voided":
        return "It is voided.", "Nothing to do."
    queue = sync["queue"]
    if queue is None:
        return f"It is {sync['state'].replace('_', ' ')}.", "Nothing to do: it goes on by itself."
    more = "" if queue["is_exact"] else "more than "
    expected = queue["expected_at"]
    when = f", about {_minute(expected)}" if expected else ""
    return (
        f"It waits for its turn: {more}{queue['ahead']} invoices are before it{when}.",
        "Nothing to do: it goes on by itself.",
    )


def _synced(timeline: Iterable[Mapping[str, Any]]) -> Iterator[Happening]:
    for entry in timeline:
        version = f" version {entry['version']}" if entry["version"] is not None else ""
        parts = [f"{entry['kind']}{version}", entry["code"], entry["detail"]]
        yield Happening(
            _time(entry["at"]), "invoice-sync", ": ".join(str(part) for part in parts if part)
        )


def _paid(payments: Iterable[Mapping[str, Any]]) -> Iterator[Happening]:
    for payment in payments:
        what = f"{payment['kind']} of {payment['amount']} {payment['currency']}"
        for step in payment["story"]:
            if step["rung_at"]:
                yield Happening(
                    _time(step["rung_at"]), "payment-ingest", f"Xero's webhook about {what}"
                )
            due = f"{step['amount_due']} {payment['currency']} still due"
            yield Happening(
                _time(step["recorded_at"]),
                "payment-ingest",
                f"{what} {step['change']}, found by {step['found_by']}: {due}",
            )


def _time(text: str) -> datetime:
    found = moment(text)
    assert found is not None  # noqa: S101 - the contract says it is there
    return found


def _minute(text: str) -> str:
    return f"{_time(text):%Y-%m-%d %H:%M} UTC"
