"""What a run found: each figure beside its baseline and the ceiling of this machine, and what each piece of work costs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline_local_stack.bench.statistics import Measured

_PRECISE_BELOW = 100


@dataclass(frozen=True, slots=True)
class Reference:
    """What a figure is held against, measured in the same run."""

    what: str
    """In a few words."""
    measured: Measured


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and what it is compared with."""

    name: str
    unit: str
    measured: Measured
    baseline: Reference
    ceiling: Reference | None = None
    """The best that this machine can do; None where the baseline is that already."""

    @property
    def ratio(self) -> float | None:
        """The figure divided by its baseline; None when the baseline is zero."""
        return _ratio(self.measured, self.baseline)

    @property
    def of_ceiling(self) -> float | None:
        """The figure divided by its ceiling; None when the ceiling is zero."""
        return _ratio(self.measured, self.ceiling or self.baseline)

    def as_json(self) -> dict[str, Any]:
        """The figure as programs read it; `low` and `high` are the noise between rounds."""
        ceiling = self.ceiling or self.baseline
        return {
            "name": self.name,
            "value": _significant(self.measured.value),
            "unit": self.unit,
            "baseline": self.baseline.what,
            "baseline_value": _significant(self.baseline.measured.value),
            "ratio": _significant(self.ratio),
            "ceiling": ceiling.what,
            "ceiling_value": _significant(ceiling.measured.value),
            "of_ceiling": _significant(self.of_ceiling),
            "low": _significant(self.measured.low),
            "high": _significant(self.measured.high),
            "baseline_low": _significant(self.baseline.measured.low),
            "baseline_high": _significant(self.baseline.measured.high),
            "ceiling_low": _significant(ceiling.measured.low),
            "ceiling_high": _significant(ceiling.measured.high),
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a thousand of something took, resource by resource."""

    work: str
    amounts: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The cost as programs read it."""
        return {
            "work": self.work,
            "per_thousand": {name: _significant(each) for name, each in self.amounts.items()},
        }


@dataclass(slots=True)
class Report:
    """The figures of a run, and the promises it saw broken."""

    figures: list[Figure] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What went wrong with a baseline: its figure flatters or slanders nobody unseen."""

    def table(self) -> Table:
        """The figures as a table."""
        table = Table(title="Measured, each beside its baseline in the same run")
        for column in ("figure", "baseline"):
            table.add_column(column)
            table.add_column("value", justify="right")
            table.add_column("lowest-highest", justify="right")
        table.add_column("ratio", justify="right")
        table.add_column("of the ceiling", justify="right")
        for figure in self.figures:
            table.add_row(
                figure.name,
                f"{readable(figure.measured.value)} {figure.unit}",
                _noise(figure.measured),
                figure.baseline.what,
                f"{readable(figure.baseline.measured.value)} {figure.unit}",
                _noise(figure.baseline.measured),
                "-" if figure.ratio is None else f"{figure.ratio:.2f}",
                "-" if figure.of_ceiling is None else f"{figure.of_ceiling:.2f}",
            )
        return table

    def cost_table(self) -> Table:
        """What a thousand of each took, as a table."""
        table = Table(title="What a thousand cost")
        table.add_column("")
        for cost in self.costs:
            table.add_column(cost.work, justify="right")
        for name in resources([cost.as_json() for cost in self.costs]):
            amounts = [cost.amounts.get(name) for cost in self.costs]
            table.add_row(name, *("-" if each is None else readable(each) for each in amounts))
        return table

    def write(self, path: Path) -> None:
        """Write the figures as a JSON list; readers see the old file or the new one, never half of one."""
        write_json(path, [figure.as_json() for figure in self.figures])


def resources(costs: list[dict[str, Any]]) -> list[str]:
    """Every resource that any of the costs (as JSON) names, once, in the order of their first naming."""
    return list(dict.fromkeys(name for cost in costs for name in cost["per_thousand"]))


def write_json(path: Path, content: object) -> None:
    """Put JSON into a file; readers see the old file or the new one, never half of one."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(content, indent=2) + "\n")
    fresh.replace(path)


def readable(value: float) -> str:
    """A number with as many decimals as its size deserves."""
    return f"{value:,.0f}" if abs(value) >= _PRECISE_BELOW else f"{value:.2f}"


def _noise(measured: Measured) -> str:
    return f"{readable(measured.low)}-{readable(measured.high)}"


def _ratio(measured: Measured, reference: Reference) -> float | None:
    return measured.value / reference.measured.value if reference.measured.value else None


def _significant(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
