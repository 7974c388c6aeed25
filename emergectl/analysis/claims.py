"""The four claims of a verdict, each with its number, as they are shown beside the word.

`onset` and `sharpness` come from the tests of `verdict`; how sharp is told for every convention, so
that whoever holds another than ours reads the answer off; `surprise` looks at what a forecast from
below the onset said (`forecast`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emergectl.analysis.breaks import Interval
from emergectl.analysis.evidence import Evidence
from emergectl.analysis.forecast import Backtest
from emergectl.analysis.sample import sample_of
from emergectl.analysis.sharpness import assumed_scatter, fit_freely, is_narrower, p_narrow

CONVENTIONS = (0.1, 0.15, 0.2, 0.31, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""widths at which it is asked whether the rise is sharper, as multiples of the convention"""
FALLS_AT = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
"""decades of onset scatter at which a verdict from one run a scale is tried"""


@dataclass(frozen=True)
class OnsetClaim:
    """At chance below the rise, above it at the largest scales: what needs no ability, the better
    of guessing (`chance`) and of a shortcut (`floor` is its score, `shortcut` which it is, empty
    where it is chance). `holds`: shown (True), shown not to be for nothing tells it from chance
    (False), neither (None). `p` is the larger of both parts; None where chance is unknown. `below`:
    how many scales lie below the rise. `last_at_chance`: the last scale before anything is above
    chance; `first_above`: the first from which on all are."""

    holds: bool | None
    p: float | None
    p_at_chance: float | None
    p_above: float | None
    chance: float | None
    floor: float | None
    shortcut: str
    below: int
    last_at_chance: float | None
    first_above: float | None


@dataclass(frozen=True)
class SharpnessClaim:
    """The rise takes less than `convention` decades of `unit`: `p` of it taking that or more.

    The width is that of the core (the shortest stretch with 80% of the rise that the ladder shows).
    `sharp_from`: the shortest convention by which it is sharp (None: by none that was tried);
    `longer_than`: the longest width that it is shown to exceed (None: none); each at level alpha.
    `scatter`: of onsets between runs, in decades: the likeliest where scales have several runs, the
    assumed one otherwise; None where it was not needed. `falls_at`: with one run a scale, the
    scatter at which a sharp verdict falls; None where it stands up to the largest tried, or the
    runs themselves tell their scatter.
    """

    holds: bool | None
    p: float | None
    q: float | None
    convention: float | None
    unit: str
    sharp_from: float | None = None
    longer_than: float | None = None
    scatter: float | None = None
    falls_at: float | None = None


@dataclass(frozen=True)
class SurpriseClaim:
    """Whether a forecast from the last scales below the onset missed what came.

    `holds` None: no forecast could be offered from there, and `sentence` says why. `predicted`, the
    narrowest interval, is for `scale`, where `measured` was found; all in the metric's units.
    """

    holds: bool | None
    sentence: str
    cutoff: float | None = None
    scale: float | None = None
    predicted: Interval | None = None
    measured: float | None = None


def onset_claim(e: Evidence, alpha: float) -> OnsetClaim:
    """The claim from what was tested."""
    holds = True if e.p_onset <= alpha else False if e.p_flat <= alpha else None
    return OnsetClaim(
        holds,
        _known(e.p_onset),
        _known(e.p_chance),
        _known(e.p_above),
        e.curve.chance,
        None if e.no_ability is None else e.no_ability.value,
        "" if e.no_ability is None else e.no_ability.shortcut,
        e.below,
        *e.onset_between,
    )


def sharpness_claim(e: Evidence, q: float, alpha: float) -> SharpnessClaim:
    """The claim at the convention alone; `bounded` adds for which others it holds."""
    if e.convention is None or e.reason:
        return SharpnessClaim(None, None, None, None, "")
    holds = True if e.p_sharp <= alpha else False if e.p_gradual <= alpha else None
    return SharpnessClaim(
        holds=holds,
        p=_known(e.p_sharp),
        q=_known(q),
        convention=e.convention.width,
        unit=e.convention.unit,
        scatter=e.sharpness.scatter if e.sharpness else None,
    )


def bounded(claim: SharpnessClaim, e: Evidence, alpha: float) -> SharpnessClaim:
    """The claim with `sharp_from`, `longer_than` and `falls_at`, by asking every convention.

    Takes a second or two where onsets scatter, so only abilities shown in full are asked.
    """
    if e.convention is None or e.reason or e.p_rise > alpha or e.p_begins > alpha:
        return claim
    sample = sample_of(e.judged, e.convention.t)
    assumed = assumed_scatter(e.curve.axis)
    widths = [each * e.convention.width for each in CONVENTIONS]
    middle = CONVENTIONS.index(1.0)

    def sharp(index: int) -> bool:
        if index == middle:
            return e.p_sharp <= alpha
        return is_narrower(fit_freely(sample, widths[index]), assumed=assumed).p <= alpha

    def longer(index: int) -> bool:
        return p_narrow(fit_freely(sample, widths[index])) <= alpha

    first = _first(sharp, 0, middle + 1) if sharp(middle) else _first(sharp, middle, len(widths))
    # Nothing is shown both to be longer than a width and shorter than it.
    last = _first(lambda i: not longer(i), 0, first) - 1
    falls_at = None
    alone = e.sharpness is not None and e.sharpness.p_without_scatter <= alpha
    if alone and assumed and bool((sample.runs < 2).all()):
        free = fit_freely(sample, e.convention.width)
        tried = (s for s in FALLS_AT if is_narrower(free, assumed=s).p > alpha)
        falls_at = next(tried, None)
    return replace(
        claim,
        sharp_from=widths[first] if first < len(widths) else None,
        longer_than=widths[last] if last >= 0 else None,
        falls_at=falls_at,
    )


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first index from low on at which `holds`, which once true stays so; high if none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def surprise_claim(e: Evidence, methods: Sequence[Backtest]) -> SurpriseClaim:
    """Whether what came was outside every forecast from the last cutoff below the onset.

    At the furthest scale that any of them was offered for: the largest is often too far.
    """
    if e.break_ is None or not methods:
        return SurpriseClaim(None, "no forecast was made")
    onset = e.break_.onset.value
    told = [
        forecast for method in methods for forecast in method.forecasts if forecast.cutoff < onset
    ]
    if not told:
        return SurpriseClaim(None, "too few scales below the onset for a forecast from there")
    cutoff = max(forecast.cutoff for forecast in told)
    last = [forecast for forecast in told if forecast.cutoff == cutoff]
    offered = [forecast for forecast in last if forecast.scales]
    if not offered:
        reason = f"no forecast is offered from {cutoff:.3g}: {last[0].reason}"
        return SurpriseClaim(None, reason, cutoff)
    scale = max(forecast.scales[-1] for forecast in offered)
    there = [f.predicted[-1] for f in offered if f.scales[-1] == scale]
    measured = float(e.curve.values[e.curve.x == scale][0])
    predicted = min(there, key=lambda each: each.high - each.low)
    span = f"{predicted.low:.3g} to {predicted.high:.3g}"
    return SurpriseClaim(
        holds=not any(each.low <= measured <= each.high for each in there),
        sentence=f"from {cutoff:.3g}, {span} was foretold for {scale:.3g} and {measured:.3g} found",
        cutoff=cutoff,
        scale=scale,
        predicted=predicted,
        measured=measured,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
