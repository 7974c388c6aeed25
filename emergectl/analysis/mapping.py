"""From another curve of the same models to the ability: what a forecast through it says.

Where p^L of the other explains what is seen below the cutoff (exact match of L tokens, each right
with probability p: Schaeffer et al. 2023), that is the map, for it alone can tell a curve near zero
that it will rise. Else every gradual curve of the ability over the other's level is one, as over
scale. What is not known of the other ahead and of the map share the room of one interval: each of
some shares of it is given to the other, the rest to the map, and the interval holds what any allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emergectl.analysis.convention import SHARE_OF_RANGE
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.extrapolation import (
    Extrapolation,
    Noise,
    extrapolate,
    tell_noise,
)
from emergectl.analysis.metric_pair import as_probability
from emergectl.analysis.shapes import rung_weights

SHARES = (0.0, 0.3, 0.7, 1.0)
"""of the room, given to the curve that is gone through"""
LENGTHS = np.geomspace(0.05, 500, 400)
EXPLAINS = 0.9
"""of the variance over the rungs, from which on p^L is the map"""


@dataclass(frozen=True)
class PowerMap:
    """chance + (1 − chance) · p^L of another curve, for every length L [lengths]: the weighted
    squares that each leaves, and the noise."""

    curve: Curve
    proxy: Curve
    left: Floats
    noise: Noise

    def levels(self, at: Floats, *, share: Floats | float = 1.0) -> tuple[Floats, Floats, Floats]:
        """(lowest, likeliest, highest) levels of the ability where the other's are `at` [points]:
        [points] each. share: of the room."""
        worse = (self.left - self.left.min())[:, None]
        value = _by_power(self.curve, self.proxy, at)
        assert value is not None
        last = self.curve.rungs(np.arange(len(self.curve.x)) == len(self.curve.x) - 1)
        room = np.broadcast_to(share, at.shape) * self.noise.room - worse
        room = np.where(room >= 0, room, np.nan)
        away = np.sqrt(room * self.noise.variances(last, value, np.zeros(1)))
        low, high = np.nanmin(value - away, axis=0), np.nanmax(value + away, axis=0)
        return np.maximum(low, 0), value[self.left.argmin()], np.minimum(high, 1)


def map_through(
    ahead: Extrapolation, curve: Curve, places: Floats
) -> tuple[Floats, Floats, Floats]:
    """(lowest, likeliest, highest) levels of a curve at places [points] that another was foretold
    for: [points] each.

    curve: the rungs that the other has too. Raises NotOfferedError where no map can be told.
    """
    points = len(places)
    share = np.repeat(SHARES, points)
    low, value, high = ahead.levels(np.tile(places, len(SHARES)), share=share)
    known = ahead.curve.rungs(np.isin(ahead.curve.x, curve.x))
    mapped = map_by_power(known, curve) or _map_widely(known, curve, float(high.max()))
    ends = [mapped.levels(each, share=1 - share) for each in (low, high)]
    lows = np.minimum(ends[0][0], ends[1][0]).reshape(-1, points).min(axis=0)
    highs = np.maximum(ends[0][2], ends[1][2]).reshape(-1, points).max(axis=0)
    middle = mapped.levels(value[:points])[1]
    return lows, np.clip(middle, lows, highs), highs


def map_by_power(proxy: Curve, curve: Curve) -> PowerMap | None:
    """The map by p^L, over the same rungs; None where the other is no probability or p^L does not
    explain `EXPLAINS` of what is seen."""
    values = _by_power(curve, proxy, proxy.level) if curve.is_rate else None
    if values is None:
        return None
    weights, _ = rung_weights(curve)
    middle = float(np.average(curve.level, weights=weights))
    left = ((curve.level - values) ** 2) @ weights
    best = int(left.argmin())
    if left[best] > (1 - EXPLAINS) * float(weights @ (curve.level - middle) ** 2):
        return None
    noise = tell_noise(curve, weights, curve.level - values[best], free=len(curve.x) - 1)
    known = 1 / (noise.phi / weights + noise.extra**2 / curve.seeds)
    return PowerMap(curve, proxy, ((curve.level - values) ** 2) @ known, noise)


def _by_power(curve: Curve, proxy: Curve, level: Floats) -> Floats | None:
    """Levels of a curve where the other's are `level` [points], by length: [lengths, points]."""
    p = as_probability(proxy, proxy.to_value(level))
    if p is None:
        return None
    chance = curve.chance_level or 0.0
    return chance + (1 - chance) * np.clip(p, 0, 1) ** LENGTHS[:, None]


def _map_widely(proxy: Curve, curve: Curve, end: float) -> Extrapolation:
    """Every gradual curve of the ability over the other's level, up to `end`."""
    return extrapolate(curve, proxy.level, end, SHARE_OF_RANGE * float(np.ptp(proxy.level)))
