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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from emergectl.analysis.breaks import Break
from emergectl.analysis.convention import NARROW_SHARE, SHARP_DECADES
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.evidence import FEWEST_RUNGS, RATE_MARGIN, Evidence, gather
from emergectl.analysis.metric_claim import MetricClaim, claim_of_metric
from emergectl.analysis.numbers import decades_of, p_equals
from emergectl.analysis.processes import processes
from emergectl.analysis.sharpness import ALPHA

Word = Literal[
    "emergent", "metric-made", "gradual", "smooth", "non-monotone", "undetermined", "flat"
]
VERDICTS: tuple[Word, ...] = get_args(Word)
"""the verdicts, the strongest first"""
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
MANY = 40
"""from so many curves on, a second process pays for its start"""


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
            return "flat", f"{self._flatness} ({p_equals(e.p_flat)})"
        if e.reason:
            return "undetermined", e.reason
        if e.turn is not None:
            return "non-monotone", (
                f"it rises ({p_equals(e.p_rise)}) and falls ({p_equals(e.p_fall)}), and turns at "
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
            f"{self._at_chance} below ({p_equals(e.p_chance)}), above it at the largest scales "
            f"({p_equals(e.p_above)}), and {self._how_sharp}"
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
                f"chance ({p_equals(self.q_emergent, 'q')})"
            )
        return "undetermined", f"{shown}, but {metric.sentence}"

    @property
    def _how_sharp(self) -> str:
        e = self.e
        assert e.convention is not None
        return (
            f"its rise takes less than {decades_of(e.convention.width, e.convention.unit)} "
            f"({p_equals(e.p_sharp)})"
        )

    def _not_sharp(self) -> tuple[Word, str]:
        e = self.e
        assert e.convention is not None
        narrow = NARROW_SHARE * e.convention.width
        long = (
            f"its rise takes longer than {decades_of(narrow, e.convention.unit)} "
            f"({p_equals(e.p_gradual)}), and less than {e.convention.width:.2g} is not shown "
            f"({p_equals(e.p_sharp)})"
        )
        if e.p_onset <= self.alpha:
            return "gradual", (
                f"{self._at_chance} below ({p_equals(e.p_chance)}), above it at the largest scales "
                f"({p_equals(e.p_above)}), but {long}"
            )
        return "smooth", f"it rises ({p_equals(e.p_rise)}), but {long}"

    def _why_open(self) -> str:
        e, alpha = self.e, self.alpha
        if e.p_rise > alpha:
            if e.p_fall <= alpha:
                return f"it falls with scale ({p_equals(e.p_fall)})"
            return f"neither a rise ({p_equals(e.p_rise)}) nor its absence is shown"
        if e.p_begins > alpha and e.no_ability is not None:
            return (
                f"over {e.no_ability.name} it rises sharply, but it is not shown to begin there "
                f"({p_equals(e.p_begins)}): that score may hide the lower part of a longer rise"
            )
        if e.p_sharp > alpha:
            open_ = (
                f"it rises, but neither a sharp rise ({p_equals(e.p_sharp)}) nor a long one "
                f"({p_equals(e.p_gradual)}) is shown"
            )
            if e.sharpness and e.sharpness.p_without_scatter <= alpha:
                open_ += (
                    f"; it would be sharp if onsets did not scatter between runs "
                    f"({p_equals(e.sharpness.p_without_scatter)}; "
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
                f"the scales below it are not shown to be {self._at_chance} "
                f"({p_equals(e.p_chance)})"
            )
        if e.p_above > alpha:
            return sharp + (
                f"the largest scales are not shown to be above {e.no_ability.name} "
                f"({p_equals(e.p_above)})"
            )
        return sharp + (
            "among all abilities judged together that may be chance "
            f"({p_equals(self.q_breaks, 'q')})"
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
                    f"significantly off {stated} ({p_equals(e.p_floor)})"
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
