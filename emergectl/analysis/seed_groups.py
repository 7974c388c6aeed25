"""Do the seeds of one scale fall in two groups? One hump against two, by parametric bootstrap.

Seeds of a bounded metric are skewed by themselves, near 0 or 1 the more so, and two normals fit
them better than one wherever one looks. So there the null is one beta-binomial hump, which can be
as skewed, and the alternative two of one precision; a metric without bounds is taken as normal. The
gain in likelihood is held against that of samples from the fitted null.

A beta-binomial null is kept from being two-humped itself (plainly U-shaped). And two humps are told
only where one sees them: the fitted density between them falls to a tenth of the lower one, and
each holds a fair share of the seeds. That keeps a skewed hump of some other kind, which two
overlapping ones describe better than one, from being called two groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import diptest
import numpy as np
from scipy.special import gammaln

from emergectl.analysis.curves import Floats

FIRST_DRAWS, ENOUGH_ABOVE = 39, 8
"""draws after which an ordinary sample is let go: so many of the first draws gain as much"""
ROUNDS = 30
LEAST_DEVIATION = 0.05
"""of the deviation of all seeds: what each of two normals has at least"""
PRECISIONS = np.geomspace(0.5, 1e5, 26)
"""α + β of the beta distributions that are tried"""
LEAST_OF_TWO = 0.5
"""the larger of α and β of one hump: below 1 both ends rise, at a half plainly so"""
LEAST_PRECISION = 2.0
"""of each of two: from here on a beta distribution has one hump, whatever its mean"""
VALLEY = 0.1
"""of the lower of two humps: how low the fitted density between them is at most"""
FEWEST_IN_GROUP, LEAST_SHARE = 2, 0.15
"""seeds in each of two groups, and their share of all"""

Draw = Callable[[int], Floats]
"""samples from the fitted null: how many → [samples, seeds]"""


@dataclass(frozen=True)
class Humps:
    """One hump or two, at one scale.

    `p_one`: of one hump against two, 1 where the two that fit best do not stand apart; `p_adjusted`
    the same corrected for all scales of the ability (Holm 1979). `low`, `high`, `share_high`:
    where the two that fit best lie, the worse first, and the share of seeds in the better. `dip`,
    `p_dip`: Hartigan's dip test, which knows no kind of hump and finds less.
    """

    p_one: float
    p_adjusted: float
    low: float
    high: float
    share_high: float
    dip: float
    p_dip: float

    def are_two(self, alpha: float = 0.05) -> bool:
        """Whether the seeds fall in two groups."""
        return self.p_adjusted <= alpha


@dataclass(frozen=True)
class _Mixtures:
    """Two humps fitted to samples: each [samples]; deviations in the units of the means."""

    gain: Floats
    low: Floats
    high: Floats
    share: Floats
    deviation_low: Floats
    deviation_high: Floats


def find_humps(
    values: Floats,
    rng: np.random.Generator,
    *,
    items: Floats | None = None,
    draws: int = 199,
) -> Humps:
    """One hump against two of the seeds at one scale: values [seeds].

    items: [seeds], for values between 0 and 1: shares of so many items. `p_adjusted` is that of
    this scale alone.
    """
    values = np.asarray(values, float)
    dip, p_dip = diptest.diptest(values)
    if items is not None:
        sample, fit, draw = _counts(values, np.asarray(items, float), rng)
    else:  # A null of any mean and deviation is as good as the standard one.
        sample, fit = values, _two_normals
        draw = lambda samples: rng.standard_normal((samples, len(values)))  # noqa: E731
    found = fit(sample[None])
    p_one = 1.0
    if _stand_apart(found, len(values)):
        p_one = _bootstrap(float(found.gain[0]), lambda n: fit(draw(n)).gain, draws)
    low, high, share = (float(v[0]) for v in (found.low, found.high, found.share))
    return Humps(p_one, p_one, low, high, share, float(dip), float(p_dip))


def adjust_by_holm(p: Floats) -> Floats:
    """Holm's (1979) adjusted p-values: p [tests]."""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def _bootstrap(gain: float, gains_of: Callable[[int], Floats], draws: int) -> float:
    """The share of samples from the null that gain as much; few of them where that is plain (after
    Besag and Clifford 1991)."""
    above, made = 0, 0
    while made < draws:
        count = min(FIRST_DRAWS if not made else draws, draws - made)
        above += int((gains_of(count) >= gain).sum())
        made += count
        if above >= ENOUGH_ABOVE:
            break
    return (1 + above) / (1 + made)


