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
from numpy.typing import NDArray
from scipy import optimize

from emergectl.analysis.breaks import Interval, difference
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.verdict import ALPHA, Finding

Where = Literal["both", "discontinuous only", "continuous only", "neither"]
LENGTHS = (0.05, 200.0)
LOG_PROBABILITY = ("logprob", "logprob_per_token", "log_probability", "log_likelihood")


@dataclass(frozen=True)
class Explained:
    """How well value = chance + (1 − chance) · p^length describes a discontinuous metric.

    `share` of the variance over scales, at most 1; `length` is the fitted exponent.
    """

    length: float
    share: float


@dataclass(frozen=True)
class Pair:
    """Two metrics of the same outputs beside each other.

    `lag_decades`: how far the continuous metric's break lies above the discontinuous one's.
    `explained` is there where the continuous metric can be read as a probability.
    """

    breaks: Where
    lag_decades: Interval | None
    explained: Explained | None
    sentence: str


def pair_up(discontinuous: Finding, continuous: Finding, *, alpha: float = ALPHA) -> Pair:
    """Judge two findings of the same outputs together. Rungs are matched by scale."""
    first, second = discontinuous.q_break <= alpha, continuous.q_break <= alpha
    where: Where = (
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
        lag = difference(discontinuous.break_, continuous.break_)
    made = explain(discontinuous.curve, continuous.curve)
    sentence = {
        "both": "both metrics break: not the metric's doing",
        "discontinuous only": "only the discontinuous metric breaks",
        "continuous only": "only the continuous metric breaks",
        "neither": "neither metric breaks",
    }[where]
    if made is not None:
        sentence += (
            f"; p^{made.length:.2g} explains {max(0.0, made.share):.0%} of the discontinuous curve"
        )
    return Pair(where, lag, made, sentence)


def explain(discontinuous: Curve, continuous: Curve) -> Explained | None:
    """Fit p^length to a discontinuous metric; None where p or enough common rungs are missing."""
    shared, left, right = np.intersect1d(discontinuous.x, continuous.x, return_indices=True)
    if len(shared) < 3 or not discontinuous.is_rate:
        return None
    p = _probability(continuous, right)
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


def _probability(curve: Curve, index: NDArray[np.intp]) -> Floats | None:
    """The continuous metric as a probability of one right token, if it can be read so."""
    return as_probability(curve, curve.values[index])


def as_probability(curve: Curve, values: Floats) -> Floats | None:
    """Values of a curve's metric as probabilities of one right token, if they can be read so."""
    name = curve.metric.lower().rsplit("/", 1)[-1]
    if name in LOG_PROBABILITY and (values <= 0).all():
        return np.exp(values)
    if name in ("loss", "nll") or name.endswith(("_loss", "_nll")):
        return np.exp(-values)
    if name in ("perplexity", "ppl"):
        return 1 / values
    if curve.is_rate and (values > 0).all():
        return values
    return None
