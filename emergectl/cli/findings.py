"""Findings in a terminal: a row of a table, a small plot and a few lines for each ability.

Plots stand on a terminal only; the lines, which are talk, go to stderr.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emergectl.cli.output import one_line, say, use_color

if TYPE_CHECKING:
    from emergectl.analysis.breaks import Interval
    from emergectl.analysis.findings import AbilityFinding, Findings
    from emergectl.analysis.seeds import SeedsFinding

PLOTS = 6
"""abilities that are plotted, the strongest verdicts first"""
PLOT_WIDTH, PLOT_HEIGHT = 72, 12
EXPLAINED = 40
ROW = (
    *("ability", "verdict", "over", "rise", "from", "to", "onset", "sharpness", "metric"),
    *("surprise", "q", "p", "sharp_from", "longer_than", "height", "scales"),
)
"""columns of `as_row`: the axis in words; where half of the rise has passed, with its interval; the
four claims; q and p of `emergent`; the shortest convention by which the rise is sharp and the
longest width that it exceeds (decades); height over chance on the fitted level"""
NARROW = ("ability", "verdict", "rise", "onset", "sharpness", "metric", "surprise", "q")
"""of these what a terminal shows, the rise with its interval: 80 columns, as far as names let it"""


def as_row(ability: AbilityFinding, findings: Findings) -> list[object]:
    """An ability as one row of `ROW`."""
    from emergectl.reports.words import claims_of

    where: list[float | None] = [None] * 3
    widths: list[float | None] = [None] * 3
    if ability.break_ is not None and ability.has_rise(findings.alpha):
        at, sharp = ability.break_.position, ability.sharpness
        where = [_short(v) for v in (at.value, at.low, at.high)]
        widths = [_short(v, 2) for v in (sharp.sharp_from, sharp.longer_than)]
        widths.append(_short(ability.break_.height.value))
    return [
        ability.name,
        ability.verdict,
        findings.over,
        *where,
        *(claim.mark for claim in claims_of(ability, findings.alpha)),
        _short(ability.q_emergent, 2),
        _short(ability.p_emergent, 2),
        *widths,
        len(ability.scales),
    ]


def as_narrow_row(ability: AbilityFinding, findings: Findings) -> list[object]:
    """An ability as one row of `NARROW`."""
    from emergectl.analysis.numbers import short, span

    full = dict(zip(ROW, as_row(ability, findings), strict=True))
    if ability.break_ is not None and ability.has_rise(findings.alpha):
        at = ability.break_.position
        full["rise"] = f"{short(at.value)} ({span(at.low, at.high, scale=True)})"
    return [full[name] for name in NARROW]


def _short(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


def explain_findings(findings: Findings) -> None:
    """What each verdict stands on, and what else was found; of many abilities, the first few."""
    abilities = findings.abilities
    if not sys.stdout.isatty() and len(abilities) > EXPLAINED:
        return
    for ability in abilities[:EXPLAINED]:
        name, said = one_line(ability.name), one_line(_sentence(ability, findings))
        say(f"{name}: {ability.verdict}: {said}")
        for line in _details(ability, findings):
            say(f"  {one_line(line)}")
    for found in findings.lags:
        say(one_line(found.sentence))
    law = findings.scaling
    if law is not None:
        values = ", ".join(f"{name} {p.value:.3g}" for name, p in law.parameters.items())
        say(f"{law.formula} over {law.runs} runs: {values}")


def _sentence(ability: AbilityFinding, findings: Findings) -> str:
    from emergectl.reports.words import sentence

    return sentence(ability, findings)


def _details(ability: AbilityFinding, findings: Findings) -> Iterator[str]:
    """The claims, what would settle or overturn the verdict, and what else was found."""
    from emergectl.analysis.numbers import short
    from emergectl.reports.words import claims_of, forecast_words, pair_words

    for claim in claims_of(ability, findings.alpha):
        number = f" ({claim.number})" if claim.number else ""
        text = f": {claim.text}" if claim.text else ""
        yield f"{claim.name} {claim.state}{number}{text}"
    if ability.settle:
        yield f"would settle it: {ability.settle}"
    elif ability.overturn:
        yield f"would overturn it: {ability.overturn}"
    beside = pair_words(ability)
    if beside:
        yield beside
    if ability.success is not None and ability.verdict != "flat":
        yield from _seeds(ability.success, _replicates(ability))
    for method in ability.forecast:
        seen = f"; the rise foretold from {short(method.seen_from)} on" if method.seen_from else ""
        error = "" if method.error is None else f", error {method.error:.3g}"
        yield f"forecast {method.method}: {forecast_words(method)}{error}{seen}"
    if ability.axes:
        scored = ", ".join(f"{s.axis} {s.error.value:.3g}" for s in ability.axes)
        first = ability.axes[0]
        sure = f"{first.axis} best in {first.best:.0%} of redrawn models"
        yield f"one curve for all models, error over {scored}: {sure}"
    if ability.loss_at_appearance is not None:
        yield f"appears at loss {_interval(ability.loss_at_appearance)}"


def _replicates(ability: AbilityFinding) -> str:
    """What stands together at one scale: seeds, or models of which none tells a seed."""
    for rung in ability.measured:
        seeds = {one.seed for one in rung.seeds}
        if len(rung.seeds) > 1 and seeds == {""}:
            return "models"
    return "seeds"


def _seeds(found: SeedsFinding, replicates: str) -> Iterator[str]:
    from emergectl.analysis.numbers import short

    if found.level is not None and found.seeds_needed is not None and found.at is not None:
        shares = ", ".join(f"{s.success.succeeded}/{s.seeds}" for s in found.scales if s.success)
        advice = (
            f"; about {found.seeds_needed} seeds at {short(found.at)} would tell the share to "
            "±10 points"
        )
        yield (
            f"{replicates} that succeed ({found.level.in_words}), by scale: {shares}"
            f"{advice if replicates == 'seeds' else ' (no column tells seeds)'}"
        )
    if found.passed_over:
        yield (
            f"whether {replicates} fall in two groups was not asked at {found.passed_over} scales "
            "between others"
        )
    for scale in found.in_two_groups:
        humps = scale.humps
        assert humps is not None
        yield (
            f"at {short(scale.scale)} the {replicates} fall in two groups, about {humps.low:.3g} "
            f"and {humps.high:.3g} (one hump p={humps.p_adjusted:.2g}, corrected for all scales)"
        )


def _interval(found: Interval) -> str:
    return f"{found.value:.2g} ({found.low:.2g} to {found.high:.2g})"


def show_plots(findings: Findings) -> None:
    """Plots of the abilities that have been measured in full, to stdout."""
    from emergectl.analysis.verdict import VERDICTS

    shown = [a for a in findings.abilities if a.measured and len(a.scales) > 1]
    shown.sort(key=lambda ability: VERDICTS.index(ability.verdict))
    for ability in shown[:PLOTS]:
        print()
        print(
            plot(
                ability,
                findings.over,
                alpha=findings.alpha,
                width=_width(),
                color=use_color(sys.stdout),
            )
        )
    print()


def _width() -> int:
    return min(PLOT_WIDTH, shutil.get_terminal_size().columns)


def plot(ability: AbilityFinding, over: str, *, alpha: float, width: int, color: bool) -> str:
    """An ability over log scale as text: fit, seeds, chance and shortcut (dotted), break (dotted
    upright).

    over: the axis in words.
    """
    import plotext

    figure = plotext.figure  # one for the whole process, so it is emptied before use
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.theme("colorless")
    figure.plot_size(width, PLOT_HEIGHT)
    logged = ability.what.scale == "log"
    positions = [math.log10(scale) for scale in ability.scales]
    seeds = [seed.value for rung in ability.measured for seed in rung.seeds]
    values = [math.log10(value) if logged else value for value in seeds]
    low, high = min(values), max(values)
    fit = ability.fit
    if fit is not None:
        drawn = [math.log10(v) if logged else v for v in fit.values]
        line = figure.signal(
            [math.log10(scale) for scale in fit.scales],
            [min(max(v, low), high) for v in drawn],
            marker=plotext.marker("braille" if color else ".", 4),
        )
        figure.draw(line.lines())
    points = figure.signal(
        [math.log10(rung.scale) for rung in ability.measured for _ in rung.seeds],
        values,
        marker=plotext.marker("dot" if color else "o", 1),
    )
    figure.draw(points)
    around = [ability.chance, ability.shortcut if ability.onset.shortcut else None]
    for level in around if not logged else ():
        if level is not None:
            figure.line(level, orientation="horizontal", pixel=8, style="dotted")
    found = ability.break_
    if found is not None and ability.has_rise(alpha):
        at = math.log10(found.position.value)
        figure.line(at, orientation="vertical", pixel=2, style="dotted")
    if low < high:
        levels = [low + (high - low) * quarter / 4 for quarter in range(5)]
        shown = [10**level if logged else level for level in levels]
        figure.ruler("y").ticks(levels, [f"{level:>8.3g}" for level in shown])
    ticks = [positions[0], (positions[0] + positions[-1]) / 2, positions[-1]]
    figure.ruler("x").lim(positions[0], positions[-1])
    figure.ruler("x").ticks(ticks, [f"{10**tick:.3g}" for tick in ticks])
    chart = figure.build().string(colorless=not color)
    heading = f"{one_line(ability.name)}: {ability.verdict} (over {over})"
    return f"{heading}\n{chart.rstrip()}"
