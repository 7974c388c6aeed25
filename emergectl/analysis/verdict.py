"""The verdict: emergent, smooth, flat or undetermined, with the numbers that it stands on.

An ability is **emergent** when three things are shown, each by a test of level alpha:

1. the largest scales are above chance (one-sided);
2. the scales before the break are at chance: their mean lies within a tenth of the ability's height
   of chance (two one-sided tests);
3. a break fits better than every smooth curve (`ratio`; smooth: the middle 80 percent of the rise
   takes a decade of scale or more).

The p-value of the whole is the largest of the three (an intersection-union test), and false
discoveries are controlled over all abilities judged together (Benjamini and Hochberg 1995).

**flat**: the largest scales are within `margin` of chance (two one-sided tests). **smooth**: it
rises, a break is not needed, and a sharp one (within 0.3 decades) is rejected. **undetermined**:
none of these is shown; the finding says what would settle it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emergectl.analysis.breaks import Break, locate
from emergectl.analysis.curve_families import SMOOTH_DECADES
from emergectl.analysis.curves import Curve, Floats
from emergectl.analysis.processes import processes
from emergectl.analysis.ratio import FEWEST_RUNGS, Comparison, compare_families, inverse_variances

Flags = NDArray[np.bool_]
Word = Literal["emergent", "undetermined", "smooth", "flat"]
VERDICTS: tuple[Word, ...] = get_args(Word)
"""the verdicts, the strongest first"""
ALPHA = 0.05
RATE_MARGIN = 0.05
"""how near to chance is as good as chance, for rates: five points"""
HEIGHT_MARGIN = 0.1
"""before the break: within this share of the height"""
SAME = 1e-12
MOST_FACTOR = 100
"""more data than this many times what there is settles nothing that anybody will wait for"""
OVERTURNED_BY: dict[Word, str] = {
    "emergent": "a smooth curve through further scales near the break, or scales before it that "
    "prove to be above chance",
    "smooth": "scales in between that are at chance on one side and at full height on the other",
    "flat": "a larger scale above chance, or a continuous metric of the same outputs that rises",
    "undetermined": "",
}
MANY = 40
"""from so many curves on, a second process pays for its start"""


@dataclass(frozen=True)
class Evidence:
    """What one curve shows, before it is judged beside the others.

    `p_above`: the largest scales are above chance; `p_chance`: those before the break are at
    chance; `p_smooth`: of the best smooth curve against a break; `p_sharp`: of a sharp break;
    `p_rise`: of no rise; `p_flat`: the largest scales differ from chance by the margin or more.
    All NaN where `reason` says why nothing could be tested.
    """

    curve: Curve
    reason: str = ""
    p_above: float = float("nan")
    p_chance: float = float("nan")
    p_smooth: float = float("nan")
    p_sharp: float = float("nan")
    p_rise: float = float("nan")
    p_flat: float = float("nan")
    before: int = 0
    """rungs before the break"""
    statistic: float = float("nan")
    critical: float = float("nan")
    dispersion: float = float("nan")
    break_: Break | None = None

    @property
    def p_emergent(self) -> float:
        """The p-value of `emergent`: the largest of its parts; NaN without a chance level."""
        return float(np.max([self.p_above, self.p_chance, self.p_smooth]))


@dataclass(frozen=True)
class Finding:
    """A verdict with its evidence.

    `q_emergent` and `q_break`: adjusted for all abilities judged together. `reason` says what the
    verdict stands on, `overturn` what would overturn it, `settle` what would settle an undetermined
    one (empty for the others).
    """

    verdict: Word
    reason: str
    overturn: str
    settle: str
    q_emergent: float
    q_break: float
    evidence: Evidence

    @property
    def curve(self) -> Curve:
        """The curve that was judged."""
        return self.evidence.curve

    @property
    def break_(self) -> Break | None:
        """The best break, whatever the verdict; None where nothing could be fitted."""
        return self.evidence.break_


def judge(
    curves: Sequence[Curve],
    *,
    alpha: float = ALPHA,
    margin: float = RATE_MARGIN,
    smooth_decades: float = SMOOTH_DECADES,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Judge curves together: one finding each, in their order.

    A curve's own numbers depend on itself and `seed`, not on its neighbours; q-values do.
    `progress` is told (done, all).
    """
    weigh = partial(gather, margin=margin, smooth_decades=smooth_decades, seed=seed)
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
    q_emergent = adjust(np.array([e.p_emergent for e in evidence]))
    q_break = adjust(np.array([e.p_smooth for e in evidence]))
    return [
        _conclude(e, float(q_e), float(q_b), alpha=alpha, margin=margin)
        for e, q_e, q_b in zip(evidence, q_emergent, q_break, strict=True)
    ]


