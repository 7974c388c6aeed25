"""A curve as the tests see it: every measurement with its rung, its level and what its noise is.

The variance of a measurement is φ·v(μ)/size + (onset scatter)²·slope², v the binomial variance for
shares and 1 for other metrics. φ is the run-to-run noise beside that of the items: for shares of a
known number of items it is 1 unless runs on the plateaus, or what the freest rise leaves, show
significantly more; for other metrics it is estimated from both. (Davidian and Carroll 1987 on
variance functions.) The scatter of the onset belongs to `scatter`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.rises import Rises, fit_rise

PLATEAU = 0.05
"""rungs where less than this share of the rise, or all but so much, has passed are plateaus: there
the scatter of onsets moves nothing"""
MISFIT = 0.05
LEAST_NOISE = 0.01
"""of the height, at a rung: no grid of shapes is finer, so no metric is taken to be"""
LEAST_SPREAD = 1e-9


@dataclass(frozen=True)
class Sample:
    """Measurements of one ability along a ladder.

    `t`: [rungs], where the rungs lie, in decades. `rung`: [measurements], of which rung each is.
    `level`: [measurements], rising when models get better. `size`: [measurements], items where the
    noise is that of items (`binomial`), else 1. `rate`: whether levels lie between 0 and 1.
    """

    t: Floats
    rung: NDArray[np.int64]
    level: Floats
    size: Floats
    binomial: bool
    rate: bool

    @cached_property
    def sizes(self) -> Floats:
        """What was measured at each rung, all runs together: [rungs]."""
        return np.asarray(np.bincount(self.rung, self.size, len(self.t)), float)

    @cached_property
    def levels(self) -> Floats:
        """The mean of each rung: [rungs]."""
        return np.bincount(self.rung, self.size * self.level, len(self.t)) / self.sizes

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """Measurements at each rung: [rungs]."""
        return np.bincount(self.rung, minlength=len(self.t))

    @cached_property
    def spread(self) -> float:
        """Highest less lowest mean of a rung."""
        return float(np.ptp(self.levels))

    def unit_variance(self, at: Floats, size: Floats) -> Floats:
        """v(μ): the shape of the noise at levels, kept off zero by half an answer."""
        if not self.rate:
            return np.ones_like(at)
        least = 0.5 / (size + 1) if self.binomial else np.full_like(at, 0.02)
        p = np.clip(at, least, 1 - least)
        return p * (1 - p)

    def weights(self, at: Floats) -> Floats:
        """Inverse variances of the rungs' means for φ = 1, when the levels are `at`: [rungs]."""
        return self.sizes / self.unit_variance(at, self.sizes)

    def least_noise(self, weights: Floats) -> float:
        """The least φ that a metric without known items may have."""
        return (LEAST_NOISE * max(self.spread, LEAST_SPREAD)) ** 2 * float(np.median(weights))


def sample_of(curve: Curve, t: Floats) -> Sample:
    """A curve whose rungs lie at t [rungs], in decades of whatever its convention is stated in."""
    levels = [curve.to_level(values) for values in curve.seed_values]
    binomial = curve.is_binomial
    sizes = curve.seed_items if binomial else [np.ones(len(v)) for v in levels]
    return Sample(
        t=t,
        rung=np.repeat(np.arange(len(levels)), [len(v) for v in levels]),
        level=np.concatenate(levels),
        size=np.concatenate(sizes),
        binomial=binomial,
        rate=curve.is_rate,
    )


@dataclass(frozen=True)
class Noise:
    """φ, and from how much it is known: `freedom` degrees (infinite: it is that of the items)."""

    phi: float
    freedom: float


def noise_of(sample: Sample, fitted: Floats, left: float, used: int) -> Noise:
    """φ from runs on the plateaus of the freest rise, and from what that leaves.

    fitted: [rungs], its levels; left: weighted squares that it leaves with φ = 1; used: how many of
    its coefficients are not zero.
    """
    squares, seen = _between_runs(sample, fitted)
    free = len(sample.t) - used
    if sample.binomial:
        phi = 1.0
        for each, freedom in ((squares, seen), (left, free)):
            if freedom > 0 and stats.chi2.sf(each, freedom) < MISFIT:
                phi = max(phi, each / freedom)
        return Noise(phi, np.inf)
    least = sample.least_noise(sample.weights(fitted))
    pooled = squares + (left if free > 0 else 0.0)
    freedom = seen + max(free, 0)
    if freedom == 0:
        return Noise(least, 0.0)
    phi = pooled / freedom
    if free > 0 and left / free > phi * stats.chi2.isf(MISFIT, free) / free:
        phi, freedom = left / free, free
    return Noise(max(phi, least), freedom)


def p_onsets_scatter(sample: Sample, fitted: Floats, noise: Noise) -> tuple[float, int]:
    """(P of runs that differ so much over the whole ladder, if they differed as on the plateaus;
    the degrees of freedom between runs)."""
    squares, freedom = squares_between(sample, fitted, sample.runs > 1)
    if freedom == 0 or noise.phi == 0:
        return 1.0, freedom
    ratio = squares / freedom / noise.phi
    if np.isinf(noise.freedom):
        return float(stats.chi2.sf(ratio * freedom, freedom)), freedom
    return float(stats.f.sf(ratio, freedom, max(noise.freedom, 1))), freedom


def _between_runs(sample: Sample, fitted: Floats) -> tuple[float, int]:
    """(squares between runs for φ = 1, their degrees of freedom), on the plateaus if there are."""
    height = float(np.ptp(fitted))
    share = (fitted - fitted.min()) / max(height, LEAST_SPREAD)
    several = sample.runs > 1
    for flat in (_away_from_rise(share), (share < PLATEAU) | (share > 1 - PLATEAU)):
        if (flat & several).any():
            return squares_between(sample, fitted, flat & several)
    return squares_between(sample, fitted, several)


def squares_between(sample: Sample, fitted: Floats, keep: NDArray[np.bool_]) -> tuple[float, int]:
    """(squares between runs of the rungs kept, for φ = 1, their degrees of freedom)."""
    unit = sample.unit_variance(fitted, sample.sizes)[sample.rung]
    off = sample.size * (sample.level - sample.levels[sample.rung]) ** 2 / unit
    return float(off[keep[sample.rung]].sum()), int((sample.runs - 1)[keep].sum())


def _away_from_rise(share: Floats) -> NDArray[np.bool_]:
    """Rungs on a plateau whose neighbours are on it too: a late or early run reaches no so far."""
    padded = np.concatenate([[share[0]], share, [share[-1]]])
    low, high = padded < PLATEAU, padded > 1 - PLATEAU
    return (low[:-2] & low[1:-1] & low[2:]) | (high[:-2] & high[1:-1] & high[2:])


def with_noise(sample: Sample, noise: Noise) -> Sample:
    """The sample with its items counted as fewer, where runs differ by more than their items."""
    if not sample.binomial or noise.phi == 1:
        return sample
    return replace(sample, size=sample.size / noise.phi)


def weigh_by_fits(sample: Sample, rises: tuple[Rises, ...], rounds: int = 2) -> Floats:
    """Weights of the rungs by the variances of the best fit itself: [rungs]."""
    p = (sample.levels * sample.sizes + 0.5) / (sample.sizes + 1) if sample.rate else sample.levels
    weights = sample.weights(p)
    for _ in range(rounds if sample.rate else 0):
        fits = [(rise, *fit_rise(rise.design, sample.levels, weights)) for rise in rises[::3]]
        best, coefficients, _ = min(fits, key=lambda fit: fit[2])
        weights = sample.weights(best.design @ coefficients)
    return weights
