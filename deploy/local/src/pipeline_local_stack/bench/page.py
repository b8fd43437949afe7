"""A run as a page: the machine, the figures with what they are held against, the chart, and what a thousand cost."""

from pathlib import Path
from typing import Any

from pipeline_local_stack.bench.chart import chart
from pipeline_local_stack.bench.report import readable, resources

_HEAD = """# Benchmarks

One run of `make bench`, which writes this page, its chart and the same as JSON. Each figure stands beside a baseline and beside the
ceiling of the machine, all measured in the same run: figures of another machine are others, the ratios hold roughly. A ratio is
the figure divided by what it is held against; of milliseconds, microseconds and megabytes less is better.
"""
_SOAK_HEAD = """# Soak

One run of `make soak`, which writes this page and the same as JSON. The system works under a constant load and is looked at every five
seconds. Grown is by how much the line nearest to the samples rises from the end of the warm-up (a third of the time) to the
end; memory is what a process shares with no other. What is kept for good may grow; what work only passes through may not.
"""


def page(run: dict[str, Any], image: str) -> str:
    """The page of a run, given as JSON; `image` is where its chart lies, as seen from the page."""
    parts = [_HEAD, _machine(run), f"![Share of the best that this machine can do]({image})\n"]
    if run["figures"]:
        parts += [figures_table(run["figures"]), _compared(run["figures"])]
    if run["costs"]:
        parts += ["## What it costs\n", cost_table(run["costs"])]
    for title, lines in (("Remarks", run["remarks"]), ("Broken promises", run["broken"])):
        if lines:
            parts.append(f"## {title}\n\n" + "".join(f"- {_cell(line)}\n" for line in lines))
    return "\n".join(parts)


def soak_page(run: dict[str, Any]) -> str:
    """The page of a soak, given as JSON."""
    load = f"{run['invoices_a_second']} invoices and up to {run['payments_a_second']} payments a second"
    rows = [
        f"| {each['name']} | {readable(each['mean'])} {each['unit']} | {readable(each['highest'])} "
        f"| {readable(each['grown'])} | {readable(each['tolerance'])} | {each['verdict']} |"
        for each in run["series"]
    ]
    head = (
        "| | mean | highest | grown | may grow by | verdict |",
        "|---|--:|--:|--:|--:|---|",
    )
    return "\n".join(
        (
            _SOAK_HEAD, _machine(run | {"seconds": round(run["minutes"] * 60)}),
            f"{run['minutes']:g} minutes of {load}.\n", *head, *rows,
            *(f"\nBroken: {_cell(line)}" for line in run["broken"]), "",
        )
    )  # fmt: skip


def figures_table(figures: list[dict[str, Any]]) -> str:
    """The figures as a table in Markdown."""
    head = (
        "| figure | measured | lowest to highest | baseline | ratio | ceiling | of it |",
        "|---|--:|--:|--:|--:|--:|--:|",
    )
    rows = [
        f"| `{each['name']}` | {readable(each['value'])} {each['unit']} "
        f"| {readable(each['low'])} to {readable(each['high'])} "
        f"| {readable(each['baseline_value'])} | {_ratio(each['ratio'])} "
        f"| {readable(each['ceiling_value'])} | {_ratio(each['of_ceiling'])} |"
        for each in figures
    ]
    return "\n".join((*head, *rows)) + "\n"


def cost_table(costs: list[dict[str, Any]]) -> str:
    """What a thousand of each cost, as a table in Markdown."""
    head = (
        "| | " + " | ".join(cost["work"] for cost in costs) + " |",
        "|---|" + "--:|" * len(costs),
    )
    rows = []
    for name in resources(costs):
        amounts = [cost["per_thousand"].get(name) for cost in costs]
        shown = " | ".join("-" if each is None else readable(each) for each in amounts)
        rows.append(f"| {name} | {shown} |")
    return "\n".join((*head, *rows)) + "\n"


def write_page(run: dict[str, Any], base: Path) -> Path:
    """Write `<base>.md` and its chart `<base>.svg`; the page's path."""
    image = base.with_suffix(".svg")
    image.write_text(chart(run["figures"]), "utf-8")
    written = base.with_suffix(".md")
    written.write_text(page(run, image.name), "utf-8")
    return written


def _machine(run: dict[str, Any]) -> str:
    machine = run["machine"]
    rows = {
        "processor": f"{machine['cpu']}, {machine['cores']} cores for everything: load, services, servers, simulator",
        "memory": f"{machine['memory_gb']:.0f} GB",
        "system": f"{machine['kernel']}, Python {machine['python']}, {machine['kafka']}, Postgres {machine['postgres']}",
        "disk": f"one fsync of 8 KB {machine['fsync_ms']:.2f} ms, one commit of Postgres {machine['commit_ms']:.2f} ms",
        "run": f"{machine['measured_at']}, commit `{machine['commit']}`, {run['seconds']} s; "
        f"load before the start {machine['load']:.2f}",
    }
    return "| | |\n|---|---|\n" + "".join(f"| {n} | {_cell(what)} |\n" for n, what in rows.items())


def _compared(figures: list[dict[str, Any]]) -> str:
    head = "## What each is held against\n\n| figure | baseline | ceiling |\n|---|---|---|"
    rows = [
        f"| `{each['name']}` | {_cell(each['baseline'])} | {_ceiling(each)} |" for each in figures
    ]
    return "\n".join((head, *rows)) + "\n"


def _ceiling(figure: dict[str, Any]) -> str:
    same = figure["ceiling"] == figure["baseline"]
    return "the baseline is the ceiling" if same else _cell(figure["ceiling"])


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")
