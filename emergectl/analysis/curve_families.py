"""Two families of curves, smooth and broken, on grids: every fit is one matrix product.

A curve of either family is floor + height · b(t), with t = log10 of the scale, height ≥ 0, and b a
shape from a grid of positions and widths. Given weights, the best floor and height follow in closed
form, so fitting a thousand bootstrap samples to a thousand shapes is one product of matrices: 3 ms
where an optimiser started a thousand times needs minutes, and no local minimum to fall into. The
price is the grid's coarseness. The smooth family has to be fitted as well as can be if the test is
to hold its level, so its grid is refined about the data's own best fits (`refine.py`).

Smooth: a line; logistic, Gompertz and mirrored Gompertz curves whose middle 80 percent of the rise
takes at least `SMOOTH_DECADES`. (Their tails are power laws and exponentials in the scale: growing
powers, power laws to a ceiling, and p^L for exact match of L tokens with p improving as a power law
are all near members.) Broken: flat until a position, then a saturating power law or a line; or a
compact rise (logistic or a ramp) at most half as wide as the narrowest smooth one. The position of
a compact rise is its middle; of any other, the hinge, where the curve leaves its floor: in both
cases the break d of a smoothly broken power law (Caballero et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.curves import Floats

SMOOTH_DECADES = 1.0
"""a rise of which the middle 80 percent takes this many decades or more is smooth"""
SHARP_DECADES = 0.3
"""a rise within so few decades is a sharp break"""
LOGISTIC_WIDTH = 2 * np.log(9)
GOMPERTZ_WIDTH = np.log(np.log(0.1) / np.log(0.9))

SMOOTH_KINDS, SMOOTH_WIDTHS, SMOOTH_POSITIONS = 3, 9, 28
WIDEST = 4
"""the widest smooth rise, relative to the span of the rungs"""
NARROW_WIDTHS = (0.02, 0.1, 0.2, 0.3, 0.5)
"""of compact rises, relative to the narrowest smooth one"""
LEAST_EXTENT = 1e-6
"""a shape that varies less over the rungs is flat"""
HINGE_POWERS = (0.0, 0.25, 0.5, 1.0)
"""exponents of the approach to the ceiling after a hinge; 0 is a line"""


def logistic(z: Floats) -> Floats:
    """1 / (1 + exp(-z)) without overflow."""
    return 0.5 * (1 + np.tanh(z / 2))


def gompertz(z: Floats) -> Floats:
    """exp(-exp(-z)): late to saturate."""
    return np.exp(-np.exp(np.clip(-z, -50, 50)))


def logistic_rise(t: Floats, position: Floats, width: Floats) -> Floats:
    """A logistic rise; `width` is from 10 to 90 percent, in decades."""
    return logistic(LOGISTIC_WIDTH * (t - position) / width)


def smooth_rise(kind: int, t: Floats, position: Floats, width: Floats) -> Floats:
    """A logistic (kind 0), Gompertz (1) or mirrored Gompertz (2) rise: [nodes, rungs].

    position, width: [nodes]; the width is from 10 to 90 percent, in decades.
    """
    z = (t - position[:, None]) / width[:, None]
    if kind == 0:
        return logistic(LOGISTIC_WIDTH * z)
    if kind == 1:
        return gompertz(GOMPERTZ_WIDTH * z)
    return 1 - gompertz(-GOMPERTZ_WIDTH * z)


def ramp_rise(t: Floats, position: Floats, width: Floats) -> Floats:
    """0, then a line, then 1; `width` is from 10 to 90 percent, in decades."""
    return np.clip(0.5 + 0.8 * (t - position) / width, 0.0, 1.0)


def hinge_rise(t: Floats, position: Floats, power: Floats) -> Floats:
    """0 before `position`, then 1 − 10^(−power · (t − position)); linear where power is 0."""
    past = np.maximum(t - position, 0.0)
    return np.where(power == 0, past, -np.expm1(-np.log(10) * power * past))


@dataclass(frozen=True)
class Grid:
    """Shapes of one family on the rungs of one ladder.

    `shapes`: [nodes, rungs]. `position` and `width`: [nodes] in decades: the position of the break
    and its extent from 10 to 90 percent of the rise (of the rise that is measured, for hinges).
    `regular`: (shapes, widths, positions): how the first nodes form a regular grid; in the broken
    family these are the compact rises, and the hinges follow.
    """

    shapes: Floats
    position: Floats
    width: Floats
    regular: tuple[int, int, int]

    @cached_property
    def extent(self) -> Floats:
        """How much each shape varies over the rungs: [nodes]."""
        return self.shapes.max(axis=1) - self.shapes.min(axis=1)

    @cached_property
    def compact(self) -> NDArray[np.bool_]:
        """Which nodes belong to the regular part: [nodes]."""
        return np.arange(len(self.shapes)) < int(np.prod(self.regular))


def smooth_grid(log_x: Floats, *, smooth_decades: float = SMOOTH_DECADES) -> Grid:
    """The smooth family on rungs at log_x [rungs]."""
    return _smooth_grid(tuple(log_x), smooth_decades)


def broken_grid(
    log_x: Floats,
    *,
    smooth_decades: float = SMOOTH_DECADES,
    widths: tuple[float, ...] = NARROW_WIDTHS,
    per_gap: int = 8,
) -> Grid:
    """The broken family; `per_gap` positions between neighbouring rungs, fewer where many rungs."""
    return _broken_grid(tuple(log_x), smooth_decades, widths, per_gap)


@lru_cache(maxsize=64)
def _smooth_grid(log_x: tuple[float, ...], smooth_decades: float) -> Grid:
    t = np.array(log_x)
    span = t[-1] - t[0]
    widths = np.geomspace(smooth_decades, WIDEST * max(span, smooth_decades), SMOOTH_WIDTHS)
    u = np.linspace(0, 1, SMOOTH_POSITIONS)
    position = (t[0] - widths[:, None] + u * (span + 2 * widths[:, None])).ravel()
    width = np.repeat(widths, len(u))
    shapes = [smooth_rise(kind, t, position, width) for kind in range(SMOOTH_KINDS)]
    return Grid(
        shapes=np.concatenate([*shapes, (t - t[0])[None]]),
        position=np.append(np.tile(position, SMOOTH_KINDS), t[0] + span / 2),
        width=np.append(np.tile(width, SMOOTH_KINDS), 0.8 * span),
        regular=(SMOOTH_KINDS, SMOOTH_WIDTHS, SMOOTH_POSITIONS),
    )


@lru_cache(maxsize=64)
def _broken_grid(
    log_x: tuple[float, ...], smooth_decades: float, widths: tuple[float, ...], per_gap: int
) -> Grid:
    t = np.array(log_x)
    per_gap = max(1, min(per_gap, 15 * per_gap // (len(t) - 1)))
    inner = (np.arange(per_gap) + 0.5) / per_gap
    position = (t[:-1, None] + inner * np.diff(t)[:, None]).ravel()
    narrow, powers = smooth_decades * np.array(widths), np.array(HINGE_POWERS)
    shapes = [
        logistic_rise(t, position[:, None], narrow[:, None, None]),
        ramp_rise(t, position[:, None], narrow[:, None, None]),
        hinge_rise(t, position[:, None], powers[:, None, None]),
    ]
    compact = np.tile(np.repeat(narrow, len(position)), 2)
    hinges = hinge_width(position, powers[:, None], t[-1]).ravel()
    return Grid(
        shapes=np.concatenate([shape.reshape(-1, len(t)) for shape in shapes]),
        position=np.tile(position, 2 * len(narrow) + len(powers)),
        width=np.concatenate([compact, hinges]),
        regular=(2, len(narrow), len(position)),
    )


def hinge_width(position: Floats, power: Floats, end: float) -> Floats:
    """Decades from 10 to 90 percent of what a hinge rises between `position` and `end`."""
    reach = end - position
    with np.errstate(divide="ignore", invalid="ignore"):
        total = -np.expm1(-np.log(10) * power * reach)
        curved = (np.log10(1 - 0.1 * total) - np.log10(1 - 0.9 * total)) / power
    return np.where(power == 0, 0.8 * reach, curved)


@dataclass(frozen=True)
class Projector:
    """A grid made ready for least squares with given weights.

    `basis`: [nodes, rungs], so that for y [..., rungs] the squares explained beyond a constant are
    max(0, y · basis)². Nodes that do not vary over the rungs explain nothing.
    """

    grid: Grid
    weights: Floats
    basis: Floats

    @property
    def center(self) -> Floats:
        """[rungs] weights that sum to one."""
        return self.weights / self.weights.sum()

    @cached_property
    def light(self) -> NDArray[np.float32]:
        """The basis in single precision, for many samples: half the time."""
        # Subnormal numbers, from the far tails of rises, would make the product 15 times slower.
        basis = np.where(np.abs(self.basis) < 1e-20, 0.0, self.basis)
        return np.ascontiguousarray(basis.T, dtype=np.float32)


def project(grid: Grid, weights: Floats) -> Projector:
    """Centre and scale the shapes of a grid for weights [rungs] (inverse variances)."""
    share = weights / weights.sum()
    # Centred before squaring: far in a tail, where a shape hardly varies, the difference of two
    # sums of squares would be all rounding, and the node would seem to explain what it does not.
    centred = grid.shapes - (grid.shapes @ share)[:, None]
    squares = (centred**2) @ weights
    # Rungs without weight are predicted, not fitted: what varies there alone is not known.
    usable = (grid.extent > LEAST_EXTENT) & (squares > 1e-9 * weights.sum() * grid.extent**2)
    scale = np.where(usable, 1 / np.sqrt(np.where(usable, squares, 1)), 0)
    return Projector(grid, weights, centred * (scale[:, None] * weights))


def explained(projector: Projector, y: Floats) -> Floats:
    """Squares that each node explains beyond a constant: y [..., rungs] → [..., nodes]."""
    return np.maximum(y @ projector.basis.T, 0) ** 2


def total_squares(weights: Floats, y: Floats) -> Floats:
    """Weighted squares about the weighted mean: y [..., rungs] → [...]."""
    mean = (y @ weights) / weights.sum()
    return ((y - mean[..., None]) ** 2) @ weights


def most_explained(projector: Projector, y: Floats) -> Floats:
    """What the best node explains of each sample: y [samples, rungs] → [samples]."""
    return np.maximum(_products(projector, y).max(axis=1), 0).astype(float) ** 2


def _products(projector: Projector, y: Floats) -> NDArray[np.float32]:
    """y · basis in single precision, y centred first: [samples, nodes]."""
    centred = y - (y @ projector.center)[:, None]
    return centred.astype(np.float32) @ projector.light


@dataclass(frozen=True)
class Fitted:
    """A member of a family: floor + height · shape; `values` at the rungs [rungs]."""

    node: int
    floor: float
    height: float
    values: Floats
    squares: float
    """weighted residual squares"""


def fit_node(projector: Projector, y: Floats, node: int) -> Fitted:
    """The best floor and height (≥ 0) for one node; y [rungs]."""
    shape, share = projector.grid.shapes[node], projector.center
    mean_shape, mean_y = shape @ share, y @ share
    centred = shape - mean_shape
    squares = (centred**2) @ projector.weights
    height = max(0.0, float(centred * (y - mean_y) @ projector.weights / squares)) if squares else 0
    floor = float(mean_y - height * mean_shape)
    values = floor + height * shape
    return Fitted(node, floor, height, values, float(((y - values) ** 2) @ projector.weights))


def fit(projector: Projector, y: Floats, *, allowed: NDArray[np.bool_] | None = None) -> Fitted:
    """The best node of a family (or of the nodes allowed) for y [rungs]."""
    squares = explained(projector, y)
    if allowed is not None:
        squares = np.where(allowed, squares, -1.0)
    return fit_node(projector, y, int(squares.argmax()))