def _stand_apart(found: _Mixtures, seeds: int) -> bool:
    """Whether the fitted density has a valley, and each hump seeds enough."""
    share = float(found.share[0])
    if min(share, 1 - share) < max(LEAST_SHARE, (FEWEST_IN_GROUP - 0.5) / seeds):
        return False
    means = np.array([found.low[0], found.high[0]])
    deviations = np.array([found.deviation_low[0], found.deviation_high[0]])
    at = np.linspace(means[0], means[1], 101)
    weights = np.array([1 - share, share]) / deviations
    density = np.exp(-0.5 * ((at[:, None] - means) / deviations) ** 2) @ weights
    return bool(density.min() <= VALLEY * min(density[0], density[-1]))


def _counts(
    values: Floats, items: Floats, rng: np.random.Generator
) -> tuple[Floats, Callable[[Floats], _Mixtures], Draw]:
    """Right answers: the sample, how two humps are fitted, and how the null is drawn."""
    counts = np.round(values * items)
    _, mean, precision = (v[0] for v in _one_beta(counts[None], items))
    # The likeliest spread is short of the true one as a variance over n is, not n - 1.
    alike = len(items) / (len(items) - 1) / (precision + 1)
    precision = max(1 / alike - 1, LEAST_OF_TWO / max(mean, 1 - mean))

    def draw(samples: int) -> Floats:
        shape = (samples, len(items))
        own = rng.beta(mean * precision, (1 - mean) * precision, shape)
        return rng.binomial(items.astype(int), own).astype(float)

    return counts, lambda samples: _two_betas(samples, items), draw


def _log_beta_binomial(counts: Floats, items: Floats, mean: Floats, precision: Floats) -> Floats:
    """log P of counts, without the binomial coefficient: all broadcast."""
    a, b = mean * precision, (1 - mean) * precision
    ends = gammaln(precision) - gammaln(a) - gammaln(b)
    return gammaln(counts + a) + gammaln(items - counts + b) - gammaln(items + precision) + ends


def _one_beta(counts: Floats, items: Floats) -> tuple[Floats, Floats, Floats]:
    """One beta-binomial with one hump: counts [samples, seeds], items [seeds] → (log-likelihood,
    mean, precision), each [samples]."""
    mean = _within((counts.sum(axis=1) / items.sum())[:, None], items)
    told = _log_beta_binomial(counts[:, None], items, mean[..., None], PRECISIONS[:, None]).sum(
        axis=-1
    )
    one_hump = np.maximum(mean, 1 - mean) * PRECISIONS >= LEAST_OF_TWO
    told = np.where(one_hump, told, -np.inf)
    best = told.argmax(axis=1)
    return told.max(axis=1), mean[:, 0], PRECISIONS[best]


def _within(mean: Floats, items: Floats) -> Floats:
    """Means off 0 and 1 by half an answer of all."""
    least = 0.5 / (items.sum() + 1)
    return np.clip(mean, least, 1 - least)


