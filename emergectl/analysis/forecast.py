"""Could it have been seen coming? What lies above a cutoff, foretold from what lies below.

Two ways: **direct**, by all gradual curves that agree with the scales below (`extrapolation`);
**through another curve** of the same models (their loss, or a continuous metric of the same
outputs): that one is foretold so, and mapped to the ability by what is seen below the cutoff
(`mapping`). A forecast is offered only where it says something: where the interval leaves at most
half of what lies between chance and the best that the metric can be. Everywhere else it says why
not. How often the intervals hold is counted over all cutoffs (`backtest`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emergectl.analysis.breaks import Interval
from emergectl.analysis.convention import SHARP_DECADES, Convention, convention_for
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.extrapolation import NotOfferedError, extrapolate, level_range
from emergectl.analysis.mapping import map_through

FEWEST_BELOW = 4
MOST_CUTOFFS = 10
"""a curve with more rungs is cut at so many points, spread evenly"""
MOST_OPEN = 0.75
"""of what lies between chance and the best (of what was seen, where a metric has no best): an
interval that leaves more open says too little"""
FURTHEST = 1.0
"""of the decades seen: no forecast reaches further beyond them"""

Levels = tuple[Floats, Floats, Floats]
"""(lowest, likeliest, highest) [points] each"""


@dataclass(frozen=True)
class Forecast:
    """Predicted values at scales above a cutoff, in the metric's units, with 95% intervals.

    `beyond`: scales for which none is offered, and `reason` why not ("" where there are none).
    """

    method: str
    cutoff: float
    scales: tuple[float, ...]
    predicted: tuple[Interval, ...]
    beyond: tuple[float, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Backtest:
    """One method over all cutoffs.

    Forecasts were offered for `predictions` of the `asked` values above their cutoffs, `covered` of
    which lay in their intervals; `error` is the root mean square error (of perplexities: in
    decades; None without predictions). `seen_from` is the smallest cutoff from which on the rise at
    the largest scale was foretold: its interval lies above half way from the smallest scale's value
    to the largest's, and holds what was measured. None: it never was.
    """

    method: str
    asked: int
    predictions: int
    covered: int
    error: float | None
    seen_from: float | None
    forecasts: tuple[Forecast, ...]


def predict(curve: Curve, scales: Floats, *, sharp_decades: float = SHARP_DECADES) -> Forecast:
    """Forecast an ability from its own curve: scales [points] beyond it, in the axis's units."""
    convention = convention_for(curve, sharp_decades=sharp_decades)
    return _direct(curve, convention.t, scales, _places(curve, convention, scales), convention)


def predict_through(
    proxy: Curve, curve: Curve, scales: Floats, *, sharp_decades: float = SHARP_DECADES
) -> Forecast:
    """Forecast an ability through another curve of the same models.

    The proxy is forecast over scale; the ability is mapped from the proxy's level by the rungs that
    both have.
    """
    convention = convention_for(proxy, sharp_decades=sharp_decades)
    return _through(
        proxy, curve, convention.t, scales, _places(proxy, convention, scales), convention
    )


def backtest(
    curve: Curve, *, proxies: Sequence[Curve] = (), sharp_decades: float = SHARP_DECADES
) -> list[Backtest]:
    """Every method from cutoffs that leave `FEWEST_BELOW` rungs below and one above.

    From every one of them, or from `MOST_CUTOFFS` spread evenly.
    """
    convention = convention_for(curve, sharp_decades=sharp_decades)
    cuts = np.arange(FEWEST_BELOW, len(curve.x))
    if len(cuts) > MOST_CUTOFFS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, MOST_CUTOFFS).round().astype(int)]
    results: list[list[Forecast]] = [[] for _ in range(1 + len(proxies))]
    for cut in cuts:
        t, ahead = convention.t[:cut], convention.t[cut:]
        below, scales = curve.rungs(np.arange(len(curve.x)) < cut), curve.x[cut:]
        results[0].append(_direct(below, t, scales, ahead, convention))
        for own, proxy in zip(results[1:], proxies, strict=True):
            known = proxy.rungs(np.isin(proxy.x, below.x))
            at = t[np.isin(below.x, known.x)]
            own.append(_through(known, below, at, scales, ahead, convention))
    return [_score(curve, forecasts) for forecasts in results if forecasts]


def _places(curve: Curve, convention: Convention, scales: Floats) -> Floats:
    """Where scales of the axis lie in the convention's decades, as between the last two rungs."""
    x, t = curve.log_x, convention.t
    return t[-1] + (np.log10(scales) - x[-1]) * (t[-1] - t[-2]) / (x[-1] - x[-2])


