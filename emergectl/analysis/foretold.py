"""What a table foretells at scales that are not in it: `analyze forecast`.

The road is that of the claim of surprise: every ability directly, and through the continuous metric
of the same outputs and the loss of the models where there are such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emergectl.analysis.convention import SHARP_DECADES
from emergectl.analysis.curves import Curve
from emergectl.analysis.examine import proxies_of
from emergectl.analysis.forecast import Forecast, predict, predict_through, refused
from emergectl.analysis.metric_claim import beside
from emergectl.analysis.plain import as_plain
from emergectl.analysis.table import Table

FORETOLD_VERSION = "emergectl.forecasts/1"


@dataclass(frozen=True)
class Foretold:
    """One ability at the scales that were asked for: a forecast of every method.

    Scales in the axis's units; along loss they are its inverse.
    """

    name: str
    group: str
    task: str
    metric: str
    axis: str
    forecasts: tuple[Forecast, ...]


def foretell(
    table: Table,
    curves: Sequence[Curve],
    scales: Sequence[float],
    *,
    sharp_decades: float = SHARP_DECADES,
) -> list[Foretold]:
    """Every curve of a table at scales of their axis, from all that was measured of it.

    A scale that does not lie beyond the largest of a curve is not foretold, which is said.
    """
    rows = {(row.where, row.task, row.metric): row for row in table.rows}
    found = []
    for curve in curves:
        same = [c for c in curves if (c.group, c.task) == (curve.group, curve.task)]
        proxies = proxies_of(curve, beside(curve, same), rows)
        asked = np.unique(np.asarray(scales, float))
        largest = float(curve.x[-1])
        within, ahead = asked[asked <= largest], asked[asked > largest]
        forecasts = []
        if len(ahead):
            forecasts.append(predict(curve, ahead, sharp_decades=sharp_decades))
            forecasts += [
                predict_through(proxy, curve, ahead, sharp_decades=sharp_decades)
                for proxy in proxies
            ]
        if len(within):
            reason = "it lies within the scales that were measured"
            forecasts.append(refused("direct", curve, within, reason))
        found.append(
            Foretold(
                name=curve.name.removesuffix("/value"),
                group=curve.group,
                task=curve.task,
                metric=curve.metric,
                axis=curve.axis,
                forecasts=tuple(forecasts),
            )
        )
    return found


def foretold_to_json(found: Sequence[Foretold]) -> dict[str, Any]:
    """Plain data with the version of its form."""
    return {"format": FORETOLD_VERSION, "abilities": [as_plain(each) for each in found]}
