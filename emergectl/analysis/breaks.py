"""Where is the rise, how high: with intervals that hold even between two rungs.

A rise that falls between two rungs leaves its position open anywhere in the gap, and a bootstrap of
best fits then reports wherever ties happened to break. So the intervals are those of the likelihood
integrated over a fine grid (every position, width, kind of shape and scatter of onsets alike, floor
and height at their best): as exact as the rungs allow, and no better. Runs of one scale say
themselves how far their onsets scatter; where a scale has one run, scatters up to the one that is
assumed for the test of sharpness weigh alike. `calibration` measures how often the intervals hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from emergectl.analysis.convention import Convention, convention_for
from emergectl.analysis.curve_families import (
    GOMPERTZ_WIDTH,
    LOGISTIC_WIDTH,
    gompertz,
    logistic,
)
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.plain import INTERNAL
from emergectl.analysis.sample import sample_of
from emergectl.analysis.sharpness import FreeFit, assumed_scatter, fit_freely

WIDTHS = (0.02, 0.07, 0.13, 0.2, 0.3, 0.45, 0.65, 0.9, 1.2, 1.6, 2.2, 3.0)
"""decades from 10 to 90 percent"""
POSITIONS_PER_GAP, MOST_POSITIONS = 12, 240
DRAWS = 2000
HALF_OF_GOMPERTZ = float(-np.log(np.log(2)))
SCATTERS: tuple[float, ...] = (0.0, 0.1, 0.2, 0.35)
"""decades by which onsets may differ from run to run"""
UNKNOWN_SCATTERS = (0.15, 0.35)
"""the same where each scale has one run, which cannot tell"""
SCATTERED_COARSER = 2
ONSETS = np.linspace(-2.2, 2.2, 11)
"""onsets that are summed over, in deviations"""
ONSET_SHARES = np.exp(-0.5 * ONSETS**2) / np.exp(-0.5 * ONSETS**2).sum()


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """Equally likely rises: where half has passed (decades of the convention), from 10 to 90
    percent (decades), which kind of shape, floor and height (levels): each [DRAWS]."""

    positions: Floats
    widths: Floats
    kinds: Floats
    floors: Floats
    heights: Floats

    def levels(self, index: int, t: Floats) -> Floats:
        """The levels of one draw at places t [points], in decades of the convention."""
        kind, width = int(self.kinds[index]), float(self.widths[index])
        shape = SHAPES[kind]((t - self.positions[index]) / width)
        return self.floors[index] + self.heights[index] * shape


@dataclass(frozen=True)
class Break:
    """Where a curve rises, whether or not it does so sharply: scales in the axis's units.

    `position`: where half of the rise has passed. `onset`: where a tenth has. `height`: the level
    at the largest scale over chance (over the floor where chance is unknown). `between`: the rungs
    on either side of the position. `log_positions`: equally likely values of log10 of the position
    on the axis, for comparing breaks: [DRAWS].
    """

    position: Interval
    onset: Interval
    height: Interval
    floor: float
    between: tuple[float, float]
    log_positions: Floats = field(
        default_factory=lambda: np.empty(0), repr=False, compare=False, metadata=INTERNAL
    )
    draws: Draws | None = field(default=None, repr=False, compare=False, metadata=INTERNAL)


def _logistic(z: Floats) -> Floats:
    return logistic(LOGISTIC_WIDTH * z)


def _ramp(z: Floats) -> Floats:
    return np.clip(0.5 + 0.8 * z, 0.0, 1.0)


def _gompertz(z: Floats) -> Floats:
    return gompertz(GOMPERTZ_WIDTH * z + HALF_OF_GOMPERTZ)


def _mirrored(z: Floats) -> Floats:
    return 1 - _gompertz(-z)


SHAPES: tuple[Callable[[Floats], Floats], ...] = (_logistic, _ramp, _gompertz, _mirrored)
"""rises of z = (place − position) / width that pass one half at z = 0"""


@dataclass(frozen=True)
class _Nodes:
    """The grid: kind, width and position of each node [nodes], and how far apart positions are."""

    kinds: Floats
    widths: Floats
    positions: Floats
    step: float


def _grid(t: Floats, scatter: float) -> _Nodes:
    """Every kind, width and position over a ladder, ordered by kind; coarser where onsets scatter,
    for there nothing is so sharply known."""
    finer = 1 if scatter == 0 else SCATTERED_COARSER
    count = min(POSITIONS_PER_GAP * (len(t) - 1), MOST_POSITIONS) // finer + 1
    positions = np.linspace(t[0], t[-1], count)
    kinds, widths, positions = (
        v.ravel()
        for v in np.meshgrid(
            np.arange(len(SHAPES)), WIDTHS[finer - 1 :: finer], positions, indexing="ij"
        )
    )
    return _Nodes(kinds, widths, positions, float(t[-1] - t[0]) / (count - 1))


def locate(curve: Curve, rng: np.random.Generator) -> Break:
    """Where a curve rises, by itself."""
    convention = convention_for(curve)
    free = fit_freely(sample_of(curve, convention.t), convention.width)
    return locate_in(curve, convention, free, rng)


def locate_in(
    curve: Curve, convention: Convention, free: FreeFit, rng: np.random.Generator
) -> Break:
    """Where a curve rises. free: its freest fit, which gives the noise and a first height."""
    sample = free.sample
    if (sample.runs > 1).any():
        scatters = SCATTERS
    else:
        scatters = UNKNOWN_SCATTERS if assumed_scatter(curve.axis) else (0.0,)
    parts = [(_grid(convention.t, scatter), _weigh(free, scatter)) for scatter in scatters]
    weight = np.concatenate([part.log_likelihood for _, part in parts])
    weight = np.exp(weight - weight.max())
    chosen = rng.choice(len(weight), DRAWS, p=weight / weight.sum())
    draws = _drawn(parts, chosen, rng)
    positions, floors, heights = draws.positions, draws.floors, draws.heights
    ends = convention.t[[0, -1]]
    tops, starts = np.empty(DRAWS), np.empty(DRAWS)
    for kind, shape in enumerate(SHAPES):
        mine = draws.kinds == kind
        place = (ends[1] - positions[mine]) / draws.widths[mine]
        tops[mine] = floors[mine] + heights[mine] * shape(place)
        starts[mine] = positions[mine] + draws.widths[mine] * _TENTHS[kind]
    base = floors if curve.chance_level is None else curve.chance_level
    log_positions = np.log10(convention.place(curve, positions))
    position = _interval(log_positions)
    index = int(np.clip(np.searchsorted(curve.log_x, position.value) - 1, 0, len(curve.x) - 2))
    return Break(
        position=_in_units(position),
        onset=_in_units(_interval(np.log10(convention.place(curve, starts)))),
        height=_interval(tops - base),
        floor=float(np.median(floors)),
        between=(float(curve.x[index]), float(curve.x[index + 1])),
        log_positions=log_positions,
        draws=draws,
    )


def _drawn(
    parts: list[tuple[_Nodes, _Weighed]], chosen: NDArray[np.int64], rng: np.random.Generator
) -> Draws:
    """The nodes chosen [draws], counted through all parts, with floor, height, place in a cell."""
    columns: list[tuple[Floats, ...]] = []
    first = 0
    for nodes, part in parts:
        node = chosen[(chosen >= first) & (chosen < first + len(nodes.kinds))] - first
        first += len(nodes.kinds)
        within = nodes.step * (rng.random(len(node)) - 0.5)
        at = nodes.positions[node] + within
        columns.append((at, nodes.widths[node], nodes.kinds[node], *part.draw(node, rng)))
    every = [np.concatenate(column) for column in zip(*columns, strict=True)]
    order = rng.permutation(len(chosen))
    return Draws(*(column[order] for column in every))


def _tenth(shape: Callable[[Floats], Floats]) -> float:
    """z at which a shape passes a tenth."""
    z = np.linspace(-2, 0, 4001)
    return float(np.interp(0.1, shape(z), z))


_TENTHS = tuple(map(_tenth, SHAPES))


@dataclass(frozen=True)
class _Weighed:
    """The nodes under one scatter: log-likelihood, and the best floor and height with their
    covariance: each [nodes]."""

    log_likelihood: Floats
    floor: Floats
    height: Floats
    floor_variance: Floats
    height_variance: Floats
    covariance: Floats

    def draw(self, nodes: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Floors and heights of nodes [draws], with their uncertainty."""
        heights = self.height[nodes] + np.sqrt(self.height_variance[nodes]) * rng.standard_normal(
            len(nodes)
        )
        slope = self.covariance[nodes] / self.height_variance[nodes]
        rest = self.floor_variance[nodes] - slope * self.covariance[nodes]
        floors = self.floor[nodes] + slope * (heights - self.height[nodes])
        noise = np.sqrt(np.maximum(rest, 0)) * rng.standard_normal(len(nodes))
        return floors + noise, np.maximum(heights, 0)


