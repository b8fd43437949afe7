"""The checklist of docs/security/lines.md: each line with the tests that show it."""

import re
from collections import defaultdict
from dataclasses import dataclass

from pipeline_local_stack.paths import ROOT

PAGE = ROOT / "docs" / "security" / "lines.md"
_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the checklist."""

    number: int
    what: str
    tests: tuple[str, ...]
    """As `file::name`."""


def read_lines() -> list[Line]:
    """The page's lines, in its order."""
    return [
        Line(int(number), what, tuple(_TEST.findall(shown)))
        for number, what, shown in _ROW.findall(PAGE.read_text("utf-8"))
    ]


def lines_by_test() -> dict[str, list[int]]:
    """For each test the lines that it shows."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in read_lines():
        for test in line.tests:
            found[test].append(line.number)
    return found
