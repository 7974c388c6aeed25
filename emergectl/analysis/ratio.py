"""Does a break fit better than any smooth curve? A parametric bootstrap likelihood-ratio test.

The statistic is how much less the best broken curve leaves unexplained than the best smooth one, in
units of the noise. Neither family contains the other and both are searched by grid, so no table of
chi-square applies: the null distribution is that of samples drawn from the fitted smooth curve,
each treated as the data were. Noise is binomial where the number of items is known, inflated by
whichever is larger: how seeds differ, or what the broken family leaves unexplained. So a curve that
neither family fits is evidence of noise, not of a break.

Small p-values come from a generalised Pareto tail fitted to the largest tenth of the samples
(Knijnenburg et al. 2009, "Fewer permutations, more accurate P-values"), never lighter than
exponential. Sampling stops early where p is plainly above 0.1, which leaves its level as it is
(Besag and Clifford 1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.curve_families import (
    SHARP_DECADES,
    SMOOTH_DECADES,
    Fitted,
    Projector,
    broken_grid,
    fit,
    most_explained,
    project,
    smooth_grid,
    total_squares,
)
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.refine import refined_smooth_grid

FEWEST_RUNGS = 5
FIRST_DRAWS, ALL_DRAWS = 199, 999
LEAST_NOISE = 1e-6
BROKEN_PARAMETERS = 4
"""floor, height, position, width or power: what a broken fit takes from the degrees of freedom"""


@dataclass(frozen=True)
class Comparison:
    """The two families on one curve.

    `smooth` and `broken` are the best members; `statistic` the drop in residual squares over the
    noise; `p_smooth` the p-value of the best smooth curve; `p_sharp` that of a sharp break (rise
    within `SHARP_DECADES`, or a step between two rungs), NaN where it was not asked for;
    `critical` the statistic that would have had p = 0.05; `dispersion` the noise relative to
    binomial (or the variance of one seed, where the noise is not binomial).
    """

    smooth: Fitted
    broken: Fitted
    smooth_projector: Projector
    broken_projector: Projector
    statistic: float
    p_smooth: float
    p_sharp: float
    critical: float
    dispersion: float


@dataclass(frozen=True)
class _Setup:
    """What every sample of one curve is treated with."""

    curve: Curve
    smooth: Projector
    broken: Projector
    seed_freedom: int

    @property
    def rest_freedom(self) -> int:
        return max(1, len(self.curve.x) - BROKEN_PARAMETERS)


def compare_families(
    curve: Curve,
    rng: np.random.Generator,
    *,
    smooth_decades: float = SMOOTH_DECADES,
    draws: int = ALL_DRAWS,
) -> Comparison:
    """Test the best smooth curve against the best broken one, and the other way about.

    Raises ValueError for fewer than `FEWEST_RUNGS` rungs or a curve without any variation.
    """
    if len(curve.x) < FEWEST_RUNGS:
        raise ValueError(f"{len(curve.x)} rungs: {FEWEST_RUNGS} are the fewest")
    if np.ptp(curve.level) == 0:
        raise ValueError("the value is the same at every scale")
    setup, smooth, broken = _settle(curve, smooth_decades)
    seeds_squares, _ = curve.spread_between_seeds(smooth.values)
    statistic, dispersion = (
        float(v[0]) for v in _statistic(setup, curve.level[None], np.array([seeds_squares]))
    )
    generated = max(dispersion, _lowest(curve))

    def sample(values: Floats, count: int) -> Floats:
        y, squares = _draw(setup, values, generated, count, rng)
        return _statistic(setup, y, squares)[0]

    null = sample(smooth.values, min(draws, FIRST_DRAWS))
    if draws > len(null) and (null >= statistic).mean() <= 0.1:
        null = np.concatenate([null, sample(smooth.values, draws - len(null))])
    p_smooth = upper_tail(null, statistic)
    p_sharp = float("nan")
    if p_smooth > 0.05:
        narrow = sharp_nodes(setup.broken)
        sharp = fit(setup.broken, curve.level, allowed=narrow)
        p_sharp = (
            1.0 if sharp.height == 0 else lower_tail(sample(sharp.values, FIRST_DRAWS), statistic)
        )
    return Comparison(
        smooth=smooth,
        broken=broken,
        smooth_projector=setup.smooth,
        broken_projector=setup.broken,
        statistic=statistic,
        p_smooth=p_smooth,
        p_sharp=p_sharp,
        critical=float(np.quantile(null, 0.95)),
        dispersion=dispersion,
    )


def sharp_nodes(projector: Projector) -> NDArray[np.bool_]:
    """Which broken shapes are sharp: compact rises within `SHARP_DECADES`: [nodes]."""
    grid = projector.grid
    return grid.compact & (grid.width <= SHARP_DECADES + 1e-9)


def upper_tail(null: Floats, statistic: float) -> float:
    """P(null ≥ statistic) from samples: counted; by a Pareto tail where fewer than ten exceed."""
    count = int((null >= statistic).sum())
    counted = (count + 1) / (len(null) + 1)
    if count >= 10 or len(null) < 200:
        return counted
    top = np.sort(null)[-len(null) // 10 :]
    threshold, excess = top[0], top[1:] - top[0]
    mean = float(excess.mean())
    if mean <= 0:
        return counted
    # Probability-weighted moments (Hosking and Wallis 1987), the tail never lighter than
    # exponential: the statistic has no upper bound.
    ranks = np.arange(len(excess))[::-1] + 0.35
    weighted = float((excess * ranks / len(excess)).mean())
    xi = min(max(0.0, 2 - mean / (mean - 2 * weighted)), 0.5) if mean > 2 * weighted else 0.5
    scale = mean * (1 - xi)
    z = (statistic - threshold) / scale
    tail = np.exp(-z) if xi < 1e-3 else (1 + xi * z) ** (-1 / xi)
    return float(min(max(tail * len(excess) / len(null), 1e-12), 1.0))


def lower_tail(null: Floats, statistic: float) -> float:
    """P(null ≤ statistic), counted."""
    return float(((null <= statistic).sum() + 1) / (len(null) + 1))


def inverse_variances(curve: Curve, at: Floats) -> Floats:
    """Weights of the rungs when the true levels are `at`: [rungs], for dispersion 1."""
    return curve.size / curve.unit_variance(at)


def _settle(curve: Curve, smooth_decades: float) -> tuple[_Setup, Fitted, Fitted]:
    """Weights by the smooth fit's own variances; then both families and their fits."""
    y = curve.level
    at = (y * curve.size + y.mean()) / (curve.size + 1)
    coarse = smooth_grid(curve.log_x, smooth_decades=smooth_decades)
    for _ in range(2 if curve.is_rate else 0):
        at = fit(project(coarse, inverse_variances(curve, at)), y).values
    weights = inverse_variances(curve, at)
    fine = refined_smooth_grid(curve.log_x, y, weights, smooth_decades=smooth_decades)
    projector = project(fine, weights)
    broken = project(broken_grid(curve.log_x, smooth_decades=smooth_decades), weights)
    _, freedom = curve.spread_between_seeds(at)
    setup = _Setup(curve, projector, broken, freedom)
    return setup, fit(projector, y), fit(broken, y)


