"""Figures of a report: one ability's curve, its seeds, its forecast, as SVG, PNG and PDF.

Fit for a paper: 4.2 × 3.1 inches, Okabe and Ito's colours (told apart by all common forms of colour
vision) and never colour alone, text as text in SVG and as fonts in PDF, Chinese by the fonts of the
reader (SVG) or of this machine (PNG, PDF). Every figure is drawn from an `AbilityFinding`.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.forecast import Forecast
from emergectl.analysis.numbers import short
from emergectl.analysis.seeds import SeedsFinding
from emergectl.analysis.verdict import Word
from emergectl.reports.curves import CJK_FONTS
from emergectl.reports.panels import printable_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
INK, FAINT, GRID = "#222222", "#767676", "#e3e3e3"
AMBER = "#9a6700"
SIZE_INCHES = (4.2, 3.1)
FIGURE_FORMATS = ("svg", "png", "pdf")
AXIS_LABELS = {
    "tokens": "training tokens",
    "flops": "training FLOPs",
    "loss": "loss (better to the right)",
    "step": "training step",
}
LOOKS: dict[Word, tuple[str, str]] = {
    "emergent": (ORANGE, "D"),
    "metric-made": (PURPLE, "s"),
    "gradual": (GREEN, "^"),
    "smooth": (BLUE, "o"),
    "non-monotone": (AMBER, "v"),
    "undetermined": (FAINT, "o"),
    "flat": (FAINT, "_"),
}
"""colour and marker of each verdict, as the page's style sheet has them; that of `undetermined` is
hollow"""
MOST_TICKS = 6

Drawing = Callable[["Axes"], None]
FigureKind = Literal["curve", "seeds", "forecast"]


def figures_of(ability: AbilityFinding, findings: Findings) -> dict[FigureKind, Drawing]:
    """What can be drawn of an ability: `curve`; `seeds` and `forecast` where they tell.

    Seeds succeed where a level can be stated; and where an ability is flat nothing succeeds or
    could be foretold.
    """
    drawings: dict[FigureKind, Drawing] = {}
    label, success = AXIS_LABELS.get(findings.axis, findings.over), ability.success
    alpha = findings.alpha
    if len(ability.measured) > 1:
        drawings["curve"] = lambda axes: _draw_curve(axes, ability, label, alpha)
    moves = ability.verdict != "flat"
    if moves and success is not None and success.level is not None:
        drawings["seeds"] = lambda axes: _draw_seeds(axes, ability, success, label)
    if moves and _told_ahead(ability, alpha):
        drawings["forecast"] = lambda axes: _draw_forecast(axes, ability, label, alpha)
    return drawings


def draw_figure(drawing: Drawing, format_: str, size: tuple[float, float] = SIZE_INCHES) -> bytes:
    """A figure as the bytes of an SVG, PNG (200 dpi) or PDF file. size: in inches."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(figure_style()), warnings.catch_warnings():
        # Without a font for a script matplotlib draws boxes and warns of every one of them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        drawing(figure.subplots())
        return save(figure, format_)


def save(figure: Figure, format_: str) -> bytes:
    """A matplotlib figure's bytes; the same figure gives the same bytes."""
    content = io.BytesIO()
    unstamped = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    figure.savefig(content, format=format_, dpi=200, metadata=unstamped[format_])
    return content.getvalue()


def unreadable_here(texts: list[str]) -> str:
    """The characters of texts that no font of this machine has: PNG and PDF show boxes there."""
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties, findfont, get_font

    with rc_context(figure_style()):
        from matplotlib import rcParams

        families = rcParams["font.family"]
        maps = [get_font(findfont(FontProperties(family=f))).get_charmap() for f in families]
    every = sorted({c for text in texts for c in printable_line(text)})
    return "".join(c for c in every if not any(ord(c) in known for known in maps))


