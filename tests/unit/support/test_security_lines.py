"""The page of security lines names tests that there are, for every line."""

import ast
from pathlib import Path

import pytest
from security_lines import Line, lines_by_test, read_lines

from pipeline_local_stack.paths import ROOT

LINES = read_lines()


def names_in(file: Path) -> set[str]:
    """The tests of a file, also those of its classes."""
    tree = ast.parse(file.read_text("utf-8"))
    return {
        each.name
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_it_has_all_thirty_two_lines_once() -> None:
    assert [line.number for line in LINES] == list(range(1, 33))


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line.number))
def test_each_line_is_shown_by_tests_that_there_are(line: Line) -> None:
    assert line.tests, "name a test"
    for test in line.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert name in names_in(ROOT / path), test


def test_a_test_may_show_several_lines() -> None:
    wanted = (
        "tests/unit/connector/test_session_over_https.py::test_over_https_pages_ask_for_https_only"
    )
    assert lines_by_test()[wanted] == [6, 22]
