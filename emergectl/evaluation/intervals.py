"""95% intervals: Wilson's for shares, the bootstrap by item for everything else.

Items are what is drawn at random, so items are what is drawn again. A draw is told by how often
each item came up (its weight), and a metric that can be computed from weights is computed for many
draws in one go: a thousand draws of ten thousand items cost a fraction of a second, where a call
for each draw would cost minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""[draws, items]: how often each item counts"""
Statistic = Callable[[Weights], NDArray[np.float64]]
"""weights [draws, items] → the value of each draw [draws]; NaN where it is not defined"""

DRAWS = 1000
_Z = 1.959963984540054  # the normal distribution's 97.5% point
_WEIGHTS_AT_ONCE = 2_000_000
_KEPT_WEIGHTS = 20_000_000  # two bytes each


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
    values: NDArray[np.float64] | None, least: float | None, most: float | None
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


def bootstrap(statistic: Statistic, items: int, *, seed: int = 0) -> tuple[float, float] | None:
    """The percentile interval over DRAWS draws of the items, with replacement (Efron 1979).

    The same items and seed give the same interval. Draws in which the statistic is not defined are
    left out; None where that is more than half of them, or where there is one item alone.
    """
    return bootstrap_together([statistic], items, seed=seed)[0]


def bootstrap_together(
    statistics: Sequence[Statistic], items: int, *, seed: int = 0
) -> list[tuple[float, float] | None]:
    """`bootstrap` of several statistics of the same items, which are drawn once."""
    if items < 2:
        return [None] * len(statistics)
    with np.errstate(invalid="ignore"):  # an infinite loss that is not drawn is none
        parts = [
            [statistic(weights) for statistic in statistics] for weights in _draws(items, seed)
        ]
    return [_percentiles(np.concatenate(values)) for values in zip(*parts, strict=True)]


def _percentiles(found: NDArray[np.float64]) -> tuple[float, float] | None:
    defined = found[~np.isnan(found)]
    if len(defined) < DRAWS / 2:
        return None
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(defined, [2.5, 97.5])
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def _draws(items: int, seed: int) -> Iterator[Weights]:
    """Weights of DRAWS draws, in parts; those of few items are kept, since the training loop asks
    for the same at every evaluation."""
    kept = items * DRAWS <= _KEPT_WEIGHTS
    for counts in _kept_draws(items, seed) if kept else _new_draws(items, seed):
        yield counts.astype(np.float64)


@lru_cache(maxsize=2)
def _kept_draws(items: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    return tuple(_new_draws(items, seed))


def _new_draws(items: int, seed: int) -> Iterator[NDArray[np.uint16]]:
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // items)
    for start in range(0, DRAWS, at_once):
        draws = min(at_once, DRAWS - start)
        drawn = rng.integers(0, items, size=(draws, items))
        drawn += np.arange(draws)[:, None] * items
        counts = np.bincount(drawn.ravel(), minlength=draws * items)
        yield counts.reshape(draws, items).astype(np.uint16)
