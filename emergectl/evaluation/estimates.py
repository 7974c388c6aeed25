"""What a metric makes of records: its value under any weighting of the items, and what it is near.

A metric hands back a `Measure` rather than a number, since the same computation gives the value
(every item counts once) and its interval (items drawn again). Most metrics are one of the shapes
built here: a share, a mean, a ratio of sums, or something computed from sums over items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emergectl.evaluation.intervals import Statistic, bootstrap, wilson

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A metric of `items` items; `chance` is what blind guessing gets, where that is known."""

    of: Statistic
    items: int
    chance: float | None = None
    is_share: bool = False
    """each item is right or wrong, and the value is the share of right ones"""
    exact: tuple[float, float] | None = None
    """the interval, where it is known and drawing items again cannot show it"""

    def value(self) -> float:
        """The value with every item counted once; NaN where it is not defined."""
        return float(self.of(np.ones((1, self.items)))[0])

    def interval(self, *, seed: int = 0) -> tuple[float, float] | None:
        """The 95% interval: the exact one where there is one, Wilson's for a share, else the
        bootstrap; None where there is none."""
        if self.exact is not None:
            return self.exact
        if self.is_share:
            return wilson(self.value() * self.items, self.items)
        return bootstrap(self.of, self.items, seed=seed)


def share(right: Sequence[bool], *, chance: float | None = None) -> Measure | None:
    """The share of items that are right; None of no items."""
    return mean([float(one) for one in right], chance=chance)


def mean(values: Sequence[float], *, chance: float | None = None) -> Measure | None:
    """The mean over items; None of no items. Of zeros and ones alone it is a share."""
    measure = ratio(values, np.ones(len(values)), chance=chance)
    if measure is None or not all(value in (0.0, 1.0) for value in values):
        return measure
    return replace(measure, is_share=True)


def ratio(above: ArrayLike, below: ArrayLike, *, chance: float | None = None) -> Measure | None:
    """The sum of `above` over items by the sum of `below`; None of no items."""
    sums = np.stack([np.asarray(above, float), np.asarray(below, float)], axis=-1)
    return of_sums(sums, lambda drawn: _divided(drawn[:, 0], drawn[:, 1]), chance=chance)


def of_sums(
    sums: ArrayLike, finish: Callable[[Array], Array], *, chance: float | None = None
) -> Measure | None:
    """What `finish` ([draws, k] → [draws]) makes of numbers [items, k] summed over items."""
    rows = np.asarray(sums, float)
    if not len(rows):
        return None
    return Measure(lambda weights: finish(weights @ rows), len(rows), chance)


def _divided(above: Array, below: Array) -> Array:
    """`above / below`, NaN where there is nothing to divide by."""
    nothing = below == 0
    return np.where(nothing, np.nan, above / np.where(nothing, 1.0, below))
