"""Figures of findings: chance is always to be seen, many abilities are cut with a word."""

import re
from dataclasses import replace
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pytest

from emergectl.analysis.examine import examine
from emergectl.analysis.findings import AbilityFinding, Findings
from emergectl.analysis.numbers import short
from emergectl.analysis.shapes import FORMS
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import Word, judge
from emergectl.reports.captions import summary_caption
from emergectl.reports.figures import LOOKS, draw_figure, figures_of
from emergectl.reports.methods import methods_paragraph
from emergectl.reports.numbered import number_figures, strongest_first
from emergectl.reports.summary import MOST_ROWS, WIDE, draw_summary, summary_size
from emergectl.reports.words import CURVES, DEFINITIONS, claims_of, sentence
from emergectl.store.measurements import MetricFacts

SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)


SHORTCUT = "naming the most frequent listed value"


def found_in(
    values: list[float],
    chance: float | None = 0.0,
    n: float = 1000,
    shortcut: float | None = None,
    ceiling: float | None = None,
    gap: float = 0.5,
) -> Findings:
    """Findings of one ability, three runs a scale."""
    rng = np.random.default_rng(0)
    rows = [
        TableRow(
            "add",
            float(rng.binomial(int(n), value)) / n,
            metric="accuracy",
            n=n,
            chance=chance,
            shortcut=shortcut,
            shortcut_by="" if shortcut is None else SHORTCUT,
            ceiling=ceiling,
            what=SHARE,
            params=10 ** (6 + k * gap),
            seed=seed,
            where=f"t.csv:{3 * k + int(seed) + 2}",
        )
        for k, value in enumerate(values)
        for seed in "012"
    ]
    table = Table(rows)
    return examine(table, judge(curves_of(table, "params")), alpha=0.05)


@pytest.fixture(scope="module")
def jump() -> Findings:
    return found_in([0.02, 0.02, 0.02, 0.02, 0.8, 0.9, 0.9, 0.9])


@pytest.fixture(scope="module")
def surprise() -> Findings:
    """A jump between rungs so near that no gradual curve could have made it."""
    return found_in([0.02, 0.02, 0.02, 0.02, 0.02, 0.9, 0.9, 0.9], gap=0.25)


def limits_of(ability: AbilityFinding, findings: Findings) -> tuple[float, float]:
    """The limits of the axis of values of an ability's curve."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    figures_of(ability, findings)["curve"](axes)
    low, high = axes.get_ylim()
    return min(low, high), max(low, high)


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.5, 1.0])
def test_chance_lies_inside_the_axis_wherever_it_is(chance: float) -> None:
    findings = found_in([0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.11, 0.12], chance=chance)
    low, high = limits_of(findings.abilities[0], findings)
    assert low < chance < high


def lines_of(findings: Findings) -> dict[str, float]:
    """The lines across the figure of a curve, by what stands on them."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    figures_of(findings.abilities[0], findings)["curve"](axes)
    return {text.get_text(): float(text.xy[1]) for text in axes.texts}  # type: ignore[attr-defined]


LEVELS_OFF = [0.06, 0.06, 0.07, 0.06, 0.33, 0.34, 0.33, 0.34]


def test_chance_shortcut_and_ceiling_are_drawn_named_and_told() -> None:
    findings = found_in(LEVELS_OFF, chance=0.0625, shortcut=0.337, ceiling=0.9)
    assert lines_of(findings) == {"chance": 0.0625, "shortcut": 0.337, "ceiling": 0.9}
    low, high = limits_of(findings.abilities[0], findings)
    assert low < 0.0625
    assert high > 0.9
    caption = number_figures(findings)[1].caption
    for said in ("chance (0.0625)", f"{SHORTCUT} (0.337)", "the task allows (0.9)"):
        assert said in caption
    assert f"flat (no better than {SHORTCUT} (0.337), p" in caption


def test_a_shortcut_no_better_than_chance_and_a_whole_ceiling_are_not_drawn() -> None:
    findings = found_in(LEVELS_OFF, chance=0.5, shortcut=0.5, ceiling=1.0)
    assert lines_of(findings) == {"chance": 0.5}


def test_what_levels_off_at_a_shortcut_is_said_to_be_no_better_than_that() -> None:
    findings = found_in(LEVELS_OFF, chance=0.0625, shortcut=0.337)
    (ability,) = findings.abilities
    assert sentence(ability, findings) == (
        f"It is no better than {SHORTCUT} (0.337) up to 3.16B parameters (as given), and that "
        "needs no ability."
    )
    onset = claims_of(ability, 0.05)[0]
    assert onset.state == "does not hold"
    assert onset.text == f"no better than {SHORTCUT} (0.337)"


