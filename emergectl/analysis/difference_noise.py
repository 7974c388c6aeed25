"""How sure is a mean difference of two groups of models? What its variance is over, and how large.

- **runs**: several seeds at a place, paired where both groups have the same ones (Student), else
  not (Welch 1947); places are strata, and degrees of freedom Satterthwaite's (1946).
- **scales**: one run at each of three places or more: the scatter of their differences is noise.
- **items**: the same items answered by both, paired by item; together with either of the above as
  crossed factors, what belongs to both counted once (Cameron, Gelbach and Miller 2011). Of one pair
  of right and wrong answers it is Agresti and Min's (2005), and of shares whose items are only
  counted Agresti and Caffo's (2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from emergectl.analysis.curves import Floats
from emergectl.analysis.table import TableRow

FEWEST_SCALES = 3
"""places of one run each whose scatter is taken for noise"""
Places = dict[object, tuple[list[TableRow], list[TableRow]]]
"""where models stand → the rows of the baseline and of the group there"""
Cell = tuple[Floats, Floats]
"""of one place, the baseline's and the group's values: [runs], or [runs, items]; the runs in one
order where they are paired"""


def is_paired(one: Sequence[TableRow], two: Sequence[TableRow]) -> bool:
    """Whether the runs of a place stand beside each other: the same seeds, or one run each."""
    seeds = [sorted(row.seed for row in rows) for rows in (one, two)]
    return len(one) == len(two) == 1 or (seeds[0] == seeds[1] and len({*seeds[0]}) == len(one))


def variance_of(places: Places, cells: list[Cell], *, by_item: bool) -> tuple[float, float, str]:
    """(variance of the difference, its degrees of freedom, what it is over); "" where unknown."""
    samples: list[Floats] = []
    for pair, (one, two) in zip(places.values(), cells, strict=True):
        by_run = [side.reshape(len(side), -1).mean(axis=1) for side in (one, two)]
        samples += [by_run[1] - by_run[0]] if is_paired(*pair) else by_run
    of_runs = _of_runs(samples, len(cells))
    over = "runs"
    if of_runs is None and len(cells) >= FEWEST_SCALES:
        differences = np.concatenate(samples)
        of_runs = float(differences.var(ddof=1)) / len(cells), len(cells) - 1.0
        over = "scales"
    if by_item:
        return _with_items([two - one for one, two in cells], of_runs, over)
    if of_runs is None:
        counted = _of_counts(places)
        return (counted, math.inf, "items") if counted is not None else (math.nan, math.nan, "")
    return *of_runs, over


def _of_runs(samples: Sequence[Floats], places: int) -> tuple[float, float] | None:
    """(variance of the mean over places, its degrees of freedom) from runs at one place; None where
    each has one. A place of one run has the pooled variance of the others."""
    own = [sample for sample in samples if len(sample) > 1]
    if not own:
        return None
    known = float(sum(len(sample) - 1 for sample in own))
    pooled = sum(float(sample.var(ddof=1)) * (len(sample) - 1) for sample in own) / known
    parts = [
        ((float(s.var(ddof=1)) if len(s) > 1 else pooled) / len(s), len(s) - 1.0 or known)
        for s in samples
    ]
    total = sum(part for part, _ in parts)
    if total == 0:
        return 0.0, known
    freedom = total**2 / sum(part**2 / df for part, df in parts)
    return total / places**2, freedom


def _with_items(
    differences: list[Floats], of_runs: tuple[float, float] | None, over: str
) -> tuple[float, float, str]:
    """The variance over items, and over runs too where that is known: differences [runs, items] of
    each place."""
    by_place = np.stack([each.mean(axis=0) for each in differences])
    by_item = by_place.mean(axis=0)
    items = len(by_item)
    of_items = float(by_item.var(ddof=1)) / items
    if of_runs is None:
        return _at_least(of_items, differences, by_item), items - 1.0, "items"
    # Runs within their place, or scales among themselves.
    strata = [by_place] if over == "scales" else [each for each in differences if len(each) > 1]
    weight = sum(1 / len(each) for each in differences) / len(differences) ** 2
    squares, freedom = 0.0, 0
    for each in strata:
        left = each - each.mean(axis=0) - each.mean(axis=1, keepdims=True) + each.mean()
        squares += float((left**2).sum())
        freedom += (len(each) - 1) * (items - 1)
    both = squares / freedom * weight / items
    variance = max(of_runs[0] + of_items - both, of_runs[0], of_items)
    parts = of_runs[0] ** 2 / of_runs[1] + of_items**2 / (items - 1)
    return variance, variance**2 / parts if parts else of_runs[1], f"{over} and items"


def _at_least(variance: float, differences: list[Floats], by_item: Floats) -> float:
    """Of one pair of right and wrong answers, Agresti and Min's variance where that is larger."""
    is_share = len(differences) == 1 and set(np.unique(by_item)) <= {-1.0, 0.0, 1.0}
    if not is_share:
        return variance
    gained, lost, count = (by_item > 0).sum(), (by_item < 0).sum(), len(by_item) + 2
    adjusted = (gained + lost + 1 - (gained - lost) ** 2 / count) / count**2
    return max(variance, float(adjusted))


def _of_counts(places: Places) -> float | None:
    """The variance of shares of counted items; of several places as if the items were the same."""
    deviations = []
    for pair in places.values():
        variance = 0.0
        for row in (*pair[0], *pair[1]):
            if row.n is None or row.what.quantity != "share":
                return None
            share = (row.value * row.n + 1) / (row.n + 2)
            variance += share * (1 - share) / (row.n + 2)
        deviations.append(math.sqrt(variance))
    return float(np.mean(deviations)) ** 2