def _direct(
    curve: Curve, t: Floats, scales: Floats, places: Floats, convention: Convention
) -> Forecast:
    """t: [rungs], scales and their places: [points]."""
    try:
        _check(curve)
        found = extrapolate(curve, t, _furthest(t), convention.width)
    except NotOfferedError as error:
        return refused("direct", curve, scales, str(error))
    levels = found.levels(np.minimum(places, found.end))
    return _offered("direct", curve, t, scales, places, levels)


def _through(
    proxy: Curve,
    curve: Curve,
    t: Floats,
    scales: Floats,
    places: Floats,
    convention: Convention,
) -> Forecast:
    """t: places of the proxy's rungs."""
    method = f"through {proxy.metric}"
    shared = curve.rungs(np.isin(curve.x, proxy.x))
    try:
        _check(shared)
        ahead = extrapolate(proxy, t, _furthest(t), convention.width)
        levels = map_through(ahead, shared, np.minimum(places, ahead.end))
    except NotOfferedError as error:
        return refused(method, curve, scales, str(error))
    return _offered(method, curve, t, scales, places, levels)


def _furthest(t: Floats) -> float:
    """The last place that anything is foretold for: never by what is asked for, so that a forecast
    is the same whatever else is."""
    return float(t[-1] + FURTHEST * (t[-1] - t[0]))


def _check(curve: Curve) -> None:
    if len(curve.x) < FEWEST_BELOW:
        raise NotOfferedError(f"{len(curve.x)} scales; a forecast needs {FEWEST_BELOW}")


def refused(method: str, curve: Curve, scales: Floats, reason: str) -> Forecast:
    """None at any of the scales [points], and why."""
    return Forecast(method, float(curve.x[-1]), (), (), _plain(scales), reason)


def _offered(
    method: str, curve: Curve, t: Floats, scales: Floats, places: Floats, levels: Levels
) -> Forecast:
    """The forecast of those scales at which it says something."""
    low, value, high = levels
    most, of = _most_open(curve)
    near = places <= _furthest(t)
    telling = high - low <= most
    # Beyond the first scale that is not foretold nothing is: intervals widen with distance.
    said = np.cumprod(near & telling).astype(bool)
    ends = np.sort(np.stack([curve.to_value(end) for end in (low, high)]), axis=0)
    predicted = tuple(
        Interval(float(v), float(a), float(b))
        for v, a, b in zip(curve.to_value(value)[said], *ends[:, said], strict=True)
    )
    reason = ""
    if not said.all():
        first = int(np.argmin(said))
        at = 1 / scales[first] if curve.axis == "loss" else scales[first]
        open_ = f"{ends[0, first]:.3g} to {ends[1, first]:.3g}"
        if telling[first]:
            reason = f"{at:.3g} and beyond lie further off than the scales seen reach"
        else:
            reason = (
                f"at {at:.3g} gradual curves that agree with the scales below allow "
                f"{open_}, more than three quarters of {of}"
            )
    return Forecast(
        method, float(curve.x[-1]), _plain(scales[said]), predicted, _plain(scales[~said]), reason
    )


def _most_open(curve: Curve) -> tuple[float, str]:
    """The widest interval, in levels, that says something; and three quarters of what that is."""
    worst, best = level_range(curve)
    if curve.chance_level is not None and curve.chance_level < best:
        worst = curve.chance_level
    if np.isfinite(best - worst):
        return MOST_OPEN * (best - worst), "what the metric can be"
    return MOST_OPEN * float(np.ptp(curve.level)), "what was seen"


def _score(curve: Curve, forecasts: list[Forecast]) -> Backtest:
    measured = dict(zip(curve.x.tolist(), curve.values.tolist(), strict=True))
    errors, covered = [], 0
    half = (curve.values[0] + curve.values[-1]) / 2
    sign = 1 if curve.values[-1] >= curve.values[0] else -1
    seen_from = None
    for forecast in forecasts:
        for scale, interval in zip(forecast.scales, forecast.predicted, strict=True):
            pair = np.array([measured[scale], interval.value])
            errors.append(float(np.diff(np.log10(pair) if curve.is_logged else pair)[0]))
            covered += interval.low <= measured[scale] <= interval.high
        foretold = False
        if forecast.scales and forecast.scales[-1] == curve.x[-1]:
            last = forecast.predicted[-1]
            edge = last.low if sign > 0 else last.high
            inside = last.low <= curve.values[-1] <= last.high
            foretold = inside and sign * (edge - half) > 0
        if not foretold:
            seen_from = None
        elif seen_from is None:
            seen_from = forecast.cutoff
    return Backtest(
        method=forecasts[0].method,
        asked=sum(len(f.scales) + len(f.beyond) for f in forecasts),
        predictions=len(errors),
        covered=int(covered),
        error=float(np.sqrt(np.mean(np.square(errors)))) if errors else None,
        seen_from=seen_from,
        forecasts=tuple(forecasts),
    )


def _plain(scales: Floats) -> tuple[float, ...]:
    return tuple(map(float, scales))
