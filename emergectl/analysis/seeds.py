"""Do the seeds agree? One group or two, how many succeed at which scale, how many would be needed.

An ability that some seeds have and others lack looks smooth in the mean (Zhao et al. 2025, "Random
scaling of emergent capabilities"). Two looks at it: whether the seeds of a scale fall in two groups
(`seed_groups`; corrected for all scales, so that the error rate is that of the ability), and the
share of seeds that succeed at each scale with exact binomial intervals. A seed succeeds from a
stated level on, half way between what needs no ability and the best that can be reached; the best
value that was seen is no such level, for a metric that stays low would succeed at itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.floor import floor_of
from emergectl.analysis.seed_groups import Humps, adjust_by_holm, find_humps

FEWEST_FOR_HUMPS = 8
MOST_SCALES = 40
"""scales at which groups are looked for; of more, so many spread evenly"""
DRAWS, DRAWS_A_SCALE = 199, 40
"""of the bootstrap, at least; and for each scale, so that a corrected p can be small enough"""
FINEST = 1000
"""items at most that the differences between values are taken to tell"""


@dataclass(frozen=True)
class SuccessLevel:
    """From `value` on a seed succeeds: half way from `chance` to `best`, in the metric's units.

    Chance is the better of guessing and of a shortcut (`shortcut` says which, empty where guessing
    is); where neither is known the worst that the metric can be stands for it (`chance_known`).
    """

    value: float
    chance: float
    best: float
    chance_known: bool
    shortcut: str = ""

    @property
    def in_words(self) -> str:
        """`0.5 or better, half way from chance 0 to 1`."""
        what = self.shortcut or ("chance" if self.chance_known else "")
        low = f"{what} {self.chance:.3g}".strip()
        return f"{self.value:.3g} or better, half way from {low} to {self.best:.3g}"


@dataclass(frozen=True)
class Success:
    """Seeds that succeed at one scale: how many, their share with its exact 95% interval, and their
    mean in the metric's units (None where none succeeded)."""

    succeeded: int
    share: float
    low: float
    high: float
    mean_of_successful: float | None


@dataclass(frozen=True)
class SeedsAtScale:
    """The seeds of one scale. `success`: None where no level can be stated. `humps`: None where it
    was not asked (fewer seeds than `FEWEST_FOR_HUMPS`, or all of one value)."""

    scale: float
    seeds: int
    success: Success | None
    humps: Humps | None


@dataclass(frozen=True)
class SeedsFinding:
    """The seeds at every scale, and from which level on they succeed; None where the metric has no
    best value or no worst, so that none can be stated.

    `seeds_needed` would tell the share of success to ± 0.1 at scale `at`, where the seeds differ
    most; None without a level. `passed_over`: scales where groups were not looked for, of more than
    `MOST_SCALES`.
    """

    level: SuccessLevel | None
    scales: tuple[SeedsAtScale, ...]
    seeds_needed: int | None
    at: float | None
    passed_over: int

    @property
    def in_two_groups(self) -> tuple[SeedsAtScale, ...]:
        """The scales at which the seeds fall in two groups."""
        return tuple(s for s in self.scales if s.humps is not None and s.humps.are_two())


def judge_seeds(curve: Curve, rng: np.random.Generator) -> SeedsFinding | None:
    """What the seeds say; None where most rungs have one alone.

    Models that happen to be of one scale are no seeds of each other; most rungs have several.
    """
    if float(np.median(curve.seeds)) < 2:
        return None
    level = success_level(curve)
    humps, passed_over = humps_by_scale(curve, rng)
    scales = tuple(
        SeedsAtScale(
            float(curve.x[k]),
            len(values),
            None if level is None else success(curve, values, level),
            humps.get(k),
        )
        for k, values in enumerate(curve.seed_values)
    )
    # The rung where seeds differ most is the one that more of them would settle.
    shares = [(abs(s.success.share - 0.5), s.success.share, s.scale) for s in scales if s.success]
    if not shares:
        return SeedsFinding(level, scales, None, None, passed_over)
    _, share, at = min(shares, key=lambda each: each[0])
    return SeedsFinding(level, scales, seeds_needed(share), at, passed_over)


