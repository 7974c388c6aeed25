"""Did the metric make the break? A discontinuous and a continuous metric of the same outputs.

Exact match of L tokens is p^L where p is the chance of one right token: a smooth p gives a curve
that stays at zero for long and then rises (Schaeffer et al. 2023). So both metrics are judged
together, and where only the discontinuous one breaks, the share of its curve that p^L of the
continuous one explains is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize

from emergectl.analysis.breaks import Interval, break_difference
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.verdict import ALPHA, Finding

Breaks = Literal["both", "discontinuous only", "continuous only", "neither"]
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

    `lag_decades`: how far the continuous metric's break lies above the discontinuous one's.
    `explained` is there where the continuous metric can be read as a probability.
    """

    metric: str
    breaks: Breaks
    lag_decades: Interval | None
    explained: Explained | None
    sentence: str


def pair_up(discontinuous: Finding, continuous: Finding, *, alpha: float = ALPHA) -> MetricPair:
    """Judge two findings of the same outputs together. Rungs are matched by scale."""
    first, second = discontinuous.q_break <= alpha, continuous.q_break <= alpha
    breaks: Breaks = (
        "both"
        if first and second
        else "discontinuous only"
        if first
        else "continuous only"
        if second
        else "neither"
    )
    lag = None
    if discontinuous.break_ is not None and continuous.break_ is not None:
        lag = break_difference(discontinuous.break_, continuous.break_)
    made = explain_by_power(discontinuous.curve, continuous.curve)
    sentence = {
        "both": "both metrics rise sharply: not the metric's doing",
        "discontinuous only": "only the discontinuous metric rises sharply",
        "continuous only": "only the continuous metric rises sharply",
        "neither": "neither metric rises sharply",
    }[breaks]
    if made is not None:
        sentence += (
            f"; p^{made.length:.2g} explains {max(0.0, made.share):.0%} of the discontinuous curve"
        )
    return MetricPair(continuous.curve.metric, breaks, lag, made, sentence)


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
