"""Group against group: by how much does one do better, ability by ability?

Models of two groups are matched by name, or by scale where they have other names, each at its last
step. The difference is the mean over the places that both have; what its interval is over stands
beside it (`difference_noise`). False discoveries are controlled over all differences, an ability of
several metrics counted once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import stats

from emergectl.analysis.breaks import Interval, break_difference
from emergectl.analysis.curves import Floats
from emergectl.analysis.difference_noise import Cell, Places, is_paired, variance_of
from emergectl.analysis.order import why_no_place
from emergectl.analysis.sharpness import ALPHA
from emergectl.analysis.table import Axis, Table, TableRow, listed
from emergectl.analysis.table_curves import curves_of, latest_rows, note_merged, without_doubles
from emergectl.analysis.verdict import Finding, adjust, judge

FEWEST_ITEMS = 2

ItemsOf = Callable[[TableRow], Mapping[str, float] | None]
"""a row → its metric's value of each item, by the item's id; None where it is not known"""


@dataclass(frozen=True)
class Group:
    """Models that are compared with others, under the name that a person gave."""

    name: str
    table: Table


@dataclass(frozen=True)
class Difference:
    """By how much `group` differs from `baseline` in one ability, in the metric's units.

    `ratio`: of a metric that spans orders of magnitude, `difference` is a ratio. `means`: of the
    baseline and the group over the places that both have (`places`, `runs` in either). `items`: how
    many were paired, 0 where they were not. `over`: what the interval is over; without it, nothing
    told the noise, and there is neither interval nor p. `better`: whose it is, among all
    differences; "" where that is not shown. `later`: how many decades of the axis the rise of the
    group lies above that of the baseline, where both rise.
    """

    baseline: str
    group: str
    task: str
    metric: str
    means: tuple[float, float]
    difference: float
    low: float | None
    high: float | None
    ratio: bool
    p: float | None
    q: float | None
    better: str
    over: str
    places: int
    runs: tuple[int, int]
    items: int
    later: Interval | None


@dataclass(frozen=True)
class Comparison:
    """All differences; `axis` is that of `later`, `left_out` says what has no partner."""

    axis: str | None
    alpha: float
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]


def groups_in(table: Table) -> list[Group]:
    """A table taken apart by its groups, in their order."""
    by_name: dict[str, list[TableRow]] = {}
    for row in table.rows:
        by_name.setdefault(row.group, []).append(replace(row, group=""))
    return [Group(name, replace(table, rows=rows)) for name, rows in by_name.items()]


def compare_groups(
    groups: Sequence[Group],
    axis: Axis | None,
    *,
    items_of: ItemsOf = lambda _: None,
    alpha: float = ALPHA,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare every group with the first one; without an axis nothing is said of where they rise.

    Raises ValueError where no ability has models of both groups at one place.
    """
    first, *others = groups
    judged = partial(judge, alpha=alpha, workers=workers, progress=progress)
    rises = _rises(groups, axis, judged) if axis else {}
    found: list[Difference] = []
    left_out: list[str] = []
    for other in others:
        pair, said = _matched(first, other)
        left_out += said
        for (inner, task, metric), places in pair.items():
            one = _difference(places, items_of)
            name = f"{other.name}/{inner}" if inner else other.name
            later = _later(rises, first.name, other.name, (inner, task, metric), alpha)
            found.append(
                replace(one, baseline=first.name, group=name, task=task, metric=metric, later=later)
            )
    if not found:
        raise ValueError("nothing to compare: " + "; ".join(left_out))
    q = adjust(
        np.array([math.nan if one.p is None else one.p for one in found]),
        [(one.group, one.task) for one in found],
    )
    return Comparison(
        axis, alpha, tuple(map(partial(_judged, alpha=alpha), found, q)), tuple(left_out)
    )


def _judged(one: Difference, q: float, *, alpha: float) -> Difference:
    """With q, and with the name of the better one where the difference is shown."""
    if math.isnan(q):
        return replace(one, better="")
    rises = one.difference > (1 if one.ratio else 0)
    up = one.better == "up"
    return replace(
        one, q=float(q), better="" if q > alpha else one.group if rises == up else one.baseline
    )


Ability = tuple[str, str, str]
"""group within a group, task, metric"""


def _matched(baseline: Group, other: Group) -> tuple[dict[Ability, Places], list[str]]:
    """The places of each ability that both have, and what is left out, in words."""
    sides = [_abilities(group) for group in (baseline, other)]
    inner = [{ability[0] for ability in side} for side in sides]
    if all(len(names) == 1 for names in inner):  # one each: they are what is compared
        sides = [{("", *ability[1:]): rows for ability, rows in side.items()} for side in sides]
    by_name = _same_models(*sides)
    found: dict[Ability, Places] = {}
    lost: set[object] = set()
    for ability, rows in sides[0].items():
        if ability not in sides[1]:
            continue
        places: Places = {}
        for side, own in enumerate((rows, sides[1][ability])):
            for row in own:
                place = row.model if by_name else row.params or row.flops
                places.setdefault(place, ([], []))[side].append(row)
        both = {place: pair for place, pair in places.items() if all(pair)}
        lost |= places.keys() - both.keys()
        if both:
            found[ability] = both
    said = []
    if lost:
        names = listed(str(place) if by_name else f"{place or 0:.4g}" for place in lost)
        said.append(f"{baseline.name} and {other.name} do not both have models at {names}")
    for k, group in enumerate((baseline, other)):
        if alone := ["/".join(filter(None, one)) for one in sides[k] if one not in sides[1 - k]]:
            said.append(f"only in {group.name}: {listed(alone)}")
    return found, said


