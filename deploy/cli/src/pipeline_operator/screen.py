"""What the operator sees: tables and sentences, or JSON for programs. Whatever others sent is shown, never obeyed."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pipeline_operator.failure import Failure, Status

_PIPED_WIDTH = 200
_DAY_SECONDS = 24 * 60 * 60


class Screen:
    """Results to standard output, all else to standard error. `as_json`: one document instead of words."""

    def __init__(self, *, as_json: bool = False) -> None:
        """Colours follow NO_COLOR and whether this is a terminal, as rich decides."""
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        self.as_json = as_json
        self._out = Console(width=width, highlight=False, markup=False, emoji=False)
        self._err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def document(self, found: Any) -> None:
        """Print the result for programs."""
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=True, default=str) + "\n")

    def say(self, sentence: str, style: str = "") -> None:
        """Print one line of the result."""
        self._out.print(Text(clean(sentence), style), soft_wrap=True)

    def note(self, sentence: str) -> None:
        """Say something beside the result."""
        self._err.print(Text(clean(sentence), "dim"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows, or that there are none; nothing is cut off, long cells go on in the next line."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(shown(cell))) for cell in row))
        if table.row_count == 0:
            self.say("None.")
            return
        self._out.print(table)

    def failure(self, failure: Failure) -> None:
        """Say what went wrong and the next step."""
        if self.as_json:
            told = {
                "status": int(failure.status),
                "message": failure.message,
                "hint": failure.hint,
            }
            sys.stderr.write(json.dumps({"error": told}) + "\n")
            return
        self._err.print(Text(clean(failure.message), "bold red"))
        self._err.print(Text(clean(failure.hint)))

    def progress(self) -> Progress:
        """A bar on standard error; on a terminal only."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._err,
            disable=not self._err.is_terminal,
        )

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before what cannot be undone. Raises Failure when the answer is no, or nobody can be asked."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Failure(
                Status.USAGE,
                f"This needs a yes, and there is nobody to ask: {question}",
                "Add --yes if that is what you want.",
            )
        self._err.print(Text(f"{clean(question)} [y/N] "), end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Failure(Status.REFUSED, "Nothing was done.", "Answer y to do it.")


def clean(text: str) -> str:
    """Text that moves no cursor, rings no bell and turns no line around, with what it held made visible."""
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def _visible(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def shown(cell: object) -> str:
    """A cell as text: times without their fractions, nothing as a dash."""
    match cell:
        case None | "":
            return "-"
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return f"{cell.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case _:
            return str(cell)


def moment(text: str | None) -> datetime | None:
    """A time of an answer."""
    return None if text is None else datetime.fromisoformat(text)


def ago(then: datetime | None, now: datetime) -> str:
    """How long ago, in one unit."""
    if then is None:
        return "never"
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((_DAY_SECONDS, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
