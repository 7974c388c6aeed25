"""Is a rise narrower than so many decades? A test whose null holds every wide shape.

H0: the core of the rise (`rises`) is at least `width` decades long. For every mode the best rise of
any shape and the best wide one are fitted; the statistic T is how much more the best wide one
leaves, in units of the noise. One constraint that binds makes T ½χ²₀ + ½χ²₁ (Chernoff 1954); the
mode is searched for too, so p is the tail of χ²₁, twice that. It is a convention in the sense of
Davies (1977, 1987), not a derivation: `calibration` measures how often it errs, with a simulator
that shares nothing with this.

Where runs scatter in *where* they rise, the mean of a sharp rise is wide and a wide rise looks
sharp at rungs where few runs fall by chance. So a rise that is called sharp must also be so when
each run's onset is taken as normal around the common one (`scatter`), the scatter profiled where
scales have several runs, else a stated default (Berger and Boos 1994).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from emergectl.analysis.curves import Floats
from emergectl.analysis.rises import Rises, all_rises, fit_rise
from emergectl.analysis.sample import (
    Noise,
    Sample,
    noise_of,
    p_onsets_scatter,
    weigh_by_fits,
    with_noise,
)
from emergectl.analysis.scatter import SCATTERS, scattered_statistic

ALPHA = 0.05
ONE_RUN_SCATTER = 0.3
"""decades: the scatter of onsets that is assumed where each scale has one run"""
ALONG_TRAINING = ("step", "tokens")
"""axes along which the measurements of one run have one onset"""
FEWEST_OF_SEVERAL = 3
"""scales with several runs, from which on the scatter is told by them"""
MANY_FREEDOM, PLAINLY = 16, 0.2
NARROW_WINDOWS = (0, 4, 7, 10, 14)


@dataclass(frozen=True)
class FreeFit:
    """Every rise and the best of its kind, on the grid of one width (decades): coefficients and
    weighted squares left, mode by mode."""

    sample: Sample
    width: float
    rises: tuple[Rises, ...]
    weights: Floats
    coefficients: tuple[Floats, ...]
    left: Floats
    noise: Noise

    @property
    def best(self) -> int:
        """The index of the mode that fits best."""
        return int(np.argmin(self.left))

    @property
    def levels(self) -> Floats:
        """The best rise at the rungs: [rungs]."""
        return self.rises[self.best].design @ self.coefficients[self.best]


@dataclass(frozen=True)
class Sharpness:
    """The test of one width. `p` is of H0: the core is `width` decades or longer.

    `p_without_scatter` is the part that takes all onsets as one; `scatter` the scatter at which the
    other was made (the likeliest, or the default of one run a scale); None where it was not needed.
    """

    width: float
    p: float
    p_without_scatter: float
    scatter: float | None


def fit_freely(sample: Sample, width: float) -> FreeFit:
    """The freest fit on the grid of one width, with the noise that it leaves."""
    rises = all_rises(tuple(sample.t.tolist()), width)
    weights = weigh_by_fits(sample, rises)
    fits = [fit_rise(rise.design, sample.levels, weights) for rise in rises]
    left = np.array([squares for _, squares in fits])
    best = int(np.argmin(left))
    used = int((fits[best][0] > 0).sum())
    noise = noise_of(sample, rises[best].design @ fits[best][0], float(left[best]), used)
    return FreeFit(sample, width, rises, weights, tuple(a for a, _ in fits), left, noise)


def is_narrower(free: FreeFit, *, assumed: float = ONE_RUN_SCATTER) -> Sharpness:
    """Test H0: the core is at least as long as the width on whose grid was fitted.

    The scatter of the onsets is profiled where scales have several runs; where they have one it is
    `assumed`, in decades.
    """
    levels, weights = free.sample.levels, free.weights
    wide = [fit_rise(rise.design, levels, weights, rise.wide) for rise in free.rises]
    left = np.array([squares for _, squares in wide])
    p = tail((left.min() - free.left.min()) / free.noise.phi, free.noise.freedom)
    several = bool((free.sample.runs > 1).sum() >= FEWEST_OF_SEVERAL)
    p_scatter, freedom = p_onsets_scatter(free.sample, free.levels, free.noise)
    shows = several and p_scatter < ALPHA
    # Many runs that differ no more in the rise than on the plateaus have one onset.
    together = several and freedom >= MANY_FREEDOM and p_scatter > PLAINLY
    if (p > ALPHA and not shows) or together or (assumed == 0 and not several):
        return Sharpness(free.width, p, p, None)
    statistic, likeliest = scattered_statistic(
        with_noise(free.sample, free.noise),
        free.noise.phi,
        free.rises,
        (free.coefficients, free.left),
        (tuple(a for a, _ in wide), left),
        SCATTERS if several else (assumed,),
    )
    scattered = _tail_of_scattered(statistic)
    # Where runs plainly scatter the mean is no run's rise, and its width not theirs.
    return Sharpness(free.width, scattered if shows else max(p, scattered), p, likeliest)


def assumed_scatter(axis: str) -> float:
    """Of onsets, in decades, where each scale has one run; along one run's training there is one
    onset, and nothing scatters."""
    return 0.0 if axis in ALONG_TRAINING else ONE_RUN_SCATTER


def p_narrow(free: FreeFit) -> float:
    """p of H0: the core is at most the width of the fit's grid; small: it is wider."""
    levels, weights = free.sample.levels, free.weights
    order = np.argsort(free.left)
    least = np.inf
    for index in order:
        if free.left[index] >= least:
            break
        rise = free.rises[index]
        for window in NARROW_WINDOWS:
            least = min(least, fit_rise(rise.design, levels, weights, rise.narrow(window))[1])
    return tail((least - free.left.min()) / free.noise.phi, free.noise.freedom)


def _tail_of_scattered(statistic: float) -> float:
    """½·P(χ²₁ > T) + ½·P(χ²₂ > T): the scatter was searched too. What is not known is that, not
    the noise."""
    if statistic <= 0:
        return 1.0
    return float(0.5 * (stats.chi2.sf(statistic, 1) + stats.chi2.sf(statistic, 2)))


def tail(statistic: float, freedom: float) -> float:
    """P(χ²₁ > T); F in place of χ² where the noise is estimated."""
    if statistic <= 0 or freedom == 0:
        return 1.0
    if np.isinf(freedom):
        return float(stats.chi2.sf(statistic, 1))
    return float(stats.f.sf(statistic, 1, freedom))