def _two_betas(counts: Floats, items: Floats) -> _Mixtures:
    """Two beta-binomials of one precision, by expectation and maximisation from several cuts.

    counts: [samples, seeds]. Means and precision are moved by weighted moments, which is not quite
    the likeliest place; the likelihood there is exact, and the bootstrap is of the same statistic.
    """
    samples, seeds = counts.shape
    size = float(items.mean())
    # Each cut of each sample is a start, side by side: [cuts · samples, seeds].
    r = _cuts(counts / items).reshape(-1, seeds)
    starts = np.tile(counts, (len(r) // samples, 1))
    for _ in range(ROUNDS):
        both = np.stack([1 - r, r])
        total = np.maximum(both.sum(axis=2), 1e-9)
        mean = _within((both * starts / items).sum(axis=2) / total, items)[..., None]
        squares = both * items * (starts / items - mean) ** 2 / (mean * (1 - mean))
        alike = (squares.sum(axis=(0, 2)) / seeds - 1) / max(size - 1, 1e-9)
        precision = 1 / np.clip(alike, 1 / PRECISIONS[-1], 1 / LEAST_PRECISION)
        weight = np.log(np.clip(total / seeds, 1e-9, 1))[..., None]
        told = weight + _log_beta_binomial(starts, items, mean, precision[:, None])
        every = np.logaddexp(told[0], told[1])
        r = np.exp(told[1] - every)
    best = every.sum(axis=1).reshape(-1, samples).argmax(axis=0) * samples + np.arange(samples)
    found = every.sum(axis=1)[best] - _one_beta(counts, items)[0]
    mean, share, precision = mean[:, best, 0], np.exp(weight[1, best, 0]), precision[best]
    share = np.where(mean[0] > mean[1], 1 - share, share)
    mean = np.sort(mean, axis=0)
    deviation = np.sqrt(mean * (1 - mean) * (1 / size + (1 - 1 / size) / (precision + 1)))
    low, high = mean
    return _Mixtures(np.maximum(found, 0), low, high, share, deviation[0], deviation[1])


def _cuts(values: Floats) -> Floats:
    """Where two groups may part: 1 for the upper group, [cuts, samples, seeds].

    values: [samples, seeds], cut at the quartiles and at the widest gap.
    """
    seeds = values.shape[1]
    rank = values.argsort(axis=1).argsort(axis=1)
    gap = np.diff(np.sort(values, axis=1), axis=1).argmax(axis=1) + 1
    quartiles = [np.full(len(values), max(1, seeds * k // 4)) for k in (1, 2, 3)]
    return np.stack([(rank >= cut[:, None]).astype(float) for cut in (*quartiles, gap)])


def _two_normals(values: Floats) -> _Mixtures:
    """Two normals of one deviation, by expectation and maximisation from several cuts.

    values: [samples, seeds].
    """
    samples, seeds = values.shape
    deviation = values.std(axis=1)
    alone = -seeds * (np.log(deviation) + 0.5)
    r = _cuts(values).reshape(-1, seeds)
    v = np.tile(values, (len(r) // samples, 1))
    # A deviation of next to nothing would let few points have all the likelihood in the world.
    least = np.tile(LEAST_DEVIATION * deviation, len(r) // samples)
    for _ in range(ROUNDS):
        both = np.stack([1 - r, r])
        total = np.maximum(both.sum(axis=2), 1e-9)
        mean = ((both * v).sum(axis=2) / total)[..., None]
        squares = (both * (v - mean) ** 2).sum(axis=(0, 2)) / seeds
        spread = np.maximum(np.sqrt(squares), least)
        weight = np.log(np.clip(total / seeds, 1e-9, 1))[..., None]
        told = weight - 0.5 * ((v - mean) / spread[:, None]) ** 2
        every = np.logaddexp(told[0], told[1])
        r = np.exp(told[1] - every)
    gained = every.sum(axis=1) - seeds * np.log(spread)
    best = gained.reshape(-1, samples).argmax(axis=0) * samples + np.arange(samples)
    mean, share, spread = mean[:, best, 0], np.exp(weight[1, best, 0]), spread[best]
    share = np.where(mean[0] > mean[1], 1 - share, share)
    low, high = np.sort(mean, axis=0)
    return _Mixtures(gained[best] - alone, low, high, share, spread, spread)
