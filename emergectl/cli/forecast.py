"""`emergectl analyze forecast`: what a table foretells at scales that are not in it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.cli.tables import TableSource, axis_of, read_source, tell
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.foretold import Foretold

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
ROW = ("ability", "method", "at", "value", "low", "high", "not offered because")


def forecast(
    source: TableSource,
    at: Annotated[
        list[str],
        typer.Option(
            metavar="SCALE", help="A scale beyond those of the table: 1e22, 70b; may be repeated."
        ),
    ],
    sharp: Annotated[
        float,
        typer.Option(
            min=0.01, max=10, help="Decades of training compute that a rise to come takes at least."
        ),
    ] = 1.0,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to stdout.")] = False,
) -> None:
    """Forecast every ability at scales that are not in the table, with 95% intervals.

    An interval holds what any gradual curve that agrees with the table could reach, and one more
    measurement like the last one. Directly; through the continuous metric of the same outputs; and
    through the loss of the models, as far as the table has them. Where no honest interval can be
    given, none is, and the last column says why.
    """
    if json_ and csv:
        raise RequestError("--json and --csv exclude each other")
    asked = [_scale(text) for text in at]
    table = read_source(source)

    from emergectl.analysis.findings import axis_in_words
    from emergectl.analysis.foretold import foretell, foretold_to_json
    from emergectl.analysis.table_curves import count_shown, curves_of

    axis = axis_of(source, table)
    curves = curves_of(table, axis)
    tell(table)
    if not curves:
        raise RequestError(f"no row has a place on the axis {axis}")
    scales = [1 / scale if axis == "loss" else scale for scale in asked]
    found = foretell(table, curves, scales, sharp_decades=sharp)
    if json_:
        print_json(foretold_to_json(found))
        return
    rows = [row for ability in found for row in _rows(ability)]
    print_table(ROW, rows, csv=csv)
    if not csv:
        offered = sum(row[3] is not None for row in rows)
        over = axis_in_words(axis, count_shown(table.rows))
        say(f"{offered} of {len(rows)} forecasts over {over} are offered")


def _rows(ability: Foretold) -> list[list[object]]:
    """Every scale of every method, those that nothing is foretold for with the reason."""
    rows: list[list[object]] = []
    for told in ability.forecasts:
        start: list[object] = [ability.name, told.method]
        for scale, interval in zip(told.scales, told.predicted, strict=True):
            numbers = (interval.value, interval.low, interval.high)
            rows.append([*start, _shown(ability, scale), *map(_rounded, numbers), ""])
        rows += [
            [*start, _shown(ability, scale), None, None, None, told.reason] for scale in told.beyond
        ]
    return rows


def _shown(ability: Foretold, scale: float) -> float:
    return _rounded(1 / scale if ability.axis == "loss" else scale)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _scale(text: str) -> float:
    found = re.fullmatch(r"([-+.0-9e]+?)([kmbt]?)", text.strip().lower())
    try:
        scale = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        scale = 0.0
    if not (math.isfinite(scale) and scale > 0):
        raise RequestError(f"--at {text}: expected a scale above zero, such as 1e22 or 70b")
    return scale
