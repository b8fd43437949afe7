"""What people left in Xero with their own hands, and what of it may still be written over: nothing, unless they chose so."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from two_books import Content


@dataclass
class Hand:
    """One document of Xero's, in the fields that Pipeline's newest version does not hold."""

    left: Content = field(default_factory=dict)
    """The fields as somebody left them."""
    typed: Counter[Any] = field(default_factory=Counter)
    """The lines somebody typed that are still there; of merged lines only these are nobody else's."""
    given_up: Content = field(default_factory=dict)
    """The fields a person saw and chose Pipeline's version over."""
    accepted: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """The fields a person chose to keep, as they were, with what Pipeline wanted then."""

    def wrote(self, before: Content, now: Content) -> None:
        """Somebody edited the document."""
        for name, value in now.items():
            if before.get(name) != value:
                self.left[name] = value
        lines = before.get("lines", Counter())
        self.typed = (self.typed & now["lines"]) + (now["lines"] - lines)

    def agrees_with(self, ours: Content) -> None:
        """What Pipeline's newest version holds too is no edit any more that could get lost."""
        for name in [each for each in self.left if self.left[each] == ours[each]]:
            del self.left[name]
        self.typed -= ours["lines"]

    def overwritten(self, now: Content, ours: Content, *, merges: bool) -> list[str]:
        """The fields in which somebody's work is gone that nobody gave up."""
        lost: list[str] = []
        for name, left in list(self.left.items()):
            if name == "lines" and merges and not self.typed - now["lines"]:
                continue
            if now[name] == left:
                continue
            if self._may_go(name, left, ours):
                del self.left[name]
            else:
                lost.append(f"{name}: {left!r} by {now[name]!r}")
        return lost

    def _may_go(self, name: str, left: Any, ours: Content) -> bool:
        if name in self.given_up and self.given_up[name] == left:
            return True
        kept, wanted_then = self.accepted.get(name, (None, None))
        # Both agreed on what was kept: from then on it changes like any other field, when Pipeline changes it.
        return name in self.accepted and kept == left and wanted_then != ours[name]


_NAMES = {
    "invoice_number": "number",
    "reference": "reference",
    "due_date": "due_date",
    "status": "live",
}


def name_of(path: str) -> str:
    """The model's field of a difference's path; empty where the model does not look at it."""
    return "lines" if path.startswith("line ") else _NAMES.get(path, "")
