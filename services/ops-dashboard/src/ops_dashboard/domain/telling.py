"""Events in words, for timelines; and addresses from events, which may be anything, made safe to press."""

import re
from typing import Final

_TITLES: Final = {
    "pipeline.invoice.created.v1": ("Issued in Pipeline", "note"),
    "pipeline.invoice.updated.v1": ("Changed in Pipeline", "note"),
    "pipeline.invoice.voided.v1": ("Cancelled in Pipeline", "note"),
    "pipeline.invoice.synced.v1": ("In Xero", "good"),
    "pipeline.invoice.sync_failed.v1": ("Not in Xero", "bad"),
    "pipeline.invoice.out_of_sync.v1": ("Out of sync", "warn"),
    "pipeline.invoice.sync_resumed.v1": ("In step again", "good"),
    "pipeline.payment.recorded.v1": ("Paid", "good"),
    "pipeline.payment.reversed.v1": ("Payment removed", "warn"),
    "pipeline.xero_invoice.observed.v1": ("Read from Xero", "note"),
    "pipeline.customer.created.v1": ("Customer added", "note"),
    "pipeline.customer.updated.v1": ("Customer changed", "note"),
    "pipeline.customer.contact_mapped.v1": ("Customer linked to a contact", "good"),
    "pipeline.connection.status_changed.v1": ("Connection", "note"),
    "pipeline.account.reconciled.v1": ("Books compared", "note"),
}
_XERO: Final = re.compile(r"https://([a-z0-9-]+\.)*xero\.com([/?#][^\s\\]*)?", re.IGNORECASE)
"""Nothing before or behind the host: what programs take for a part of it, browsers may take for its end."""


def title_of(type_: str) -> tuple[str, str]:
    """What an event is called, and its tone; one that is newer than this list goes by its own name."""
    return _TITLES.get(type_, (type_, "note"))


def safe_link(address: str | None) -> str | None:
    """An address that may be pressed: of Xero, by https. What else an event names is text and no link."""
    return address if address and _XERO.fullmatch(address) else None


def by_line(
    differences: list[dict[str, str | None]],
) -> list[tuple[str, list[dict[str, str | None]]]]:
    """Differences grouped as a bookkeeper reads them: the invoice itself first, then line by line."""
    groups: dict[str, list[dict[str, str | None]]] = {}
    for each in differences:
        field = each.get("field") or "?"
        line, bracket, rest = field.partition("]")
        if field.startswith("lines[") and bracket:
            name = f"Line {line.removeprefix('lines[')}"
            shown = rest.removeprefix(".") or "the whole line"
        else:
            name, shown = "The invoice", field
        groups.setdefault(name, []).append({**each, "field": shown.replace("_", " ")})
    return sorted(groups.items(), key=lambda group: group[0] != "The invoice")
