"""At which step does an ability appear? One written rule for pictures and for the closing line.

The rule marks a point on a curve of one run. It is no finding: whether an ability is emergent, and
with what confidence, is decided over many runs in `analysis`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

FEWEST_POINTS = 5
LEAST_RISE = 0.1
NOISE_FACTOR = 3.0


@dataclass(frozen=True)
class Appearance:
    """What the rule says of one curve; levels are in the metric's own units."""

    kind: Literal["appears", "present", "absent"]
    step: int | None
    """the first step from which on the ability is there; None if absent"""
    floor: float
    """the level without the ability: chance (or a shortcut's), or where the curve begins"""
    plateau: float
    """the level at which the curve ends"""

    @property
    def threshold(self) -> float:
        """Half way from floor to plateau."""
        return (self.floor + self.plateau) / 2


def find_appearance(
    steps: Sequence[float],
    values: Sequence[float],
    *,
    chance: float | None = None,
    least_rise: float = LEAST_RISE,
) -> Appearance:
    """Where the ability measured by `values` (higher is better) appears.

    The rule, on measurements in order of their steps (NaN left out; a step measured twice counts
    with its last value):

    1. The floor is `chance` (the best of guessing and of a task's shortcuts), or, where it is not
       given, the median of the first tenth of the values (three at least). The plateau is the
       median of the last tenth (three at least).
    2. The ability is absent where there are fewer than five measurements, or the plateau is not
       above the floor by `least_rise` and by three times the noise. Noise is the spread of
       neighbouring values' differences, by their median absolute deviation, over √2.
    3. The threshold lies half way from floor to plateau. Each value is replaced by the median of
       itself and its neighbours, so that a single stray value neither makes an ability nor breaks
       one off.
    4. The ability appears at the first step from which on every such median is at the threshold or
       above. If that is the first step measured, it was present from the start.
    """
    points = {s: v for s, v in zip(steps, values, strict=True) if math.isfinite(v)}
    ordered_steps = sorted(points)
    ordered = [points[step] for step in ordered_steps]
    if not ordered:
        return Appearance("absent", None, math.nan if chance is None else chance, math.nan)
    share = max(3, len(ordered) // 10)
    floor = median(ordered[:share]) if chance is None else chance
    plateau = median(ordered[-share:])
    rise = plateau - floor
    enough = rise >= max(least_rise, NOISE_FACTOR * noise_level(ordered))
    if len(ordered) < FEWEST_POINTS or not enough:
        return Appearance("absent", None, floor, plateau)
    threshold = (floor + plateau) / 2
    below = [i for i, value in enumerate(_medians_of_three(ordered)) if value < threshold]
    first = below[-1] + 1 if below else 0
    if first == len(ordered):
        return Appearance("absent", None, floor, plateau)
    kind: Literal["appears", "present"] = "present" if first == 0 else "appears"
    return Appearance(kind, int(ordered_steps[first]), floor, plateau)


def ability_line(
    name: str,
    steps: Sequence[float],
    values: Sequence[float],
    *,
    chance: float | None = None,
    called: str = "chance",
) -> str:
    """One line saying at which step the ability appears, was there already, or that it does not.

    `called`: what it is that scores `chance`, where that is a shortcut. With fewer measurements
    than the rule wants (a test set is asked once) it says the last value.
    """
    found = find_appearance(steps, values, chance=chance)
    floor = f"{called if chance is not None else 'its start'} ({found.floor:.2f})"
    measured = dict(zip(steps, values, strict=True))
    if 0 < len(measured) < FEWEST_POINTS:
        last = max(measured)
        beside = "" if chance is None else f", against {floor}"
        return f"{name} is {measured[last]:.2f} at step {last:,.0f}{beside}"
    if found.kind == "appears":
        return (
            f"{name} appears at step {found.step:,}: from there on above "
            f"{found.threshold:.2f}, half way from {floor} to its plateau ({found.plateau:.2f})"
        )
    if found.kind == "present":
        return (
            f"{name} is there from the first evaluation on (step {found.step:,}): "
            f"plateau {found.plateau:.2f}, {floor}"
        )
    if math.isnan(found.plateau):
        return f"{name} was never measured"
    return (
        f"{name} does not appear within {max(steps):,.0f} steps: "
        f"{found.plateau:.2f} at the end, against {floor}"
    )


def noise_level(values: Sequence[float]) -> float:
    """Standard deviation of the noise on a curve, whatever its trend and few jumps."""
    differences = [b - a for a, b in itertools.pairwise(values)]
    if not differences:
        return 0.0
    middle = median(differences)
    # 1.4826 makes the median absolute deviation of a normal distribution its standard deviation.
    return 1.4826 * median(abs(d - middle) for d in differences) / math.sqrt(2)


def _medians_of_three(values: Sequence[float]) -> list[float]:
    """Each value with its neighbours; the first stays as it is, the last has two before it.

    (The first must stay: with its followers' median an ability that appears at the second
    measurement would seem to have been there before.)
    """
    inner = [median(values[i - 1 : i + 2]) for i in range(1, len(values) - 1)]
    return [values[0], *inner, median(values[-3:])]
