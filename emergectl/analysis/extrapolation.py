"""What may come after the last rung: all gradual curves that agree with the rungs below.

Beyond the last rung the data say nothing of the shape, so that intervals about a best fit are those
of whoever guessed right. Here every curve of a wide family (`gradual`) is asked. An interval holds
every value that some curve of the family could have with a likelihood not much less than the best
(a predictive profile likelihood: Mathiasen 1979; Bjørnstad 1990), whatever the shape, of every
height that the metric's range has room for: so it widens as fast as the shapes part, and what lies
outside it was no gradual curve. That is what a surprise is. How far runs differ beside their items
comes from the runs of each scale and from what the best curve leaves; where neither tells, nothing
is foretold.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.gradual import APPROACH, Cells, gradual_curves
from emergectl.analysis.shapes import rung_weights

REACH = 10.0
"""the highest rise of a metric without a range, in heights that were seen"""
ROUNDS, CELLS = 2, 250
"""so often, so many of the likeliest cells are cut finer"""
FEWEST_DEGREES = 2
"""of freedom, from which the noise is told"""
FITTED = 4
"""numbers that describe a curve: floor, height, position, width"""
LEAST_NOISE = 2e-3
"""of what was seen, at a rung: no curve follows a formula more closely"""
MOST_SCATTER, MOST_SHOWN = 0.1, 0.3
POSSIBLE, SHOWN = 0.25, 0.95
"""conventions by which onsets may differ from run to run: to the first as far as the rungs do not
rule it out, up to the second as far as they show it (what is expected of them by chance: these
quantiles)"""
FALLS, PASSED = 10.8, 13.8
"""so much better, in units of the noise, must a fall describe the rungs for them to fall, and a
sharp rise that has passed for it to be no chance (p .001 of one and of two degrees of freedom)"""
MISFIT = 1e-3
"""p of what the best curve leaves, beside what the runs differ, from which on none agrees"""
CONFIDENCE = 0.95
ROOM = 0.9
"""of the room that one shape would need: an interval over all shapes holds more often than it says
for any one of them, by so much as was measured (`calibration`)"""
USUAL_ROOM = float(stats.chi2.ppf(CONFIDENCE, 1))
STEP = 1e-4
"""decades over which slopes are taken"""
TINY = 1e-12


class NotOfferedError(ValueError):
    """No honest interval can be given; says why."""


@dataclass(frozen=True)
class Noise:
    """What one more measurement adds, and how surely that is known.

    Shares of items have the variance of their items, and `extra`² of each run that differs by more:
    that grows with the variance of one item beyond `unit`, the one that was seen, for near zero no
    run can differ by much. Runs that differ in where they rise do so by the slope, and may differ
    by more where it exceeds `slope`, the one that was seen: by `scatter` decades. Other metrics
    have `phi` times the unit variance of the curve. `room`: how much worse than the best, in
    squares in units of the noise, a curve and one more measurement may be within the interval.
    """

    phi: float
    room: float
    extra: float = 0.0
    unit: float = 1.0
    scatter: float = 0.0
    slope: float = 0.0

    def variances(self, last: Curve, levels: Floats, slopes: Floats) -> Floats:
        """Of a measurement like that of the rung `last`, at levels where curves have such slopes
        (per decade): both of one shape."""
        own = 1 / last.inverse_variances(levels.reshape(-1, 1)).reshape(levels.shape)
        steeper = np.maximum(slopes**2 - self.slope**2, 0)
        wider = np.maximum(own * float(last.size[0]) / self.unit, 1)
        between = self.extra**2 * wider + self.scatter**2 * steeper
        return self.phi * own + between / float(last.seeds[0])


@dataclass(frozen=True)
class Fit:
    """Cells held against rungs, and what has risen of each at them, [cells, rungs].

    Of each: the mean of its rise over the rungs, the weighted squares of the rise about it, the
    best height, the highest that there is room for, and the weighted squares that the best height
    within that leaves: [cells]. `middle`: the weighted mean of the levels, `total` their weighted
    squares about it.
    """

    cells: Cells
    rises: Floats
    mean: Floats
    squares: Floats
    height: Floats
    most: Floats
    left: Floats
    middle: float
    total: float
    least: float = 0.0

    @property
    def bounded(self) -> Floats:
        """The best heights for which there is room: [cells]."""
        return np.clip(self.height, 0, self.most)

    def best(self, gradual: float, room: float) -> int:
        """The index of the cell that fits best; one that has passed sharply only where it is needed
        (`PASSED`, times how much wider the room is than usual)."""
        sharp = (self.cells.width < gradual) & (self.cells.kind < APPROACH)
        wide = np.where(sharp, np.inf, self.left)
        needed = wide.min() - self.left.min() > PASSED * room / USUAL_ROOM
        return int((self.left if needed else wide).argmin())


@dataclass(frozen=True)
class Extrapolation:
    """The family against the rungs of one curve, from `start` to `end`: the likeliest cells."""

    curve: Curve
    start: float
    end: float
    fit: Fit
    weight: float
    noise: Noise

    def levels(
        self, points: Floats, *, share: Floats | float = 1.0, measured: bool = True
    ) -> tuple[Floats, Floats, Floats]:
        """(lowest, likeliest, highest) levels at places [points]: [points] each.

        share: of the room, [points] or one. measured: of one more measurement like the last rung's,
        else of its mean.
        """
        fit = self.fit
        worse = np.maximum(fit.left - fit.least, 0)
        ahead = fit.cells.rises(points, self.start, self.end)
        later = fit.cells.rises(points + STEP, self.start, self.end)
        slopes = np.abs(later - ahead) / STEP if measured else np.zeros(1)
        ahead -= fit.mean[:, None]
        likely = np.exp(-worse / 2) * fit.cells.share
        value = fit.middle + (likely * fit.bounded) @ ahead / likely.sum()
        room = np.broadcast_to(share, points.shape) * self.noise.room - worse[:, None]
        room = np.where(room >= 0, room, np.nan)
        low, high = (self._furthest(sign, ahead, slopes, room, measured) for sign in (-1, 1))
        ends = level_range(self.curve)
        low, high = np.clip(low, *ends), np.clip(high, *ends)
        return low, np.clip(value, low, high), high

    def _furthest(
        self, sign: int, ahead: Floats, slopes: Floats, room: Floats, measured: bool
    ) -> Floats:
        """The furthest level up or down that any cell allows: [points].

        A height h and a value y of a cell are worse than its best by (h − best)² · squares +
        (y − middle − h · ahead)² / noise: an ellipse, cut where there is no room for the height.
        """
        fit = self.fit
        height, squares, most = fit.height[:, None], fit.squares[:, None], fit.most[:, None]
        moved = fit.bounded[:, None]
        room = room + (moved - height) ** 2 * squares
        last = self.curve.rungs(np.arange(len(self.curve.x)) == len(self.curve.x) - 1)
        at = fit.middle + moved * ahead
        for _ in range(2):  # The noise of a share is that of its own level.
            noise = np.full_like(at, 1 / self.weight)
            if measured:
                noise += self.noise.variances(last, at, moved * slopes)
            up = sign * ahead / squares * np.sqrt(room / (ahead**2 / squares + noise))
            moved = np.clip(height + up, 0, most)
            rest = np.maximum(room - (moved - height) ** 2 * squares, 0)
            at = fit.middle + moved * ahead + sign * np.sqrt(rest * noise)
        return np.asarray(sign * np.nanmax(sign * at, axis=0))


def extrapolate(curve: Curve, t: Floats, end: float, gradual: float) -> Extrapolation:
    """Hold the family against a curve whose rungs lie at t [rungs], for points up to `end`.

    gradual: the least width of a rise that has not passed, in the units of t. Raises
    NotOfferedError where nothing tells the noise, or the curve falls.
    """
    if not curve.is_binomial and not np.ptp(curve.level):
        raise NotOfferedError(f"{curve.metric} has the same value at every scale below the cutoff")
    _, seeds = curve.spread_between_seeds(curve.level)
    free = max(len(t) - FITTED, 0)
    if seeds + free < FEWEST_DEGREES:
        raise NotOfferedError(
            f"{len(t)} scales with one run each do not tell the noise: "
            f"{FITTED + FEWEST_DEGREES} do, or several runs"
        )
    start, end = float(t.min()), max(end, float(t.max()))
    family = gradual_curves(start, float(t.max()), end, gradual)
    rises = family.rises(t, start, end)
    weights, _ = rung_weights(curve)
    first = _hold(curve, family, rises, weights)
    # Before the noise is told, a rise is needed if it leaves little of what the others leave.
    best = first.best(gradual, USUAL_ROOM * max(1.0, float(first.left.min()) / max(free, 1)))
    height = float(first.bounded[best])
    off = curve.level - first.middle - height * (rises[best] - first.mean[best])
    later = family.take(np.array([best])).rises(t + STEP, start, end)[0]
    slope = height * float(np.sqrt(np.mean(((later - rises[best]) / STEP) ** 2)))
    noise = tell_noise(curve, weights, off, free=free, slope=slope, gradual=gradual)
    weights = 1 / (noise.phi / weights + noise.extra**2 / curve.seeds)
    fits = [_hold(curve, family, rises, weights)]
    falling = fits[0].total - fits[0].height ** 2 * fits[0].squares
    falling = np.where(fits[0].height < 0, falling, fits[0].total)
    if fits[0].left.min() - falling.min() > FALLS * noise.room / USUAL_ROOM:
        raise NotOfferedError("it falls below the cutoff, and only rises are foretold")
    for _ in range(ROUNDS):
        cut = fits[-1].cells.take(np.argsort(fits[-1].left)[:CELLS]).cut()
        fits.append(_hold(curve, cut, cut.rises(t, start, end), weights))
    every = _joined(fits)
    least = float(every.left[every.best(gradual, noise.room)])
    if free and _p_misfit(least, free, np.inf if curve.is_binomial else seeds) < MISFIT:
        raise NotOfferedError("no gradual curve agrees with the scales below the cutoff")
    near = _chosen(every, every.left - least <= noise.room)
    return Extrapolation(curve, start, end, replace(near, least=least), float(weights.sum()), noise)


def _p_misfit(left: float, free: int, seeds: float) -> float:
    """Of squares that the best curve leaves, in units of a noise known from so many degrees."""
    if seeds == 0:
        return 1.0
    if np.isinf(seeds):
        return float(stats.chi2.sf(left, free))
    return float(stats.f.sf(left / free, free, seeds))


def _hold(curve: Curve, cells: Cells, rises: Floats, weights: Floats) -> Fit:
    """Cells held against the rungs. weights: inverse variances [rungs]; before the noise of a
    metric without known items is told, but for a factor."""
    weight = float(weights.sum())
    middle = float(np.average(curve.level, weights=weights))
    y = curve.level - middle
    total = float(weights @ y**2)
    mean = rises @ weights / weight
    centred = rises - mean[:, None]
    squares = np.maximum(centred**2 @ weights, TINY)
    height = (centred * weights) @ y / squares
    low, high = level_range(curve)
    slack = 2 / np.sqrt(weight)
    seen = REACH * float(np.ptp(curve.level))
    above = (high - middle + slack) / np.maximum(1 - mean, TINY) if np.isfinite(high) else seen
    # Lines and power laws may end where the range does, not at any height of their own.
    above = np.where(cells.kind >= APPROACH, np.inf, above)
    below = (middle - low + slack) / np.maximum(mean, TINY) if np.isfinite(low) else np.inf
    most = np.broadcast_to(np.maximum(np.minimum(above, below), 0.0), mean.shape)
    missed = np.clip(height, 0, most) - height
    left = np.maximum(total - height**2 * squares + missed**2 * squares, 0)
    return Fit(cells, rises, mean, squares, height, most, left, middle, total)


PER_CELL = ("rises", "mean", "squares", "height", "most", "left")


def _joined(fits: list[Fit]) -> Fit:
    """All their cells."""
    names = [field.name for field in fields(Cells)]
    cells = (np.concatenate([getattr(fit.cells, name) for fit in fits]) for name in names)
    each: dict[str, Any] = {
        name: np.concatenate([getattr(fit, name) for fit in fits]) for name in PER_CELL
    }
    return replace(fits[0], cells=Cells(*cells), **each)


def _chosen(fit: Fit, keep: NDArray[np.bool_]) -> Fit:
    """Some of the cells: keep [cells]."""
    cells = fit.cells.take(np.flatnonzero(keep))
    each: dict[str, Any] = {name: getattr(fit, name)[keep] for name in PER_CELL}
    return replace(fit, cells=cells, **each)


def tell_noise(
    curve: Curve,
    weights: Floats,
    off: Floats,
    *,
    free: int,
    slope: float = 0.0,
    gradual: float = 0.0,
) -> Noise:
    """From the runs of each scale, and from what lies off the best curve.

    off: [rungs], with `free` degrees of freedom (0: nothing is told by it). slope: of the best
    curve over the rungs, a root mean square; gradual: the convention, 0 where no onset may differ.
    """
    off = off if free else np.zeros(len(off))
    between, seeds = curve.spread_between_seeds(curve.level)
    squares, freedom = between + float(weights @ off**2), seeds + free
    least = (LEAST_NOISE * float(np.ptp(curve.level))) ** 2
    if not curve.is_binomial:
        least *= float(np.median(weights))
        room = float(stats.t.isf((1 - CONFIDENCE) / 2, freedom)) ** 2
        return Noise(max(squares / freedom, least), ROOM * room)
    unit = curve.size / weights
    possible, shown = (
        _extra(curve, unit, off, float(stats.chi2.ppf(p, freedom))) / max(slope, TINY)
        for p in (POSSIBLE, SHOWN)
    )
    return Noise(
        phi=1.0,
        room=ROOM * _room_for_runs(squares, freedom) / max(1.0, squares / freedom),
        extra=max(
            _extra(curve, unit, off, float(freedom)), float(np.sqrt(least * curve.seeds.mean()))
        ),
        unit=float(unit.mean()),
        scatter=max(min(possible, MOST_SCATTER * gradual), min(shown, MOST_SHOWN * gradual)),
        slope=slope,
    )


def _extra(curve: Curve, unit: Floats, off: Floats, expected: float) -> float:
    """By how much runs differ beside their items, such that squares are as many as expected (Paule
    and Mandel 1982). unit: the variance of one item, off: from the curve, [rungs] both."""
    apart = [curve.to_level(v) - y for v, y in zip(curve.seed_values, curve.level, strict=True)]
    squares = np.concatenate([*apart, off]) ** 2
    one_run = [u / n for u, n in zip(unit, curve.seed_items, strict=True)]
    items = np.concatenate([*one_run, unit / curve.size])
    runs = np.concatenate([np.ones(int(curve.seeds.sum())), curve.seeds])

    def more(extra: float) -> float:
        return float((squares / (items + extra**2 / runs)).sum()) - expected

    return 0.0 if more(0.0) <= 0 else float(optimize.brentq(more, 0.0, 10.0))


def _room_for_runs(squares: float, freedom: int) -> float:
    """The square of the deviation, in those of the items, that one measurement exceeds in 5%.

    Its variance is φ times that of the items, φ above 1 by the density 1/φ² before `squares` of so
    much `freedom` are seen; or 1 as likely as not, where runs differ by no more than their items.
    """
    edges = np.geomspace(1, 100 * max(100.0, squares / freedom), 400)
    prior = np.concatenate([[float(squares <= freedom)], -np.diff(1 / edges)])
    phi = np.concatenate([[1.0], np.sqrt(edges[1:] * edges[:-1])])
    log_likelihood = -0.5 * (freedom * np.log(phi) + squares / phi)
    share = prior * np.exp(log_likelihood - log_likelihood.max())
    share /= share.sum()

    def beyond(deviation: float) -> float:
        return float(share @ (2 * special.ndtr(-deviation / np.sqrt(phi)))) - (1 - CONFIDENCE)

    return float(optimize.brentq(beyond, 1.0, 1e3, xtol=1e-3)) ** 2


def level_range(curve: Curve) -> tuple[float, float]:
    """The levels that a metric can have, infinite where it has no end; no likelihood is better than
    certainty."""
    what = curve.what
    ends = [what.least, what.most]
    if what.likelihood is not None:
        ends[0 if curve.falls else 1] = 1.0 if curve.is_logged else 0.0
    worst, best = reversed(ends) if curve.falls else ends

    def level(end: float | None, otherwise: float) -> float:
        if end is None or (curve.is_logged and end <= 0):
            return otherwise
        return float(curve.to_level(np.array([end]))[0])

    return level(worst, -np.inf), level(best, np.inf)