def _lowest(curve: Curve) -> float:
    """The least dispersion there can be: 1 where the noise is binomial."""
    return 1.0 if curve.is_binomial else 0.0


def _statistic(setup: _Setup, y: Floats, seeds_squares: Floats) -> tuple[Floats, Floats]:
    """(statistic, dispersion) of samples: y [draws, rungs], seeds_squares [draws]."""
    total = total_squares(setup.smooth.weights, y)
    smooth = most_explained(setup.smooth, y)
    broken = most_explained(setup.broken, y)
    rest = np.maximum(total - np.maximum(broken, smooth), 0) / setup.rest_freedom
    dispersion = np.maximum(rest, _lowest(setup.curve))
    if setup.seed_freedom:
        dispersion = np.maximum(dispersion, seeds_squares / setup.seed_freedom)
    # No noise is taken to be smaller than a thousandth of the curve's own spread.
    dispersion = np.maximum(dispersion, LEAST_NOISE * np.maximum(total, 1e-300))
    return (broken - smooth) / dispersion, dispersion


def _draw(
    setup: _Setup, values: Floats, dispersion: float, count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Samples of the rungs' levels [count, rungs] and of the squares between seeds [count]."""
    curve = setup.curve
    if curve.is_binomial:
        # Overdispersion as fewer items: the spread is right, and rates stay rates.
        items = np.maximum(1, np.round(curve.items / max(1.0, dispersion))).astype(int)
        p = np.clip(values, 0.5 / (curve.items + 1), 1 - 0.5 / (curve.items + 1))
        y = rng.binomial(items, p, (count, len(items))) / items
    else:
        deviation = np.sqrt(dispersion / inverse_variances(curve, values))
        y = values + deviation * rng.standard_normal((count, len(values)))
    freedom = setup.seed_freedom
    squares = dispersion * rng.chisquare(freedom, count) if freedom else np.zeros(count)
    return y, squares
