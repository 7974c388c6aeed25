"""Do the seeds agree? One hump or two, how many succeed at which scale, how many would be needed.

An ability that some seeds have and others lack looks smooth in the mean (Zhao et al. 2025, "Random
scaling of emergent capabilities"). Three looks at it: Hartigan's dip test (are there two humps at
all), one normal against two by parametric bootstrap, and the share of seeds that succeed at each
scale with exact binomial intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import diptest
import numpy as np
from scipy import stats

from emergectl.analysis.curves import Curve, Floats

FEWEST_FOR_HUMPS = 8
DRAWS, ROUNDS = 199, 60
LEAST_DEVIATION = 0.05


@dataclass(frozen=True)
class Humps:
    """One hump or two, at one scale.

    `dip` and `p_dip` (small: more than one hump); `p_one` the p-value of one normal against two;
    `low`, `high`, `share_high`: the two components' means and how many seeds lie in the higher.
    """

    dip: float
    p_dip: float
    p_one: float
    low: float
    high: float
    share_high: float


@dataclass(frozen=True)
class Success:
    """Seeds that succeed at one scale: `succeeded` of `seeds`, share with exact 95% interval."""

    scale: float
    seeds: int
    succeeded: int
    low: float
    high: float
    share: float
    """probability of success"""
    mean_of_successful: float | None
    """in the metric's units; None where none succeeded"""
    humps: Humps | None
    """None with fewer seeds than `FEWEST_FOR_HUMPS`, or all of one value"""


@dataclass(frozen=True)
class SeedsFinding:
    """Success at every scale, and how many seeds (`seeds_needed`) would tell its share to ± 0.1 at
    scale `at`, where the seeds differ most."""

    scales: tuple[Success, ...]
    seeds_needed: int
    at: float


def judge_seeds(curve: Curve, rng: np.random.Generator) -> SeedsFinding | None:
    """What the seeds say; None where most rungs have one alone.

    Models that happen to be of one scale are no seeds of each other; most rungs have several.
    """
    if float(np.median(curve.seeds)) < 2:
        return None
    found = successes(curve, rng)
    # The rung where seeds differ most is the one that more of them would settle.
    differ = min(found, key=lambda s: abs(s.share - 0.5))
    return SeedsFinding(tuple(found), seeds_needed(differ.share), differ.scale)


def successes(
    curve: Curve, rng: np.random.Generator, *, threshold: float | None = None
) -> list[Success]:
    """Success of the seeds at every rung.

    threshold: the level (metric's units) from which on a seed succeeds; default half way between
    chance (or the lowest value) and the highest.
    """
    every = [curve.to_level(values) for values in curve.seed_values]
    if threshold is None:
        low = curve.chance_level if curve.chance_level is not None else min(map(np.min, every))
        cut = (float(low) + float(max(map(np.max, every)))) / 2
    else:
        cut = float(curve.to_level(np.array([threshold]))[0])
    return [_success(curve, k, every[k], cut, rng) for k in range(len(curve.x))]


def _success(curve: Curve, k: int, levels: Floats, cut: float, rng: np.random.Generator) -> Success:
    good = levels >= cut
    interval = stats.binomtest(int(good.sum()), len(good)).proportion_ci(0.95, method="exact")
    mean = float(curve.seed_values[k][good].mean()) if good.any() else None
    humps = None
    if len(levels) >= FEWEST_FOR_HUMPS and np.ptp(levels) > 0:
        humps = find_humps(levels, rng)
    return Success(
        scale=float(curve.x[k]),
        seeds=len(good),
        succeeded=int(good.sum()),
        low=float(interval.low),
        high=float(interval.high),
        share=int(good.sum()) / len(good),
        mean_of_successful=mean,
        humps=humps,
    )


def find_humps(values: Floats, rng: np.random.Generator) -> Humps:
    """Dip test, and one against two normals of a common deviation: values [seeds]."""
    values = np.asarray(values, float)
    dip, p_dip = diptest.diptest(values)
    gain, low, high, share = (float(v[0]) for v in _two_normals(values[None]))
    null, *_ = _two_normals(rng.standard_normal((DRAWS, len(values))))
    p_one = float((1 + (null >= gain).sum()) / (DRAWS + 1))
    return Humps(float(dip), float(p_dip), p_one, low, high, share)


def _two_normals(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Two normals of one deviation, by expectation and maximisation from several cuts.

    values: [samples, seeds] → (gain in log-likelihood over one normal, low mean, high mean, share
    of the higher), each [samples].
    """
    v = np.sort(values, axis=1)
    samples, n = v.shape
    deviation = v.std(axis=1)
    alone = -n * (np.log(deviation) + 0.5 * np.log(2 * np.pi) + 0.5)
    # A deviation of its own for each would let one point have all the likelihood in the world.
    least = LEAST_DEVIATION * deviation
    gap = np.diff(v, axis=1).argmax(axis=1) + 1
    best = [np.full(samples, -np.inf), v[:, 0], v[:, -1], np.full(samples, 0.5)]
    for cut in (
        np.full(samples, n // 4),
        np.full(samples, n // 2),
        np.full(samples, 3 * n // 4),
        gap,
    ):
        cut = np.clip(cut, 1, n - 1)
        r = (np.arange(n) >= cut[:, None]).astype(float)
        for _ in range(ROUNDS):
            share = np.clip(r.mean(axis=1), 1e-9, 1 - 1e-9)
            a = ((1 - r) * v).sum(axis=1) / np.maximum((1 - r).sum(axis=1), 1e-9)
            b = (r * v).sum(axis=1) / np.maximum(r.sum(axis=1), 1e-9)
            squares = (1 - r) * (v - a[:, None]) ** 2 + r * (v - b[:, None]) ** 2
            s = np.maximum(np.sqrt(squares.mean(axis=1)), least)
            one = np.log(1 - share)[:, None] - 0.5 * ((v - a[:, None]) / s[:, None]) ** 2
            two = np.log(share)[:, None] - 0.5 * ((v - b[:, None]) / s[:, None]) ** 2
            both = np.logaddexp(one, two)
            r = np.exp(two - both)
        found = both.sum(axis=1) - n * (np.log(s) + 0.5 * np.log(2 * np.pi))
        better = found > best[0]
        best = [
            np.where(better, new, old) for new, old in zip((found, a, b, share), best, strict=True)
        ]
    return best[0] - alone, best[1], best[2], best[3]


def seeds_needed(share: float, *, half_width: float = 0.1) -> int:
    """Seeds for a 95% interval (Wilson) of a success share no wider than ± half_width."""
    z = float(stats.norm.ppf(0.975))
    low, high = 1, 1
    while _wilson_half(share, high, z) > half_width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _wilson_half(share, middle, z) > half_width else (low, middle)
    return high


def seeds_to_see_one(share: float, *, confidence: float = 0.95) -> int:
    """Seeds to run so that at least one succeeds, with this confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - share)) if share < 1 else 1


def _wilson_half(share: float, n: int, z: float) -> float:
    return z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