def _weigh(free: FreeFit, scatter: float) -> _Weighed:
    """Every node under one scatter: floor and height at their best by a Gaussian likelihood whose
    variance has the scatter's share at each rung. Where onsets scatter the likelihood itself is the
    mean over each run's onset, for a run is low or high, hardly ever in between."""
    sample = free.sample
    levels = free.levels
    floor, height = float(levels.min()), float(np.ptp(levels))
    rises = _rises(tuple(sample.t.tolist()), scatter)
    share = ONSET_SHARES if scatter else np.ones(1)
    mean = sum(w * rise for w, rise in zip(share, rises, strict=True))
    square = sum(w * rise**2 for w, rise in zip(share, rises, strict=True))
    at = floor + height * mean
    typical = np.broadcast_to(sample.sizes / sample.runs, at.shape)
    variance = free.noise.phi * sample.unit_variance(at, typical) / typical
    variance = variance + height**2 * np.maximum(square - mean**2, 0)
    runs = sample.runs
    squares = np.bincount(
        sample.rung, (sample.level - sample.levels[sample.rung]) ** 2, len(sample.t)
    )
    weights = runs / variance
    y = sample.levels
    total, first, second = weights.sum(1), (weights * mean).sum(1), (weights * mean**2).sum(1)
    y_total, y_first = weights @ y, (weights * mean) @ y
    determinant = np.maximum(total * second - first**2, 1e-12 * total**2)
    tall = (total * y_first - first * y_total) / determinant
    low = (second * y_total - first * y_first) / determinant
    if scatter == 0:
        left = (weights * (y - low[:, None] - tall[:, None] * mean) ** 2).sum(1)
        between = (squares / variance).sum(1) + (runs * np.log(variance)).sum(1)
        log_likelihood = -0.5 * (left + between)
    else:
        log_likelihood = _over_onsets(free, rises, low, tall)
    # A rise, not a fall: the share of the height's own distribution that is above zero.
    log_likelihood += special.log_ndtr(tall / np.sqrt(total / determinant)) - np.log(len(low))
    return _Weighed(
        log_likelihood,
        low,
        tall,
        second / determinant,
        total / determinant,
        -first / determinant,
    )


