"""The picture at a run's end: loss and abilities against steps, as a PNG and in the terminal.

Both are drawn from the log of training and the measurements of a run, so that they can be drawn
again at any time. Where an ability appears (by the rule of `appearance.py`) the step is marked
through all panels: what the loss did there is the question that one looks for.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.analysis.metric_order import is_loss
from emergectl.reports.panels import Panels, StepCurve, arrange, printable_line, smoothed
from emergectl.store.atomic import write_bytes
from emergectl.store.measurements import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by all common forms of colour vision; blues are for losses.
TRAINING, VALIDATION = "#56B4E9", "#0072B2"
COLORS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#7f7f7f")
INK, FAINT = "#222222", "#8a8a8a"
# The same, nearly, among a terminal's 256 colours; the last two show on black and on white.
TERMINAL_TRAINING, TERMINAL_VALIDATION = 74, 32
TERMINAL_COLORS = (166, 36, 175, 178, 99, 245)
PLAIN_MARKERS = ("braille", "x", "o", "+", "#", "*")
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)


def draw_curves(
    records: Iterable[Mapping[str, Any]],
    measured: Iterable[Measurement],
    path: Path,
    *,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
) -> None:
    """Draw the picture as a PNG of 1440 pixels width, whole or not at all.

    `records`, `measured`, `labels` and `metrics` as in `panels.arrange`. Raises RequestError where
    there is nothing to draw.
    """
    panels = arrange(records, measured, labels=labels, metrics=metrics)
    content = _drawn(panels, "png", _style(), title)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def svg_curves(
    records: Iterable[Mapping[str, Any]], measured: Iterable[Measurement], *, title: str = ""
) -> bytes:
    """The same picture as SVG, its texts as text; otherwise as `draw_curves`."""
    style = {**_style(), "svg.fonttype": "none", "svg.hashsalt": "emergectl"}
    style |= {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"}
    return _drawn(arrange(records, measured), "svg", style, title)


def _drawn(panels: Panels, format_: str, style: dict[str, Any], title: str) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = bool(panels.losses) + len(panels.groups)
    content = io.BytesIO()
    with rc_context(style), warnings.catch_warnings():
        # Without a font for a script matplotlib draws boxes and warns of every one of them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(9, 1.1 + 2.35 * count), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
        if panels.losses:
            _draw_losses(axes[0], panels)
        for own_axes, group in zip(axes[-len(panels.groups) :], panels.groups, strict=False):
            _draw_group(own_axes, group, panels)
            _mark_steps(axes, own_axes, group)
        _draw_step_axis(axes[-1], panels)
        if title:
            axes[0].set_title(printable_line(title), loc="left", fontweight="bold", pad=10)
        unstamped = {"Software": None} if format_ == "png" else {"Date": None}
        figure.savefig(content, format=format_, metadata=unstamped)
    return content.getvalue()


def _style() -> dict[str, Any]:
    from matplotlib import font_manager

    # It tells on stderr of every font that has no bold face.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = set(font_manager.get_font_names())
    return {
        "font.family": ["DejaVu Sans", *(f for f in CJK_FONTS if f in installed)],
        "font.size": 10,
        "text.parse_math": False,  # a title may hold a dollar sign
        "text.color": INK,
        "axes.titlesize": 13,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "#e6e6e6",
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "lines.solid_capstyle": "round",
    }


def _draw_losses(axes: Axes, panels: Panels) -> None:
    others = iter((VALIDATION, *COLORS))
    for curve in panels.losses:
        if curve.is_training:
            # Every step's loss is noise around the line that one wants to see.
            axes.plot(curve.steps, curve.values, color=TRAINING, linewidth=0.7, alpha=0.5)
            smooth = smoothed(curve.values, log=panels.log_steps)
            axes.plot(curve.steps, smooth, color=TRAINING, linewidth=1.8, label="training")
        else:
            axes.plot(
                curve.steps,
                curve.values,
                color=next(others, FAINT),
                linewidth=1.8,
                label=curve.task,
                **_dots(curve),
            )
    axes.set_ylabel("loss")
    axes.legend(loc="upper right")


def _draw_group(axes: Axes, group: Sequence[StepCurve], panels: Panels) -> None:
    several_chances = len({c.chance for c in group} - {None}) > 1
    for curve, color in zip(group, COLORS, strict=False):
        label = curve.label
        if len(group) > 1 and curve.appears_at is not None:
            label += f", appears at step {curve.appears_at:,}"
        dots = _dots(curve)
        axes.plot(curve.steps, curve.values, color=color, linewidth=2.0, label=label, **dots)
        hue = color if several_chances else FAINT
        if curve.chance is not None:
            _draw_level(axes, curve.chance, "chance", hue)
        if curve.shortcut is not None:
            _draw_level(axes, curve.shortcut[0], "shortcut", color if len(group) > 1 else FAINT)
    if group[0].is_rate:
        axes.set_ylim(-0.04, 1.06)
    if len(group) == 1:
        axes.set_ylabel(group[0].label)
        _name_step(axes, group[0], panels)
    else:
        axes.legend(loc="best")


def _draw_level(axes: Axes, level: float, what: str, color: str) -> None:
    """What needs no ability: `chance` dashed, `shortcut` in dots and dashes."""
    style = (0, (4, 3)) if what == "chance" else (0, (6, 2, 1, 2))
    axes.axhline(level, color=color, linewidth=1.0, linestyle=style, zorder=1)
    axes.annotate(
        what,
        (1.0, level),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        fontsize=9,
    )


def _name_step(axes: Axes, curve: StepCurve, panels: Panels) -> None:
    """`appears at step N` beside the ability's step, on the side where there is room."""
    step = curve.appears_at
    if step is None:
        return
    first, last = (position_on_axis(s, log=panels.log_steps) for s in panels.step_range)
    share = (position_on_axis(step, log=panels.log_steps) - first) / ((last - first) or 1)
    on_the_left = share > 0.6
    axes.annotate(
        f"appears at step {step:,}",
        (step, curve.appearance.threshold),
        xytext=(-12 if on_the_left else 12, 0),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        va="center",
        color=COLORS[0],
        fontsize=12,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )


