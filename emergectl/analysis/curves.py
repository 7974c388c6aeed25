"""A curve: one ability, under one metric, over one axis of scale, with what is known of its noise.

Measurements at one scale (seeds, replicates) make one rung. What the metric is (`MetricFacts`)
comes with the values: which way is better, whether it is fitted in logs, and what noise it has. A
share of items whose number is known has binomial noise, times an overdispersion that is estimated
and never taken to be below one; of any other metric the noise is estimated from the seeds and from
what the fits leave. All fits work on log10 of the scale, and on values that rise when a model gets
better: a falling share is turned into the share of the other items, any other falling metric is
negated, and what spans orders of magnitude is logged first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emergectl.store.measurements import MetricFacts

Floats = NDArray[np.float64]

LARGEST = 1e30
"""magnitude beyond which single precision overflows"""
ROUNDING = 1e-9
"""how far beyond its range, as a share of it, a value may lie by rounding"""


@dataclass(frozen=True)
class Curve:
    """One ability over scale. Arrays are over rungs [rungs], by rising scale.

    `x` is the scale itself (> 0), `values` the mean over seeds and items in the metric's units,
    `items` the number of items answered at the rung, all seeds together (NaN where unknown),
    `seed_values` the values of each seed. `chance` is the level of guessing, `shortcut` that
    of the best way around the ability (`shortcut_by` says which), `ceiling` the best that the task
    lets one reach (None: what the metric does).
    """

    task: str
    metric: str
    what: MetricFacts
    axis: str
    x: Floats
    values: Floats
    items: Floats
    seed_values: tuple[Floats, ...]
    seed_items: tuple[Floats, ...]
    chance: float | None = None
    shortcut: float | None = None
    shortcut_by: str = ""
    ceiling: float | None = None
    group: str = ""
    log_flops: Floats | None = None
    """log10 of the training FLOPs of the models of each rung, their mean; None: unknown"""
    seed_sources: tuple[tuple[str, ...], ...] = ()
    """where each seed's value came from, rung by rung; empty where that is not known"""

    @property
    def name(self) -> str:
        """What a person calls it: `group/task/metric`."""
        return "/".join(part for part in (self.group, self.task, self.metric) if part)

    @cached_property
    def log_x(self) -> Floats:
        """log10 of the scale: [rungs], in decades."""
        return np.log10(self.x)

    @cached_property
    def seeds(self) -> NDArray[np.int64]:
        """Seeds at each rung: [rungs]."""
        return np.array([len(v) for v in self.seed_values])

    @cached_property
    def is_rate(self) -> bool:
        """Whether its levels run from 0 to 1: the metric does so, and rises or is a share."""
        bounded = (self.what.least, self.what.most) == (0, 1)
        return bounded and (not self.falls or self.what.quantity == "share")

    @property
    def falls(self) -> bool:
        """Whether the metric falls when a model gets better."""
        return self.what.direction == "down"

    @property
    def is_logged(self) -> bool:
        """Whether the metric spans orders of magnitude, and is fitted in logs."""
        return self.what.scale == "log"

    @cached_property
    def is_binomial(self) -> bool:
        """Whether the noise of a rung is that of a known number of right and wrong answers."""
        known = bool(np.isfinite(self.items).all())
        return self.what.quantity == "share" and self.is_rate and known

    @cached_property
    def level(self) -> Floats:
        """The values as they are fitted (rising is better, in logs where it is logged): [rungs]."""
        if self.is_logged:
            return np.array([float(self.to_level(v).mean()) for v in self.seed_values])
        return self.to_level(self.values)

    @cached_property
    def chance_level(self) -> float | None:
        """The level of guessing on the scale of `level`."""
        return None if self.chance is None else float(self.to_level(np.array([self.chance]))[0])

    def to_level(self, values: Floats) -> Floats:
        """Values in the metric's units → as they are fitted."""
        if self.is_logged:
            values = np.log10(values)
        if not self.falls:
            return values
        return 1 - values if self.is_rate else -values

    def to_value(self, level: Floats) -> Floats:
        """The inverse of `to_level`."""
        if self.falls:
            level = 1 - level if self.is_rate else -level
        limit = np.log10(LARGEST)
        return 10 ** np.clip(level, -limit, limit) if self.is_logged else level

    def spread_between_seeds(self, at: Floats) -> tuple[float, int]:
        """Squares between seeds, in units of the expected variance, and their degrees of freedom.

        at: [rungs], the levels from which binomial variances are taken.
        """
        squares, freedom = 0.0, 0
        for k, raw in enumerate(self.seed_values):
            if len(raw) < 2:
                continue
            values = self.to_level(raw)
            weights = self.seed_items[k] if self.is_binomial else np.ones(len(values))
            mean = np.average(values, weights=weights)
            squares += float((weights * (values - mean) ** 2).sum()) / self.unit_variance(at)[k]
            freedom += len(values) - 1
        return squares, freedom

    def unit_variance(self, at: Floats) -> Floats:
        """Variance of one item (binomial), of one rate without items, or 1: the shape of noise.

        at: [..., rungs] levels. Kept off zero by half an answer, as a Jeffreys prior would.
        """
        if not self.is_rate:
            return np.ones_like(at)
        floor = 0.5 / (self.items + 1) if self.is_binomial else np.full(len(self.x), 0.02)
        p = np.clip(at, floor, 1 - floor)
        return p * (1 - p)

    @cached_property
    def size(self) -> Floats:
        """What a rung's unit variance is divided by: its items, else its seeds: [rungs]."""
        return self.items if self.is_binomial else self.seeds.astype(float)

    def inverse_variances(self, at: Floats) -> Floats:
        """Weights of the rungs when the true levels are `at` [..., rungs], for dispersion 1."""
        return self.size / self.unit_variance(at)

    def rungs(self, keep: NDArray[np.bool_]) -> Curve:
        """The curve with some of its rungs: keep [rungs]."""
        index = np.flatnonzero(keep)
        return replace(
            self,
            x=self.x[index],
            values=self.values[index],
            items=self.items[index],
            seed_values=tuple(self.seed_values[i] for i in index),
            seed_items=tuple(self.seed_items[i] for i in index),
            log_flops=None if self.log_flops is None else self.log_flops[index],
            seed_sources=tuple(self.seed_sources[i] for i in index) if self.seed_sources else (),
        )


