"""Rises of any shape with one steepest place, and how short a stretch holds most of one.

A rise is floor + Σ aᵢ·Uᵢ with aᵢ ≥ 0, where each Uᵢ is the distribution function of a uniform that
begins or ends at one place, the mode: by Khinchine's theorem these are all rises whose slope grows
up to the mode and falls after it, jumps and lines among them. So no wide curve is left out because
nobody thought of its formula. For one mode and given weights the best rise is a non-negative least
squares problem, and so is the best one that is wide, or narrow: both are linear in a.

The **width** of a rise is that of its core: the shortest stretch that holds `SHARE` of the rise
that the ladder shows. (For a symmetric rise that is its 10–90 percent width; for a lopsided one it
is less: of a 10–90 width of 1 it is .94 for a Gompertz curve, .73 for an exponential approach.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import nnls

from emergectl.analysis.curves import Floats

SHARE = 0.8
"""of the rise: what the core holds"""
MODE_STEP, MOST_MODES = 0.1, 100
"""modes lie a tenth of the width asked about apart, or as many over the ladder as this"""
SHORTEST, LENGTHS, WINDOWS = 0.08, 16, 15
"""lengths of the uniforms on either side of the mode, from this share of the width asked about to
beyond the ladder, beside a jump; stretches of that width that are looked at"""
HEAVY = 1e3
"""how much a constraint weighs beside the data"""
MOST_ROUNDS = 50


@dataclass(frozen=True)
class Rises:
    """The rises of one mode over one ladder, asked about one width (all in decades).

    `rungs`: [rungs]. `ends`: [atoms, 2], where each uniform begins and ends. `shown`: [atoms], the
    share of each that lies inside the ladder. `held`: [windows, atoms], the share of each inside
    each stretch of the width that holds the mode.
    """

    mode: float
    rungs: Floats
    ends: Floats
    shown: Floats
    held: Floats

    @cached_property
    def design(self) -> Floats:
        """The floor (1 and −1: of any sign) and each uniform, at the rungs: [rungs, columns]."""
        return self.at(self.rungs)

    def at(self, t: Floats) -> Floats:
        """`design` at other places, t [points]: [points, columns]."""
        floor = np.ones(len(t))
        return np.column_stack([floor, -floor, _distribution(self.ends, t)])

    @cached_property
    def wide(self) -> Floats:
        """[windows, columns]: ≥ 0 where no stretch of the width holds more than `SHARE`."""
        return _with_floor(SHARE * self.shown - self.held)

    def narrow(self, window: int) -> Floats:
        """[1, columns]: ≥ 0 where this stretch holds `SHARE` of the rise."""
        return _with_floor(self.held[window : window + 1] - SHARE * self.shown)


def _with_floor(of_atoms: Floats) -> Floats:
    return np.column_stack([np.zeros((len(of_atoms), 2)), of_atoms])


def _distribution(ends: Floats, t: Floats, *, before: bool = False) -> Floats:
    """The uniforms' distribution functions: [points, atoms]; `before`: just below each point."""
    begin, length = ends[:, 0], ends[:, 1] - ends[:, 0]
    past = t[:, None] - begin
    step = past > 0 if before else past >= 0
    return np.where(length > 0, np.clip(past / np.where(length > 0, length, 1.0), 0, 1), step)


@lru_cache(maxsize=64)
def all_rises(rungs: tuple[float, ...], width: float) -> tuple[Rises, ...]:
    """The rises of every mode that could matter on a ladder, asked about one width in decades."""
    t = np.array(rungs)
    low, high = t[0], t[-1]
    step = max(MODE_STEP * width, (high - low + width) / MOST_MODES)
    modes = np.arange(low - width / 2, high + width / 2 + 1e-9, step)
    lengths = np.geomspace(SHORTEST * width, high - low + width, LENGTHS)
    found = []
    for mode in modes:
        before = np.column_stack([mode - lengths, np.full(LENGTHS, mode)])
        after = np.column_stack([np.full(LENGTHS, mode), mode + lengths])
        ends = np.vstack([[[mode, mode]], before, after])
        shown = _distribution(ends, t[-1:])[0] - _distribution(ends, t[:1])[0]
        starts = np.linspace(mode - width, mode, WINDOWS)
        first, last = np.clip(starts, low, high), np.clip(starts + width, low, high)
        # A jump on the first rung is seen by no difference of rungs, so it is no part of the rise.
        inside = _distribution(ends, first, before=True)
        inside[first <= low] = _distribution(ends, t[:1])
        found.append(Rises(float(mode), t, ends, shown, _distribution(ends, last) - inside))
    return tuple(found)


def fit_rise(
    design: Floats, y: Floats, weights: Floats, constraint: Floats | None = None
) -> tuple[Floats, float]:
    """Non-negative least squares: (coefficients [columns], weighted squares that are left).

    design [rows, columns], y and weights [rows]; with `constraint` [k, columns] the coefficients
    also satisfy constraint · a ≥ 0, through slack columns that weigh heavily.
    """
    root = np.sqrt(weights)
    a = _solve(design * root[:, None], y * root, constraint, float(root.max()))
    return a, float((weights * (y - design @ a) ** 2).sum())


def fit_rise_by_moments(
    design: Floats, y: Floats, weights: Floats, constraint: Floats | None = None
) -> Floats:
    """`fit_rise` where rows are many more than columns: through the triangular factor."""
    gram = design.T @ (weights[:, None] * design)
    scale = float(np.sqrt(gram.diagonal().max()))
    factor = np.linalg.cholesky(gram + 1e-10 * scale**2 * np.eye(len(gram))).T
    target = np.linalg.solve(factor.T, design.T @ (weights * y))
    return _solve(np.asarray(factor), target, constraint, 0.1 * scale)


def _solve(matrix: Floats, target: Floats, constraint: Floats | None, scale: float) -> Floats:
    rows, columns = matrix.shape
    if constraint is not None:
        count, heavy = len(constraint), HEAVY * scale
        widened = np.zeros((rows + count, columns + count))
        widened[:rows, :columns] = matrix
        widened[rows:, :columns] = heavy * constraint
        widened[rows:, columns:] = -heavy * np.eye(count)
        matrix, target = widened, np.concatenate([target, np.zeros(count)])
    found, _ = nnls(matrix, target, maxiter=MOST_ROUNDS * matrix.shape[1])
    return found[:columns]