def success_level(curve: Curve) -> SuccessLevel | None:
    """The level from which on a seed succeeds, in the metric's units.

    Half way between what needs no ability (else the worst value of the metric) and the task's
    ceiling (else the best value of the metric), on the scale that is fitted; None where either has
    no end.
    """
    worst, best = curve.what.least, curve.what.most
    if curve.falls:
        worst, best = best, worst
    if curve.what.quantity == "loss":
        best = None  # Zero bounds it, and is nothing that a model could reach.
    floor = floor_of(curve)
    low = worst if floor is None else floor.value
    high = best if curve.ceiling is None else curve.ceiling
    if low is None or high is None or (curve.is_logged and min(low, high) <= 0):
        return None
    if curve.to_level(np.array([low]))[0] >= curve.to_level(np.array([high]))[0]:
        return None
    middle = curve.to_level(np.array([low, high])).mean(keepdims=True)
    value = float(curve.to_value(middle)[0])
    return SuccessLevel(value, low, high, floor is not None, floor.shortcut if floor else "")


def success(curve: Curve, values: Floats, level: SuccessLevel) -> Success:
    """How many seeds succeed: values [seeds], in the metric's units."""
    good = curve.to_level(values) >= curve.to_level(np.array([level.value]))[0]
    count = int(good.sum())
    interval = stats.binomtest(count, len(good)).proportion_ci(0.95, method="exact")
    mean = float(values[good].mean()) if count else None
    return Success(count, count / len(good), float(interval.low), float(interval.high), mean)


def humps_by_scale(curve: Curve, rng: np.random.Generator) -> tuple[dict[int, Humps], int]:
    """One group of seeds or two, by the index of the rung, corrected for all that were asked; and
    how many rungs were passed over."""
    levels = [curve.to_level(values) for values in curve.seed_values]
    asked = [k for k, v in enumerate(levels) if len(v) >= FEWEST_FOR_HUMPS and float(np.ptp(v)) > 0]
    passed_over = max(0, len(asked) - MOST_SCALES)
    if passed_over:
        spread = np.linspace(0, len(asked) - 1, MOST_SCALES).round().astype(int)
        asked = [asked[i] for i in spread]
    draws = max(DRAWS, DRAWS_A_SCALE * len(asked) - 1)
    found = []
    for k in asked:
        shares, items = _as_shares(curve, levels, k)
        humps = find_humps(shares, rng, items=items, draws=draws)
        low, high = _in_units(curve, np.array([humps.low, humps.high]), of_range=items is not None)
        found.append(replace(humps, low=low, high=high))
    adjusted = adjust_by_holm(np.array([humps.p_one for humps in found]))
    corrected = {
        k: replace(humps, p_adjusted=float(p))
        for k, humps, p in zip(asked, found, adjusted, strict=True)
    }
    return corrected, passed_over


def _as_shares(curve: Curve, levels: list[Floats], k: int) -> tuple[Floats, Floats | None]:
    """The levels of one rung, as shares of so many items where the metric is bounded.

    Where the number of items is not known it is what the smallest difference between any two values
    of the curve tells, and `FINEST` at most.
    """
    values, what = levels[k], curve.what
    if curve.is_binomial:
        return values, curve.seed_items[k]
    if what.least is None or what.most is None or curve.is_logged:
        return values, None
    low, width = _range_of_levels(curve)
    every = np.unique(np.concatenate(levels))
    gaps = np.diff(every)[np.diff(every) > width / FINEST / 2]
    items = min(FINEST, round(width / float(gaps.min()))) if len(gaps) else FINEST
    return np.clip((values - low) / width, 0, 1), np.full(len(values), float(items))


def _in_units(curve: Curve, found: Floats, *, of_range: bool) -> tuple[float, float]:
    """Two levels, or shares of the range of levels, in the metric's units."""
    if of_range and not curve.is_rate:
        low, width = _range_of_levels(curve)
        found = low + width * found
    first, second = curve.to_value(found)
    return float(first), float(second)


def _range_of_levels(curve: Curve) -> tuple[float, float]:
    """The lowest level of a bounded metric, and from there to the highest."""
    ends = curve.to_level(np.array([curve.what.least, curve.what.most], float))
    return float(ends.min()), float(np.ptp(ends))


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