def adjust(p: Floats) -> Floats:
    """Benjamini and Hochberg's q-values; NaN stays NaN and is not counted among the tests."""
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def gather(
    curve: Curve,
    *,
    margin: float = RATE_MARGIN,
    smooth_decades: float = SMOOTH_DECADES,
    seed: int = 0,
) -> Evidence:
    """Test one curve. The same curve and seed give the same numbers."""
    if len(curve.x) < FEWEST_RUNGS:
        return Evidence(curve, reason=f"{len(curve.x)} scales; {FEWEST_RUNGS} are the fewest")
    if np.ptp(curve.level) <= SAME * np.abs(curve.level).max():
        return _constant(curve, margin)
    rng = np.random.default_rng([seed, zlib.crc32(f"{curve.axis}/{curve.name}".encode())])
    compared = compare_families(curve, rng, smooth_decades=smooth_decades)
    break_ = locate(curve, rng, smooth_decades=smooth_decades)
    t = curve.log_x
    best = compared.broken_projector.grid
    node = compared.broken.node
    start = best.position[node] - (best.width[node] / 2 if best.compact[node] else 0.0)
    before = t < start
    largest = np.arange(len(t)) >= len(t) - max(1, len(t) // 4)
    largest &= t > best.position[node]
    p_above = p_chance = float("nan")
    if curve.chance_level is not None:
        p_above = _p_above(curve, largest, curve.chance_level, compared.dispersion)
        p_chance = 1.0
        height = float(curve.level[largest].mean()) - curve.chance_level
        if before.any() and height > 0:
            p_chance = _p_equivalent(
                curve, before, curve.chance_level, HEIGHT_MARGIN * height, compared.dispersion
            )
    return Evidence(
        curve=curve,
        p_above=p_above,
        p_chance=p_chance,
        p_smooth=compared.p_smooth,
        p_sharp=compared.p_sharp,
        p_rise=_p_rise(curve, compared),
        p_flat=_p_flat(curve, margin, compared.dispersion),
        before=int(before.sum()),
        statistic=compared.statistic,
        critical=compared.critical,
        dispersion=compared.dispersion,
        break_=break_,
    )


def _constant(curve: Curve, margin: float) -> Evidence:
    """A curve without variation can be flat, nothing else."""
    evidence = Evidence(curve, reason="the value is the same at every scale", p_rise=1.0)
    if curve.is_binomial:
        return replace(evidence, p_flat=_p_flat(curve, margin, 1.0))
    return evidence


def _standard_error(curve: Curve, keep: Flags, dispersion: float) -> tuple[float, float]:
    """(mean, standard error) of the rungs kept, by their sizes.

    The error is the larger of what items and overdispersion predict over the whole curve, and what
    the rungs kept themselves show.
    """
    y, size = curve.level[keep], curve.size[keep]
    mean = float(np.average(y, weights=size))
    unit = float(curve.unit_variance(np.full(len(curve.x), mean))[keep].mean())
    expected = dispersion * unit / size.sum()
    if len(y) >= 3:
        seen = float((size * (y - mean) ** 2).sum() / (len(y) - 1) / size.sum())
        expected = max(expected, seen)
    return mean, float(np.sqrt(max(expected, 1e-300)))


def _tail(curve: Curve) -> stats.rv_continuous:
    """Normal where the noise is binomial; else Student's, for the noise is itself estimated."""
    if curve.is_binomial:
        return stats.norm()
    freedom = int((curve.seeds - 1).sum()) or max(1, len(curve.x) - 4)
    return stats.t(freedom)


def _p_above(curve: Curve, keep: Flags, chance: float, dispersion: float) -> float:
    if not keep.any():
        return 1.0
    mean, error = _standard_error(curve, keep, dispersion)
    return float(_tail(curve).sf((mean - chance) / error))


def _p_equivalent(
    curve: Curve, keep: Flags, level: float, margin: float, dispersion: float
) -> float:
    """Two one-sided tests: P of seeing rungs so near to `level` if they were `margin` off."""
    mean, error = _standard_error(curve, keep, dispersion)
    return float(_tail(curve).sf((margin - abs(mean - level)) / error))


def _p_flat(curve: Curve, margin: float, dispersion: float) -> float:
    """P of the largest scales so near to chance (to the smallest, without chance) if they were
    `margin` off; NaN for metrics that are no rates, where no margin is natural."""
    if not curve.is_rate:
        return float("nan")
    count = max(1, len(curve.x) // 4)
    index = np.arange(len(curve.x))
    largest = index >= len(index) - count
    mean, error = _standard_error(curve, largest, dispersion)
    level = curve.chance_level
    if level is None:
        level, other = _standard_error(curve, index < count, dispersion)
        error = float(np.hypot(error, other))
    return float(_tail(curve).sf((margin - abs(mean - level)) / error))


def _p_rise(curve: Curve, compared: Comparison) -> float:
    """P of a rise as steady as seen, in log scale, if there were none: the slope of a line."""
    weights = inverse_variances(curve, np.full(len(curve.x), curve.level.mean()))
    t = curve.log_x - np.average(curve.log_x, weights=weights)
    slope = float((weights * t * curve.level).sum() / (weights * t**2).sum())
    noise = compared.dispersion
    error = np.sqrt(noise / (weights * t**2).sum())
    return float(_tail(curve).sf(slope / error))


def _conclude(
    e: Evidence, q_emergent: float, q_break: float, *, alpha: float, margin: float
) -> Finding:
    word, reason = _word(e, q_emergent, q_break, alpha=alpha, margin=margin)
    return Finding(
        verdict=word,
        reason=reason,
        overturn=OVERTURNED_BY[word],
        settle=_settling(e, alpha=alpha) if word == "undetermined" else "",
        q_emergent=q_emergent,
        q_break=q_break,
        evidence=e,
    )


def _word(
    e: Evidence, q_emergent: float, q_break: float, *, alpha: float, margin: float
) -> tuple[Word, str]:
    chance = "chance" if e.curve.chance is not None else "the smallest scales"
    if q_emergent <= alpha:
        return "emergent", (
            f"at chance before the break (p={e.p_chance:.2g}), above it at the largest scales "
            f"(p={e.p_above:.2g}), and no smooth curve fits as well (p={e.p_smooth:.2g})"
        )
    if e.p_flat <= alpha:
        return "flat", f"within {margin:g} of {chance} at the largest scales (p={e.p_flat:.2g})"
    if e.reason:
        return "undetermined", e.reason
    if e.p_smooth <= alpha:
        return "undetermined", _why_not_emergent(e, q_emergent, q_break, alpha)
    if e.p_rise <= alpha and e.p_sharp <= alpha:
        return "smooth", (
            f"it rises (p={e.p_rise:.2g}), a smooth curve fits (p={e.p_smooth:.2g}), and a rise "
            f"within 0.3 decades does not (p={e.p_sharp:.2g})"
        )
    if e.p_rise > 1 - alpha:
        return "undetermined", "it falls with scale; only rises are judged"
    if e.p_rise > alpha:
        return "undetermined", f"neither a rise (p={e.p_rise:.2g}) nor its absence is shown"
    return "undetermined", (
        f"it rises, but smooth curve (p={e.p_smooth:.2g}) and sharp break (p={e.p_sharp:.2g}) "
        "both fit"
    )


def _why_not_emergent(e: Evidence, q_emergent: float, q_break: float, alpha: float) -> str:
    broken = f"a break fits better than a smooth curve (p={e.p_smooth:.2g}), but "
    if e.curve.chance is None:
        return broken + "the chance level is unknown"
    if e.before == 0:
        return broken + "no scale lies before it"
    if e.p_chance > alpha:
        return broken + f"the scales before it are not shown to be at chance (p={e.p_chance:.2g})"
    if e.p_above > alpha:
        return broken + f"the largest scales are not shown to be above chance (p={e.p_above:.2g})"
    q = q_break if q_break > alpha else q_emergent
    return broken + f"among all abilities judged together that may be chance (q={q:.2g})"


def _settling(e: Evidence, *, alpha: float) -> str:
    """What would most likely settle an undetermined verdict."""
    curve = e.curve
    if len(curve.x) < FEWEST_RUNGS:
        return f"{FEWEST_RUNGS - len(curve.x)} more scales at least, better 8 in all"
    if e.reason or e.break_ is None:
        return "another metric of the same outputs, one that varies"
    if curve.chance is None and e.p_smooth <= alpha:
        return "the chance level (--chance)"
    if e.p_smooth <= alpha and (e.before == 0 or e.p_chance > alpha):
        smallest = curve.x[0]
        if e.before < 2:
            return f"smaller scales than {_short(smallest)}, two or three"
        return f"{_more(curve.is_binomial)} at the {e.before} scales before the break"
    low, high = e.break_.position.low, e.break_.position.high
    between = f"scales between {_short(low)} and {_short(high)}"
    if e.p_rise > alpha:
        return f"larger scales than {_short(curve.x[-1])}, or {_more(curve.is_binomial)}"
    if e.statistic > 0 and e.critical / e.statistic <= MOST_FACTOR:
        factor = max(2, math.ceil(1.5 * e.critical / e.statistic))
        return f"about {factor} times as many {_unit(curve.is_binomial)}, or {between}"
    return f"{_more(curve.is_binomial)}, or {between}"


def _more(binomial: bool) -> str:
    return f"more {_unit(binomial)}"


def _unit(binomial: bool) -> str:
    return "items" if binomial else "seeds"


def _short(scale: float) -> str:
    return f"{scale:.3g}"
