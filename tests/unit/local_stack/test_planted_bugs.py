"""Planted bugs apply to the code as it stands now, or say so; what provokes them can be repeated."""

import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline_local_stack.chaos.schedule import FAULTS
from pipeline_local_stack.paths import ROOT, StackError
from pipeline_local_stack.planted.bugs import Change, changed, plant, read_bugs
from pipeline_local_stack.planted.hunt import PAGE, RECORD, SEEDS, Catch, keep, steps_of, told
from pipeline_local_stack.planted.page import page

BUGS = {bug.name: bug for bug in read_bugs()}


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_applies_to_the_code_as_it_is(name):
    bug = BUGS[name]
    assert bug.changes
    assert bug.invariants <= set(range(1, 17))
    for file in {change.file for change in bug.changes}:
        sound = (ROOT / file).read_text()
        text = sound
        for change in bug.changes:
            if change.file == file:
                text = changed(text, change, name)
        assert text != sound
        ast.parse(text)


def test_a_bug_that_no_longer_applies_says_so():
    change = Change("libs/a.py", "one", "two")
    for text in ("", "one one"):
        with pytest.raises(StackError, match="stale no longer applies"):
            changed(text, change, "stale")
    assert changed("one", change, "stale") == "two"


def test_a_planted_copy_differs_in_the_bug_alone_and_is_what_services_run(tmp_path: Path):
    bug = BUGS["post_instead_of_put"]
    release = plant(bug, tmp_path)
    for file in sorted(tmp_path.rglob("*.py")):
        original = ROOT / file.relative_to(tmp_path / bug.name)
        is_same = file.read_bytes() == original.read_bytes()
        assert is_same != (str(original.relative_to(ROOT)) in {c.file for c in bug.changes}), file
    paths = release.environment["PYTHONPATH"].split(":")
    assert str(tmp_path / bug.name / "services" / "invoice-sync" / "src") in paths
    plant(bug, tmp_path)  # over what an earlier hunt left


@pytest.mark.parametrize("name", BUGS)
def test_what_provokes_a_bug_exists_and_is_the_same_for_the_same_seed(name):
    steps = steps_of(BUGS[name], 7)
    assert steps == steps_of(BUGS[name], 7)
    assert {step.fault for step in steps} <= set(FAULTS)
    assert not steps or steps != steps_of(BUGS[name], 8)


def test_the_record_keeps_one_entry_for_each_bug(tmp_path: Path):
    file = tmp_path / "deep" / "record.json"
    keep(Catch("b", [1], None), file)
    keep(Catch("a", [2], 0), file)
    keep(Catch("b", [1], 3, [1, 2], "invariant 1: lost", 9.5), file)
    record = json.loads(file.read_text())
    assert list(record) == ["a", "b"]
    assert record["b"]["seed"] == 3
    bug = BUGS["post_instead_of_put"]
    assert "NOT FOUND" in told(bug, Catch("x", [1], None))
    assert "found by seed 3" in told(bug, Catch("x", [1], 3))


def test_the_page_tells_what_was_found_what_was_not_and_what_nobody_looked_for():
    bugs = [BUGS["post_instead_of_put"], BUGS["secret_printed"], BUGS["key_reused"]]
    record = {
        bugs[0].name: asdict(Catch("", [2], 3, [2, 11], "invariant 2: a | b", 61.2, "then, there")),
        bugs[1].name: asdict(Catch("", [12], None, seconds=900)),
    }
    told = page(bugs, record, 50)
    assert "**1 of 3 found.**" in told
    assert "| 2 | 3 | 2, 11 | 61 | invariant 2: a \\| b |" in told
    assert "| 12 | not found |  | 900 |  |" in told
    assert "not looked for" in told
    assert "- then, there\n" in told


def test_the_page_is_that_of_the_record():
    record = json.loads(RECORD.read_text())
    assert set(record) <= set(BUGS)
    assert PAGE.read_text() == page(list(BUGS.values()), record, SEEDS)
