"""Signal and noise of benchmarks, after Heineman et al. 2025 (arXiv 2508.13144).

Of models of one scale (of all models, where each scale has one) the signal of a benchmark is their
relative dispersion, max |m_j − m_k| / mean of the final scores; its noise is the relative standard
deviation of the last checkpoints of a model, here pooled over the models, with n − 1 below; and the
ratio of both says how well it tells models apart. Noise alone gives a ratio too, and the larger
the more models there are: that stands beside it, with the p-value of no signal (the studentized
range, simulated). Where the same recipes were trained at several scales, decision accuracy is the
share of pairs of recipes that a smaller scale puts in the order of the largest (Magnusson et al.
2025, arXiv 2504.11393): each seed of the smaller scale decides by itself, the mean of its seeds is
the largest scale's, and a tie is half a decision.

Intervals are of these models: the noise of their checkpoints is drawn again, as if independent.
Those of decision accuracy are over recipes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from emergectl.analysis.breaks import Interval
from emergectl.analysis.curves import Floats
from emergectl.analysis.sharpness import ALPHA
from emergectl.analysis.table import Axis, Table, TableRow
from emergectl.analysis.table_curves import note_merged, time_of, without_doubles

LAST = 5
"""checkpoints whose scatter is noise"""
FEWEST_RECIPES = 3
FEWEST_BENCHMARKS = 5
DRAWS = 4000


@dataclass(frozen=True)
class Decisions:
    """Of how many recipes the order at `target` is told, and the share of pairs told right."""

    target: float
    recipes: int
    accuracy: Interval


@dataclass(frozen=True)
class Benchmark:
    """A task under a metric at one scale (parameters; None: all models together).

    `signal`, `noise` and `ratio` as above, None where no model has two checkpoints; `alone`: the
    median ratio that noise alone would give; `p`: of no signal.
    """

    task: str
    metric: str
    scale: float | None
    models: int
    signal: Interval | None
    noise: Interval | None
    ratio: Interval | None
    alone: float | None
    p: float | None
    decisions: Decisions | None


@dataclass(frozen=True)
class RatioPredicts:
    """Pearson's correlation of ratio and decision accuracy over the tasks of one metric."""

    metric: str
    scale: float
    tasks: int
    correlation: Interval


@dataclass(frozen=True)
class NoiseFinding:
    """Every benchmark at every scale; `last`: how many checkpoints were taken."""

    last: int
    benchmarks: tuple[Benchmark, ...]
    predicts: tuple[RatioPredicts, ...]


@dataclass(frozen=True)
class _Series:
    """The values of one model (one seed of a recipe) by rising time."""

    recipe: str
    seed: str
    values: Floats


def judge_noise(table: Table, *, last: int = LAST, seed: int = 0) -> NoiseFinding:
    """Signal, noise and decision accuracy of every benchmark of a table.

    Raises ValueError where no scale (nor the whole table) has two models.
    """
    rng = np.random.default_rng(seed)
    several = len({row.group for row in table.rows}) > 1
    rows: dict[tuple[str, str], list[TableRow]] = {}
    for row in table.rows:
        rows.setdefault((row.task, row.metric), []).append(row)
    found: list[Benchmark] = []
    merged: Counter[str] = Counter()
    for (task, metric), own in sorted(rows.items()):
        scales = _scales(table, own, merged, by_group=several)
        target = max((s for s in scales if s is not None), default=None)
        for scale, series in scales.items():
            larger = None if scale == target or target is None else scales[target]
            decisions = None if larger is None else _decide(float(target or 0), series, larger)
            found.append(_benchmark(task, metric, scale, series, decisions, last, rng))
    note_merged(table, merged)
    if not found:
        raise ValueError("no two models to be told apart: --model or --group tells them")
    return NoiseFinding(last, tuple(found), tuple(_predicts(found)))


def _scales(
    table: Table, rows: Sequence[TableRow], merged: Counter[str], *, by_group: bool
) -> dict[float | None, list[_Series]]:
    """The series of each scale that has two recipes; of all together where none has; none where
    there is one recipe alone."""
    by_scale: dict[float | None, dict[tuple[str, str, str], list[TableRow]]] = {}
    for row in rows:
        recipe = row.group if by_group else row.model
        key = (recipe, row.model, row.seed)
        by_scale.setdefault(row.params, {}).setdefault(key, []).append(row)
    if all(len({key[0] for key in series}) < 2 for series in by_scale.values()):
        together: dict[tuple[str, str, str], list[TableRow]] = {}
        for scale, series in by_scale.items():
            for (recipe, model, seed), own in series.items():
                name = f"{recipe}/{model}/{scale}"
                together.setdefault((name, model, seed), []).extend(own)
        by_scale = {None: together}
    return {
        scale: [_one_series(table, key, own, merged) for key, own in series.items()]
        for scale, series in sorted(by_scale.items(), key=lambda each: each[0] or 0)
        if len({key[0] for key in series}) > 1
    }


def _one_series(
    table: Table, key: tuple[str, str, str], rows: list[TableRow], merged: Counter[str]
) -> _Series:
    axis: Axis = "tokens" if all(row.step is None for row in rows) else "step"
    kept = sorted(without_doubles(table, rows, axis, merged), key=time_of)
    return _Series(key[0], key[2], np.array([row.value for row in kept]))


