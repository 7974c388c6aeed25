"""Could it have been seen coming? Fit below a cutoff, predict above it, and count the hits.

Two ways: **direct** (shapes of the ability over scale, averaged by their Akaike weights),
**through another curve** (its loss, or a continuous metric of the same outputs: forecast that, and
map it to the ability by what is seen below the cutoff; by p^L where that explains what is seen, for
it alone can tell a curve near zero that it will rise). Intervals come from refits to data drawn
anew by items and seeds. The shape beyond the last rung is what one knows least about: shapes that
fit nearly as well are drawn nearly as often (`_plausible`), and where earlier cutoffs of the same
curve were already missed, the intervals of later ones are made as much wider as would have held
them. How often they hold is counted over all cutoffs (`backtest`), because an interval that
extrapolates is a claim, not a fact: nothing below a break tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from emergectl.analysis.breaks import Interval
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.metric_pair import as_probability, explain_by_power
from emergectl.analysis.shapes import (
    FORMS,
    LEAST_NOISE,
    FittedShape,
    Form,
    fit_shapes,
    refit,
    rung_weights,
)

FEWEST_BELOW = 4
MOST_CUTOFFS = 10
"""a curve with more rungs is cut at so many points, spread evenly"""
DRAWS, LENGTHS_DRAWN = 100, 30
POWER_EXPLAINS = 0.9
DOUBT = 4.0
"""AIC differences between shapes count so many times less than where nothing is extrapolated"""


@dataclass(frozen=True)
class Forecast:
    """Predicted values at scales above a cutoff, in the metric's units, with 95% intervals."""

    method: str
    cutoff: float
    scales: tuple[float, ...]
    predicted: tuple[Interval, ...]


@dataclass(frozen=True)
class Backtest:
    """One method over all cutoffs.

    `covered` of `predictions` measured values lay in their intervals; `error` is the root mean
    square error (of perplexities: in decades). `seen_from` is the smallest cutoff from which on the
    rise at the largest scale was foretold: its interval lies above half way from the smallest
    scale's value to the largest's, and holds what was measured. None: it never was.
    """

    method: str
    predictions: int
    covered: int
    error: float
    seen_from: float | None
    forecasts: tuple[Forecast, ...]


def predict(
    curve: Curve, scales: Floats, rng: np.random.Generator, *, draws: int = DRAWS
) -> Forecast:
    """Forecast an ability from its own curve: scales [points], in the axis's units.

    Raises ValueError for fewer than `FEWEST_BELOW` rungs.
    """
    _check(curve)
    levels = _simulate(curve, np.log10(scales), rng, draws)
    return Forecast("direct", float(curve.x[-1]), _plain(scales), _intervals(curve, levels))


def predict_through(
    proxy: Curve, curve: Curve, scales: Floats, rng: np.random.Generator, *, draws: int = DRAWS
) -> Forecast:
    """Forecast an ability through another curve of the same models.

    The proxy is forecast over scale; the ability is fitted over the proxy's level on the rungs that
    both have. Raises ValueError where these are fewer than `FEWEST_BELOW`.
    """
    _check(proxy)
    over = curve.rungs(np.isin(curve.x, proxy.x))
    _check(over)
    ahead = _simulate(proxy, np.log10(scales), rng, draws)
    levels = _by_power(proxy, over, ahead, rng)
    if levels is None:
        levels = _by_shape(proxy, over, ahead, rng)
    levels += _noise(curve, _plausible(curve)[0], levels, rng)
    return Forecast(
        f"through {proxy.metric}", float(curve.x[-1]), _plain(scales), _intervals(curve, levels)
    )


def _by_power(proxy: Curve, curve: Curve, ahead: Floats, rng: np.random.Generator) -> Floats | None:
    """Levels as chance + (1 − chance) · p^length, where that is how the two hang together.

    ahead: the proxy's levels [draws, points]. None where the proxy is no probability or p^length
    explains less than `POWER_EXPLAINS` of what is seen.
    """
    made = explain_by_power(curve, proxy)
    if made is None or made.share < POWER_EXPLAINS:
        return None
    values = proxy.to_value(ahead)
    if proxy.what.likelihood is not None and not proxy.falls:
        values = np.minimum(values, 0.0)  # no log-probability lies above, though a forecast may
    p = as_probability(proxy, values)
    if p is None:
        return None
    chance = curve.chance or 0.0
    weights, noise = rung_weights(curve)
    deviation = np.sqrt(max(noise, 1.0 if curve.is_binomial else 0.0) / weights)
    lengths = []
    for _ in range(min(len(ahead), LENGTHS_DRAWN)):
        y = np.clip(curve.level + deviation * rng.standard_normal(len(curve.x)), 0, 1)
        again = explain_by_power(_sample(curve, y), proxy)
        lengths.append(again.length if again is not None else made.length)
    drawn = rng.choice(lengths, len(ahead))
    return chance + (1 - chance) * np.clip(p, 0, 1) ** drawn[:, None]


