import json
from io import StringIO

from rich.console import Console

from pipeline_local_stack.bench.machine import cpu_model, describe_machine
from pipeline_local_stack.bench.report import Figure, Report
from pipeline_local_stack.bench.run import doubled_numbers
from pipeline_local_stack.bench.statistics import Measured
from pipeline_local_stack.books import XeroInvoice

RATE = Figure(
    "webhook_ack_rate", "/s", Measured(14_357.123456, 14_000, 15_000), "one INSERT each",
    Measured(3_500, 3_400, 3_600),
)  # fmt: skip


def test_a_figure_is_told_with_its_baseline_its_ratio_and_its_noise():
    assert RATE.as_json() == {
        "name": "webhook_ack_rate",
        "value": 14357,
        "unit": "/s",
        "baseline": "one INSERT each",
        "baseline_value": 3500,
        "ratio": 4.1020,
        "low": 14000,
        "high": 15000,
        "baseline_low": 3400,
        "baseline_high": 3600,
    }


def test_a_baseline_of_zero_has_no_ratio():
    none = Figure("x", "ms", Measured(1, 1, 1), "nothing", Measured(0, 0, 0))
    assert none.ratio is None
    assert none.as_json()["ratio"] is None


def test_the_json_is_a_list_and_replaces_an_older_one(tmp_path):
    file = tmp_path / "bench.json"
    file.write_text("of an earlier run")
    Report(figures=[RATE, RATE]).write(file)
    assert [row["name"] for row in json.loads(file.read_text())] == ["webhook_ack_rate"] * 2
    assert list(tmp_path.iterdir()) == [file]


def test_the_table_shows_value_baseline_ratio_and_noise():
    printed = StringIO()
    Console(file=printed, width=200).print(Report(figures=[RATE]).table())
    for part in ("webhook_ack_rate", "14,357 /s", "14,000-15,000", "3,500 /s", "4.10"):
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


def test_the_machine_is_described_with_cores_python_kafka_and_postgres():
    text = "\n".join(describe_machine("Apache Kafka 4.3.1", "18.6"))
    for part in ("cores", "Python 3.", "Apache Kafka 4.3.1", "Postgres 18.6"):
        assert part in text


def test_a_number_twice_in_the_books_is_found():
    once = [XeroInvoice(str(n), f"CD-{n}", "AUTHORISED", 1, 0) for n in range(3)]
    assert doubled_numbers(once) == 0
    assert doubled_numbers([*once, once[0]]) == 1