def make_curve(
    x: Sequence[float] | Floats,
    values: Sequence[Sequence[float]] | Floats,
    *,
    what: MetricFacts,
    items: int | Sequence[float] | None = None,
    chance: float | None = None,
    shortcut: float | None = None,
    shortcut_by: str = "",
    ceiling: float | None = None,
    task: str = "ability",
    metric: str = "accuracy",
    axis: str = "params",
    group: str = "",
    flops: Sequence[float] | None = None,
    sources: Sequence[str] | None = None,
) -> Curve:
    """A curve from values over rungs: [rungs], or one row of seeds a rung (rows may differ).

    what: what the metric is.
    items: the number of items of one seed's measurement, the same everywhere or one a rung.
    flops: the training FLOPs of each row of values, where known.
    sources: where each row of values came from.
    Rungs may come unsorted; a scale that stands twice has its measurements taken together. Raises
    ValueError for a scale that is not positive, a value that is not finite, beyond 1e30 or outside
    the metric's range, or one that is not positive where the metric is logged. Values within 1e-30
    of zero are zero.
    """
    scales = np.asarray(x, dtype=float)
    rows = [np.atleast_1d(np.asarray(row, dtype=float)) for row in values]
    per_seed = np.broadcast_to(np.nan if items is None else np.asarray(items, float), len(rows))
    if len(rows) != len(scales) or not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales must be positive, one for every row of values")
    if not all(np.isfinite(row).all() and len(row) for row in rows):
        raise ValueError("values must be finite, at least one a rung")
    if max(float(np.abs(row).max()) for row in rows) > LARGEST:
        raise ValueError(f"values beyond {LARGEST:g} are no measurements")
    least, most = min(float(row.min()) for row in rows), max(float(row.max()) for row in rows)
    if what.scale == "log" and min(least, least if chance is None else chance) <= 0:
        raise ValueError(f"{metric} must be positive")
    for value in (least, most):
        if not in_range(value, what):
            raise ValueError(f"{metric} is {value:g}; it lies {range_of(what)}")
    rows = [np.where(np.abs(row) < 1 / LARGEST, 0.0, row) for row in rows]
    rungs, rung_of = np.unique(scales, return_inverse=True)
    seed_values, seed_items = [], []
    seed_sources: list[tuple[str, ...]] = []
    log_flops = None
    if flops is not None and min(flops) > 0:
        log_flops = np.bincount(rung_of, np.log10(flops)) / np.bincount(rung_of)
    for k in range(len(rungs)):
        at = np.flatnonzero(rung_of == k)
        seed_values.append(np.concatenate([rows[i] for i in at]))
        seed_items.append(np.concatenate([np.full(len(rows[i]), per_seed[i]) for i in at]))
        if sources is not None:
            seed_sources.append(tuple(sources[int(i)] for i in at for _ in rows[i]))
    known = np.isfinite(np.concatenate(seed_items)).all()
    means = [
        float(np.average(v, weights=n) if known else v.mean())
        for v, n in zip(seed_values, seed_items, strict=True)
    ]
    return Curve(
        task=task,
        metric=metric,
        what=what,
        axis=axis,
        x=rungs,
        values=np.array(means),
        items=np.array([n.sum() for n in seed_items]),
        seed_values=tuple(seed_values),
        seed_items=tuple(seed_items),
        chance=chance,
        shortcut=shortcut,
        shortcut_by=shortcut_by,
        ceiling=ceiling,
        group=group,
        log_flops=log_flops,
        seed_sources=tuple(seed_sources),
    )


def in_range(value: float, what: MetricFacts) -> bool:
    """Whether a metric can have this value, but for rounding."""
    span = (what.most or 0.0) - (what.least or 0.0)
    slack = ROUNDING * abs(span)
    above = what.least is None or value >= what.least - slack
    return above and (what.most is None or value <= what.most + slack)


def range_of(what: MetricFacts) -> str:
    """The range of a metric in words; empty where it has none."""
    if what.least is not None and what.most is not None:
        return f"between {what.least:g} and {what.most:g}"
    if what.least is not None:
        return f"at {what.least:g} or above"
    return "" if what.most is None else f"at {what.most:g} or below"