def _by_shape(proxy: Curve, curve: Curve, ahead: Floats, rng: np.random.Generator) -> Floats:
    """Levels by shapes fitted over the proxy's level, which takes the place of log scale."""
    level = proxy.level[np.isin(proxy.x, curve.x)]
    order = np.argsort(level)
    # Shapes need it to rise from rung to rung.
    level = level[order] + 1e-9 * np.arange(len(level)) * max(1e-9, float(np.ptp(level)))
    low, width = float(level[0]), max(float(np.ptp(level)), 1e-9)
    mapped = replace(
        curve,
        axis=proxy.metric,
        x=10 ** ((level - low) / width),
        values=curve.values[order],
        items=curve.items[order],
        seed_values=tuple(curve.seed_values[i] for i in order),
        seed_items=tuple(curve.seed_items[i] for i in order),
    )
    forms = tuple(form for form in FORMS if form.name in ("flat", "line", "sigmoid", "hinge"))
    shapes = _plausible(mapped, forms)
    return _redrawn(mapped, shapes, (ahead - low) / width, rng)


def backtest(
    curve: Curve,
    rng: np.random.Generator,
    *,
    proxies: Sequence[Curve] = (),
    draws: int = DRAWS,
) -> list[Backtest]:
    """Every method from cutoffs that leave `FEWEST_BELOW` rungs below and one above.

    From every one of them, or from `MOST_CUTOFFS` spread evenly.
    """
    results: list[list[Forecast]] = [[] for _ in range(1 + len(proxies))]
    cuts = np.arange(FEWEST_BELOW, len(curve.x))
    if len(cuts) > MOST_CUTOFFS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, MOST_CUTOFFS).round().astype(int)]
    for cut in cuts:
        below = curve.rungs(np.arange(len(curve.x)) < cut)
        ahead = curve.x[cut:]
        results[0].append(_learn(predict(below, ahead, rng, draws=draws), results[0], curve))
        for i, proxy in enumerate(proxies, 1):
            known = proxy.rungs(proxy.x <= below.x[-1])
            if len(known.x) >= FEWEST_BELOW and np.isin(below.x, known.x).sum() >= FEWEST_BELOW:
                found = predict_through(known, below, ahead, rng, draws=draws)
                results[i].append(_learn(found, results[i], curve))
    return [_score(curve, forecasts) for forecasts in results if forecasts]


def _learn(new: Forecast, earlier: Sequence[Forecast], curve: Curve) -> Forecast:
    """A forecast whose intervals are as much wider as earlier cutoffs' would have had to be.

    Only rungs up to its own cutoff are looked at: split-conformal prediction with a rolling origin,
    the scores being misses in units of the interval's own half width.
    """
    misses = [
        _miss(value, interval, curve)
        for forecast in earlier
        for scale, value, interval in zip(
            forecast.scales, curve.values[-len(forecast.scales) :], forecast.predicted, strict=True
        )
        if scale <= new.cutoff
    ]
    times = float(np.quantile(misses, 0.95, method="higher")) if misses else 1.0
    if times <= 1:
        return new
    wider = tuple(_widen(interval, times, curve) for interval in new.predicted)
    return replace(new, predicted=wider)


def _miss(value: float, interval: Interval, curve: Curve) -> float:
    """How many half widths a value lies from the middle, on the scale that is fitted."""
    at, middle, low, high = _ordered(curve, value, interval)
    half = (middle - low) if at < middle else (high - middle)
    return abs(at - middle) / max(half, 1e-12)


def _widen(interval: Interval, times: float, curve: Curve) -> Interval:
    _, middle, low, high = _ordered(curve, interval.value, interval)
    levels = np.array([middle - times * (middle - low), middle + times * (high - middle)])
    low, high = np.sort(_values(curve, levels))
    return Interval(interval.value, float(low), float(high))


def _ordered(curve: Curve, value: float, interval: Interval) -> tuple[float, float, float, float]:
    """(value, middle, low, high) as they are fitted, low below high."""
    ends = np.array([value, interval.value, interval.low, interval.high])
    at, middle, low, high = map(float, curve.to_level(ends))
    return at, middle, min(low, high), max(low, high)


def _score(curve: Curve, forecasts: list[Forecast]) -> Backtest:
    errors, covered = [], []
    half = (curve.values[0] + curve.values[-1]) / 2
    sign = 1 if curve.values[-1] >= curve.values[0] else -1
    seen_from = None
    for forecast in forecasts:
        measured = curve.values[-len(forecast.scales) :]
        for value, interval in zip(measured, forecast.predicted, strict=True):
            pair = np.array([value, interval.value])
            errors.append(float(np.diff(np.log10(pair) if curve.is_logged else pair)[0]))
            covered.append(interval.low <= value <= interval.high)
        last = forecast.predicted[-1]
        edge = last.low if sign > 0 else last.high
        foretold = covered[-1] and sign * (edge - half) > 0
        if not foretold:
            seen_from = None
        elif seen_from is None:
            seen_from = forecast.cutoff
    return Backtest(
        method=forecasts[0].method,
        predictions=len(covered),
        covered=int(np.sum(covered)),
        error=float(np.sqrt(np.mean(np.square(errors)))),
        seen_from=seen_from,
        forecasts=tuple(forecasts),
    )


