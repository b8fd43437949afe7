"""What was lived, kept in the documentation: an entry for each campaign, and a row of `simulation.md` for each entry."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline_local_stack.paths import ROOT

FILE = ROOT / "docs" / "reliability" / "campaigns.json"
PAGE = ROOT / "docs" / "reliability" / "simulation.md"
_FIRST, _LAST = "<!-- campaigns -->\n", "<!-- end of campaigns -->\n"
_HEAD = """| began | seeds | commit | Python | Postgres | processes | seconds | broke a promise |
|---|---|---|---|---|--:|--:|---|
"""


@dataclass(slots=True)
class Campaign:
    """Many lives, and what became of them."""

    began: str
    """In UTC, to the second; there is one entry for each beginning."""
    commit: str
    python: str
    postgres: str
    processes: int
    seeds: list[tuple[int, int]] = field(default_factory=list)
    """Stretches that were lived to their end, first and last."""
    seconds: int = 0
    broken: list[int] = field(default_factory=list)
    """Seeds."""

    def add(self, lived: range, broken: Iterable[int], seconds: float) -> None:
        """Some more seeds were lived; `seconds` are those since the beginning."""
        if lived:
            self.seeds = joined([*self.seeds, (lived.start, lived.stop - 1)])
        self.broken = sorted({*self.broken, *broken})
        self.seconds = round(seconds)


def joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same seeds in as few stretches as can be, in order."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def keep(campaign: Campaign, file: Path = FILE, page: Path = PAGE) -> None:
    """Write the campaign's entry, in place of the one that it had, and the page's table anew.

    Called after every portion: whoever kills a campaign loses the portions that were under way, and no more.
    """
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    entries = [each for each in entries if each["began"] != campaign.began]
    entries = sorted([*entries, asdict(campaign)], key=lambda each: each["began"])
    lines = ",\n".join(f"  {json.dumps(each)}" for each in entries)
    _replace(file, f"[\n{lines}\n]\n")
    before, _, rest = page.read_text(encoding="utf-8").partition(_FIRST)
    _, _, after = rest.partition(_LAST)
    _replace(page, f"{before}{_FIRST}{table(entries)}{_LAST}{after}")


def table(entries: Sequence[dict[str, Any]]) -> str:
    """The entries as Markdown."""
    return "\n" + _HEAD + "".join(_row(each) for each in entries) + "\n"


def _row(entry: dict[str, Any]) -> str:
    seeds = ", ".join(f"{first} to {last}" for first, last in entry["seeds"])
    broken = ", ".join(map(str, entry["broken"])) or "none"
    shown = (entry["began"], seeds, entry["commit"], entry["python"], entry["postgres"])
    return f"| {' | '.join(shown)} | {entry['processes']} | {entry['seconds']} | {broken} |\n"


def _replace(file: Path, text: str) -> None:
    """All of it or nothing: whoever is killed in between leaves the file as it was."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