def _over_onsets(free: FreeFit, rises: tuple[Floats, ...], low: Floats, tall: Floats) -> Floats:
    """The log-likelihood of every run, its onset summed over: [nodes]."""
    sample = free.sample
    each: list[Floats] = []
    height = np.maximum(tall, 0)[:, None]
    for i, (log_share, rise) in enumerate(zip(np.log(ONSET_SHARES), rises, strict=True)):
        levels = low[:, None] + height * rise
        typical = np.broadcast_to(sample.sizes / sample.runs, levels.shape)
        unit = sample.unit_variance(levels, typical)[:, sample.rung]
        # An onset stands for those around it, among which the level of a steep rise differs.
        before, after = rises[max(i - 1, 0)], rises[min(i + 1, len(rises) - 1)]
        step = height * (before - after) / 2
        variance = free.noise.phi * unit / sample.size + (step**2 / 12)[:, sample.rung]
        off = (sample.level - levels[:, sample.rung]) ** 2
        each.append(log_share - 0.5 * (off / variance + np.log(variance)))
    return special.logsumexp(np.stack(each), axis=0).sum(axis=1)


@lru_cache(maxsize=16)
def _rises(rungs: tuple[float, ...], scatter: float) -> tuple[Floats, ...]:
    """Each node's rise at the rungs, for every onset that is summed over: [nodes, rungs] each."""
    t = np.array(rungs)
    nodes = _grid(t, scatter)
    onsets = ONSETS * scatter if scatter else np.zeros(1)
    places = t - nodes.positions[:, None]
    return tuple(_shapes((places - onset) / nodes.widths[:, None]) for onset in onsets)


def _shapes(place: Floats) -> Floats:
    """The rises at places [nodes, rungs] of nodes that are ordered by kind."""
    blocks = np.split(place, len(SHAPES))
    return np.concatenate([shape(block) for shape, block in zip(SHAPES, blocks, strict=True)])


def break_difference(first: Break, second: Break) -> Interval:
    """How many decades the second break lies above the first, with its 95% interval.

    Both are taken to have one kind of shape, whichever fits both: what is not known of the shape
    moves both alike. Their noise is taken as independent, and a gap between two rungs in which both
    lie is open to each of them: the interval is then too wide rather than too narrow.
    """
    pairs = []
    if first.draws is not None and second.draws is not None:
        for kind in range(len(SHAPES)):
            one = first.log_positions[first.draws.kinds == kind]
            other = second.log_positions[second.draws.kinds == kind]
            # The share of pairs with this kind is the product of its shares in either.
            count = round(len(one) * len(other) / DRAWS)
            if count:
                pairs.append(np.resize(other, count) - np.resize(one, count + 1)[1:])
    if not pairs:  # No shape fits both: nothing moves them alike.
        pairs.append(second.log_positions - np.roll(first.log_positions, 1))
    return _interval(np.concatenate(pairs))


def linearity(values: Floats) -> float:
    """BIG-bench's linearity: the signed rise over the root mean square of the steps.

    values: [rungs] by rising scale. Srivastava et al. 2022, appendix; 0 for a constant.
    """
    return _rise_over(values, np.mean)


def breakthroughness(values: Floats) -> float:
    """BIG-bench's breakthroughness: the signed rise over the root median square of the steps.

    The same formula is the emergence score of Schaeffer et al. 2023. Infinite where more than half
    of the steps are exactly level; 0 for a constant. No model of noise: rank by it, decide nothing.
    """
    return _rise_over(values, np.median)


emergence_score = breakthroughness


def _rise_over(values: Floats, center: Callable[[Floats], np.floating]) -> float:
    if len(values) < 2:
        return 0.0
    step = float(np.sqrt(center(np.diff(values) ** 2)))
    rise = float(np.ptp(values)) * (1 if values.argmax() > values.argmin() else -1)
    if rise == 0:
        return 0.0
    return rise / step if step > 0 else float(np.copysign(np.inf, rise))


def _interval(draws: Floats) -> Interval:
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
    return Interval(float(middle), float(low), float(high))


def _in_units(log: Interval) -> Interval:
    return Interval(10**log.value, 10**log.low, 10**log.high)