def _benchmark(
    task: str,
    metric: str,
    scale: float | None,
    series: Sequence[_Series],
    decisions: Decisions | None,
    last: int,
    rng: np.random.Generator,
) -> Benchmark:
    finals, seeds = _finals(series)
    tails = [one.values[-last:] for one in series if len(one.values) > 1]
    freedom = sum(len(tail) - 1 for tail in tails)
    squares = sum(float(((tail - tail.mean()) ** 2).sum()) for tail in tails)
    values = np.array(list(finals.values()))
    mean = abs(float(values.mean()))
    if not freedom or not squares or not mean:
        none = None
        return Benchmark(task, metric, scale, len(values), none, none, none, none, none, decisions)
    spread, deviation = float(np.ptp(values)), math.sqrt(squares / freedom)
    level = abs(float(np.concatenate(tails).mean()))
    # Noise adds to a largest difference, so the interval of that runs from what it would be without
    # (0, where nothing tells it from noise) to what it may come to again.
    deviations = deviation * np.sqrt(freedom / rng.chisquare(freedom, DRAWS))
    shaken = rng.standard_normal((DRAWS, len(values))) / np.sqrt(seeds)
    again = np.ptp(values + deviations[:, None] * shaken, axis=1)
    alone = np.ptp(shaken, axis=1) * deviations / deviation
    ratio = spread / mean / (deviation / level)
    p = (1 + (alone >= spread / deviation).sum()) / (DRAWS + 1)
    without = np.maximum(2 * spread - again, 0) * (p <= ALPHA)
    scaled = deviations * mean / level
    return Benchmark(
        task=task,
        metric=metric,
        scale=scale,
        models=len(values),
        signal=_interval(spread / mean, without / mean, again / mean),
        noise=_interval(deviation / level, deviations / level),
        ratio=_interval(ratio, without / scaled, again / scaled),
        alone=float(np.median(alone)) * level / mean,
        p=float(p),
        decisions=decisions,
    )


def _finals(series: Iterable[_Series]) -> tuple[dict[str, float], Floats]:
    """The final score of each recipe, the mean of its seeds, and how many these are."""
    found: dict[str, list[float]] = {}
    for one in series:
        found.setdefault(one.recipe, []).append(float(one.values[-1]))
    means = {recipe: float(np.mean(values)) for recipe, values in found.items()}
    return means, np.array([float(len(values)) for values in found.values()])


def _decide(target: float, small: Sequence[_Series], large: Sequence[_Series]) -> Decisions | None:
    """Decision accuracy from the series of a smaller scale; None of too few recipes."""
    truth, _ = _finals(large)
    attempts: list[Mapping[str, float]] = []
    for seed in dict.fromkeys(one.seed for one in small):
        own, _ = _finals(one for one in small if one.seed == seed and one.recipe in truth)
        if len(own) >= FEWEST_RECIPES:
            attempts.append(own)
    if not attempts:
        return None
    recipes = sorted({recipe for attempt in attempts for recipe in attempt})
    right = np.array([_agree(attempt, truth, recipes) for attempt in attempts])
    accuracy = float(np.nanmean(right, axis=(1, 2)).mean())
    without = []
    for k in range(len(recipes)):
        kept = np.delete(np.delete(right, k, axis=1), k, axis=2)
        without.append(float(np.nanmean(kept, axis=(1, 2)).mean()))
    return Decisions(target, len(recipes), accuracy_interval(accuracy, np.array(without)))


def _agree(
    small: Mapping[str, float], large: Mapping[str, float], recipes: Sequence[str]
) -> Floats:
    """Whether each pair [recipes, recipes] is in one order; a tie is a half, NaN: not decided."""
    a = np.array([small.get(recipe, math.nan) for recipe in recipes])
    b = np.array([large[recipe] for recipe in recipes])
    product = np.sign(a[:, None] - a) * np.sign(b[:, None] - b)
    np.fill_diagonal(product, math.nan)
    return (1 + product) / 2


def accuracy_interval(accuracy: float, without: Floats) -> Interval:
    """Wilson's interval of a share of pairs, for as many independent ones as the jackknife over
    recipes says that they are worth; without: [recipes], the share with each left out."""
    count = len(without)
    variance = (count - 1) ** 2 / count * float(without.var(ddof=1))
    # What a random order would be worth: the variance of Kendall's tau (1938).
    least = 9 * count * (count - 1) / (2 * (2 * count + 5))
    worth = accuracy * (1 - accuracy) / variance if variance > 0 else least
    worth = min(worth, count * (count - 1) / 2)
    z = float(stats.t.ppf(0.975, count - 1))
    middle = (accuracy + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z / (1 + z**2 / worth)
    half *= math.sqrt(accuracy * (1 - accuracy) / worth + z**2 / (4 * worth**2))
    return Interval(accuracy, max(middle - half, 0.0), min(middle + half, 1.0))


def _predicts(found: Sequence[Benchmark]) -> Iterable[RatioPredicts]:
    """How well the ratio tells decision accuracy, by metric and scale."""
    groups: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for one in found:
        if one.ratio is not None and one.decisions is not None and one.scale is not None:
            point = (one.ratio.value, one.decisions.accuracy.value)
            groups.setdefault((one.metric, one.scale), []).append(point)
    for (metric, scale), points in groups.items():
        if len(points) >= FEWEST_BENCHMARKS and min(np.ptp(points, axis=0)) > 0:
            told = stats.pearsonr(*np.array(points).T)
            low, high = told.confidence_interval()
            r = Interval(float(told.statistic), float(low), float(high))
            yield RatioPredicts(metric, scale, len(points), r)


def _interval(value: float, *draws: Floats) -> Interval:
    """From the lowest of the draws' 2.5% to the highest of their 97.5%."""
    ends = np.array([np.quantile(each, [0.025, 0.975]) for each in draws])
    return Interval(value, float(ends.min()), float(ends.max()))
