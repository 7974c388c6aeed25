"""What one curve shows: every test of it, before it is judged beside the others.

The curve is the one over its floor (`floor`), its rungs lie where the convention counts decades
(`convention`), and the same curve and seed give the same numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.breaks import Break, locate_in
from emergectl.analysis.contrasts import Moves, find_moves, noise_between_neighbours, rung_variances
from emergectl.analysis.convention import (
    NARROW_SHARE,
    SHARP_DECADES,
    Convention,
    convention_for,
)
from emergectl.analysis.curves import ROUNDING, Curve
from emergectl.analysis.floor import Floor, floor_of, over_floor
from emergectl.analysis.onset import (
    HEIGHT_MARGIN,
    largest_scales,
    onset_between,
    p_above,
    p_flat,
    p_near,
    p_off_floor,
)
from emergectl.analysis.sample import Noise, Sample, sample_of
from emergectl.analysis.sharpness import (
    ALPHA,
    Sharpness,
    assumed_scatter,
    fit_freely,
    is_narrower,
    p_narrow,
)

Rungs = NDArray[np.bool_]
RATE_MARGIN = 0.05
"""how near to chance is as good as chance, for rates, where nothing tells them apart"""
FEWEST_RUNGS = 5
NORMAL_WIDTH = 2.563
"""deviations from 10 to 90 percent of a normal distribution"""
MATERIAL = 0.2
"""of its range: a curve that falls by less on its way up is not called non-monotone"""


@dataclass(frozen=True)
class Evidence:
    """What one curve shows, before it is judged beside the others.

    `p_above`: the largest scales are above chance; `p_chance`: those below the rise are at chance;
    `p_sharp`: of a rise as long as the convention or longer; `p_gradual`: of one that is narrow;
    `p_begins`: of a rise through a shortcut that is long, and only sharp over that (part of
    `p_sharp`);
    `p_rise`, `p_fall`: of no rise, no fall; `p_flat`: the largest scales differ from chance. NaN
    where it was not asked, or `reason` says why nothing could be tested.
    """

    curve: Curve
    convention: Convention | None = None
    reason: str = ""
    p_above: float = float("nan")
    p_chance: float = float("nan")
    p_sharp: float = float("nan")
    p_gradual: float = float("nan")
    p_begins: float = float("nan")
    p_rise: float = float("nan")
    p_fall: float = float("nan")
    p_flat: float = float("nan")
    sharpness: Sharpness | None = None
    turn: float | None = None
    """the scale from which on it goes the other way, where it rises and falls"""
    below: int = 0
    """rungs below the rise"""
    onset_between: tuple[float | None, float | None] = (None, None)
    """the last scale before anything is above chance, the first from which on everything is"""
    floor: float = float("nan")
    p_floor: float = float("nan")
    """the mean level of the rungs below the rise, and the two-sided p of the stated chance level"""
    noise: Noise | None = None
    break_: Break | None = None

    @cached_property
    def no_ability(self) -> Floor | None:
        """The best that needs no ability; None where none is known."""
        return floor_of(self.curve)

    @cached_property
    def judged(self) -> Curve:
        """The curve over that."""
        return over_floor(self.curve)

    def is_off_chance(self, alpha: float) -> bool:
        """Whether what lies below the rise is significantly off the chance level that was stated,
        and not shown to be near it."""
        return self.p_floor <= alpha < self.p_chance

    @property
    def p_onset(self) -> float:
        """The p-value of the onset; NaN without a chance level."""
        return float(np.max([self.p_above, self.p_chance]))

    @property
    def p_breaks(self) -> float:
        """The p-value of an onset that is sharp; NaN without a chance level."""
        return float(np.max([self.p_onset, self.p_sharp]))


def gather(
    curve: Curve,
    *,
    margin: float = RATE_MARGIN,
    alpha: float = ALPHA,
    sharp_decades: float = SHARP_DECADES,
    seed: int = 0,
) -> Evidence:
    """Test one curve. The same curve and seed give the same numbers."""
    if len(curve.x) < FEWEST_RUNGS:
        return Evidence(curve, reason=f"{len(curve.x)} scales; {FEWEST_RUNGS} are the fewest")
    convention = convention_for(curve, sharp_decades=sharp_decades)
    no_ability, judged = floor_of(curve), over_floor(curve)
    measured, sample = sample_of(curve, convention.t), sample_of(judged, convention.t)
    if np.ptp(judged.level) <= ROUNDING * np.ptp(curve.level):
        return _constant(curve, convention, measured, margin, alpha)
    rng = np.random.default_rng([seed, zlib.crc32(f"{curve.axis}/{curve.name}".encode())])
    free = fit_freely(sample, convention.width)
    assumed = assumed_scatter(curve.axis)
    apart = noise_between_neighbours(sample)
    variances = rung_variances(sample, free.levels, apart, assumed)
    moves = find_moves(sample.levels, variances, apart.freedom, rng)
    rises = moves.p_rise <= alpha
    sharpness = is_narrower(free, assumed=assumed) if rises else None
    p_sharp = sharpness.p if sharpness else 1.0
    p_gradual = float("nan")
    if rises and p_sharp > alpha:
        p_gradual = p_not_narrow(sample, convention, sharpness, assumed)
    break_ = locate_in(judged, convention, free, rng) if rises else None
    below, largest = _around(curve, break_)
    begins = float("nan")
    if p_sharp <= alpha and (judged.level > curve.level).any():
        top = float(sample.levels[largest].mean()) if largest.any() else 0.0
        height = max(0.0, top - (judged.chance_level or 0.0))
        margin_there = HEIGHT_MARGIN * height
        begins = p_begins(measured, free.noise, judged, convention, below, margin_there)
        p_sharp = max(p_sharp, begins)
    above = chance = floor = off = float("nan")
    between: tuple[int | None, int | None] = (None, None)
    if no_ability is not None:
        level = no_ability.level
        between = onset_between(measured, free.noise, level, alpha)
        above = p_above(measured, free.noise, largest, level)
        off = p_off_floor(sample, free.noise, below, level)
        floor = float(sample.levels[below].mean()) if below.any() else floor
        height = float(sample.levels[largest].mean()) - level if largest.any() else 0.0
        chance = p_near(sample, free.noise, below, level, HEIGHT_MARGIN * height)
    return Evidence(
        curve=curve,
        convention=convention,
        p_above=above,
        p_chance=chance,
        p_sharp=p_sharp,
        p_gradual=p_gradual,
        p_begins=begins,
        p_rise=moves.p_rise,
        p_fall=moves.p_fall,
        p_flat=p_flat(measured, free.noise, no_ability, margin, alpha),
        sharpness=sharpness,
        turn=_turn(judged, moves, alpha),
        below=int(below.sum()),
        onset_between=_scales(curve, between),
        floor=floor,
        p_floor=off,
        noise=free.noise,
        break_=break_,
    )


def _around(curve: Curve, break_: Break | None) -> tuple[Rungs, Rungs]:
    """(rungs below a rise, the largest scales above it); without a rise none lies below."""
    largest = largest_scales(len(curve.x))
    if break_ is None:
        return np.zeros(len(curve.x), bool), largest
    below = curve.x < break_.onset.low
    if not below.any():
        below = curve.x < break_.onset.value
    return below, largest & (curve.x > break_.position.value)


def p_begins(
    measured: Sample,
    noise: Noise,
    judged: Curve,
    convention: Convention,
    below: Rungs,
    margin: float,
) -> float:
    """P of a rise that only looks sharp since a shortcut hides its lower part.

    A line that passes the shortcut takes little time above it. So either the curve is shown to stay
    at the shortcut for the last decade before it rises (half of the convention at least), or the
    rise is sharp over all of its height too; of the two P the smaller, for two were tried. noise:
    that of the curve over the shortcut, which the steps below it do not trouble.
    """
    free = fit_freely(measured, convention.width)
    whole = is_narrower(free, assumed=assumed_scatter(judged.axis)).p
    stays = 1.0
    t, level = convention.t, judged.chance_level
    if below.any() and level is not None:
        last = below & (t >= t[below].max() - (1 + ROUNDING) * convention.width)
        if np.ptp(t[last]) >= convention.width / 2:
            stays = p_near(measured, noise, last, level, margin)
    return min(1.0, 2 * min(whole, stays))


def p_not_narrow(
    sample: Sample, convention: Convention, sharpness: Sharpness | None, assumed: float
) -> float:
    """P of a rise that is no longer than a narrow one whose onsets scatter."""
    scatter = assumed if (sample.runs < 2).all() else 0.0
    if sharpness is not None and sharpness.scatter is not None:
        scatter = sharpness.scatter
    narrow = float(np.hypot(NARROW_SHARE * convention.width, NORMAL_WIDTH * scatter))
    return p_narrow(fit_freely(sample, narrow))


def _scales(
    curve: Curve, rungs: tuple[int | None, int | None]
) -> tuple[float | None, float | None]:
    low, high = (None if rung is None else float(curve.x[rung]) for rung in rungs)
    return low, high


def _turn(curve: Curve, moves: Moves, alpha: float) -> float | None:
    spread = float(np.ptp(curve.level))
    if max(moves.p_rise, moves.p_fall) > alpha or moves.least < MATERIAL * spread:
        return None
    return float(curve.x[moves.turn])


def _constant(
    curve: Curve, convention: Convention, sample: Sample, margin: float, alpha: float
) -> Evidence:
    """A curve without variation above its floor can be flat, nothing else."""
    p, no_ability = float("nan"), floor_of(curve)
    varies = np.ptp(curve.level) > 0
    if curve.is_binomial:
        p = p_flat(sample, Noise(1.0, np.inf), no_ability, margin, alpha)
    elif varies:
        p = p_flat(sample, fit_freely(sample, convention.width).noise, no_ability, margin, alpha)
    reason = "the value is the same at every scale"
    if varies and no_ability is not None:
        reason = f"it is {no_ability.at_it} at any scale"
    return Evidence(curve, convention, reason, p_rise=1.0, p_fall=1.0, p_flat=p)