def test_an_ability_over_its_shortcut_is_said_to_leave_that() -> None:
    values = [0.06, 0.33, 0.34, 0.33, 0.34, 0.9, 0.95, 0.96]
    findings = found_in(values, chance=0.0625, shortcut=0.337)
    (ability,) = findings.abilities
    assert ability.verdict == "emergent"
    said = sentence(ability, findings)
    assert said.startswith(f"It leaves what {SHORTCUT} scores (0.337) and rises within")
    onset = claims_of(ability, 0.05)[0]
    assert f"no better than {SHORTCUT} (0.337) below, p" in onset.text
    methods = methods_paragraph(findings)
    assert SHORTCUT in methods
    assert SHORTCUT not in methods_paragraph(found_in(values))


def text_of(content: bytes) -> str:
    return " ".join(ElementTree.fromstring(content).itertext())


def test_every_word_has_a_look_of_its_own_and_a_meaning() -> None:
    assert set(LOOKS) == set(DEFINITIONS) == set(get_args(Word))
    assert len(set(LOOKS.values())) == len(LOOKS)


@pytest.mark.parametrize("count", [1, 60, 61])
def test_the_summary_names_every_ability_up_to_sixty_and_says_what_it_leaves_away(
    jump: Findings, count: int
) -> None:
    many = replace(
        jump,
        abilities=tuple(replace(jump.abilities[0], name=f"task-{k:03d}") for k in range(count)),
    )
    order = strongest_first(many)
    drawn = draw_figure(draw_summary(many, order, WIDE), "svg", summary_size(count, WIDE))
    names = re.findall(r"task-\d{3}", text_of(drawn))
    assert names == [f"task-{k:03d}" for k in range(min(count, MOST_ROWS))]
    assert ("1 are left away" in summary_caption(many)) == (count > MOST_ROWS)


def test_a_long_name_gives_way_in_its_middle(jump: Findings) -> None:
    name = "a-very-long-group/of-a-task-with-a-name-that-nobody-can-read/exact_match"
    long = replace(jump, abilities=(replace(jump.abilities[0], name=name),))
    shown = text_of(draw_figure(draw_summary(long, [0], WIDE), "svg", summary_size(1, WIDE)))
    assert "a-very-long-" in shown
    assert "exact_match" in shown
    assert name not in shown


def test_a_picture_of_a_run_moves_the_numbers_of_what_follows(jump: Findings) -> None:
    alone = [figure.number for figure in number_figures(jump) if figure.ability is not None]
    picture = draw_figure(draw_summary(jump, [0], WIDE), "svg")
    after = number_figures(jump, [picture])
    assert [figure.number for figure in after if figure.ability is not None] == [
        number + 1 for number in alone
    ]
    assert after[1].kind == "run"


def test_what_is_flat_is_said_to_have_no_onset_and_was_asked_nothing_else() -> None:
    findings = found_in([0.25] * 8, chance=0.25, n=4000)
    ability = findings.abilities[0]
    assert ability.verdict == "flat"
    states = [claim.state for claim in claims_of(ability, findings.alpha)]
    assert states == ["does not hold", "not asked", "not asked", "not asked"]
    assert "chance (0.25)" in sentence(ability, findings)


def test_without_chance_an_onset_is_not_asked_and_nothing_is_said_of_it() -> None:
    findings = found_in([0.02, 0.02, 0.02, 0.02, 0.8, 0.9, 0.9, 0.9], chance=None)
    ability = findings.abilities[0]
    onset, sharp, *_ = claims_of(ability, findings.alpha)
    assert (onset.state, sharp.state) == ("not asked", "holds")
    assert "chance" in sentence(ability, findings)  # what keeps it open


def test_no_fitted_curve_is_called_by_a_word_that_reads_as_a_verdict() -> None:
    assert set(CURVES) == {form.name for form in FORMS}
    for said in CURVES.values():
        assert not re.search("|".join([*get_args(Word), "broken", "sharp"]), said), said


def test_the_forecast_that_is_drawn_is_the_one_that_the_claim_is_about(surprise: Findings) -> None:
    ability = surprise.abilities[0]
    assert ability.surprise is not None
    assert ability.surprise.holds
    assert ability.surprise.cutoff is not None
    drawn = draw_figure(figures_of(ability, surprise)["forecast"], "svg")
    assert f"foretold from {short(ability.surprise.cutoff)}" in text_of(drawn)
    for said in ("direct", "measured", "what came"):
        assert said in text_of(drawn)


def test_a_forecast_ends_where_it_is_offered_and_the_truth_goes_on(surprise: Findings) -> None:
    from matplotlib.figure import Figure

    (ability,) = surprise.abilities
    assert ability.surprise is not None
    assert ability.surprise.holds
    axes = Figure().subplots()
    figures_of(ability, surprise)["forecast"](axes)
    lines = {line.get_label(): line for line in axes.lines}
    assert max(lines["direct"].get_xdata()) == ability.surprise.scale < ability.scales[-1]
    came = list(zip(lines["what came"].get_xdata(), lines["what came"].get_ydata(), strict=True))
    assert came == list(zip(ability.scales[5:], ability.values[5:], strict=True))
    (band,) = axes.collections[:1]
    top = band.get_datalim(axes.transData).ymax
    assert top < came[0][1]  # the jump is over the band
