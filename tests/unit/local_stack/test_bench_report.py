import json
from io import StringIO

from rich.console import Console

from pipeline_local_stack.bench.machine import Machine, commit_of, cpu_model, fsync_ms
from pipeline_local_stack.bench.report import Cost, Figure, Reference, Report
from pipeline_local_stack.bench.run import doubled_numbers, keep_going
from pipeline_local_stack.bench.statistics import Measured
from pipeline_local_stack.books import XeroInvoice

RATE = Figure(
    "webhook_ack_rate", "/s", Measured(14_357.123456, 14_000, 15_000),
    Reference("one INSERT each", Measured(3_500, 3_400, 3_600)),
    Reference("nothing stored", Measured(20_000, 19_000, 21_000)),
)  # fmt: skip


def test_a_figure_is_told_with_its_baseline_its_ratio_and_its_noise():
    assert RATE.as_json() == {
        "name": "webhook_ack_rate",
        "value": 14357,
        "unit": "/s",
        "baseline": "one INSERT each",
        "baseline_value": 3500,
        "ratio": 4.1020,
        "ceiling": "nothing stored",
        "ceiling_value": 20000,
        "of_ceiling": 0.71786,
        "low": 14000,
        "high": 15000,
        "baseline_low": 3400,
        "baseline_high": 3600,
        "ceiling_low": 19000,
        "ceiling_high": 21000,
    }


def test_a_baseline_of_zero_has_no_ratio():
    none = Figure("x", "ms", Measured(1, 1, 1), Reference("nothing", Measured(0, 0, 0)))
    assert none.ratio is none.of_ceiling is None
    assert none.as_json()["ratio"] is None


def test_a_baseline_that_cannot_be_beaten_is_the_ceiling_too():
    figure = Figure("x", "/s", Measured(1, 1, 1), Reference("the limit", Measured(2, 2, 2)))
    assert figure.of_ceiling == figure.ratio == 0.5
    assert figure.as_json()["ceiling"] == "the limit"


def test_the_json_is_a_list_and_replaces_an_older_one(tmp_path):
    file = tmp_path / "bench.json"
    file.write_text("of an earlier run")
    Report(figures=[RATE, RATE]).write(file)
    assert [row["name"] for row in json.loads(file.read_text())] == ["webhook_ack_rate"] * 2
    assert list(tmp_path.iterdir()) == [file]


def test_the_table_shows_value_baseline_ratio_and_noise():
    printed = StringIO()
    Console(file=printed, width=200).print(Report(figures=[RATE]).table())
    for part in ("webhook_ack_rate", "14,357 /s", "14,000-15,000", "3,500 /s", "4.10", "0.72"):
        assert part in printed.getvalue()


def test_the_processor_is_named_as_the_system_names_it(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t: x\n")
    assert cpu_model(info) == "Some CPU @ 3 GHz"


def test_without_that_list_something_is_named_all_the_same(tmp_path):
    assert cpu_model(tmp_path / "absent")
    info = tmp_path / "cpuinfo"
    info.write_text("Processor\t: none of this name\n")
    assert cpu_model(info)


def test_the_machine_is_described_with_cores_python_kafka_postgres_disk_and_commit(tmp_path):
    machine = Machine(
        "Some CPU", 2, 24.0, "Linux 6", "3.11.7", "Apache Kafka 4.3.1", "18.6", "abc123",
        "2026-11-23 10:00 UTC", 0.1, fsync_ms(tmp_path), 0.4,
    )  # fmt: skip
    text = "\n".join(machine.lines())
    for part in (
        "2 cores",
        "24 GB",
        "Python 3.",
        "Kafka 4.3.1",
        "Postgres 18.6",
        "abc123",
        "fsync",
    ):
        assert part in text
    assert machine.as_json()["fsync_ms"] > 0


def test_a_checkout_without_history_has_no_known_commit(tmp_path):
    assert commit_of(tmp_path) == "unknown"


def test_costs_are_told_by_the_work_and_by_the_resource():
    costs = [Cost("1,000 invoices", {"calls": 20.0, "rows": 12_000}), Cost("rest", {"calls": 0.5})]
    printed = StringIO()
    Console(file=printed, width=200).print(Report(costs=costs).cost_table())
    for part in ("1,000 invoices", "20.00", "12,000", "rest", "0.50"):
        assert part in printed.getvalue()
    assert costs[0].as_json() == {
        "work": "1,000 invoices",
        "per_thousand": {"calls": 20, "rows": 12000},
    }


async def test_what_breaks_one_part_is_told_and_the_others_are_measured():
    report = Report()

    async def breaks():
        raise RuntimeError("no such thing")

    async def measures():
        report.figures.append(RATE)

    await keep_going("first", breaks(), report)
    await keep_going("second", measures(), report)
    assert report.broken == ["first was not measured: RuntimeError: no such thing"]
    assert report.figures == [RATE]


def test_a_number_twice_in_the_books_is_found():
    once = [XeroInvoice(str(n), f"CD-{n}", "AUTHORISED", 1, 0) for n in range(3)]
    assert doubled_numbers(once) == 0
    assert doubled_numbers([*once, once[0]]) == 1
