"""95% intervals: Wilson's for shares, exact ones where they are known, else the bootstrap by item.

Items are what is drawn at random, so items are what is drawn again. Most metrics are functions of
sums over items, and of a draw nothing is needed but its sums. Where items differ in few ways (a
class taken for another, so many tokens right of so many), how often each way comes up is drawn at
once; where they are many, the sums are so nearly normal that they are drawn as that. So the
intervals of ten thousand held-out rows cost some milliseconds, where a call for each draw would
cost minutes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 1000
MANY_ITEMS = 1000
"""items from which on their sums are drawn from the normal distribution"""
_FEW_WAYS = 0.1
_Z = 1.959963984540054  # the normal distribution's 97.5% point


def wilson(right: float, items: int) -> tuple[float, float]:
    """Wilson's score interval of a share, `right` of `items` (Wilson 1927)."""
    share, z2 = right / items, _Z * _Z
    middle = (share + z2 / (2 * items)) / (1 + z2 / items)
    spread = math.sqrt(share * (1 - share) / items + z2 / (4 * items * items))
    half = _Z / (1 + z2 / items) * spread
    # At 0 and at `items` the bound is exact; rounding must not put it beyond the share itself.
    low = 0.0 if right <= 0 else middle - half
    return low, 1.0 if right >= items else middle + half


def end_of_range(
    values: Array | None, least: float | None, most: float | None
) -> tuple[float, float] | None:
    """The exact 95% interval of a mean of numbers in [least, most] that all are `least`, or `most`.

    Drawing such items again shows no spread at all. With q the chance of an item that is not at
    the end, n items all are with (1 - q)^n, so q ≤ 1 - 0.025^(1/n) (Clopper & Pearson 1934), and
    one that is not lies at most the whole range away. None for all other numbers.
    """
    if values is None or not len(values) or least is None or most is None:
        return None
    away = (1.0 - 0.025 ** (1.0 / len(values))) * (most - least)
    if (values == least).all():
        return least, least + away
    return (most - away, most) if (values == most).all() else None


def area_interval(area: float, variance: float) -> tuple[float, float]:
    """The interval of an area under a ROC curve from its variance (DeLong et al. 1988), on the
    scale of its log-odds, so that it stays between 0 and 1."""
    if variance <= 0 or not 0 < area < 1:
        return area, area
    odds, half = math.log(area / (1 - area)), _Z * math.sqrt(variance) / (area * (1 - area))
    return 1 / (1 + math.exp(half - odds)), 1 / (1 + math.exp(-half - odds))


def percentiles(drawn: Array) -> tuple[float, float] | None:
    """The percentile interval of the values of draws (Efron 1979).

    Draws in which the metric is not defined (NaN) are left out; None where that is more than half
    of them, or where a bound is not finite.
    """
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < len(drawn) / 2:
        return None
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(defined, [2.5, 97.5])
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def sums_of_draws(rows: Array, seed: int, *, times: NDArray[np.int64] | None = None) -> Array:
    """Sums over DRAWS draws of as many items, with replacement: rows [items, k] → [DRAWS, k].

    `times`: how often each row is there, where rows are kinds of items. The same items and seed
    give the same sums.
    """
    rng = np.random.default_rng(seed)
    ways = _ways(rows) if times is None else (rows, times)
    items = len(rows) if times is None else int(times.sum())
    if ways is not None:
        kinds, counts = ways
        return np.asarray(rng.multinomial(items, counts / items, size=RESAMPLES) @ kinds)
    with np.errstate(invalid="ignore"):  # an infinite loss that is not drawn is none
        return _weights(items, seed) @ rows if items < MANY_ITEMS else _normal_sums(rows, rng)


def _ways(rows: Array) -> tuple[Array, NDArray[np.int64]] | None:
    """The distinct rows and how often each is there; None where nearly all are distinct."""
    most = max(64, int(_FEW_WAYS * len(rows)))
    some = rows[: 4 * most]  # continuous numbers show themselves soon
    if rows.shape[1] > 4 or not np.isfinite(rows).all() or len(np.unique(some[:, 0])) > most:
        return None  # looking for equal ones among long rows costs more than it saves
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    return (kinds, counts) if len(kinds) <= most else None


def _normal_sums(rows: Array, rng: np.random.Generator) -> Array:
    """Sums as the central limit theorem has them: normal, with the items' mean and covariance."""
    total = rows.sum(axis=0)
    if not np.isfinite(total).all():
        return np.full((RESAMPLES, rows.shape[1]), np.nan)
    apart = rows - total / len(rows)
    sizes, axes = np.linalg.eigh(apart.T @ apart)
    spread = axes * np.sqrt(np.maximum(sizes, 0.0))
    drawn = total + rng.standard_normal((RESAMPLES, len(total))) @ spread.T
    return np.where((rows >= 0).all(axis=0), np.maximum(drawn, 0.0), drawn)


@lru_cache(maxsize=4)
def _weights(items: int, seed: int) -> Array:
    """How often each item comes up in each draw: [DRAWS, items]. The training loop asks for the
    same at every evaluation."""
    drawn = np.random.default_rng(seed).integers(0, items, size=(RESAMPLES, items))
    drawn += np.arange(RESAMPLES)[:, None] * items
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * items)
    return counts.reshape(RESAMPLES, items).astype(np.float64)
