"""Which shape has a curve? Six of them, fitted by weights, compared by AICc and by left-out scales.

flat; line (in log x); power (to a ceiling); sigmoid (in log x); hinge (flat, then a line); broken
(flat, then a power law to a ceiling, with a bend of its own smoothness: Caballero et al. 2022, one
break, first exponent zero). Floor and height are solved in closed form; what is left, at most three
numbers, is searched on a grid that zooms in on its three best points, so there are no starts to
choose and no derivative to get wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.curve_families import hinge_rise, logistic_rise
from emergectl.analysis.curves import Curve, Floats

Rise = Callable[[Floats, Floats], Floats]
"""(log10 scale [..., points], parameters [nodes, n]) → rises [nodes, points]"""
ZOOMS, BEST, TICKS = 6, 3, 7
REFINED = (1.0, 0.3)
"""boxes of a refit about the shape, in steps of the grid"""
LEAST_NOISE = 1e-6
"""of a curve's own spread: no noise is taken to be smaller"""
FEWEST_FOR_SHAPES = 4


@dataclass(frozen=True)
class Form:
    """A shape: its rise, the names of its own parameters, and how many are linear."""

    name: str
    rise: Rise
    names: tuple[str, ...]
    linear: int = 2

    @property
    def parameters(self) -> int:
        """Numbers that are fitted."""
        return self.linear + len(self.names)


def _broken(t: Floats, p: Floats) -> Floats:
    position, power, bend = (p[:, i, None] for i in range(3))
    # log10(1 + (x/d)^(1/f)) · f · c, without overflow.
    bent = bend * np.logaddexp(0, np.log(10) * (t - position) / bend) / np.log(10)
    return -np.expm1(-np.log(10) * power * bent)


def _approach(t: Floats, p: Floats, offset: float) -> Floats:
    """A power law to a ceiling, 0 at `offset`; cut off before it overflows."""
    return -np.expm1(np.minimum(-np.log(10) * p[:, :1] * (t - offset), 50.0))


FORMS = (
    Form("flat", lambda t, p: np.zeros((len(p), t.shape[-1])), (), linear=1),
    Form("line", lambda t, p: np.broadcast_to(t, (len(p), t.shape[-1])), ()),
    Form("power", lambda t, p: _approach(t, p, float(t.mean())), ("power",)),
    Form("sigmoid", lambda t, p: logistic_rise(t, p[:, :1], p[:, 1:]), ("position", "width")),
    Form("hinge", lambda t, p: hinge_rise(t, p[:, :1], np.zeros(1)), ("position",)),
    Form("broken", _broken, ("position", "power", "bend")),
)


@dataclass(frozen=True)
class FittedShape:
    """A fitted shape. `values` [rungs] are on the curve's level.

    `weight` is the Akaike weight among all shapes; `left_out_error` the root mean square error of
    each rung predicted from the others. `parameters` by name: floor, height, and the form's own
    (position in log10 of the scale, width in decades).
    """

    form: Form
    parameters: dict[str, float]
    values: Floats
    aicc: float
    weight: float
    left_out_error: float
    offset: float

    def at(self, log_x: Floats) -> Floats:
        """The level that the shape gives at log10 scales [points]."""
        own = np.array([[self.parameters[name] for name in self.form.names]])
        rise = _rise(self.form, np.asarray(log_x, float), own, self.offset)[0]
        return self.parameters["floor"] + self.parameters.get("height", 0.0) * rise


def fit_shapes(
    curve: Curve, *, forms: tuple[Form, ...] = FORMS, left_out: bool = True
) -> list[FittedShape]:
    """Every shape fitted to a curve, best AICc first.

    left_out: whether the errors of left-out rungs are wanted, which cost most of the time (else
    NaN).
    AICc is infinite for a shape with too many parameters for the rungs; at least one is finite from
    4 rungs on.
    """
    y, t = curve.level, curve.log_x
    weights, noise = rung_weights(curve)
    fits = [(form, *_search(form, t, y, weights)) for form in forms]
    scores = []
    for form, _, squares in fits:
        count = form.parameters + (0 if noise else 1)
        if noise:
            deviance = squares / noise
        else:
            least = LEAST_NOISE * float(weights @ (y - np.average(y, weights=weights)) ** 2)
            deviance = len(y) * np.log(max(squares, least, 1e-300) / len(y))
        room = len(y) - count - 1
        scores.append(deviance + 2 * count + 2 * count * (count + 1) / room if room > 0 else np.inf)
    best = min(scores)
    likely = np.exp(-0.5 * (np.array(scores) - best)) if np.isfinite(best) else np.ones(len(scores))
    shares = np.where(np.isfinite(likely), likely, 0.0) / np.nansum(likely)
    shapes = [
        _shape(form, own, t, y, weights, float(score), float(share), left_out)
        for (form, own, _), score, share in zip(fits, scores, shares, strict=True)
    ]
    return sorted(shapes, key=lambda shape: shape.aicc)


