"""Rises of any shape whose onset differs from run to run: likelihoods over each run's own onset.

A run's onset lies e decades from the common one, e normal with deviation s. Its likelihood is the
mean over e of that of its measurement, when the rise at its rung is the common rise at t − e. The
best rise is found by expectation and maximisation (Dempster, Laird and Rubin 1977): given how
likely each run's onset is, a rise of any shape is a weighted non-negative least squares problem
again, so neither the null nor the alternative needs a library of shapes. Onsets lie on a uniform
grid, for Gauss–Hermite nodes are too coarse for a thousand items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emergectl.analysis.curves import Floats
from emergectl.analysis.rises import Rises, fit_rise_by_moments
from emergectl.analysis.sample import Sample

SCATTERS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45)
"""decades: what is tried where runs can tell"""
ONSETS, REACH = 21, 2.8
"""onsets that are summed over, and how many deviations they reach"""
RULED_OUT = 1.92
"""a scatter is ruled out whose log-likelihood is so much less than the best (95%)"""
BEST_MODES, EVERY = 3, 8
"""modes looked at: those that fit best without scatter, and every eighth"""
MOST_ROUNDS, ENOUGH = 60, 0.01
"""expectation and maximisation ends when the log-likelihood grows by less"""
TINY = 1e-9

Fits = tuple[Sequence[Floats], Floats]
"""(coefficients of each mode, squares that it leaves without scatter [modes])"""


def scattered_statistic(
    sample: Sample,
    phi: float,
    rises: Sequence[Rises],
    free: Fits,
    wide: Fits,
    scatters: Sequence[float],
) -> tuple[float, float]:
    """(twice the log-likelihood that wide rises lack, the likeliest scatter in decades).

    Each at its best mode; the least that they lack at any scatter that the runs do not rule out
    (Berger and Boos 1994), for two runs a scale say little of it. `free` and `wide` are the fits to
    begin from. phi: the noise of metrics that are no shares of items (of shares it is in the
    sample's sizes).
    """
    modes = sorted(_chosen(free[1]) | _chosen(wide[1]))
    freely, widely = np.full((2, len(scatters), len(modes)), -np.inf)
    for i, scatter in enumerate(scatters):
        for j, index in enumerate(modes):
            model = _Scattered(sample, phi, rises[index], scatter)
            freely[i, j] = model.maximise(free[0][index], None)
            widely[i, j] = model.maximise(wide[0][index], rises[index].wide)
    best = freely.max(axis=1)
    possible = best >= best.max() - RULED_OUT
    lacking = 2 * (best - widely.max(axis=1))
    return float(lacking[possible].min()), scatters[int(best.argmax())]


def _chosen(left: Floats) -> set[int]:
    return set(np.argsort(left)[:BEST_MODES].tolist()) | set(range(0, len(left), EVERY))


class _Scattered:
    """One mode and one scatter: the rise at every rung and onset."""

    def __init__(self, sample: Sample, phi: float, rise: Rises, scatter: float) -> None:
        self.sample, self.phi = sample, phi
        if scatter == 0:
            onsets, self.log_prior = np.zeros(1), np.zeros(1)
        else:
            onsets = np.linspace(-REACH, REACH, ONSETS) * scatter
            prior = -0.5 * (onsets / scatter) ** 2
            self.log_prior = prior - np.log(np.exp(prior).sum())
        self.shape = (len(sample.t), len(onsets))
        self.design = rise.at((sample.t[:, None] - onsets).ravel())

    def maximise(self, coefficients: Floats, constraint: Floats | None) -> float:
        """The log-likelihood of the best rise, from the coefficients on."""
        last = -np.inf
        for _ in range(MOST_ROUNDS):
            levels = (self.design @ coefficients).reshape(self.shape)
            shares, likelihood = self._expect(levels)
            if likelihood - last < ENOUGH:
                return max(likelihood, last)
            last = likelihood
            sizes = shares * self.sample.size[:, None]
            count = np.zeros(self.shape)
            total = np.zeros(self.shape)
            np.add.at(count, self.sample.rung, sizes)
            np.add.at(total, self.sample.rung, sizes * self.sample.level[:, None])
            mean = total / np.maximum(count, TINY)
            weights = count / self._variance(levels)
            coefficients = fit_rise_by_moments(
                self.design, mean.ravel(), weights.ravel(), constraint
            )
        return last

    def _expect(self, levels: Floats) -> tuple[Floats, float]:
        """(how likely each onset of each run is [measurements, onsets], the log-likelihood)."""
        sample = self.sample
        mine = levels[sample.rung]
        if sample.binomial:
            p = np.clip(mine, TINY, 1 - TINY)
            right = (sample.level * sample.size)[:, None]
            wrong = sample.size[:, None] - right
            each = right * np.log(p) + wrong * np.log1p(-p)
        else:
            variance = self._variance(levels)[sample.rung]
            each = -0.5 * ((sample.level[:, None] - mine) ** 2 / variance + np.log(variance))
        each = each + self.log_prior
        top = each.max(axis=1, keepdims=True)
        shares = np.exp(each - top)
        total = shares.sum(axis=1, keepdims=True)
        return shares / total, float((top + np.log(total)).sum())

    def _variance(self, levels: Floats) -> Floats:
        """Of one measurement's level (per item, for shares): [rungs, onsets]."""
        sample = self.sample
        typical = np.full(self.shape, float(sample.size.mean()))
        unit = sample.unit_variance(levels, typical)
        return unit if sample.binomial else self.phi * unit
