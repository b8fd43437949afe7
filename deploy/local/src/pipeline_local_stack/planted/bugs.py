"""Known bugs as exact replacements of text in the services' source, and copies of the source that have one.

Text survives lines that move. Where it changes, the bug no longer applies, and that is said instead of passed over.
"""

import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_local_stack.paths import LOCAL, ROOT, StackError
from pipeline_local_stack.releases import Release

INVOICES = 72
"""Published in a run, unless the bug shows only among more."""
FOLDER = Path(__file__).parent / "bugs"
_SOURCES = ("libs", "services")


@dataclass(frozen=True, slots=True)
class Change:
    """One text of one file, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that provokes the bug: which, from when, for how long, and how bad; the seed varies when and whom."""

    kind: str
    target: str
    at: float
    lasts: float = 1.0
    amount: float = 1.0
    chance: float | None = None
    """Which replica or account, as in `Step`; None leaves it to the seed."""


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug that somebody could have made.

    Attributes:
        name: Of its file.
        about: What was done wrong, in a sentence.
        invariants: Those by one of which it must be found.
        changes: What makes it.
        strikes: What provokes it; without any, the work itself does.
        invoices: How many are published.
        readers: How many others read through the gateway meanwhile.
    """

    name: str
    about: str
    invariants: frozenset[int]
    changes: Sequence[Change]
    strikes: Sequence[Strike]
    readers: int = 0
    invoices: int = INVOICES


def read_bugs(folder: Path = FOLDER) -> list[Bug]:
    """Every bug there is, by name."""
    return [_read(file) for file in sorted(folder.glob("*.toml"))]


def _read(file: Path) -> Bug:
    row = tomllib.loads(file.read_text())
    return Bug(
        name=file.stem,
        about=row["about"],
        invariants=frozenset(row["invariants"]),
        changes=[Change(**each) for each in row["change"]],
        strikes=[Strike(**each) for each in row.get("strike", ())],
        readers=row.get("readers", 0),
        invoices=row.get("invoices", INVOICES),
    )


def changed(text: str, change: Change, name: str) -> str:
    """A file's text with the bug in it.

    Raises:
        StackError: The text to be replaced is not there exactly once: the bug has to be written anew.
    """
    times = text.count(change.old)
    if times != 1:
        raise StackError(
            f"The planted bug {name} no longer applies: {change.file} holds its text {times} times instead of once."
            f" Write planted/bugs/{name}.toml anew for what stands there now."
        )
    return text.replace(change.old, change.new)


def plant(bug: Bug, root: Path = LOCAL / "planted") -> Release:
    """A copy of the services and libraries of this checkout that has the bug.

    Raises:
        StackError: The bug no longer applies.
    """
    folder = root / bug.name
    shutil.rmtree(folder, ignore_errors=True)
    for name in _SOURCES:
        for source in sorted((ROOT / name).glob("*/src")):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / source.relative_to(ROOT), ignore=ignored)
    for change in bug.changes:
        file = folder / change.file
        file.write_text(changed(file.read_text(), change, bug.name))
    return Release(folder)
