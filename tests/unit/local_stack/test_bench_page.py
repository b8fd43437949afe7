"""A run as a page and as a chart: nothing is said that its JSON does not say."""

import json
import xml.etree.ElementTree as ET

import pytest

from pipeline_local_stack.bench.chart import chart, share
from pipeline_local_stack.bench.page import page, write_page
from pipeline_local_stack.bench.report import Cost, Figure, Reference
from pipeline_local_stack.bench.run import RECORD
from pipeline_local_stack.bench.statistics import Measured


def one(value):
    return Measured(value, value, value)


FIGURES = [
    Figure("rate", "/s", one(50), Reference("plain | simple", one(10)), Reference("<raw>", one(100))),
    Figure("late_ms", "ms", one(40), Reference("by hand", one(10))),
    Figure("added_ms", "ms", one(-1), Reference("nothing", one(0))),
]  # fmt: skip
RUN = {
    "machine": {
        "cpu": "Some CPU", "cores": 2, "memory_gb": 24.0, "kernel": "Linux 6", "python": "3.11.7",
        "kafka": "Apache Kafka 4.3.1", "postgres": "18.6", "commit": "abc123",
        "measured_at": "2026-11-23 10:00 UTC", "load": 0.1, "fsync_ms": 0.2, "commit_ms": 0.4,
    },
    "seconds": 500,
    "figures": [figure.as_json() for figure in FIGURES],
    "costs": [Cost("1,000 invoices", {"Xero: calls": 20}).as_json()],
    "remarks": ["the baseline was slow"],
    "broken": ["one was lost"],
}  # fmt: skip


def test_the_page_names_machine_figures_references_costs_and_what_went_wrong():
    text = page(RUN, "bench.svg")
    for part in (
        "Some CPU", "abc123", "Postgres 18.6", "fsync", "(bench.svg)", "the baseline was slow", "one was lost",
        "| `rate` | 50.00 /s | 50.00 to 50.00 | 10.00 | 5.00 | 100 | 0.50 |",
        "| `added_ms` | -1.00 ms | -1.00 to -1.00 | 0.00 | - | 0.00 | - |",
        "| `rate` | plain \\| simple | <raw> |", "| `late_ms` | by hand | the baseline is the ceiling |",
        "| Xero: calls | 20.00 |",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("value", "ceiling", "unit", "expected"),
    [
        (50, 100, "/s", 0.5), (20, 10, "ms", 0.5), (120, 100, "/s", 1), (9, 10, "us", 1),
        (0, 10, "/s", None), (-1, 10, "ms", None), (1, 0, "MB", None),
    ],
)  # fmt: skip
def test_more_of_a_rate_and_less_of_a_time_is_nearer_to_the_best(value, ceiling, unit, expected):
    assert share(value, ceiling, unit) == expected


def test_the_chart_is_an_image_for_light_and_dark_with_a_bar_for_each():
    drawn = ET.fromstring(chart(RUN["figures"]))  # noqa: S314 - of our own making
    bars = [
        each.get("class")
        for each in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if each.get("height") == "12"
    ]
    assert bars == ["ours", "baseline", "ours"]
    words = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"rate", "late_ms", "added_ms", "50 %", "10 %", "25 %"} <= set(words)
    style = drawn.find("{http://www.w3.org/2000/svg}style").text
    assert "prefers-color-scheme: dark" in style


def test_page_and_chart_are_written_side_by_side(tmp_path):
    written = write_page(RUN, tmp_path / "bench")
    assert written.read_text() == page(RUN, "bench.svg")
    assert (tmp_path / "bench.svg").read_text() == chart(RUN["figures"])


def test_the_recorded_page_and_chart_say_what_the_recorded_run_says():
    run = json.loads(RECORD.with_suffix(".json").read_text())
    assert run["broken"] == []
    assert RECORD.with_suffix(".md").read_text() == page(run, RECORD.with_suffix(".svg").name)
    assert RECORD.with_suffix(".svg").read_text() == chart(run["figures"])