def _abilities(group: Group) -> dict[Ability, list[TableRow]]:
    """The rows of each ability, each model and seed at its last step."""
    found: dict[Ability, list[TableRow]] = {}
    for row in group.table.rows:
        found.setdefault((row.group, row.task, row.metric), []).append(row)
    merged: Counter[str] = Counter()
    last = {
        ability: without_doubles(group.table, latest_rows(rows), "params", merged)
        for ability, rows in found.items()
    }
    note_merged(group.table, merged)
    return last


def _same_models(
    first: dict[Ability, list[TableRow]], other: dict[Ability, list[TableRow]]
) -> bool:
    one, two = ({row.model for rows in side.values() for row in rows} for side in (first, other))
    return one == two and one != {""}


def _difference(places: Places, items_of: ItemsOf) -> Difference:
    """The difference of one ability; `better` holds which direction is better, until q is known."""
    what = next(iter(places.values()))[0][0].what
    items = _paired_items(places, items_of)
    cells = items or _of_rows(places, logged=what.scale == "log")
    means = [np.array([np.mean(cell[side]) for cell in cells]) for side in (0, 1)]
    value = float((means[1] - means[0]).mean())
    variance, freedom, over = variance_of(places, cells, by_item=items is not None)
    low = high = p = None
    if over and variance > 0:
        deviation = math.sqrt(variance)
        half = float(stats.t.ppf(0.975, freedom)) * deviation
        low, high = value - half, value + half
        p = float(2 * stats.t.sf(abs(value) / deviation, freedom))
    elif over and value == 0:
        low, high, p = 0.0, 0.0, 1.0
    ends = [float(side.mean()) for side in means]
    runs = [sum(len(pair[side]) for pair in places.values()) for side in (0, 1)]
    if ratio := what.scale == "log":
        ends, value = [10**end for end in ends], 10**value
        low, high = (None if end is None else 10**end for end in (low, high))
    return Difference(
        baseline="",
        group="",
        task="",
        metric="",
        means=(ends[0], ends[1]),
        difference=value,
        low=low,
        high=high,
        ratio=ratio,
        p=p,
        q=None,
        better=what.direction,
        over=over if p is not None else "",
        places=len(places),
        runs=(runs[0], runs[1]),
        items=0 if items is None else items[0][0].shape[1],
        later=None,
    )


def _of_rows(places: Places, *, logged: bool) -> list[Cell]:
    """The values of all places, a seed beside the same seed."""

    def values(rows: list[TableRow]) -> Floats:
        found = np.array([row.value for row in sorted(rows, key=lambda row: row.seed)])
        return np.log10(found) if logged else found

    return [(values(one), values(two)) for one, two in places.values()]


def _paired_items(places: Places, items_of: ItemsOf) -> list[Cell] | None:
    """The values item by item of what all runs of both groups answered; None where runs have no
    partner, or items are not known."""
    if not all(is_paired(*pair) for pair in places.values()):
        return None
    known: dict[int, Mapping[str, float]] = {}
    for pair in places.values():
        for row in (*pair[0], *pair[1]):
            own = items_of(row)
            if own is None:
                return None
            known[id(row)] = own
    common = sorted(set.intersection(*(set(own) for own in known.values())))
    if len(common) < FEWEST_ITEMS:
        return None

    def values(rows: list[TableRow]) -> Floats:
        in_order = sorted(rows, key=lambda row: row.seed)
        return np.array([[known[id(row)][item] for item in common] for row in in_order])

    return [(values(one), values(two)) for one, two in places.values()]


Rises = dict[tuple[str, str, str], list[Finding]]
"""group, task, metric → the curves of it, judged"""


def _rises(groups: Sequence[Group], axis: Axis, judged: Callable[..., list[Finding]]) -> Rises:
    """Where each ability of each group rises."""
    curves = {group.name: curves_of(group.table, axis) for group in groups}
    names = [name for name, own in curves.items() for _ in own]
    found: Rises = {}
    for name, f in zip(names, judged([c for own in curves.values() for c in own]), strict=True):
        found.setdefault((name, f.curve.task, f.curve.metric), []).append(f)
    return found


def _later(rises: Rises, first: str, other: str, ability: Ability, alpha: float) -> Interval | None:
    """How much later the other group rises; None where either has no place, or several curves."""
    inner, task, metric = ability
    sides = []
    for group in (first, other):
        own = rises.get((group, task, metric), [])
        own = [f for f in own if f.curve.group == inner] if len(own) > 1 else own
        if len(own) != 1 or why_no_place(own[0], alpha):
            return None
        sides.append(own[0].break_)
    if sides[0] is None or sides[1] is None:
        return None
    return break_difference(sides[0], sides[1])
