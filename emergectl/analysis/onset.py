"""Is an ability absent below and there above? The first claim of a verdict.

Chance is what needs no ability: the best of blind guessing and of a task's shortcuts (`floor`).
Absent means shown to lie within a tenth of the ability's height of chance (two one-sided tests);
there means above it at the largest scales. A curve is flat when nothing that was measured tells it
from chance, and enough was measured to tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from emergectl.analysis.floor import Floor
from emergectl.analysis.sample import Noise, Sample

Flags = NDArray[np.bool_]
HEIGHT_MARGIN = 0.1
"""below the onset: within this share of the height of chance"""
LARGEST_SHARE = 4
"""the largest scales are the last quarter of the rungs, at least one"""


def largest_scales(rungs: int) -> Flags:
    """Which rungs are the largest scales: [rungs]."""
    return np.arange(rungs) >= rungs - max(1, rungs // LARGEST_SHARE)


def mean_and_error(sample: Sample, keep: Flags, phi: float) -> tuple[float, float]:
    """(mean, standard error) of the rungs kept: by their noise, or by how they differ if more."""
    y, size = sample.levels[keep], sample.sizes[keep]
    mean = float(np.average(y, weights=size))
    unit = float(sample.unit_variance(np.full(len(sample.t), mean), sample.sizes)[keep].mean())
    expected = phi * unit / size.sum()
    if len(y) >= 3:
        seen = float((size * (y - mean) ** 2).sum() / (len(y) - 1) / size.sum())
        expected = max(expected, seen)
    return mean, float(np.sqrt(max(expected, 1e-300)))


def p_above(sample: Sample, noise: Noise, keep: Flags, chance: float) -> float:
    """P of the rungs kept so far above chance, if they were at chance."""
    if not keep.any():
        return 1.0
    mean, error = mean_and_error(sample, keep, noise.phi)
    return float(_tail(noise, (mean - chance) / error))


def p_near(
    sample: Sample,
    noise: Noise,
    keep: Flags,
    level: float,
    margin: float,
    *,
    lowest: float | None = None,
) -> float:
    """P of the rungs kept so near to `level`, or between `lowest` and it, if they were `margin`
    off."""
    if not keep.any() or margin <= 0:
        return 1.0
    mean, error = mean_and_error(sample, keep, noise.phi)
    within = min(level - mean, mean - (level if lowest is None else lowest))
    return float(_tail(noise, (margin + within) / error))


def p_flat(sample: Sample, noise: Noise, floor: Floor | None, margin: float, alpha: float) -> float:
    """P of the largest scales so near to chance if they were `margin` off (without a chance level:
    to the smallest scales); 1 where any part of the curve is significantly above it. What lies
    between guessing and a shortcut is as near as can be.

    NaN for metrics that are no rates, where no margin is natural.
    """
    if not sample.rate:
        return float("nan")
    largest = largest_scales(len(sample.t))
    own, lowest = noise, None
    if floor is not None:
        level = floor.level
        if floor.shortcut:
            lowest = -np.inf if floor.guessing is None else floor.guessing
    else:
        level, _ = mean_and_error(sample, largest[::-1], noise.phi)
        own = Noise(2 * noise.phi, noise.freedom)
    everything = np.ones(len(sample.t), bool)
    if min(p_above(sample, own, largest, level), p_above(sample, own, everything, level)) <= alpha:
        return 1.0
    return p_near(sample, own, largest, level, margin, lowest=lowest)


def onset_between(
    sample: Sample, noise: Noise, chance: float, alpha: float
) -> tuple[int | None, int | None]:
    """(the last rung before anything is above chance, the first from which on every rung is).

    Each rung by itself, at alpha over the number of rungs; None where there is no such rung.
    """
    each = np.eye(len(sample.t), dtype=bool)
    above = [p_above(sample, noise, keep, chance) <= alpha / len(sample.t) for keep in each]
    first_any = above.index(True) if True in above else len(above)
    stays = next((k for k in range(len(above)) if all(above[k:])), None)
    return first_any - 1 if first_any else None, stays


def p_off_floor(sample: Sample, noise: Noise, keep: Flags, chance: float) -> float:
    """Two-sided P of the rungs kept so far from chance, if chance is stated right."""
    if not keep.any():
        return 1.0
    mean, error = mean_and_error(sample, keep, noise.phi)
    return float(2 * _tail(noise, abs(mean - chance) / error))


def _tail(noise: Noise, z: float) -> float:
    """P above z: normal where the noise is that of items; else Student's, for it is estimated."""
    if np.isinf(noise.freedom):
        return float(special.ndtr(-z))
    return float(special.stdtr(max(1.0, noise.freedom), -z))
