"""The shapes of simulated rises, written out here alone: nothing of the analysis is imported.

Rises that level off have a 10–90 width of one decade and their half at zero, before they are
stretched to `width` and moved to `position`. Others (`SHAPES`) say what their width means.
"""

# ruff: noqa: ARG001 (every shape is told the same, whatever it needs of it)

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = Callable[[Floats, float, float, float], Floats]
"""(log10 of the scale [points], length of the ladder, position, width: all in decades) → share of
the height that is reached"""

SOFT = 0.15
"""decades: how round the corner of a softplus is"""


def logistic(u: Floats) -> Floats:
    """1 / (1 + exp(-u)), far out too."""
    return 0.5 * (1 + np.tanh(u / 2))


def _of_unit_width(rise: Callable[[Floats], Floats], quantile: Callable[[float], float]) -> Shape:
    """A rise from 0 to 1, stretched so that 10–90 percent take `width`, with its half at `at`."""
    middle, length = quantile(0.5), quantile(0.9) - quantile(0.1)

    def shape(t: Floats, span: float, at: float, width: float) -> Floats:
        return rise(middle + (t - at) / width * length)

    return shape


def _both_ways(
    name: str, rise: Callable[[Floats], Floats], quantile: Callable[[float], float]
) -> dict[str, Shape]:
    return {
        name: _of_unit_width(rise, quantile),
        f"{name} reversed": _of_unit_width(lambda u: 1 - rise(-u), lambda q: -quantile(1 - q)),
    }


def _line(t: Floats, span: float, at: float, width: float) -> Floats:
    """A line in log x over the whole ladder."""
    return t / span


def _late_line(t: Floats, span: float, at: float, width: float) -> Floats:
    """Nothing, then a line in log x over the last `width` decades."""
    return np.maximum(0, t - span + width) / width


def _late_softplus(t: Floats, span: float, at: float, width: float) -> Floats:
    """The same with a round corner."""
    return np.logaddexp(0, (t - span + width) / SOFT) / np.logaddexp(0, width / SOFT)


def _growth(t: Floats, span: float, at: float, width: float) -> Floats:
    """A growing power, tenfold in `width` decades, that reaches 1 at the largest scale."""
    return 10 ** ((t - span) / width)


def _approach(t: Floats, span: float, at: float, width: float) -> Floats:
    """Errors that fall as a power from the smallest scale on, to a tenth in `width` decades."""
    return 1 - 10 ** (-np.maximum(t, 0) / width)


def _staircase(t: Floats, span: float, at: float, width: float) -> Floats:
    """Three jumps of a third each, the first `width` decades before the last."""
    return np.mean([t >= at + width * k for k in (-0.5, 0.0, 0.5)], axis=0)


def _mixture(t: Floats, span: float, at: float, width: float) -> Floats:
    """Half a logistic rise of a third of `width`, half a ramp of twice that."""
    quick = logistic((t - at) * 6 * math.log(9) / width)
    return 0.5 * quick + 0.5 * np.clip((t - at) / (2 * width) + 0.5, 0, 1)


def _fall_and_rise(t: Floats, span: float, at: float, width: float) -> Floats:
    """A U: it falls by .4 about the first eighth of the ladder, and rises at `at`."""
    fall = 1 - logistic((t - span / 8) * 2 * math.log(9) / max(width, 0.3))
    return 0.4 * fall + logistic((t - at) * 2 * math.log(9) / width)


def _flat(t: Floats, span: float, at: float, width: float) -> Floats:
    return np.zeros_like(t)


def _level(t: Floats, span: float, at: float, width: float) -> Floats:
    """At its full height from the smallest scale on."""
    return np.ones_like(t)


SHAPES: dict[str, Shape] = {
    "logistic": _of_unit_width(logistic, lambda q: math.log(q / (1 - q))),
    "ramp": _of_unit_width(lambda u: np.clip(u, 0, 1), lambda q: q),
    "cauchy": _of_unit_width(
        lambda u: 0.5 + np.arctan(u) / math.pi, lambda q: math.tan(math.pi * (q - 0.5))
    ),
    **_both_ways(
        "gompertz",
        lambda u: np.exp(-np.exp(-np.maximum(u, -50))),
        lambda q: -math.log(-math.log(q)),
    ),
    **_both_ways("square", lambda u: np.clip(u, 0, 1) ** 2, math.sqrt),
    **_both_ways("square root", lambda u: np.sqrt(np.clip(u, 0, 1)), lambda q: q * q),
    **_both_ways(
        "exponential", lambda u: 1 - np.exp(-np.maximum(u, 0)), lambda q: -math.log(1 - q)
    ),
    "line": _line,
    "late line": _late_line,
    "late softplus": _late_softplus,
    "growth": _growth,
    "approach": _approach,
    "staircase": _staircase,
    "mixture": _mixture,
    "fall and rise": _fall_and_rise,
    "flat": _flat,
    "level": _level,
}
"""the shapes by name"""
