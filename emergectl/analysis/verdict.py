"""The verdict: one word for an ability, and the claims that it stands on.

Each claim is tested by itself and has its number:

1. **onset**: below the rise the ability is shown to be at chance, and at the largest scales above
   it (`onset`); chance is the best of guessing and of the task's shortcuts (`floor`), and the rise
   that the other claims are of is that above it;
2. **sharpness**: the rise is narrower than the convention (`sharpness`), in decades of training
   compute (`convention`);
3. **metric**: a continuous metric of the same outputs rises sharply too (`metric_claim`);
4. **surprise**: a forecast from below missed it (`examine`, for abilities shown in full).

`emergent`: onset, sharp, and so in the continuous metric too (where none was measured the verdict
says so). `metric-made`: onset and sharp, but the continuous metric rises gradually. `gradual`:
onset, and shown not to be sharp. `smooth`: it rises, not sharply, and no floor is shown.
`non-monotone`: it rises and falls, each significantly. `flat`: nothing tells it from chance, and
enough was measured to tell. `undetermined`: anything else, with what would settle it.

The p-value of several claims together is their largest (an intersection-union test), and false
discoveries are controlled over all abilities judged together, an ability of several metrics counted
once (Benjamini and Hochberg 1995; weighted as in Benjamini and Hochberg 1997).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, get_args

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
from emergectl.analysis.curves import ROUNDING, Curve, Floats
from emergectl.analysis.floor import Floor, floor_of, over_floor
from emergectl.analysis.metric_claim import MetricClaim, claim_of_metric
from emergectl.analysis.onset import (
    HEIGHT_MARGIN,
    largest_scales,
    onset_between,
    p_above,
    p_flat,
    p_near,
    p_off_floor,
)
from emergectl.analysis.processes import processes
from emergectl.analysis.sample import Noise, Sample, sample_of
from emergectl.analysis.sharpness import (
    Sharpness,
    assumed_scatter,
    fit_freely,
    is_narrower,
    p_narrow,
)

Word = Literal[
    "emergent", "metric-made", "gradual", "smooth", "non-monotone", "undetermined", "flat"
]
VERDICTS: tuple[Word, ...] = get_args(Word)
"""the verdicts, the strongest first"""
Rungs = NDArray[np.bool_]
ALPHA = 0.05
RATE_MARGIN = 0.05
"""how near to chance is as good as chance, for rates, where nothing tells them apart"""
FEWEST_RUNGS = 5
NORMAL_WIDTH = 2.563
"""deviations from 10 to 90 percent of a normal distribution"""
OVERTURNED_BY: dict[Word, str] = {
    "emergent": "a gradual rise through further scales within it, scales below that prove to be "
    "above chance, or onsets that scatter more from run to run",
    "metric-made": "a continuous metric of the same outputs that rises as sharply",
    "gradual": "scales in between that are at chance on one side and at full height on the other",
    "smooth": "scales in between that are at chance on one side and at full height on the other",
    "non-monotone": "more runs at the scales where it turns, if they do not turn",
    "flat": "a larger scale above chance, or a continuous metric of the same outputs that rises",
    "undetermined": "",
}
MATERIAL = 0.2
"""of its range: a curve that falls by less on its way up is not called non-monotone"""
MANY = 40
"""from so many curves on, a second process pays for its start"""


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


@dataclass(frozen=True)
class Finding:
    """A verdict with its evidence.

    `p_emergent`: of all claims of `emergent` together. `q_emergent`, `q_break` (of a sharp rise,
    whatever lies below it): adjusted for all abilities judged together. `reason` says what the
    verdict stands on, `overturn` what would overturn it, `settle` what would settle an undetermined
    one (empty for the others).
    """

    verdict: Word
    reason: str
    overturn: str
    settle: str
    p_emergent: float
    q_emergent: float
    q_break: float
    metric: MetricClaim
    evidence: Evidence

    @property
    def curve(self) -> Curve:
        """The curve that was judged."""
        return self.evidence.curve

    @property
    def break_(self) -> Break | None:
        """Where it rises, whatever the verdict; None where nothing could be fitted."""
        return self.evidence.break_


def judge(
    curves: Sequence[Curve],
    *,
    alpha: float = ALPHA,
    margin: float = RATE_MARGIN,
    sharp_decades: float = SHARP_DECADES,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Judge curves together: one finding each, in their order.

    A curve's own numbers depend on itself, the continuous metric of its outputs and `seed`, not on
    its neighbours; q-values do. `progress` is told (done, all).
    """
    weigh = partial(gather, margin=margin, alpha=alpha, sharp_decades=sharp_decades, seed=seed)
    evidence: list[Evidence] = []
    if workers > 1 and len(curves) >= MANY:
        with processes(workers) as pool:
            for item in pool.map(weigh, curves, chunksize=max(1, min(16, len(curves) // workers))):
                evidence.append(item)
                if progress:
                    progress(len(evidence), len(curves))
    else:
        for curve in curves:
            evidence.append(weigh(curve))
            if progress:
                progress(len(evidence), len(curves))
    return conclude(evidence, alpha=alpha)


def conclude(evidence: Sequence[Evidence], *, alpha: float = ALPHA) -> list[Finding]:
    """Verdicts from the evidence of all curves that are judged together, in their order."""
    claims = _metric_claims(evidence, alpha)
    outputs = [(e.curve.group, e.curve.task) for e in evidence]
    p_emergent = [
        e.p_breaks if claim.p is None else float(np.max([e.p_breaks, claim.p]))
        for e, claim in zip(evidence, claims, strict=True)
    ]
    q_emergent = adjust(np.array(p_emergent), outputs)
    q_breaks = adjust(np.array([e.p_breaks for e in evidence]), outputs)
    q_sharp = adjust(np.array([e.p_sharp for e in evidence]), outputs)
    findings = []
    for index, e in enumerate(evidence):
        said = _Said(e, claims[index], q_emergent[index], q_breaks[index], q_sharp[index], alpha)
        word, reason = said.word()
        findings.append(
            Finding(
                verdict=word,
                reason=reason,
                overturn=OVERTURNED_BY[word],
                settle=said.settling() if word == "undetermined" else "",
                p_emergent=p_emergent[index],
                q_emergent=float(q_emergent[index]),
                q_break=float(q_sharp[index]),
                metric=claims[index],
                evidence=e,
            )
        )
    return findings


def _metric_claims(evidence: Sequence[Evidence], alpha: float) -> list[MetricClaim]:
    same: dict[tuple[str, str], list[Evidence]] = {}
    for e in evidence:
        same.setdefault((e.curve.group, e.curve.task), []).append(e)
    return [claim_of_metric(e, same[e.curve.group, e.curve.task], alpha) for e in evidence]


def adjust(p: Floats, outputs: Sequence[object] | None = None) -> Floats:
    """Benjamini and Hochberg's q-values; NaN stays NaN and is not counted among the tests.

    outputs: of which ability each test is; the tests of one ability weigh one together.
    """
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    of = [outputs[i] if outputs else i for i in known.tolist()]
    count: dict[object, int] = {}
    for ability in of:
        count[ability] = count.get(ability, 0) + 1
    weights = np.array([1 / count[ability] for ability in of])
    order = np.argsort(p[known], kind="stable")
    scaled = p[known][order] * weights.sum() / np.cumsum(weights[order])
    q[known[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


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
        height = float(sample.levels[largest].mean()) - (judged.chance_level or 0.0)
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


@dataclass(frozen=True)
class _Said:
    """One curve's evidence on its way to a word."""

    e: Evidence
    metric: MetricClaim
    q_emergent: float
    q_breaks: float
    q_sharp: float
    alpha: float

    def word(self) -> tuple[Word, str]:
        """The verdict and what it stands on."""
        e, alpha = self.e, self.alpha
        if e.p_flat <= alpha:
            return "flat", f"{self._flatness} (p={e.p_flat:.2g})"
        if e.reason:
            return "undetermined", e.reason
        if e.turn is not None:
            return "non-monotone", (
                f"it rises (p={e.p_rise:.2g}) and falls (p={e.p_fall:.2g}), and turns at "
                f"{_short(e.turn)}"
            )
        if self.q_breaks <= alpha and self._decides:
            return self._sharp()
        if e.p_rise <= alpha < e.p_sharp and e.p_gradual <= alpha:
            return self._not_sharp()
        return "undetermined", self._why_open()

    @property
    def _flatness(self) -> str:
        chance = self.e.no_ability
        if chance is None:
            return "nothing tells it from the smallest scales"
        if chance.shortcut:
            return f"it is {chance.at_it}, which needs no ability, at any scale"
        return "nothing tells it from chance"

    @property
    def _at_chance(self) -> str:
        return "at chance" if self.e.no_ability is None else self.e.no_ability.at_it

    @property
    def _decides(self) -> bool:
        return self.e.convention is not None and self.e.convention.decides

    def _sharp(self) -> tuple[Word, str]:
        e, metric = self.e, self.metric
        shown = (
            f"{self._at_chance} below (p={e.p_chance:.2g}), above it at the largest scales "
            f"(p={e.p_above:.2g}), and {self._how_sharp}"
        )
        if metric.holds is None and not metric.partner:
            return "emergent", f"{shown}; {metric.sentence}"
        if metric.holds and self.q_emergent <= self.alpha:
            return "emergent", f"{shown}; {metric.sentence}"
        if metric.holds is False:
            return "metric-made", f"{shown}, but {metric.sentence}"
        if metric.holds:
            return "undetermined", (
                f"{shown}; {metric.sentence}, but among all abilities judged together that may be "
                f"chance (q={self.q_emergent:.2g})"
            )
        return "undetermined", f"{shown}, but {metric.sentence}"

    @property
    def _how_sharp(self) -> str:
        e = self.e
        assert e.convention is not None
        return (
            f"its rise takes less than {e.convention.width:.2g} decades of {e.convention.unit} "
            f"(p={e.p_sharp:.2g})"
        )

    def _not_sharp(self) -> tuple[Word, str]:
        e = self.e
        assert e.convention is not None
        long = (
            f"its rise takes longer than {NARROW_SHARE * e.convention.width:.2g} decades of "
            f"{e.convention.unit} (p={e.p_gradual:.2g}), and less than "
            f"{e.convention.width:.2g} is not shown (p={e.p_sharp:.2g})"
        )
        if e.p_onset <= self.alpha:
            return "gradual", (
                f"{self._at_chance} below (p={e.p_chance:.2g}), above it at the largest scales "
                f"(p={e.p_above:.2g}), but {long}"
            )
        return "smooth", f"it rises (p={e.p_rise:.2g}), but {long}"

    def _why_open(self) -> str:
        e, alpha = self.e, self.alpha
        if e.p_rise > alpha:
            if e.p_fall <= alpha:
                return f"it falls with scale (p={e.p_fall:.2g})"
            return f"neither a rise (p={e.p_rise:.2g}) nor its absence is shown"
        if e.p_begins > alpha and e.no_ability is not None:
            return (
                f"over {e.no_ability.name} it rises sharply, but it is not shown to begin there "
                f"(p={e.p_begins:.2g}): that score may hide the lower part of a longer rise"
            )
        if e.p_sharp > alpha:
            open_ = (
                f"it rises, but neither a sharp rise (p={e.p_sharp:.2g}) nor a long one "
                f"(p={e.p_gradual:.2g}) is shown"
            )
            if e.sharpness and e.sharpness.p_without_scatter <= alpha:
                open_ += (
                    f"; it would be sharp if onsets did not scatter between runs "
                    f"(p={e.sharpness.p_without_scatter:.2g}; "
                    f"{e.sharpness.scatter:.2g} decades were allowed)"
                )
            return open_
        sharp = f"{self._how_sharp}, but "
        if not self._decides:
            return sharp + "over loss alone that decides nothing; training compute would"
        if e.no_ability is None:
            return sharp + "the chance level is unknown"
        if e.below == 0:
            return sharp + "no scale lies below it"
        if e.p_chance > alpha:
            return sharp + (
                f"the scales below it are not shown to be {self._at_chance} (p={e.p_chance:.2g})"
            )
        if e.p_above > alpha:
            return sharp + (
                f"the largest scales are not shown to be above {e.no_ability.name} "
                f"(p={e.p_above:.2g})"
            )
        return sharp + (
            f"among all abilities judged together that may be chance (q={self.q_breaks:.2g})"
        )

    def settling(self) -> str:
        """What would most likely settle an undetermined verdict."""
        e, curve = self.e, self.e.curve
        if len(curve.x) < FEWEST_RUNGS:
            return f"{FEWEST_RUNGS - len(curve.x)} more scales at least, better 8 in all"
        if e.reason:
            return "another metric of the same outputs, one that varies"
        more = "more items" if curve.is_binomial else "more seeds"
        if e.p_rise > self.alpha:
            return f"larger scales than {_short(curve.x[-1])}, or {more}"
        if e.p_sharp <= self.alpha:
            if e.no_ability is None:
                return "the chance level (--chance)"
            if not self._decides:
                return "the training compute of each row (--flops)"
            if e.is_off_chance(self.alpha):
                stated = e.no_ability.name if e.no_ability.shortcut else "the stated one"
                return (
                    f"the right chance level: below the rise it lies at {e.floor:.3g}, "
                    f"significantly off {stated} (p={e.p_floor:.2g})"
                )
            if e.below < 2:
                return f"smaller scales than {_short(curve.x[0])}, two or three"
            if e.p_chance > self.alpha:
                return f"{more} at the {e.below} scales below the rise"
            if self.metric.partner:
                return f"more seeds, for {self.metric.partner}"
        if e.p_begins > self.alpha:
            return "items whose shortcuts score no more than guessing"
        assert e.break_ is not None  # it rises, so a rise was fitted
        position = e.break_.position
        if e.sharpness and e.sharpness.p_without_scatter <= self.alpha < e.p_sharp:
            return (
                f"several seeds at each of the scales between {_short(position.low)} and "
                f"{_short(position.high)}, and at their neighbours"
            )
        return f"scales between {_short(position.low)} and {_short(position.high)}, or {more}"


def _short(scale: float) -> str:
    return f"{scale:.3g}"
