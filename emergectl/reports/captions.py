"""Captions that a paper can take over: what is shown, of how much, which intervals and tests."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from emergectl.analysis.convention import NARROW_SHARE
from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.numbers import decades_of, format_number, p_equals, several, short, span
from emergectl.reports.figures import FigureKind, levels_drawn
from emergectl.reports.summary import MOST_ROWS
from emergectl.reports.words import forecast_words

RUN_CAPTION = (
    "The run over its steps: losses as logged, other metrics as measured. A marked step is the "
    "first from which on an ability stays above its floor; that is a rule for one run, not a test."
)


def summary_caption(findings: Findings) -> str:
    """Of the figure of all abilities."""
    count = len(findings.abilities)
    said = (
        f"Verdicts on {several(count, 'ability')} over {findings.over}. Ticks: scales that were "
        "measured. Markers: where half of the rise has passed, of abilities whose rise is shown; "
        "bars: its 95% interval. Brackets: from the last scale before anything is above chance to "
        "the first from which on every scale is. "
    )
    if count > MOST_ROWS:
        said += f"The first {MOST_ROWS} by verdict are drawn; {count - MOST_ROWS} are left away. "
    return said + (
        "Colour and marker: the verdict, with false discoveries among the emergent ones held to "
        f"{format_number(findings.alpha)} (Benjamini and Hochberg)."
    )


def _curve(ability: AbilityFinding, findings: Findings) -> str:
    """Of an ability's curve."""
    parts = [f"{_named(ability)} over {findings.over}, {_measured(ability)}."]
    if any(count > 1 for count in ability.seeds):
        parts.append("Points: runs; diamonds: their mean.")
    elif ability.what.quantity == "share":
        parts.append("Points: one run each, with Wilson 95% intervals of its items.")
    else:
        parts.append("Points: one run each.")
    parts += _levels(ability)
    low, high = ability.onset.last_at_chance, ability.onset.first_above
    if low is not None and high is not None and ability.verdict != "flat":
        parts.append(
            f"Bracket: the onset, from the last scale before anything is above chance "
            f"({short(low)}) to the first from which on every scale is ({short(high)})."
        )
    if ability.break_ is not None and ability.has_rise(findings.alpha):
        at = ability.break_.position
        parts.append(
            f"Band: 95% interval of where half of the rise has passed, {short(at.value)} "
            f"({span(at.low, at.high, scale=True)})."
        )
    if ability.fit is not None:
        parts.append("Line: a fitted curve, for the eye; no test uses it.")
    parts.append(_verdict(ability))
    return " ".join(parts)


def _levels(ability: AbilityFinding) -> list[str]:
    """What the lines across a figure are."""
    drawn = levels_drawn(ability)
    said = {
        "chance": "Dashed: chance ({score}).",
        "shortcut": f"Dots and dashes: {ability.shortcut_by or 'a shortcut'} ({{score}}), which "
        "needs no ability.",
        "ceiling": "Dotted: the best that the task allows ({score}).",
    }
    return [said[what].format(score=format_number(level)) for what, level in drawn.items()]


def _seeds(ability: AbilityFinding, findings: Findings) -> str:
    """Of the share of seeds at a stated level."""
    found = ability.success
    assert found is not None
    level = found.level.in_words if found.level else "a stated level"
    parts = [
        f"Share of runs whose {ability.metric} is {level}, over {findings.over}, "
        f"{_measured(ability)}. Bars: exact (Clopper-Pearson) 95% intervals. Described, not tested."
    ]
    for scale in found.in_two_groups:
        humps = scale.humps
        assert humps is not None
        parts.append(
            f"At {short(scale.scale)} the runs fall in two groups, about "
            f"{format_number(humps.low)} and {format_number(humps.high)} "
            f"({p_equals(humps.p_adjusted)} of one group, corrected for all scales)."
        )
    if found.seeds_needed is not None and found.at is not None:
        parts.append(
            f"{found.seeds_needed} runs would give the share at {short(found.at)} to ± 0.1."
        )
    return " ".join(parts)


def _forecast(ability: AbilityFinding, findings: Findings) -> str:
    """Of the forecast."""
    held = "; ".join(f"{method.method}, {forecast_words(method)}" for method in ability.forecast)
    return (
        f"{_named(ability)} over {findings.over} as forecast from the scales left of the dotted "
        "line alone. Bands: 95% prediction intervals, as far as a forecast is offered; dots: what "
        f"was measured, rings above the line. Over all cutoffs: {held}."
    )


CAPTIONS: dict[FigureKind, Callable[[AbilityFinding, Findings], str]] = {
    "curve": _curve,
    "seeds": _seeds,
    "forecast": _forecast,
}


def _named(ability: AbilityFinding) -> str:
    task = "/".join(part for part in (ability.group, ability.task) if part)
    return task if ability.metric == "value" else f"{ability.metric} of {task}"


def _measured(ability: AbilityFinding) -> str:
    """`24 runs at 8 scales, n = 500 items each`."""
    runs, scales = sum(ability.seeds), len(ability.scales)
    said = f"{several(runs, 'measurement')} at {several(scales, 'scale')}"
    each = [n / k for n, k in zip(ability.items, ability.seeds, strict=True) if n is not None]
    if not each:
        return said
    same = min(each) == max(each)
    return f"{said}, n = {median(each):,.0f} items {'each' if same else 'each in the median'}"


def _verdict(ability: AbilityFinding) -> str:
    """The word, with the tests that it stands on."""
    onset, sharp = ability.onset, ability.sharpness
    floor = f"{onset.shortcut} ({format_number(onset.floor)})" if onset.shortcut else "chance"
    at_floor = f"no better than {floor}" if onset.shortcut else "at chance"
    flatness = at_floor if onset.shortcut else "equivalence to chance"
    leaves = (
        f"{at_floor} below, {p_equals(onset.p_at_chance)}; above it at the largest scales, "
        f"{p_equals(onset.p_above)}"
    )
    partner = ability.metric_claim
    numbers = {
        "emergent": f"{p_equals(ability.q_emergent, 'q')}: {leaves}; {_width(ability)}, "
        f"{p_equals(sharp.p)}",
        "metric-made": f"{leaves}; {_width(ability)}, {p_equals(sharp.p)}; but {partner.partner} "
        f"takes longer than a sharp rise, {p_equals(partner.p_gradual)}",
        "gradual": f"{leaves}; {_length(ability)}",
        "smooth": _length(ability),
        "non-monotone": f"rise, {p_equals(ability.p_rise)}; fall, {p_equals(ability.p_fall)}",
        "flat": f"{flatness}, {p_equals(ability.p_flat)}",
        "undetermined": "",
    }[ability.verdict]
    return f"Verdict: {ability.verdict}{f' ({numbers})' if numbers else ''}."


def _width(ability: AbilityFinding) -> str:
    sharp = ability.sharpness
    return f"a rise within less than {decades_of(sharp.convention or 0, sharp.unit)}"


def _length(ability: AbilityFinding) -> str:
    sharp = ability.sharpness
    narrow = decades_of(NARROW_SHARE * (sharp.convention or 0), sharp.unit)
    return (
        f"takes longer than {narrow}, {p_equals(ability.p_gradual)}; "
        f"{_width(ability)} is not shown, {p_equals(sharp.p)}"
    )
