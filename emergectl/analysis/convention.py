"""How narrow is sharp: a convention in decades of training compute, carried to the axis at hand.

One ladder has one verdict. A rise that takes .6 decades of parameters takes 1.2 of compute where
data grow with the model; so a curve over parameters, steps, tokens or loss is judged where its
rungs lie in training compute, as far as its rows tell that. Where they do not, the convention is
taken in decades of the axis itself, which is said; over loss without compute there are no decades
that mean anything: there it is a share of the ladder's own range, and decides nothing alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emergectl.analysis.curves import Curve, Floats

SHARP_DECADES = 1.0
"""a rise of which the core takes fewer decades of training compute is sharp"""
NARROW_SHARE = 0.3
"""shown to be longer than this share of the convention, a rise is not sharp"""
SHARE_OF_RANGE = 0.25
"""of the ladder's range of loss: what stands for a decade where compute is not known"""


@dataclass(frozen=True)
class Convention:
    """Where the rungs of a curve lie, `t` [rungs] in decades of `unit`, and the width in them below
    which a rise is sharp. `decides`: whether a verdict may stand on it alone."""

    t: Floats
    unit: str
    width: float
    decides: bool = True

    def place(self, curve: Curve, at: Floats) -> Floats:
        """Places in these decades → scales of the curve's own axis, between rungs in logs."""
        return 10 ** _interpolate(at, self.t, curve.log_x)


def convention_for(curve: Curve, *, sharp_decades: float = SHARP_DECADES) -> Convention:
    """The convention on a curve's own axis."""
    flops = curve.log_x if curve.axis == "flops" else curve.log_flops
    if flops is not None and bool((np.diff(flops) > 0).all()):
        return Convention(flops, "training FLOPs", sharp_decades)
    if curve.axis == "loss":
        quarter = SHARE_OF_RANGE * float(curve.log_x[-1] - curve.log_x[0])
        t = (curve.log_x - curve.log_x[0]) / quarter
        return Convention(
            t, "a quarter of the ladder's range of loss", sharp_decades, decides=False
        )
    return Convention(curve.log_x, UNITS.get(curve.axis, curve.axis), sharp_decades)


UNITS = {"params": "parameters", "step": "steps", "tokens": "tokens"}


def _interpolate(at: Floats, t: Floats, values: Floats) -> Floats:
    """Linear between rungs, and on beyond the ends as between the last two."""
    inside = np.interp(at, t, values)
    first = (values[1] - values[0]) / (t[1] - t[0])
    last = (values[-1] - values[-2]) / (t[-1] - t[-2])
    low, high = np.minimum(at - t[0], 0) * first, np.maximum(at - t[-1], 0) * last
    return inside + low + high
