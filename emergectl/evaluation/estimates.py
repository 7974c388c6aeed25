"""What a metric makes of columns: its value under any weighting of the items, and its interval.

A metric hands back a `Measure` rather than a number, since the same computation gives the value
(every item counts once) and its interval (items drawn again). Most metrics are one of the shapes
built here: a share, a mean, a ratio of sums, or something computed from sums over items. Which
interval is a metric's own follows from what it says that it is, never from the numbers at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from emergectl.evaluation.intervals import Statistic
    from emergectl.store.measurements import MetricFacts

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A metric of `items` items; `chance` is what blind guessing gets, where that is known."""

    of: Statistic
    items: int
    chance: float | None = None
    values: Array | None = None
    """of each item, where it is the mean of them"""
    exact: tuple[float, float] | None = None
    """the interval, where it is known and drawing items again cannot show it"""

    def value(self) -> float:
        """The value with every item counted once; NaN where it is not defined."""
        import numpy as np

        return float(self.of(np.ones((1, self.items)))[0])


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval; no interval: None twice."""

    value: float
    low: float | None
    high: float | None


def estimates(measures: Sequence[tuple[MetricFacts, Measure]], *, seed: int = 0) -> list[Estimate]:
    """The value and interval of each measure, by what its metric is.

    A share has Wilson's interval; what knows its exact one has that; a mean of numbers that all
    stand at one end of their range has the exact one of that (`end_of_range`); everything else the
    bootstrap by item, for which items are drawn once for all measures of equally many.
    """
    from emergectl.evaluation.intervals import bootstrap_together, end_of_range, wilson

    values = [measure.value() for _, measure in measures]
    bounds: dict[int, tuple[float, float] | None] = {}
    drawn: dict[int, list[int]] = {}
    for index, ((facts, measure), value) in enumerate(zip(measures, values, strict=True)):
        if math.isnan(value):
            bounds[index] = None
        elif facts.quantity == "share":
            bounds[index] = wilson(value * measure.items, measure.items)
        elif measure.exact is not None:
            bounds[index] = measure.exact
        elif at_end := end_of_range(measure.values, facts.least, facts.most):
            bounds[index] = at_end
        else:
            drawn.setdefault(measure.items, []).append(index)
    for items, indices in drawn.items():
        statistics = [measures[index][1].of for index in indices]
        found = bootstrap_together(statistics, items, seed=seed)
        bounds |= zip(indices, found, strict=True)
    return [Estimate(value, *(bounds[index] or (None, None))) for index, value in enumerate(values)]


def share(right: ArrayLike, *, chance: float | None = None) -> Measure | None:
    """The share of items that are right; None of no items."""
    return mean(right, chance=chance)


def mean(
    values: ArrayLike, *, chance: float | None = None, exact: tuple[float, float] | None = None
) -> Measure | None:
    """The mean over items; None of no items."""
    import numpy as np

    numbers = np.asarray(values, float)
    measure = ratio(numbers, np.ones(len(numbers)), chance=chance)
    return replace(measure, values=numbers, exact=exact) if measure else None


def ratio(above: ArrayLike, below: ArrayLike, *, chance: float | None = None) -> Measure | None:
    """The sum of `above` over items by the sum of `below`; None where there is nothing below."""
    import numpy as np

    sums = np.stack([np.asarray(above, float), np.asarray(below, float)], axis=-1)
    if not sums[:, 1].sum():
        return None

    def divided(drawn: Array) -> Array:
        nothing = drawn[:, 1] == 0  # then such a draw is not defined
        return np.where(nothing, np.nan, drawn[:, 0] / np.where(nothing, 1.0, drawn[:, 1]))

    return of_sums(sums, divided, chance=chance)


def of_sums(
    sums: ArrayLike, finish: Callable[[Array], Array], *, chance: float | None = None
) -> Measure | None:
    """What `finish` ([draws, k] → [draws]) makes of numbers [items, k] summed over items."""
    import numpy as np

    rows = np.asarray(sums, float)
    if not len(rows):
        return None
    return Measure(lambda weights: finish(weights @ rows), len(rows), chance)
