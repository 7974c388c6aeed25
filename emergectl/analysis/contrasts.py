"""Does a curve rise, does it fall? Stretches of neighbouring rungs against each other.

The statistic is the largest difference between two stretches that follow each other (of 1, 2, 4, …
rungs), in standard errors. Its null distribution is that of a level curve with the same noise,
which is the least favourable of all curves that never go the other way; it is simulated, so that
looking at many pairs costs what it must. Where each scale has one run, the scatter of onsets is
part of the noise: a late run after an early one is no fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emergectl.analysis.curves import Floats
from emergectl.analysis.sample import Noise, Sample, squares_between

DRAWS = 999
MEDIAN_OF_CHI2 = 0.4549


@dataclass(frozen=True)
class Moves:
    """`p_rise` and `p_fall` of no rise, no fall; `turn`: the lowest rung behind the largest fall
    where that comes before the largest rise, else the highest before it; `least`: the smaller of
    the two, as a difference of levels."""

    p_rise: float
    p_fall: float
    turn: int
    least: float


def noise_between_neighbours(sample: Sample) -> Noise:
    """The noise without any shape: from runs of one scale, else from how far rungs lie off the line
    through their neighbours, half of them at least (after Rice 1984; a median, for where a curve
    bends it does so more)."""
    weights = sample.weights(sample.levels)
    squares, freedom = squares_between(sample, sample.levels, sample.runs > 1)
    if freedom == 0:
        t, y, v = sample.t, sample.levels, 1 / weights
        share = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
        off = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
        expected = v[1:-1] + (1 - share) ** 2 * v[:-2] + share**2 * v[2:]
        squares, freedom = float(np.median(off**2 / expected) / MEDIAN_OF_CHI2), 1
    phi = squares / freedom
    if sample.binomial:
        return Noise(max(1.0, phi), np.inf)
    known = freedom if freedom > 1 else len(sample.t) // 2
    return Noise(max(phi, sample.least_noise(weights)), known)


def rung_variances(sample: Sample, fitted: Floats, noise: Noise, scatter: float) -> Floats:
    """Variances of the rungs' means: items or estimate, runs that differ, scattered onsets.

    fitted: [rungs], a rise through them. scatter: of onsets in decades, for rungs of one run.
    """
    variance = noise.phi / sample.weights(sample.levels)
    several = sample.runs > 1
    mine = (sample.level - sample.levels[sample.rung]) ** 2
    between = np.bincount(sample.rung, mine, len(sample.t))
    seen = between / np.maximum(sample.runs - 1, 1) / sample.runs
    slope = np.abs(np.diff(fitted) / np.diff(sample.t))
    steepest = np.maximum(np.append(slope, 0), np.append(0, slope))
    moved = (scatter * steepest) ** 2 / sample.runs
    return np.where(several, np.maximum(variance, seen), variance + moved)


def find_moves(
    levels: Floats, variances: Floats, freedom: float, rng: np.random.Generator
) -> Moves:
    """Test a curve for a rise and for a fall: levels and variances [rungs]."""
    up, down, at_rise, at_fall, most = (v[0] for v in _largest(levels[None], variances))
    null = np.sqrt(variances) * rng.standard_normal((DRAWS, len(levels)))
    if np.isfinite(freedom):
        null /= np.sqrt(rng.chisquare(max(freedom, 1.0), DRAWS) / max(freedom, 1.0))[:, None]
    highest = _largest(null, variances)[0]
    p_rise, p_fall = (
        float((1 + (highest >= z).sum()) / (DRAWS + 1)) if z > 0 else 1.0 for z in (up, down)
    )
    falls_first = at_fall < at_rise
    turn = at_fall + levels[at_fall:].argmin() if falls_first else levels[:at_fall].argmax()
    return Moves(p_rise, p_fall, int(turn), float(most))


def _largest(levels: Floats, variances: Floats) -> tuple[Floats, ...]:
    """(largest rise, largest fall, in standard errors; the rungs at which their second stretches
    begin; the smaller difference of both), each [samples]: levels [samples, rungs]."""
    samples, rungs = levels.shape
    weights = 1 / variances
    total = np.concatenate([[0.0], np.cumsum(weights)])
    sums = np.zeros((samples, rungs + 1))
    np.cumsum(weights * levels, axis=1, out=sums[:, 1:])
    lengths = [2**k for k in range(int(np.log2(rungs)) + 1)]
    pairs = [
        (start - one, start, start + two)
        for start in range(1, rungs)
        for one in {min(length, start) for length in lengths}
        for two in {min(length, rungs - start) for length in lengths}
    ]
    a, b, c = np.array(sorted(set(pairs))).T
    first, second = total[b] - total[a], total[c] - total[b]
    difference = (sums[:, c] - sums[:, b]) / second - (sums[:, b] - sums[:, a]) / first
    z = difference / np.sqrt(1 / first + 1 / second)
    rise, fall = z.argmax(axis=1), z.argmin(axis=1)
    every = np.arange(samples)
    least = np.minimum(difference[every, rise], -difference[every, fall])
    return z[every, rise], -z[every, fall], b[rise], b[fall], least
