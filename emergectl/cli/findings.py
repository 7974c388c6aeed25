"""Findings in a terminal: a small plot and a few lines for each ability.

Read from the plain data of `analysis.findings`. Plots stand on a terminal only; the lines, which
are talk, go to stderr.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from emergectl.cli.output import one_line, say, use_color

PLOTS = 6
"""abilities that are plotted, the strongest verdicts first"""
PLOT_WIDTH, PLOT_HEIGHT = 72, 12
EXPLAINED = 40
ORDER = ("emergent", "undetermined", "smooth", "flat")


def explain(examined: dict[str, Any]) -> None:
    """What each verdict stands on, and what else was found; of many abilities, the first few."""
    abilities = examined["abilities"]
    if not sys.stdout.isatty() and len(abilities) > EXPLAINED:
        return
    for ability in abilities[:EXPLAINED]:
        last = f"would settle it: {ability['settle']}" if ability["settle"] else ""
        last = last or f"would overturn it: {ability['overturn']}"
        say(f"{one_line(ability['name'])}: {ability['verdict']}: {ability['reason']}; {last}")
        for line in _details(ability, examined["axis"]):
            say(f"  {one_line(line)}")
    for found in examined["lags"]:
        say(one_line(found["sentence"]))
    law = examined["scaling"]
    if law is not None:
        values = ", ".join(f"{k} {v['value']:.3g}" for k, v in law["parameters"].items())
        say(f"{law['formula']} over {law['runs']} runs: {values}")


def _details(ability: dict[str, Any], axis: str) -> Iterator[str]:
    pair = ability["pair"]
    if pair is not None:
        lag = pair["lag_decades"]
        apart = f"; that one breaks {_later(lag)}" if lag is not None else ""
        yield f"beside {pair['metric']}: {pair['sentence']}{apart}"
    seeds = ability.get("seeds_part")
    if seeds is not None:
        yield from _seeds(seeds)
    for method in ability.get("forecast") or ():
        seen = method["seen_from"]
        foretold = f"foretold from {axis} {seen:.3g}" if seen is not None else "never foretold"
        yield (
            f"forecast {method['method']}: {foretold}; {method['covered']} of "
            f"{method['predictions']} within the 95% interval, error {method['error']:.3g}"
        )
    if ability.get("axes"):
        scored = ", ".join(f"{s['axis']} {s['error']['value']:.3g}" for s in ability["axes"])
        first = ability["axes"][0]
        sure = f"{first['axis']} best in {first['best']:.0%} of redrawn models"
        yield f"one curve for all models, error over {scored}: {sure}"
    loss = ability.get("loss_at_appearance")
    if loss is not None:
        yield f"appears at loss {_interval(loss)}"


def _seeds(part: dict[str, Any]) -> Iterator[str]:
    shares = ", ".join(f"{s['succeeded']}/{s['seeds']}" for s in part["scales"])
    yield (
        f"seeds that succeed, by scale: {shares}; about {part['seeds_needed']} seeds at "
        f"{part['at']:.3g} would tell the share to ±10 points"
    )
    for scale in part["scales"]:
        humps = scale["humps"]
        if humps is not None and min(humps["p_dip"], humps["p_one"]) <= 0.05:
            yield (
                f"at {scale['scale']:.3g} the seeds fall in two groups, about {humps['low']:.3g} "
                f"and {humps['high']:.3g} (dip test p={humps['p_dip']:.2g}, one normal "
                f"p={humps['p_one']:.2g})"
            )


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.2g} ({found['low']:.2g} to {found['high']:.2g})"


def _later(lag: dict[str, float]) -> str:
    """A lag in decades, in words: which is first, or that it cannot be told."""
    if lag["low"] <= 0 <= lag["high"]:
        return (
            f"at the same scale, from {-lag['low']:.2g} decades before to {lag['high']:.2g} after"
        )
    word = "earlier" if lag["high"] < 0 else "later"
    value, low, high = (abs(lag[key]) for key in ("value", "low", "high"))
    return f"{value:.2g} decades {word} ({min(low, high):.2g} to {max(low, high):.2g})"


def show_plots(examined: dict[str, Any]) -> None:
    """Plots of the abilities that have been measured in full, to stdout."""
    shown = [a for a in examined["abilities"] if a.get("measured") and len(a["scales"]) > 1]
    shown.sort(key=lambda ability: ORDER.index(ability["verdict"]))
    for ability in shown[:PLOTS]:
        print()
        print(plot(ability, examined["axis"], width=_width(), color=use_color(sys.stdout)))
    print()


def _width() -> int:
    return min(PLOT_WIDTH, shutil.get_terminal_size().columns)


def plot(ability: dict[str, Any], axis: str, *, width: int, color: bool) -> str:
    """An ability over log scale as text: fit, seeds, chance (dotted), break (dotted upright)."""
    import plotext

    from emergectl.analysis.metric_names import is_logged

    figure = plotext.figure  # one for the whole process, so it is emptied before use
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.theme("colorless")
    figure.plot_size(width, PLOT_HEIGHT)
    logged = is_logged(ability["metric"])
    places = [math.log10(scale) for scale in ability["scales"]]
    seeds = [seed["value"] for rung in ability["measured"] for seed in rung["seeds"]]
    values = [math.log10(value) if logged else value for value in seeds]
    low, high = min(values), max(values)
    fit = ability.get("fit")
    if fit is not None:
        drawn = [math.log10(v) if logged else v for v in fit["values"]]
        line = figure.signal(
            [math.log10(scale) for scale in fit["scales"]],
            [min(max(v, low), high) for v in drawn],
            marker=plotext.marker("braille" if color else ".", 4),
        )
        figure.draw(line.lines())
    points = figure.signal(
        [math.log10(rung["scale"]) for rung in ability["measured"] for _ in rung["seeds"]],
        values,
        marker=plotext.marker("dot" if color else "o", 1),
    )
    figure.draw(points)
    if ability["chance"] is not None and not logged:
        figure.line(ability["chance"], orientation="horizontal", pixel=8, style="dotted")
    found = ability["break"]
    if found is not None and ability["verdict"] == "emergent":
        place = math.log10(found["position"]["value"])
        figure.line(place, orientation="vertical", pixel=2, style="dotted")
    if low < high:
        levels = [low + (high - low) * quarter / 4 for quarter in range(5)]
        shown = [10**level if logged else level for level in levels]
        figure.ruler("y").ticks(levels, [f"{level:>8.3g}" for level in shown])
    ticks = [places[0], (places[0] + places[-1]) / 2, places[-1]]
    figure.ruler("x").lim(places[0], places[-1])
    figure.ruler("x").ticks(ticks, [f"{10**tick:.3g}" for tick in ticks])
    chart = figure.build().string(colorless=not color)
    heading = f"{one_line(ability['name'])}: {ability['verdict']} (over {axis})"
    return f"{heading}\n{chart.rstrip()}"
