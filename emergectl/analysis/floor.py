"""What needs no ability, and a curve as it rises from there.

Two things need none: guessing blindly (`chance`), and a way around the ability, such as naming the
most frequent of the values that are listed (`shortcut`). The floor is the better of both. A model
that climbs to a shortcut and stays there has learnt the shortcut, and one that passes it on the way
up begins there: so it is the curve over its floor whose rise is judged. A shortcut that is no
better than chance, as the majority answer among balanced classes, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import isotonic_regression

from emergectl.analysis.curves import Curve

UNNAMED = "the shortcut that was stated"


@dataclass(frozen=True)
class Floor:
    """The best that needs no ability.

    `value` in the metric's units, `level` as it is fitted; `guessing`: the level of chance (None:
    unknown); `shortcut`: the name of the shortcut that it is, empty where it is chance.
    """

    value: float
    level: float
    guessing: float | None
    shortcut: str = ""

    @property
    def name(self) -> str:
        """`chance`, or the shortcut with its score."""
        return f"{self.shortcut} ({self.value:.3g})" if self.shortcut else "chance"

    @property
    def at_it(self) -> str:
        """What is said of a curve that is there: `at chance`, or `no better than …`."""
        return f"no better than {self.name}" if self.shortcut else "at chance"


def floor_of(curve: Curve) -> Floor | None:
    """The floor of a curve; None where neither chance nor a shortcut is known."""
    guessing = curve.chance_level
    if curve.shortcut is not None:
        level = float(curve.to_level(np.array([curve.shortcut]))[0])
        if guessing is None or level > guessing:
            return Floor(curve.shortcut, level, guessing, curve.shortcut_by or UNNAMED)
    if guessing is None or curve.chance is None:
        return None
    return Floor(curve.chance, guessing, guessing)


def over_floor(curve: Curve) -> Curve:
    """The curve as it is judged: over the floor, which is its `chance` then.

    Where the monotone mean of the rungs (isotonic regression, weighted by what was measured) lies
    below a shortcut, rungs are raised by so much that it lies on it; how rungs and seeds scatter
    about it stays as it was. Without a shortcut above chance nothing changes.
    """
    floor = floor_of(curve)
    if floor is None or not floor.shortcut:
        return curve
    monotone = isotonic_regression(curve.level, weights=curve.size).x
    below = monotone < floor.level
    raised = np.where(below, floor.level + (curve.level - monotone), curve.level)
    least = -np.inf if curve.what.least is None else curve.what.least
    most = np.inf if curve.what.most is None else curve.what.most
    seeds = [
        np.clip(curve.to_value(raised[k] + curve.to_level(values) - curve.level[k]), least, most)
        if below[k]
        else values
        for k, values in enumerate(curve.seed_values)
    ]
    return replace(
        curve,
        values=np.where(below, curve.to_value(raised), curve.values),
        seed_values=tuple(seeds),
        chance=floor.value,
        shortcut=None,
        shortcut_by="",
    )