def _check(curve: Curve) -> None:
    if len(curve.x) < FEWEST_BELOW:
        raise ValueError(f"{curve.name}: {len(curve.x)} rungs; a forecast needs {FEWEST_BELOW}")


def _simulate(curve: Curve, log_x: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Possible levels at log10 scales, noise of a measurement included: [draws, points]."""
    shapes = _plausible(curve)
    levels = _redrawn(curve, shapes, np.broadcast_to(log_x, (draws, len(log_x))), rng)
    return levels + _noise(curve, shapes[0], levels, rng)


def _plausible(curve: Curve, forms: tuple[Form, ...] = FORMS) -> list[FittedShape]:
    """The shapes that leave two rungs free, weighted by what extrapolating by them deserves.

    By AIC with the unbiased variance (AICc forbids all but a level on four rungs), tempered by
    `DOUBT`: how well a shape fits below the cutoff says less about what comes after. Best first.
    """
    usable = [form for form in forms if form.parameters <= len(curve.x) - 2]
    shapes = fit_shapes(curve, forms=tuple(usable), left_out=False)
    weights, noise = rung_weights(curve)
    total = float(weights @ (curve.level - np.average(curve.level, weights=weights)) ** 2)
    scores = []
    for shape in shapes:
        rest = float(weights @ (curve.level - shape.values) ** 2)
        free = len(curve.x) - shape.form.parameters
        if noise:
            deviance = rest / noise
        else:
            deviance = len(curve.x) * np.log(max(rest, LEAST_NOISE * total, 1e-300) / free)
        scores.append(deviance + 2 * shape.form.parameters)
    shares = np.exp(-0.5 * (np.array(scores) - min(scores)) / DOUBT)
    shares /= shares.sum()
    weighed = [replace(s, weight=float(w)) for s, w in zip(shapes, shares, strict=True)]
    return sorted(weighed, key=lambda shape: -shape.weight)


def _redrawn(
    curve: Curve, shapes: Sequence[FittedShape], points: Floats, rng: np.random.Generator
) -> Floats:
    """Levels at points [draws, points]: of the curve drawn anew, shapes by their weights."""
    chosen = rng.choice(len(shapes), len(points), p=np.array([shape.weight for shape in shapes]))
    weights, noise = _what_is_left(curve, shapes[0], rng, len(points))
    deviation = np.sqrt(noise[:, None] / weights)
    levels = np.empty(points.shape)
    for index in np.unique(chosen):
        shape, own = shapes[index], chosen == index
        y = shape.values + deviation[own] * rng.standard_normal((int(own.sum()), len(curve.x)))
        y = np.clip(y, 0, 1) if curve.is_rate else y
        same = bool((points == points[0]).all())
        refits = refit(shape, curve.log_x, y, weights)
        levels[own] = refits.at(points[0] if same else points[own])
    return levels


def _sample(curve: Curve, level: Floats) -> Curve:
    """The curve with other levels [rungs], one measurement a rung."""
    means = curve.to_value(level)
    return replace(
        curve,
        values=means,
        seed_values=tuple(np.array([mean]) for mean in means),
        seed_items=tuple(np.array([n]) for n in curve.items),
    )


def _what_is_left(
    curve: Curve, shape: FittedShape, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """(weights [rungs], noise relative to them [draws]): known, or what a shape leaves if more.

    What is estimated from the rungs that a shape leaves free is itself uncertain: it is drawn from
    its scaled inverse chi-square, which makes the intervals those of Student's t.
    """
    weights, known = rung_weights(curve)
    free = len(curve.x) - shape.form.parameters
    rest = float(weights @ (curve.level - shape.values) ** 2)
    if known and rest <= known * stats.chi2.ppf(0.95, free):
        return weights, np.full(draws, known)
    return weights, rest / rng.chisquare(free, draws)


def _noise(curve: Curve, shape: FittedShape, levels: Floats, rng: np.random.Generator) -> Floats:
    """What one more measurement like the curve's last would add: the shape of `levels`."""
    _, noise = _what_is_left(curve, shape, rng, len(levels))
    last = curve.rungs(np.arange(len(curve.x)) == len(curve.x) - 1)
    variances = 1 / last.inverse_variances(levels.reshape(-1, 1)).reshape(levels.shape)
    return np.sqrt(noise[:, None] * variances) * rng.standard_normal(levels.shape)


def _intervals(curve: Curve, levels: Floats) -> tuple[Interval, ...]:
    values = _values(curve, levels)
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975], axis=0)
    return tuple(
        Interval(float(m), float(a), float(b)) for a, m, b in zip(low, middle, high, strict=True)
    )


def _values(curve: Curve, levels: Floats) -> Floats:
    """Levels as values that the metric can have."""
    values = curve.to_value(np.clip(levels, 0, 1) if curve.is_rate else levels)
    return np.clip(values, curve.what.least, curve.what.most)


def _plain(scales: Floats) -> tuple[float, ...]:
    return tuple(map(float, scales))
