"""On which axis do different models fall on one curve? And at which loss does the ability start?

The same ability against parameters, tokens, FLOPs and loss (Du et al. 2024, "Understanding emergent
abilities from the loss perspective"): the axis that explains it is the one on which one curve
predicts models that it has not seen. So each axis is scored by the error of leaving out whole
models, and axes are compared by redrawing models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emergectl.analysis.breaks import Interval, locate
from emergectl.analysis.curves import Floats, make_curve
from emergectl.analysis.rises import all_rises, fit_rise
from emergectl.analysis.table import AXES, Axis, TableRow

FEWEST_MODELS, FEWEST_ROWS = 3, 6
_DRAWS = 400
CURVE_WIDTH = 0.25
"""of the range: about so fine is the grid of rises that is fitted"""


@dataclass(frozen=True)
class AxisScore:
    """How well one curve over an axis predicts models that it has not seen.

    `error`: root mean square over models, in the metric's units (perplexities: in decades); `best`:
    the share of redrawn sets of models in which this axis had the smallest error.
    """

    axis: Axis
    error: Interval
    best: float
    rows: int


def score_axes(rows: Sequence[TableRow], rng: np.random.Generator) -> list[AxisScore]:
    """Score every axis that all comparable rows have, best first.

    rows: of one task and metric, of several models (by `model`, else by `group`), each at several
    scales or steps. Raises ValueError for fewer than 3 models or 6 rows with two axes in common.
    """
    axes, kept = _common(rows)
    models = np.array([row.model or row.group or f"{row.params}" for row in kept])
    names = sorted(set(models))
    if len(names) < FEWEST_MODELS or len(kept) < FEWEST_ROWS or len(axes) < 2:
        raise ValueError(
            f"{len(names)} models, {len(kept)} rows with axes {', '.join(axes) or 'none'} in "
            f"common; {FEWEST_MODELS} models, {FEWEST_ROWS} rows and 2 axes are the fewest"
        )
    values = np.array([row.value for row in kept])
    if kept[0].what.scale == "log":
        values = np.log10(values)
    squares = np.empty((len(axes), len(names)))
    counts = np.array([(models == name).sum() for name in names])
    for i, axis in enumerate(axes):
        positions = _positions(kept, axis)
        for j, name in enumerate(names):
            out = models == name
            rest = values[out] - _predict(positions[~out], values[~out], positions[out])
            squares[i, j] = float(rest @ rest)
    drawn = rng.integers(0, len(names), (_DRAWS, len(names)))
    errors = np.sqrt(squares[:, drawn].sum(axis=2) / counts[drawn].sum(axis=1))
    best = np.bincount(errors.argmin(axis=0), minlength=len(axes)) / _DRAWS
    scores = [
        AxisScore(
            axis=axis,
            error=Interval(
                float(np.sqrt(squares[i].sum() / counts.sum())),
                float(np.quantile(errors[i], 0.025)),
                float(np.quantile(errors[i], 0.975)),
            ),
            best=float(best[i]),
            rows=len(kept),
        )
        for i, axis in enumerate(axes)
    ]
    return sorted(scores, key=lambda score: score.error.value)


def loss_at_appearance(rows: Sequence[TableRow], rng: np.random.Generator) -> Interval:
    """The loss at which an ability appears, from all models together, with its 95% interval.

    Raises ValueError for fewer than 6 rows with a loss.
    """
    known = [row for row in rows if row.loss is not None and row.loss > 0]
    if len(known) < FEWEST_ROWS:
        raise ValueError(f"{len(known)} rows have a loss; {FEWEST_ROWS} are the fewest")
    curve = make_curve(
        [1 / float(row.loss or 1) for row in known],
        [[row.value] for row in known],
        what=known[0].what,
        chance=known[0].chance,
        metric=known[0].metric,
        axis="loss",
    )
    found = locate(curve, rng).position
    return Interval(1 / found.value, 1 / found.high, 1 / found.low)


def _common(rows: Sequence[TableRow]) -> tuple[list[Axis], list[TableRow]]:
    """The axes that at least half of the rows have, and the rows that have them all."""

    def has(row: TableRow, axis: Axis) -> bool:
        scale = row.scale(axis)
        return scale is not None and scale > 0

    axes = [a for a in AXES if sum(has(row, a) for row in rows) * 2 >= max(1, len(rows))]
    kept = [row for row in rows if all(has(row, axis) for axis in axes)]
    return [a for a in axes if len(set(_positions(kept, a))) >= 4], kept


def _positions(rows: Sequence[TableRow], axis: Axis) -> Floats:
    positions = np.log10([float(row.scale(axis) or 1) for row in rows])
    return -positions if axis == "loss" else positions


def _predict(positions: Floats, values: Floats, at: Floats) -> Floats:
    """The best rise of any shape through some points, at others; or fall, where they fall."""
    order = np.argsort(positions, kind="stable")
    t, index = np.unique(positions[order], return_inverse=True)
    y = np.bincount(index, weights=values[order]) / np.bincount(index)
    # Where either is constant there is neither rise nor fall.
    sign = -1.0 if (t - t.mean()) @ (y - y.mean()) < 0 else 1.0
    weights = np.bincount(index).astype(float)
    span = float(np.ptp(t)) or 1.0
    fits = [
        (fit_rise(rise.design, sign * y, weights), rise)
        for rise in all_rises(tuple(t.tolist()), CURVE_WIDTH * span)
    ]
    (coefficients, _), best = min(fits, key=lambda fit: fit[0][1])
    return sign * (best.at(at) @ coefficients)
