"""What a run found: each figure beside its baseline, as a table for people and as JSON for programs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from pipeline_local_stack.bench.statistics import Measured

_PRECISE_BELOW = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and what it is compared with, both measured in the same run."""

    name: str
    unit: str
    measured: Measured
    baseline: str
    """What the baseline is, in a few words."""
    baseline_measured: Measured

    @property
    def ratio(self) -> float | None:
        """The figure divided by its baseline; None when the baseline is zero."""
        if not self.baseline_measured.value:
            return None
        return self.measured.value / self.baseline_measured.value

    def as_json(self) -> dict[str, object]:
        """The figure as programs read it; `low` and `high` are the noise between rounds."""
        ratio = self.ratio
        return {
            "name": self.name,
            "value": _significant(self.measured.value),
            "unit": self.unit,
            "baseline": self.baseline,
            "baseline_value": _significant(self.baseline_measured.value),
            "ratio": None if ratio is None else _significant(ratio),
            "low": _significant(self.measured.low),
            "high": _significant(self.measured.high),
            "baseline_low": _significant(self.baseline_measured.low),
            "baseline_high": _significant(self.baseline_measured.high),
        }


@dataclass(slots=True)
class Report:
    """The figures of a run, and the promises it saw broken."""

    figures: list[Figure] = field(default_factory=list)
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
        for figure in self.figures:
            ratio = figure.ratio
            table.add_row(
                figure.name,
                f"{readable(figure.measured.value)} {figure.unit}",
                _noise(figure.measured),
                figure.baseline,
                f"{readable(figure.baseline_measured.value)} {figure.unit}",
                _noise(figure.baseline_measured),
                "-" if ratio is None else f"{ratio:.2f}",
            )
        return table

    def write(self, path: Path) -> None:
        """Write the figures as a JSON list; readers see the old file or the new one, never half of one."""
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps([figure.as_json() for figure in self.figures], indent=2))
        fresh.replace(path)


def readable(value: float) -> str:
    """A number with as many decimals as its size deserves."""
    return f"{value:,.0f}" if abs(value) >= _PRECISE_BELOW else f"{value:.2f}"


def _noise(measured: Measured) -> str:
    return f"{readable(measured.low)}-{readable(measured.high)}"


def _significant(value: float) -> float:
    return float(f"{value:.5g}")