def rung_weights(curve: Curve) -> tuple[Floats, float]:
    """(weights [rungs], noise relative to them; 0 where it has to be estimated from the fit)."""
    y = curve.level
    # Rates at their running mean: a rung's own rate would give lucky rungs more weight.
    padded = np.concatenate([y[:1], y, y[-1:]])
    weights = curve.inverse_variances((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)
    squares, freedom = curve.spread_between_seeds(y)
    if curve.is_binomial:
        return weights, max(1.0, squares / freedom if freedom else 1.0)
    return weights, squares / freedom if freedom >= 3 and squares > 0 else 0.0


def _rise(form: Form, t: Floats, own: Floats, offset: float) -> Floats:
    if form.name == "power":  # Centred on the fitted rungs, wherever it is asked for.
        return _approach(t, own, offset)
    return form.rise(t, own)


def _ranges(form: Form, t: Floats) -> list[Floats]:
    span = t[-1] - t[0]
    every = {
        "position": np.linspace(t[0], t[-1], 25),
        "width": np.geomspace(0.05, 4 * max(span, 1), 14),
        "power": np.geomspace(0.05, 8, 14),
        "bend": np.geomspace(0.01, 1, 6),
    }
    return [every[name] for name in form.names]


def _product(axes: list[Floats]) -> Floats:
    """Every combination: [nodes, axes]; one empty row without axes."""
    rows = list(itertools.product(*axes))
    return np.array(rows, dtype=float).reshape(len(rows), len(axes))


def _search(form: Form, t: Floats, y: Floats, weights: Floats) -> tuple[Floats, float]:
    """(own parameters [n], residual squares), zooming in on the best points of a grid."""
    axes = _ranges(form, t)
    nodes = _product(axes)
    if not axes:
        return nodes[0], float(_residual(form.rise(t, nodes), y, weights, form.linear)[0])
    low, high = np.array([a[0] for a in axes]), np.array([a[-1] for a in axes])
    # Widths, powers and bends are stepped in ratios, positions in differences.
    ratio = np.array([name != "position" for name in form.names])
    step = np.array(
        [
            (a[1] / a[0]) if is_ratio else (a[1] - a[0])
            for a, is_ratio in zip(axes, ratio, strict=True)
        ]
    )
    squares = _residual(form.rise(t, nodes), y, weights, form.linear)
    best = nodes[np.argsort(squares)[:BEST]]
    lowest = float(squares.min())
    ticks = _product([np.linspace(-1, 1, TICKS)] * len(axes))
    for _ in range(ZOOMS):
        nodes = np.clip(_around(best, step, ratio, ticks), low, high)
        squares = _residual(form.rise(t, nodes), y, weights, form.linear)
        best = nodes[np.argsort(squares)[:BEST]]
        lowest = float(squares.min())
        step = np.where(ratio, step**0.4, step * 0.4)
    return best[0], lowest


def _around(best: Floats, step: Floats, ratio: NDArray[np.bool_], ticks: Floats) -> Floats:
    """Boxes about points: [best, n] → [best · ticks, n]; in ratios where `ratio` says so."""
    factors = np.where(ratio, step, 1.0) ** ticks
    moved = np.where(ratio, best[:, None] * factors, best[:, None] + step * ticks)
    return moved.reshape(-1, best.shape[1])


@dataclass(frozen=True)
class Refits:
    """One form fitted to many samples: own parameters [draws, n], floors and heights [draws]."""

    form: Form
    own: Floats
    floors: Floats
    heights: Floats
    offset: float

    def at(self, log_x: Floats) -> Floats:
        """Levels at log10 scales [points], or [draws, points] with points of their own."""
        if log_x.ndim == 1:
            rise = _rise(self.form, log_x, self.own, self.offset)
        else:
            rise = np.stack(
                [
                    _rise(self.form, points, own[None], self.offset)[0]
                    for points, own in zip(log_x, self.own, strict=True)
                ]
            )
        return self.floors[:, None] + self.heights[:, None] * rise


def refit(shape: FittedShape, t: Floats, samples: Floats, weights: Floats) -> Refits:
    """A shape's form fitted anew to samples of the same rungs: t [rungs], samples [draws, rungs].

    All draws are fitted at once on the form's grid, made finer about the shape itself, about which
    the samples' own best fits lie: one product of matrices in place of a search for each.
    """
    form = shape.form
    axes = _ranges(form, t)
    nodes = _product(axes)
    if axes:
        ratio = np.array([name != "position" for name in form.names])
        low, high = np.array([a[0] for a in axes]), np.array([a[-1] for a in axes])
        step = np.array(
            [a[1] / a[0] if r else a[1] - a[0] for a, r in zip(axes, ratio, strict=True)]
        )
        middle = np.array([[shape.parameters[name] for name in form.names]])
        ticks = _product([np.linspace(-1, 1, TICKS)] * len(axes))
        boxes = []
        for share in REFINED:
            finer = np.where(ratio, step**share, step * share)
            boxes.append(np.clip(_around(middle, finer, ratio, ticks), low, high))
        nodes = np.concatenate([nodes, *boxes])
    rise = _rise(form, t, nodes, shape.offset)
    share = weights / weights.sum()
    mean_y = samples @ share
    if form.linear == 1:
        flat = np.zeros(len(samples))
        return Refits(form, np.repeat(nodes[:1], len(samples), axis=0), mean_y, flat, shape.offset)
    mean_rise = rise @ share
    centred = rise - mean_rise[:, None]
    spread = (centred**2) @ weights
    usable = spread > 1e-12
    along = np.maximum(samples @ (centred * weights).T, 0) * usable  # [draws, nodes]
    spread = np.where(usable, spread, 1.0)
    best = (along**2 / spread).argmax(axis=1)
    heights = along[np.arange(len(samples)), best] / spread[best]
    return Refits(form, nodes[best], mean_y - heights * mean_rise[best], heights, shape.offset)


def _residual(rise: Floats, y: Floats, weights: Floats, linear: int) -> Floats:
    """Weighted residual squares of each node [nodes], floor and height at their best (≥ 0)."""
    centred_y = y - np.average(y, weights=weights)
    total = weights @ centred_y**2
    if linear == 1:
        return np.full(len(rise), total)
    share = weights / weights.sum()
    centred = rise - (rise @ share)[:, None]
    spread = (centred**2) @ weights
    along = np.maximum(centred @ (weights * centred_y), 0)
    return total - np.where(spread > 1e-12, along**2 / np.maximum(spread, 1e-12), 0)


def _shape(
    form: Form,
    own: Floats,
    t: Floats,
    y: Floats,
    weights: Floats,
    aicc: float,
    weight: float,
    left_out: bool,
) -> FittedShape:
    rise = form.rise(t, own[None])[0]
    floor, height = _line(rise, y, weights)
    parameters = {"floor": floor}
    if form.linear == 2:
        parameters["height"] = height
    parameters |= dict(zip(form.names, map(float, own), strict=True))
    return FittedShape(
        form=form,
        parameters=parameters,
        values=floor + height * rise,
        aicc=aicc,
        weight=weight,
        left_out_error=_left_out(form, t, y, weights) if left_out else float("nan"),
        offset=float(t.mean()),
    )


def _line(rise: Floats, y: Floats, weights: Floats) -> tuple[float, float]:
    mean_rise, mean_y = np.average(rise, weights=weights), np.average(y, weights=weights)
    spread = weights @ (rise - mean_rise) ** 2
    height = (
        max(0.0, float(weights @ ((rise - mean_rise) * (y - mean_y)) / spread)) if spread else 0
    )
    return float(mean_y - height * mean_rise), float(height)


def _left_out(form: Form, t: Floats, y: Floats, weights: Floats) -> float:
    """Root mean square error of every rung predicted from the others, on the grid."""
    nodes = _product(_ranges(form, t))
    rise = form.rise(t, nodes)
    errors = []
    for k in range(len(t)):
        keep = np.arange(len(t)) != k
        squares = _residual(rise[:, keep], y[keep], weights[keep], form.linear)
        floor, height = _line(rise[squares.argmin()][keep], y[keep], weights[keep])
        errors.append(y[k] - floor - height * rise[squares.argmin(), k])
    return float(np.sqrt(np.mean(np.square(errors))))