def _mark_steps(all_axes: Sequence[Axes], own_axes: Axes, group: Sequence[StepCurve]) -> None:
    """A line through all panels where an ability appears, and a dot on its own curve."""
    for curve, color in zip(group, COLORS, strict=False):
        step = curve.appears_at
        if step is None:
            continue
        for axes in all_axes:
            axes.axvline(step, color=color, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=1)
        value = curve.values[curve.steps.index(step)]
        own_axes.plot([step], [value], "o", color=color, markersize=9, markeredgecolor="white")


def _draw_step_axis(axes: Axes, panels: Panels) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    first, last = panels.step_range
    if panels.log_steps:
        # Step 0 has no position on a logarithmic axis; with it, the part below 1 is linear.
        if first < 1:
            axes.set_xscale("symlog", linthresh=1)
        else:
            axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if first < last:
        axes.set_xlim(first if panels.log_steps else 0, last)
    axes.set_xlabel("step (logarithmic)" if panels.log_steps else "step")


def _dots(curve: StepCurve) -> dict[str, Any]:
    """Marks at the measurements, as long as they do not run together."""
    few = len(curve.steps) <= 60
    return {"marker": "o", "markersize": 3.5, "clip_on": False} if few else {}


def terminal_curves(
    records: Iterable[Mapping[str, Any]],
    measured: Iterable[Measurement] = (),
    *,
    width: int = 80,
    height: int | None = None,
    color: bool = True,
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
) -> str:
    """The picture as text of `width` columns and `height` lines (default: 13 for each panel).

    A heading over each panel names its curves. Without `color` there is no escape code in it, and
    curves that share a panel differ by their marks. Otherwise as `draw_curves`.
    """
    panels = arrange(records, measured, labels=labels, metrics=metrics)
    groups = [panels.losses] if panels.losses else []
    groups += panels.groups
    lines = 13 if height is None else max(7, height // len(groups))
    charts = [_chart(group, panels, width=width, height=lines, color=color) for group in groups]
    return "\n".join(charts)


def _chart(
    group: Sequence[StepCurve], panels: Panels, *, width: int, height: int, color: bool
) -> str:
    """One panel: a heading line, the chart, step numbers below it."""
    import plotext

    figure = plotext.figure  # one for the whole process, so it is emptied before use
    figure.clear()
    plotext.terminal.limit(False, False)  # the caller knows the width, and may write to a file
    figure.theme("colorless")
    figure.plot_size(width, height - 1)
    first, last = panels.step_range
    is_rate = group[0].is_rate and group is not panels.losses
    heading = []
    for index, curve in enumerate(group):
        hue, marker = _terminal_look(curve, index)
        steps, values = _finite(curve, log=panels.log_steps)
        signal = figure.signal(
            [position_on_axis(s, log=panels.log_steps) for s in steps],
            values,
            marker=plotext.marker("braille" if color else marker, hue),
        )
        figure.draw(signal.lines())
        heading.append(_heading(curve, hue if color else None, marker))
    for curve, hue in _breaks(panels):
        at = position_on_axis(curve.appears_at or 0, log=panels.log_steps)
        figure.line(at, orientation="vertical", pixel=hue, style="dotted")
    low, high = (0.0, 1.0) if is_rate else _value_range(group, log=panels.log_steps)
    levels = [low + (high - low) * quarter / 4 for quarter in range(5)]
    figure.ruler("y").lim(low, high)
    # Labels of one width, so that the panels' step axes stand below one another.
    figure.ruler("y").ticks(levels, [f"{level:>8.3g}" for level in levels])
    ticks = step_ticks(first, last, log=panels.log_steps, count=max(2, width // 16))
    positions = [position_on_axis(t, log=panels.log_steps) for t in ticks]
    figure.ruler("x").lim(*(position_on_axis(s, log=panels.log_steps) for s in (first, last)))
    figure.ruler("x").ticks(positions, [f"{t:,.0f}" for t in ticks])
    chart = figure.build().string(colorless=not color)
    return "  ".join(heading) + "\n" + chart.rstrip("\n")


def _breaks(panels: Panels) -> list[tuple[StepCurve, int]]:
    """The curves on which an ability appears, with their colours."""
    return [
        (curve, _terminal_look(curve, index)[0])
        for group in panels.groups
        for index, curve in enumerate(group)
        if curve.appears_at is not None
    ]


def _value_range(group: Sequence[StepCurve], *, log: bool) -> tuple[float, float]:
    """The lowest and the highest value drawn in a panel, never equal."""
    values = [v for curve in group for v in _finite(curve, log=log)[1]] or [0.0]
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _terminal_look(curve: StepCurve, index: int) -> tuple[int, str]:
    """Colour number and colourless mark of the `index`-th curve of its panel."""
    marker = PLAIN_MARKERS[index % len(PLAIN_MARKERS)]
    if curve.is_training:
        return TERMINAL_TRAINING, marker
    if is_loss(curve.what):
        return TERMINAL_VALIDATION, marker
    return TERMINAL_COLORS[index % len(TERMINAL_COLORS)], marker


def _heading(curve: StepCurve, hue: int | None, marker: str) -> str:
    name = curve.label
    if is_loss(curve.what):
        name = f"{curve.task or 'training'} {curve.metric}"
    facts = [] if curve.chance is None else [f"chance {curve.chance:.2f}"]
    if curve.shortcut is not None:
        facts.append(f"{curve.shortcut[1]} {curve.shortcut[0]:.2f}")
    if curve.appears_at is not None:
        facts.append(f"appears at step {curve.appears_at:,}")
    text = name + (f" ({', '.join(facts)})" if facts else "")
    if hue is None:
        return f"{'•' if marker == 'braille' else marker} {text}"
    return f"\x1b[38;5;{hue}m● {text}\x1b[0m"


def _finite(curve: StepCurve, *, log: bool) -> tuple[list[float], list[float]]:
    """The curve's points that can be drawn; the training loss smoothed."""
    values = smoothed(curve.values, log=log) if curve.is_training else curve.values
    points = [(s, v) for s, v in zip(curve.steps, values, strict=True) if math.isfinite(v)]
    return [s for s, _ in points], [v for _, v in points]


def position_on_axis(step: float, *, log: bool) -> float:
    """Where a step stands on the step axis, linear or logarithmic."""
    return math.log10(max(step, 1)) if log else step


def step_ticks(first: float, last: float, *, log: bool, count: int) -> list[float]:
    """About `count` round steps between `first` and `last`."""
    if log:
        powers = range(math.ceil(math.log10(max(first, 1))), math.floor(math.log10(last)) + 1)
        return [10.0**power for power in powers]
    rough = max(last - first, 1) / count
    power = 10 ** math.floor(math.log10(rough))
    spacing = max(1, next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough))
    return [i * spacing for i in range(math.ceil(first / spacing), int(last // spacing) + 1)]
