"""Shapes of rises by formula: logistic, Gompertz, hinge."""

from __future__ import annotations

import numpy as np

from emergectl.analysis.curves import Floats

LOGISTIC_WIDTH = float(2 * np.log(9))
"""how long a logistic curve of scale 1 takes from 10 to 90 percent"""
GOMPERTZ_WIDTH = float(np.log(np.log(0.1) / np.log(0.9)))
"""how long a Gompertz curve of scale 1 does"""


def logistic(z: Floats) -> Floats:
    """1 / (1 + exp(-z)) without overflow."""
    return 0.5 * (1 + np.tanh(z / 2))


def gompertz(z: Floats) -> Floats:
    """exp(-exp(-z)): late to saturate."""
    return np.exp(-np.exp(np.clip(-z, -50, 50)))


def logistic_rise(t: Floats, position: Floats, width: Floats) -> Floats:
    """A logistic rise; `width` is from 10 to 90 percent, in decades."""
    return logistic(LOGISTIC_WIDTH * (t - position) / width)


def hinge_rise(t: Floats, position: Floats, power: Floats) -> Floats:
    """0 before `position`, then 1 − 10^(−power · (t − position)); linear where power is 0."""
    past = np.maximum(t - position, 0.0)
    return np.where(power == 0, past, -np.expm1(-np.log(10) * power * past))
