"""What is said of an ability: one plain sentence, and the four claims with their numbers.

Everything here follows from the verdict and its claims, so no two places of a report can say
different things of one ability. Figures, page, Markdown and terminal all read it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from emergectl.analysis.breaks import Interval
from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.forecast import Backtest
from emergectl.analysis.numbers import decades_of, format_number, p_equals, short, span

State = Literal["holds", "does not hold", "not shown", "not asked"]
MARKS: dict[State, str] = {
    "holds": "yes",
    "does not hold": "no",
    "not shown": "?",
    "not asked": "–",
}
"""the states in a narrow column"""
DEFINITIONS = {
    "emergent": "at chance below, above it at the largest scales, its rise sharper than the "
    "convention, and so in a continuous metric of the same outputs (where none was measured, the "
    "verdict says so)",
    "metric-made": "at chance below and sharp in this metric, while a continuous metric of the "
    "same outputs rises gradually",
    "gradual": "at chance below and above it at the largest scales, but shown not to be sharp",
    "smooth": "it rises and is shown not to be sharp; no floor at chance is shown",
    "non-monotone": "it rises and falls, each significantly",
    "flat": "nothing tells it from chance, and enough was measured to tell",
    "undetermined": "none of these is shown; what would settle it is said",
}

CURVES = {
    "flat": "level",
    "line": "line in log scale",
    "power": "power law to a ceiling",
    "sigmoid": "sigmoid in log scale",
    "hinge": "level, then a line",
    "broken": "level, then a power law",
}
"""the fitted shapes, described: none of their names is a verdict"""


@dataclass(frozen=True)
class ClaimShown:
    """One of the four claims as it is shown: its name, whether it holds, its number in a few
    characters, and what more is to say."""

    name: str
    state: State
    number: str
    text: str

    @property
    def mark(self) -> str:
        """The state in a narrow column."""
        return MARKS[self.state]


def sentence(ability: AbilityFinding, findings: Findings) -> str:
    """What the verdict says, in one plain sentence without tests."""
    a, over = ability, findings.over
    where = f"half of it by {_at(a)} {over}" if a.has_rise(findings.alpha) else ""
    chance = no_ability(a)
    convention, unit = a.sharpness.convention, a.sharpness.unit
    width = f"{decades_of(convention, unit)}" if convention else ""
    partner = a.metric_claim.partner
    if a.verdict == "emergent":
        said = f"It leaves {chance} and rises within less than {width}, {where}"
        if partner:
            return f"{said}; {partner}, continuous, rises as sharply."
        if a.metric_claim.holds:
            return f"{said}; the metric is itself continuous."
        return (
            f"{said}; no continuous metric of the same outputs was measured, so the metric may "
            "have made it sharp."
        )
    if a.verdict == "metric-made":
        return (
            f"It leaves {chance} and rises within less than {width}, {where}, but {partner} of the "
            "same outputs rises gradually: the metric makes the jump."
        )
    if a.verdict == "gradual":
        return f"It leaves {chance} and rises, {where}, but not within less than {width}."
    if a.verdict == "smooth":
        return (
            f"It rises, {where}, but not within less than {width}, and no floor at chance is shown."
        )
    if a.verdict == "non-monotone":
        turn = f", and turns at {short(a.turn)} {over}" if a.turn is not None else ""
        return f"It rises and falls{turn}."
    if a.verdict == "flat":
        up_to = f"up to {short(a.scales[-1])} {over}"
        if a.onset.shortcut:
            score = format_number(a.onset.floor)
            return (
                f"It is no better than {a.onset.shortcut} ({score}) {up_to}, and that needs no "
                "ability."
            )
        floor = chance if a.chance is not None else "the smallest scales"
        return f"Nothing tells it from {floor} {up_to}."
    return f"Open: {a.reason}."


def no_ability(a: AbilityFinding) -> str:
    """What needs no ability, with its score: `chance (0.25)`, `what naming … scores (0.34)`."""
    if a.onset.shortcut:
        return f"what {a.onset.shortcut} scores ({format_number(a.onset.floor)})"
    return "chance" if a.chance is None else f"chance ({format_number(a.chance)})"


def claims_of(ability: AbilityFinding, alpha: float) -> tuple[ClaimShown, ...]:
    """The four claims, in their order."""
    return (_onset(ability), _sharpness(ability, alpha), _metric(ability), _surprise(ability))


def pair_words(ability: AbilityFinding) -> str:
    """What one likes to know of the continuous metric beside this one; empty where nothing."""
    pair = ability.pair
    if pair is None:
        return ""
    parts = []
    if pair.explained is not None and ability.verdict != "flat":
        share = max(0.0, pair.explained.share)
        parts.append(
            f"read as p, p^{format_number(pair.explained.length, 2)} describes {share:.0%} of "
            "this curve"
        )
    if pair.lag_decades is not None:
        parts.append(f"half of its rise has passed {_later(pair.lag_decades)}")
    return f"Beside {pair.metric}: {'; '.join(parts)}." if parts else ""


def forecast_words(method: Backtest) -> str:
    """How often one way of forecasting was offered, over all cutoffs, and how often it held."""
    if not method.predictions:
        reason = method.forecasts[-1].reason
        return f"offered for none of {method.asked} values above the cutoffs ({reason})"
    return (
        f"offered for {method.predictions} of {method.asked} values above the cutoffs, "
        f"{method.covered} of them within the 95% interval"
    )


def _at(ability: AbilityFinding) -> str:
    assert ability.break_ is not None
    at = ability.break_.position
    return f"{short(at.value)} ({span(at.low, at.high, scale=True)})"


def _onset(a: AbilityFinding) -> ClaimShown:
    onset = a.onset
    if onset.p is None:
        if onset.floor is None:
            return ClaimShown("onset", "not asked", "", "no chance level is known")
        return ClaimShown("onset", _state(onset.holds), "", "")
    score = format_number(onset.floor)
    no_better = f"no better than {onset.shortcut} ({score})" if onset.shortcut else ""
    if onset.holds is False:
        said = no_better or "nothing tells it from chance"
        return ClaimShown("onset", _state(onset.holds), p_equals(a.p_flat), said)
    between = ""
    if onset.last_at_chance is not None:
        last = "last so" if no_better else "last at chance"
        between = f"{last}: {short(onset.last_at_chance)}"
    if onset.first_above is not None:
        between += f"{'; ' if between else ''}above from {short(onset.first_above)} on"
    parts = [
        f"{no_better or 'at chance'} below, {p_equals(onset.p_at_chance)}"
        if onset.p_at_chance is not None
        else "",
        f"above at the largest, {p_equals(onset.p_above)}" if onset.p_above is not None else "",
        between,
    ]
    return ClaimShown("onset", _state(onset.holds), p_equals(onset.p), _joined(parts))


def _sharpness(a: AbilityFinding, alpha: float) -> ClaimShown:
    sharp = a.sharpness
    rises = a.p_rise is not None and a.p_rise <= alpha
    if sharp.convention is None or a.verdict == "flat" or not rises:
        return ClaimShown("sharpness", "not asked", "", "no rise is shown")
    parts = []
    if sharp.sharp_from is not None:
        parts.append(f"sharp by any convention from {decades_of(sharp.sharp_from, sharp.unit)} up")
        if sharp.longer_than is not None:
            parts.append(f"takes longer than {_two(sharp.longer_than)}")
    elif sharp.longer_than is not None:
        parts.append(f"takes longer than {decades_of(sharp.longer_than, sharp.unit)}")
    else:
        parts.append(f"asked: less than {decades_of(sharp.convention, sharp.unit)}")
    if sharp.falls_at is not None:
        parts.append(
            f"falls if onsets scatter by {_two(sharp.falls_at)} decades or more from run to run"
        )
    elif sharp.scatter:
        parts.append(f"with onsets that scatter by {_two(sharp.scatter)} decades")
    p = a.p_gradual if sharp.holds is False else sharp.p
    return ClaimShown("sharpness", _state(sharp.holds), p_equals(p), _joined(parts))


def _metric(a: AbilityFinding) -> ClaimShown:
    metric = a.metric_claim
    if not metric.partner:
        state: State = "holds" if metric.holds else "not asked"
        return ClaimShown("metric", state, "", metric.sentence)
    if a.verdict == "flat":
        return ClaimShown("metric", "not asked", "", "no rise is shown")
    said = {
        True: f"{metric.partner}, continuous, rises as sharply",
        False: f"{metric.partner}, continuous, rises gradually",
        None: f"that {metric.partner}, continuous, rises as sharply",
    }[metric.holds]
    p = metric.p_gradual if metric.holds is False else metric.p
    return ClaimShown("metric", _state(metric.holds), p_equals(p), said)


def _surprise(a: AbilityFinding) -> ClaimShown:
    told = a.surprise
    if told is None:
        return ClaimShown("surprise", "not asked", "", "asked of what is shown in full")
    if a.verdict == "flat":
        return ClaimShown("surprise", "not asked", "", "no rise is shown")
    if told.predicted is None or told.cutoff is None:
        return ClaimShown("surprise", "not asked", "", told.sentence)
    foretold = span(told.predicted.low, told.predicted.high)
    return ClaimShown(
        "surprise",
        _state(told.holds),
        f"{format_number(told.measured)} found, {foretold} foretold",
        f"for {short(told.scale or 0)}, from the scales up to {short(told.cutoff)}",
    )


def _state(holds: bool | None) -> State:
    return "not shown" if holds is None else "holds" if holds else "does not hold"


def _joined(parts: Sequence[str]) -> str:
    return "; ".join(part for part in parts if part)


def _two(value: float) -> str:
    return format_number(value, 2)


def _later(lag: Interval) -> str:
    """A lag in decades, in words: which is first, or that it cannot be told."""
    if lag.low <= 0 <= lag.high:
        return f"between {_two(abs(lag.low))} decades before and {_two(lag.high)} after"
    word = "before" if lag.high < 0 else "after"
    value, low, high = abs(lag.value), abs(lag.low), abs(lag.high)
    return f"{_two(value)} decades {word} ({span(min(low, high), max(low, high))})"
