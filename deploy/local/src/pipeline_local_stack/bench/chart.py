"""The figures as a chart: how near each, and what it is held against, comes to the best that the machine can do."""

from collections.abc import Sequence
from html import escape
from typing import Any

_LESS_IS_BETTER = {"ms", "us", "MB"}
_WIDTH, _LABELS, _ROW, _BAR, _TOP, _FOOT = 760, 300, 40, 12, 44, 34
_SCALE = _WIDTH - _LABELS - 60
_STYLE = """
  .ground { fill: #ffffff } .words { fill: #1f2328 } .faint { fill: #59636e } .line { stroke: #d1d9e0 }
  .ours { fill: #0969da } .baseline { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .words { fill: #f0f6fc } .faint { fill: #9198a1 } .line { stroke: #3d444d }
    .ours { fill: #4493f8 } .baseline { fill: #6e7681 }
  }
  text { font: 13px system-ui, sans-serif } .small { font-size: 11px }
"""


def share(value: float, ceiling: float, unit: str) -> float | None:
    """How near a value comes to the best, from 0 to 1; None where one of them is nothing.

    A rate at half the ceiling and a time twice as long as the shortest are both a half.
    """
    if value <= 0 or ceiling <= 0:
        return None
    return min(1.0, ceiling / value if unit in _LESS_IS_BETTER else value / ceiling)


def chart(figures: Sequence[dict[str, Any]]) -> str:
    """An SVG image of the figures (as JSON): for each a bar of ours, and one of the baseline where it is not the ceiling."""
    height = _TOP + _ROW * len(figures) + _FOOT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            'aria-label="Each figure as a share of the best that this machine can do">'
        ),
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        '<text class="words" x="12" y="24">Share of the best that this machine can do</text>',
    ]
    for percent in (0, 25, 50, 75, 100):
        x = _LABELS + _SCALE * percent / 100
        parts.append(f'<path class="line" d="M{x:.1f} {_TOP - 4}V{height - _FOOT}"/>')
        parts.append(_text(x, height - 16, f"{percent} %", "faint small", "middle"))
    for place, figure in enumerate(figures):
        parts += _row(figure, _TOP + _ROW * place)
    parts.append(
        f'<rect class="ours" x="{_WIDTH - 236}" y="14" width="10" height="10"/>'
        + _text(_WIDTH - 220, 24, "this system", "words small")
        + f'<rect class="baseline" x="{_WIDTH - 130}" y="14" width="10" height="10"/>'
        + _text(_WIDTH - 114, 24, "its baseline", "words small")
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(figure: dict[str, Any], top: float) -> list[str]:
    found = [_text(12, top + 19, figure["name"], "words")]
    bars = [("ours", figure["value"])]
    if figure["baseline"] != figure["ceiling"]:
        bars.append(("baseline", figure["baseline_value"]))
    for line, (kind, value) in enumerate(bars):
        part = share(value, figure["ceiling_value"], figure["unit"])
        if part is None:
            continue
        y, width = top + 3 + line * (_BAR + 3), max(1.0, _SCALE * part)
        found.append(
            f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}"/>'
        )
        found.append(_text(_LABELS + width + 5, y + 10, f"{part * 100:.0f} %", "faint small"))
    return found


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
