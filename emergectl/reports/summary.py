"""The first figure of a report: every ability in one row, over one axis.

A row shows where on the ladder it was measured, between which scales it leaves chance, and where
half of its rise lies, with its interval, in the colour and with the marker of its verdict; the word
itself stands beside it. Of many abilities the first rows are drawn, by verdict, and how many are
left away is said. Names stand beside their rows where there is room, else (on a phone, in one
column of a paper) above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.reports.figures import (
    AXIS_LABELS,
    FAINT,
    GRID,
    INK,
    LOOKS,
    Drawing,
    as_drawn,
    scale_axis,
)
from emergectl.reports.panels import printable_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 60
WIDE, NARROW = 7.2, 3.4
"""inches"""
MOST_LETTERS = {WIDE: 34, NARROW: 44}
BRACKET = 0.2
"""half of a bracket's height, in rows"""


def summary_size(abilities: int, width: float) -> tuple[float, float]:
    """Inches of the figure of so many abilities."""
    rows = min(abilities, MOST_ROWS)
    return width, 0.75 + rows * (0.21 if width == WIDE else 0.34)


def draw_summary(findings: Findings, order: Sequence[int], width: float) -> Drawing:
    """The figure's drawing: order, of all abilities; those beyond `MOST_ROWS` are left away."""
    shown = [findings.abilities[index] for index in order[:MOST_ROWS]]
    return lambda axes: _draw(axes, shown, findings, width)


def _draw(axes: Axes, shown: list[AbilityFinding], findings: Findings, width: float) -> None:
    drawn = as_drawn(findings.axis)
    names_beside = width == WIDE
    scales = [drawn(scale) for ability in shown for scale in ability.scales]
    scale_axis(axes, findings.axis, AXIS_LABELS.get(findings.axis, findings.over), scales)
    for row, ability in enumerate(shown):
        _draw_row(axes, row, ability, findings.alpha)
        name = _cut(printable_line(ability.name), MOST_LETTERS[width])
        color, _ = LOOKS[ability.verdict]
        beside: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
        }
        if names_beside:
            axes.annotate(name, (0, row), (-6, 0), ha="right", va="center", fontsize=8, **beside)
            axes.annotate(
                ability.verdict, (1, row), (18, 0), ha="left", va="center", fontsize=8, **beside
            ).set_color(color)
            _marker(axes, 1, row, ability, offset=9)
        else:
            axes.annotate(name, (0, row), (0, 4), ha="left", va="bottom", fontsize=7.5, **beside)
            axes.annotate(
                ability.verdict, (1, row), (0, 4), ha="right", va="bottom", fontsize=7.5, **beside
            ).set_color(color)
    axes.set_ylim(len(shown) - 0.4, -0.6 if names_beside else -0.85)
    axes.set_yticks([])
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _draw_row(axes: Axes, row: int, ability: AbilityFinding, alpha: float) -> None:
    drawn = as_drawn(ability.axis)
    color, mark = LOOKS[ability.verdict]
    ends = [drawn(ability.scales[0]), drawn(ability.scales[-1])]
    axes.plot(ends, [row, row], color=GRID, linewidth=1.2, zorder=1)
    rungs = [drawn(scale) for scale in ability.scales]
    axes.plot(rungs, [row] * len(rungs), "|", color=FAINT, markersize=3, mew=0.7, zorder=1)
    low, high = ability.onset.last_at_chance, ability.onset.first_above
    if low is not None and high is not None and ability.verdict != "flat":
        xs = [drawn(low), drawn(low), drawn(high), drawn(high)]
        down = row + BRACKET
        axes.plot(xs, [row, down, down, row], color=INK, linewidth=1.0, zorder=2)
    if ability.break_ is None or not ability.has_rise(alpha):
        return
    at = ability.break_.position
    axes.plot(
        [drawn(at.low), drawn(at.high)],
        [row, row],
        color=color,
        linewidth=4.5,
        alpha=0.4,
        solid_capstyle="butt",
        zorder=3,
    )
    axes.plot([drawn(at.value)], [row], mark, color=color, markersize=6, zorder=4, **_face(ability))


def _marker(axes: Axes, x: float, row: int, ability: AbilityFinding, *, offset: float) -> None:
    """The verdict's marker beside its word, right of the axes."""
    from matplotlib.transforms import ScaledTranslation

    color, mark = LOOKS[ability.verdict]
    figure = axes.figure
    moved = axes.get_yaxis_transform() + ScaledTranslation(offset / 72, 0, figure.dpi_scale_trans)
    look: dict[str, Any] = {"color": color, "markersize": 5.5, **_face(ability)}
    axes.plot([x], [row], mark, transform=moved, clip_on=False, **look)


def _face(ability: AbilityFinding) -> dict[str, Any]:
    return {"mfc": "none"} if ability.verdict == "undetermined" else {}


def _cut(name: str, letters: int) -> str:
    """A name that fits: its middle gives way, for tasks and metrics differ at both ends."""
    if len(name) <= letters:
        return name
    half = (letters - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
