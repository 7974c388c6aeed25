"""Where is the break, how wide, how high: with intervals that hold even between two rungs.

A rise that falls between two rungs leaves its position open anywhere in the gap, and a bootstrap of
best fits then reports wherever ties happened to break. So the intervals are those of the likelihood
integrated over a fine grid of the broken family (every position, width and shape alike, floor and
height at their best): as exact as the rungs allow, and no better. Over positions and widths drawn
at random the 95% interval covers the truth 95% of the time; `calibration` measures it. The noise is
that of items and seeds, as in `ratio`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from emergectl.analysis.curve_families import (
    SMOOTH_DECADES,
    broken_grid,
    explained,
    fit,
    project,
    total_squares,
)
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.plain import INTERNAL
from emergectl.analysis.ratio import BROKEN_PARAMETERS, LEAST_NOISE, inverse_variances

FINE_WIDTHS = tuple(float(w) for w in np.linspace(0.02, 0.5, 25))
FINE_PER_GAP = 32
DRAWS = 2000
MISFIT = 0.05
"""what is left by the best break is misfit where chance leaves so much less often than this"""
SHAPE_KINDS = 3
"""logistic, ramp, hinge"""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float


def _no_draws() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class Break:
    """A break: scales in the axis's units, width in decades, heights on the fitted levels.

    `position`: the middle of a compact rise, else the hinge. `width_decades`: from 10 to 90 percent
    of the rise. `height`: the level at the largest scale over chance (over the floor where chance
    is unknown). `between`: the rungs on either side of the position. `log_positions`: equally
    likely values of log10 position, for comparing breaks: [DRAWS].
    """

    position: Interval
    width_decades: Interval
    height: Interval
    floor: float
    between: tuple[float, float]
    onset: float
    """the scale at which a tenth of the rise has passed (the hinge, for a hinge)"""
    log_positions: Floats = field(
        default_factory=_no_draws, repr=False, compare=False, metadata=INTERNAL
    )
    kinds: Floats = field(default_factory=_no_draws, repr=False, compare=False, metadata=INTERNAL)
    """which shape each of them has (logistic, ramp, hinge): [DRAWS]"""


def locate(
    curve: Curve, rng: np.random.Generator, *, smooth_decades: float = SMOOTH_DECADES
) -> Break:
    """The best break of a curve, whether or not it beats a smooth one."""
    grid = broken_grid(
        curve.log_x, smooth_decades=smooth_decades, widths=FINE_WIDTHS, per_gap=FINE_PER_GAP
    )
    y = curve.level
    coarse = broken_grid(curve.log_x, smooth_decades=smooth_decades)
    at = (y * curve.size + y.mean()) / (curve.size + 1)
    for _ in range(2 if curve.is_rate else 0):
        at = fit(project(coarse, inverse_variances(curve, at)), y).values
    projector = project(grid, inverse_variances(curve, at))
    best = fit(projector, y)
    noise = _noise(curve, at, best.squares)
    noise = max(noise, LEAST_NOISE * float(total_squares(projector.weights, y)), 1e-300)

    gained = explained(projector, y)
    likelihood = np.exp((gained - gained.max()) / (2 * noise)) * (gained > 0)
    # Every kind of shape weighs the same, however many nodes it has.
    compact = int(np.prod(grid.regular)) // 2
    kinds = np.minimum(np.arange(len(gained)) // compact, SHAPE_KINDS - 1)
    likelihood /= np.bincount(kinds, minlength=SHAPE_KINDS)[kinds]
    total = likelihood.sum()
    nodes = rng.choice(len(gained), DRAWS, p=likelihood / total) if total > 0 else np.zeros(1, int)

    shapes, share = grid.shapes[nodes], projector.center
    centred = shapes - (shapes @ share)[:, None]
    spread = (centred**2) @ projector.weights
    spread = np.where(spread > 0, spread, np.inf)
    heights = np.maximum(0, centred @ (projector.weights * y) / spread)
    heights = heights + np.sqrt(noise / spread) * rng.standard_normal(len(nodes))
    floors = y @ share - heights * (shapes @ share)
    floors = floors + np.sqrt(noise / projector.weights.sum()) * rng.standard_normal(len(nodes))
    base = floors if curve.chance_level is None else curve.chance_level
    tops = floors + heights * shapes[:, -1] - base

    # Positions within a cell of the grid are as likely as its node.
    t = curve.log_x
    step = np.interp(grid.position[nodes], t[:-1], np.diff(t)) / FINE_PER_GAP
    positions = grid.position[nodes] + step * (rng.random(len(nodes)) - 0.5)
    onsets = positions - np.where(grid.compact[nodes], grid.width[nodes] / 2, 0.0)
    position = _interval(positions)
    index = int(np.clip(np.searchsorted(t, position.value) - 1, 0, len(t) - 2))
    return Break(
        position=Interval(10**position.value, 10**position.low, 10**position.high),
        width_decades=_interval(grid.width[nodes]),
        height=_interval(tops),
        floor=float(np.median(floors)),
        between=(float(curve.x[index]), float(curve.x[index + 1])),
        onset=float(10 ** np.median(onsets)),
        log_positions=positions,
        kinds=kinds[nodes],
    )


def _noise(curve: Curve, at: Floats, squares: float) -> float:
    """Noise relative to what is expected, from seeds and from what the best break leaves, pooled.

    The larger of the two would be too large on average, and the intervals too wide; but what the
    break leaves counts alone where it is more than the pool allows, for then the shape does not
    fit. Binomial noise is never less than 1.
    """
    freedom = max(1, len(curve.x) - BROKEN_PARAMETERS)
    between, seed_freedom = curve.spread_between_seeds(at)
    pooled = (squares + between) / (freedom + seed_freedom)
    pooled = max(pooled, 1.0) if curve.is_binomial else pooled
    allowed = pooled * float(stats.chi2.isf(MISFIT, freedom)) / freedom
    rest = squares / freedom
    return rest if rest > allowed else pooled


def break_difference(first: Break, second: Break) -> Interval:
    """How many decades the second break lies above the first, with its 95% interval.

    Both are taken to have one kind of shape, whichever fits both: what is not known of the shape
    moves both alike. Their noise is taken as independent, and a gap between two rungs in which both
    lie is open to each of them: the interval is then too wide rather than too narrow.
    """
    pairs = []
    for kind in range(SHAPE_KINDS):
        one, other = (b.log_positions[b.kinds == kind] for b in (first, second))
        # The share of pairs with this kind is the product of its shares in either.
        count = round(len(one) * len(other) / len(first.kinds))
        if count:
            pairs.append(np.resize(other, count) - np.resize(one, count + 1)[1:])
    if not pairs:  # No shape fits both: nothing moves them alike.
        pairs.append(second.log_positions - np.roll(first.log_positions, 1))
    return _interval(np.concatenate(pairs))


def linearity(values: Floats) -> float:
    """BIG-bench's linearity: the signed rise over the root mean square of the steps.

    values: [rungs] by rising scale. Srivastava et al. 2022, appendix; 0 for a constant.
    """
    return _rise_over(values, np.mean)


def breakthroughness(values: Floats) -> float:
    """BIG-bench's breakthroughness: the signed rise over the root median square of the steps.

    The same formula is the emergence score of Schaeffer et al. 2023. Infinite where more than half
    of the steps are exactly level; 0 for a constant. No model of noise: rank by it, decide nothing.
    """
    return _rise_over(values, np.median)


emergence_score = breakthroughness


def _rise_over(values: Floats, center: Callable[[Floats], np.floating]) -> float:
    if len(values) < 2:
        return 0.0
    step = float(np.sqrt(center(np.diff(values) ** 2)))
    rise = float(np.ptp(values)) * (1 if values.argmax() > values.argmin() else -1)
    if rise == 0:
        return 0.0
    return rise / step if step > 0 else float(np.copysign(np.inf, rise))


def _interval(draws: Floats) -> Interval:
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
    return Interval(float(middle), float(low), float(high))
