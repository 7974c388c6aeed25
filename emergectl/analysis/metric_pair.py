"""A discontinuous metric beside a continuous one of the same outputs, described.

Whether the metric made the rise sharp is a claim of the verdict (`metric_claim`). Here stands what
one likes to know beside it: how well p^L of the continuous metric describes the discontinuous one
(exact match of L tokens, each right with probability p: Schaeffer et al. 2023), and which of the
two rises first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from emergectl.analysis.breaks import Interval, break_difference
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.sharpness import ALPHA
from emergectl.analysis.verdict import Finding

LENGTHS = (0.05, 200.0)


@dataclass(frozen=True)
class Explained:
    """How well value = chance + (1 − chance) · p^length describes a discontinuous metric.

    `share` of the variance over scales, at most 1; `length` is the fitted exponent.
    """

    length: float
    share: float


@dataclass(frozen=True)
class MetricPair:
    """A discontinuous metric beside `metric`, a continuous one of the same outputs.

    `lag_decades`: how far the continuous metric's rise lies above the discontinuous one's, where
    both rise. `explained` is there where the continuous metric can be read as a probability.
    """

    metric: str
    lag_decades: Interval | None
    explained: Explained | None


def pair_up(discontinuous: Finding, continuous: Finding, *, alpha: float = ALPHA) -> MetricPair:
    """Two findings of the same outputs side by side. Rungs are matched by scale."""
    lag = None
    first, second = discontinuous.break_, continuous.break_
    rise = [f.evidence.p_rise <= alpha for f in (discontinuous, continuous)]
    if first is not None and second is not None and all(rise):
        lag = break_difference(first, second)
    made = explain_by_power(discontinuous.curve, continuous.curve)
    return MetricPair(continuous.curve.metric, lag, made)


def explain_by_power(discontinuous: Curve, continuous: Curve) -> Explained | None:
    """Fit p^length to a discontinuous metric; None where p or enough common rungs are missing."""
    shared, left, right = np.intersect1d(discontinuous.x, continuous.x, return_indices=True)
    if len(shared) < 3 or not discontinuous.is_rate:
        return None
    p = as_probability(continuous, continuous.values[right])
    if p is None:
        return None
    y = discontinuous.level[left]
    chance = discontinuous.chance or 0.0
    weights = (discontinuous.size / discontinuous.unit_variance(discontinuous.level))[left]

    def squares(log_length: float) -> float:
        expected = chance + (1 - chance) * p ** np.exp(log_length)
        return float(weights @ (y - expected) ** 2)

    starts = np.linspace(np.log(LENGTHS[0]), np.log(LENGTHS[1]), 60)
    start = starts[np.argmin([squares(s) for s in starts])]
    step = starts[1] - starts[0]
    found = optimize.minimize_scalar(squares, bounds=(start - step, start + step), method="bounded")
    total = float(weights @ (y - np.average(y, weights=weights)) ** 2)
    if total == 0:
        return None
    return Explained(float(np.exp(found.x)), 1 - float(found.fun) / total)


def as_probability(curve: Curve, values: Floats) -> Floats | None:
    """Values of a curve's metric as probabilities of one right token, if they can be read so.

    A code length v of any unit is exp(−v) (a log-probability exp(v), a perplexity 1 / v): what the
    unit multiplies is taken up by the exponent of p^L.
    """
    if curve.what.likelihood is not None:
        if curve.is_logged:
            return 1 / values
        if curve.falls:
            return np.exp(-values)
        return np.exp(values) if (values <= 0).all() else None
    if curve.is_rate and (values > 0).all():
        return values
    return None