def figure_style() -> dict[str, Any]:
    """matplotlib's settings for all figures of a report."""
    from matplotlib import font_manager

    # It tells on stderr of every font that has no bold face.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = set(font_manager.get_font_names())
    return {
        "font.family": ["DejaVu Sans", *(f for f in CJK_FONTS if f in installed)],
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "emergectl",
        "pdf.fonttype": 42,
        "text.parse_math": False,  # a title may hold a dollar sign
        "text.color": INK,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": GRID,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }


def _draw_curve(axes: Axes, ability: AbilityFinding, label: str, alpha: float) -> None:
    """Runs as points, their mean, a fitted curve, what needs no ability, onset, and the rise with
    its interval."""
    rungs = ability.measured
    drawn = as_drawn(ability.axis)
    color, _ = LOOKS[ability.verdict]
    if ability.break_ is not None and ability.has_rise(alpha):
        at = ability.break_.position
        low, high = sorted((drawn(at.low), drawn(at.high)))
        axes.axvspan(low, high, color=color, alpha=0.16, linewidth=0, label="half of the rise, 95%")
        axes.axvline(drawn(at.value), color=color, linewidth=1.3, linestyle=(0, (5, 2)))
    fit = ability.fit
    if fit is not None:
        xs = [drawn(scale) for scale in fit.scales]
        axes.plot(xs, fit.values, color=BLUE, linewidth=1.6, label="fitted curve")
    points = [(drawn(rung.scale), seed) for rung in rungs for seed in rung.seeds]
    xs, ys = [x for x, _ in points], [seed.value for _, seed in points]
    if any(len(rung.seeds) > 1 for rung in rungs):
        axes.plot(xs, ys, "o", color=FAINT, markersize=3.2, alpha=0.5, label="runs", mew=0)
        means = [rung.value for rung in rungs]
        at_rungs = [drawn(rung.scale) for rung in rungs]
        axes.plot(at_rungs, means, "D", color=INK, markersize=4.2, label="their mean", mew=0)
    else:
        for x, seed in points if ability.what.quantity == "share" else ():
            low, high = _binomial_interval(seed.value, seed.items)
            axes.plot([x, x], [low, high], color=INK, linewidth=0.9)
        axes.plot(xs, ys, "o", color=INK, markersize=4, label="measured", mew=0)
    _draw_levels(axes, ability)
    _scale_values(axes, ability, ys)
    scale_axis(axes, ability.axis, label, xs)
    _draw_onset(axes, ability)
    axes.set_ylabel(_heading(ability))
    axes.figure.legend(loc="outside lower center", ncols=3, handlelength=1.4)


def _draw_onset(axes: Axes, ability: AbilityFinding) -> None:
    """A bracket at the lower edge: from the last scale at chance to the first that stays above."""
    low, high = ability.onset.last_at_chance, ability.onset.first_above
    if low is None or high is None or ability.verdict == "flat":
        return
    drawn = as_drawn(ability.axis)
    across = axes.get_xaxis_transform()
    axes.plot(
        [drawn(low), drawn(high)],
        [0.03, 0.03],
        color=INK,
        linewidth=1.4,
        marker="|",
        markersize=7,
        transform=across,
        label="onset",
        zorder=4,
    )


def _draw_seeds(axes: Axes, ability: AbilityFinding, success: SeedsFinding, label: str) -> None:
    """The share of seeds that succeed at every scale, with exact 95% intervals."""
    drawn = as_drawn(ability.axis)
    told = [(drawn(each.scale), each.success) for each in success.scales if each.success]
    for x, rung in told:
        axes.plot([x, x], [rung.low, rung.high], color=GREEN, linewidth=1.2)
    xs, shares = [x for x, _ in told], [rung.share for _, rung in told]
    axes.plot(xs, shares, "s-", color=GREEN, markersize=4.5, linewidth=1.2, mew=0)
    axes.set_ylim(-0.04, 1.06)
    scale_axis(axes, ability.axis, label, xs)
    level = f"{success.level.value:.3g} or better" if success.level else "the stated level"
    axes.set_ylabel(f"share of runs at {level}")


def _draw_forecast(axes: Axes, ability: AbilityFinding, label: str, alpha: float) -> None:
    """What each method said from the last cutoff below the break, against what was measured: below
    the cutoff as dots, above it as rings, with the bands as far as a forecast was offered."""
    drawn = as_drawn(ability.axis)
    told = _told_ahead(ability, alpha)
    cutoff = told[0].cutoff
    axes.axvline(drawn(cutoff), color=FAINT, linewidth=1.0, linestyle=(0, (1, 1.5)))
    start = next(rung.value for rung in ability.measured if rung.scale == cutoff)
    looks = ((BLUE, "v"), (PURPLE, "^"), (GREEN, "s"))
    ends = []
    for forecast, (color, mark) in zip(told, looks, strict=False):
        scales = [drawn(scale) for scale in (cutoff, *forecast.scales)]
        lows = [start, *(p.low for p in forecast.predicted)]
        highs = [start, *(p.high for p in forecast.predicted)]
        axes.fill_between(scales, lows, highs, color=color, alpha=0.16, lw=0)
        axes.vlines(scales[1:], lows[1:], highs[1:], color=color, linewidth=1.1, alpha=0.7)
        middle, method = [p.value for p in forecast.predicted], printable_line(forecast.method)
        axes.plot(scales[1:], middle, mark + "-", color=color, markersize=4, label=method)
        ends += [*lows, *highs]
    ys = [rung.value for rung in ability.measured]
    for above, fill, said in ((False, INK, "measured"), (True, "none", "what came")):
        rungs = [rung for rung in ability.measured if (rung.scale > cutoff) == above]
        xs, values = [drawn(rung.scale) for rung in rungs], [rung.value for rung in rungs]
        axes.plot(xs, values, "o", mfc=fill, mec=INK, ms=4.6, mew=1.1, label=said, zorder=5)
    _draw_levels(axes, ability)
    _scale_values(axes, ability, [*ys, *ends])
    scale_axis(axes, ability.axis, label, [drawn(rung.scale) for rung in ability.measured])
    axes.set_ylabel(_heading(ability))
    axes.set_title(f"As foretold from {short(cutoff)}")
    axes.figure.legend(loc="outside lower center", ncols=3, handlelength=1.4)


def _heading(ability: AbilityFinding) -> str:
    """The metric, or the task where the metric has no name of its own."""
    unnamed = ability.metric == "value"
    return printable_line(ability.task if unnamed else ability.metric)


def _told_ahead(ability: AbilityFinding, alpha: float) -> list[Forecast]:
    """Each method's forecast from the cutoff of the claim of surprise; where none is offered there,
    from the last below the rise where one is (else from the middle one of all such)."""
    offered = [f for method in ability.forecast for f in method.forecasts if f.scales]
    cutoffs = sorted({forecast.cutoff for forecast in offered})
    if not cutoffs:
        return []
    found, claim = ability.break_, ability.surprise
    below = [c for c in cutoffs if found is not None and c < found.position.value]
    cutoff = below[-1] if below and ability.has_rise(alpha) else cutoffs[len(cutoffs) // 2]
    if claim is not None and claim.cutoff in cutoffs:
        cutoff = claim.cutoff
    return [forecast for forecast in offered if forecast.cutoff == cutoff]


def _is_rate(ability: AbilityFinding) -> bool:
    return (ability.what.least, ability.what.most) == (0, 1)


def levels_drawn(ability: AbilityFinding) -> dict[str, float]:
    """The lines across a figure: `chance`, `shortcut` where that is better, and `ceiling` where it
    is short of the best that the metric can be."""
    found = {"chance": ability.chance}
    if ability.onset.shortcut:
        found["shortcut"] = ability.shortcut
    best = ability.what.least if ability.what.direction == "down" else ability.what.most
    if ability.ceiling != best:
        found["ceiling"] = ability.ceiling
    return {what: level for what, level in found.items() if level is not None}


_LINES = {"chance": (4, 3), "shortcut": (6, 2, 1, 2), "ceiling": (1, 2)}
_MOST_LETTERS = 34
"""of a shortcut's name that find room in a figure; the caption has all of them"""


def _draw_levels(axes: Axes, ability: AbilityFinding) -> None:
    """What needs no ability and the best that can be reached, each line named over the end that is
    further from the curve; chance under it where a shortcut is better."""
    drawn = levels_drawn(ability)
    under = "shortcut" in drawn and ability.what.direction == "up"
    for what, level in drawn.items():
        below = what == "chance" and under
        axes.axhline(level, color=FAINT, linewidth=1.0, linestyle=(0, _LINES[what]), zorder=1)
        name = printable_line(ability.shortcut_by) if what == "shortcut" else what
        left = abs(ability.values[0] - level) > abs(ability.values[-1] - level)
        axes.annotate(
            what if len(name) > _MOST_LETTERS or not name else name,
            (0.0 if left else 1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(2 if left else -2, -2 if below else 2),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top" if below else "bottom",
            color=FAINT,
            fontsize=8,
        )


def _scale_values(axes: Axes, ability: AbilityFinding, values: list[float]) -> None:
    """Metrics from 0 to 1 whole, unless they stay low; those on a log scale in logs. What needs no
    ability is always inside, and so is the ceiling."""
    shown = [*values, *levels_drawn(ability).values()]
    low, high = min(shown), max(shown)
    if ability.what.scale == "log" and low > 0 and high > 3 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** 0.1, high * (high / low) ** 0.1)
        _round_ticks(axes.yaxis, low, high)
    elif _is_rate(ability) and high > 0.4:
        axes.set_ylim(-0.06, 1.06)
    elif high > low:
        axes.set_ylim(low - 0.14 * (high - low), high + 0.14 * (high - low))


def as_drawn(axis: str) -> Callable[[float], float]:
    """Scales as drawn: a loss is judged by its inverse and drawn as itself."""
    return (lambda scale: 1 / scale) if axis == "loss" else (lambda scale: scale)


def scale_axis(axes: Axes, axis: str, label: str, positions: list[float]) -> None:
    """The axis of scale in logs, from the least position to the greatest, with round ticks."""
    low, high = min(positions), max(positions)
    axes.set_xscale("log")
    margin = (high / low) ** 0.04 if high > low else 1.5
    left, right = low / margin, high * margin
    axes.set_xlim((right, left) if axis == "loss" else (left, right))
    _round_ticks(axes.xaxis, left, right)
    axes.set_xlabel(label)


def _round_ticks(axis: Any, low: float, high: float) -> None:
    """At most six ticks, at 1, 2 and 5 of each power of ten; where there are many, powers alone."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(ticks) <= MOST_TICKS:
            break
    while len(ticks) > MOST_TICKS:
        ticks = ticks[::2]
    if len(ticks) < 2:
        ticks = [low, math.sqrt(low * high), high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([short(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def _binomial_interval(share: float, items: float | None) -> tuple[float, float]:
    """Wilson's 95% interval of a share; the share itself where items are not known."""
    if items is None or not 0 <= share <= 1:
        return share, share
    z = 1.96
    middle = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(share * (1 - share) / items + z * z / (4 * items**2)) / (1 + z * z / items)
    return max(0.0, middle - half), min(1.0, middle + half)
