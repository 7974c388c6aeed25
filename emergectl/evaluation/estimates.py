"""What a metric makes of columns: its value, and what its interval follows from.

Most metrics are one of the shapes built here: a share, a mean, a ratio of sums, or something
computed from sums over items. Which interval is a metric's own follows from what it says that it
is, never from the numbers at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from emergectl.store.measurements import MetricFacts

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A metric of `items` items; `chance` is what blind guessing gets, where that is known."""

    value: float
    items: int
    chance: float | None = None
    drawn: Callable[[int], Array] | None = None
    """seed → the values of so many draws of the items anew (`intervals.DRAWS`)"""
    values: Array | None = None
    """of each item, where it is the mean of them"""
    exact: tuple[float, float] | None = None
    """the interval, where it is known and drawing items again cannot show it"""


def interval(
    facts: MetricFacts, measure: Measure, *, seed: int = 0
) -> tuple[float, float] | tuple[None, None]:
    """The 95% interval of a measure, by what its metric is; None twice where there is none.

    A share has Wilson's interval; what knows its exact one has that; a mean of numbers that all
    stand at one end of their range has the exact one of that (`end_of_range`); everything else the
    bootstrap by item.
    """
    from emergectl.evaluation.intervals import end_of_range, percentiles, wilson

    if math.isnan(measure.value):
        return None, None
    if facts.quantity == "share":
        return wilson(measure.value * measure.items, measure.items)
    if measure.exact is not None:
        return measure.exact
    if at_end := end_of_range(measure.values, facts.least, facts.most):
        return at_end
    if measure.drawn is None or measure.items < 2:
        return None, None
    return percentiles(measure.drawn(seed)) or (None, None)


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
    sums: ArrayLike,
    finish: Callable[[Array], Array],
    *,
    chance: float | None = None,
    times: NDArray[np.int64] | None = None,
) -> Measure | None:
    """What `finish` ([draws, k] → [draws]) makes of numbers [items, k] summed over items.

    With `times` [kinds], the numbers are of kinds of items [kinds, k], and this is how often each
    is there.
    """
    import numpy as np

    from emergectl.evaluation.intervals import sums_of_draws

    rows = np.asarray(sums, float)
    if not len(rows):
        return None
    total = rows.sum(axis=0) if times is None else times @ rows
    items = len(rows) if times is None else int(times.sum())

    def drawn(seed: int) -> Array:
        return finish(sums_of_draws(rows, seed, times=times))

    return Measure(float(finish(total[None])[0]), items, chance, drawn)
