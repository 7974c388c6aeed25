"""What needs no ability is the better of guessing and a shortcut, and onset is over that."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from metric_kinds import LOSS, SHARE

from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.examine import examine
from emergectl.analysis.findings import AbilityFinding
from emergectl.analysis.floor import floor_of, over_floor
from emergectl.analysis.seeds import success_level
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import Finding, judge

Make = Callable[..., Curve]
NAME = "naming the most frequent listed value"
GUESSING = 1 / 16
ITEMS = 500
PLACES = np.linspace(6, 10, 12)


def shortcut_of_recall(pairs: int = 4, values: int = 16) -> float:
    """What naming the most frequent value scores, from every list that there is: .337."""
    every = product(range(values), repeat=pairs)
    return sum(max(Counter(one).values()) for one in every) / values**pairs / pairs


RECALL = shortcut_of_recall()


def rise(t: np.ndarray, at: float, low: float, high: float, width: float = 0.3) -> np.ndarray:
    """A logistic whose 10 to 90 percent take `width` decades."""
    return low + (high - low) / (1 + np.exp(-4.394 * (t - at) / width))


def ladder(levels: np.ndarray, *, seed: int = 1, **options: object) -> Curve:
    """Four runs a scale over four decades, of 500 items each."""
    rng = np.random.default_rng(seed)
    rows = [rng.binomial(ITEMS, level, size=4) / ITEMS for level in levels]
    settings = {
        "what": SHARE,
        "items": ITEMS,
        "chance": GUESSING,
        "shortcut": RECALL,
        "shortcut_by": NAME,
        **options,
    }
    return make_curve(10 ** np.linspace(6, 10, len(levels)), rows, **settings)  # type: ignore[arg-type]


def judged(curve: Curve) -> Finding:
    return judge([curve])[0]


LEVELS_OFF = rise(PLACES, 7.2, GUESSING, RECALL)


def test_recall_that_levels_off_at_its_shortcut_is_flat_and_the_shortcut_is_named() -> None:
    assert pytest.approx(0.337, abs=0.001) == RECALL
    found = judged(ladder(LEVELS_OFF))
    assert found.verdict == "flat"
    assert f"no better than {NAME} (0.337)" in found.reason
    assert judged(ladder(LEVELS_OFF, shortcut=None)).verdict == "emergent"  # by guessing alone


@pytest.mark.parametrize("level", [GUESSING, 0.2, RECALL])
def test_whatever_lies_between_guessing_and_the_shortcut_is_flat(level: float) -> None:
    words = [judged(ladder(np.full(12, level), seed=seed)).verdict for seed in range(10)]
    # Two tests at 5% look for more than the shortcut gives.
    assert words.count("flat") >= 8
    assert "emergent" not in words


def test_a_slow_rise_to_the_shortcut_is_flat_too() -> None:
    levels = rise(PLACES, 7.5, GUESSING, RECALL, width=1.5)
    assert judged(ladder(levels)).verdict == "flat"


def test_with_few_items_nothing_is_flat() -> None:
    rows = [[0.05, 0.1], [0.3, 0.4], [0.3, 0.35], [0.4, 0.3], [0.35, 0.3]]
    curve = make_curve(
        10.0 ** np.arange(6, 11),
        rows,
        what=SHARE,
        items=20,
        chance=GUESSING,
        shortcut=RECALL,
        shortcut_by=NAME,
    )
    assert judged(curve).verdict == "undetermined"


def test_an_ability_that_comes_after_its_shortcut_emerges_over_that() -> None:
    levels = np.maximum(LEVELS_OFF, rise(PLACES, 8.9, RECALL, 0.95))
    found = judged(ladder(levels))
    assert found.verdict == "emergent"
    assert f"no better than {NAME} (0.337) below" in found.reason
    assert found.break_ is not None
    assert 8.5 < np.log10(found.break_.position.value) < 9.2
    low, high = found.evidence.onset_between
    assert low is not None
    assert high is not None
    assert 8 < np.log10(low) < np.log10(high) < 9.2
    # Over guessing alone the two rises are one long one.
    assert judged(ladder(levels, shortcut=None)).verdict != "emergent"


def test_an_ability_that_passes_its_shortcut_on_the_way_emerges() -> None:
    assert judged(ladder(rise(PLACES, 8, GUESSING, 0.95))).verdict == "emergent"


def test_a_long_rise_is_not_sharp_for_passing_a_shortcut_near_its_end() -> None:
    """A line over 2.4 decades takes half a decade above the shortcut."""
    levels = 0.95 * np.clip((np.linspace(6, 10, 21) - 6.3) / 2.4, 0, 1)
    curve = ladder(levels, chance=0.0, shortcut=0.7, shortcut_by="choosing the longest choice")
    found = judged(curve)
    assert found.verdict == "undetermined"
    assert "may hide the lower part of a longer rise" in found.reason
    assert "choosing the longest choice (0.7)" in found.reason
    assert found.settle


def test_a_shortcut_that_is_no_better_than_chance_changes_nothing() -> None:
    levels = rise(PLACES, 8, 0.5, 0.95)
    plain = ladder(levels, chance=0.5, shortcut=None)
    for score in (0.5, 0.2):
        same = judged(ladder(levels, chance=0.5, shortcut=score, shortcut_by="the majority"))
        assert same.verdict == judged(plain).verdict == "emergent"
        assert same.reason == judged(plain).reason
        assert same.evidence.no_ability == floor_of(plain)


def test_without_chance_a_shortcut_is_what_needs_no_ability() -> None:
    found = judged(ladder(rise(PLACES, 8, RECALL, 0.95), chance=None))
    assert found.verdict == "emergent"
    assert judged(ladder(LEVELS_OFF, chance=None, shortcut_by="")).verdict == "flat"
    reason = judged(ladder(LEVELS_OFF, chance=None, shortcut_by="")).reason
    assert "the shortcut that was stated (0.337)" in reason


def test_of_errors_the_shortcut_is_the_lower_one() -> None:
    falling = replace(SHARE, direction="down")
    curve = ladder(
        1 - LEVELS_OFF, what=falling, chance=1 - GUESSING, shortcut=1 - RECALL, shortcut_by=NAME
    )
    found = judged(curve)
    assert found.verdict == "flat"
    assert f"{NAME} (0.663)" in found.reason


def test_what_is_judged_keeps_the_scatter_and_all_that_lies_above() -> None:
    curve = ladder(np.maximum(LEVELS_OFF, rise(PLACES, 8.9, RECALL, 0.95)))
    over = over_floor(curve)
    assert over.chance == RECALL
    assert over.shortcut is None
    above = curve.values > RECALL + 0.1
    assert above.sum() >= 2
    np.testing.assert_array_equal(over.values[above], curve.values[above])
    for mine, own in zip(over.seed_values, curve.seed_values, strict=True):
        assert np.std(mine) == pytest.approx(np.std(own))
    # What lies below is about the shortcut's score, no further from it than it scatters.
    low = PLACES < 8.2
    assert over.values[low].min() > RECALL - 0.03
    assert over.values[low].max() < RECALL + 0.03
    assert over_floor(plain := ladder(LEVELS_OFF, shortcut=None)) is plain


def rows_of(levels: np.ndarray, shortcuts: list[float | None], **fields: object) -> list[TableRow]:
    rng = np.random.default_rng(3)
    return [
        TableRow(
            "recall",
            float(rng.binomial(ITEMS, level)) / ITEMS,
            metric="exact_match",
            params=float(10**place),
            seed=str(seed),
            n=ITEMS,
            chance=GUESSING,
            shortcut=shortcuts[seed % len(shortcuts)],
            shortcut_by=NAME if shortcuts[seed % len(shortcuts)] is not None else "",
            ceiling=1.0,
            what=SHARE,
            where=f"t:{place}-{seed}",
            **fields,  # type: ignore[arg-type]
        )
        for place, level in zip(PLACES, levels, strict=True)
        for seed in range(4)
    ]


def finding_of(table: Table) -> AbilityFinding:
    return examine(table, judge(curves_of(table, "params")), alpha=0.05).abilities[0]


def test_rows_hand_on_what_their_shortcuts_score_and_rows_of_older_runs_nothing() -> None:
    table = Table(rows_of(LEVELS_OFF, [0.33, 0.35, None, 0.34]))
    found = finding_of(table)
    assert found.verdict == "flat"
    assert found.shortcut == pytest.approx(0.34)
    assert (found.shortcut_by, found.ceiling) == (NAME, 1.0)
    assert found.onset.holds is False
    assert (found.onset.floor, found.onset.shortcut) == (found.shortcut, NAME)
    assert any("0.33 to 0.35: their mean is taken" in note for note in table.notes)
    old = Table(rows_of(LEVELS_OFF, [None]))
    plain = finding_of(old)
    assert (plain.shortcut, plain.shortcut_by, plain.onset.shortcut) == (None, "", "")
    assert plain.onset.floor == GUESSING
    assert not old.notes


def test_seeds_succeed_half_way_from_the_shortcut_to_the_ceiling() -> None:
    level = success_level(ladder(LEVELS_OFF, ceiling=0.9))
    assert level is not None
    assert level.value == pytest.approx((RECALL + 0.9) / 2)
    assert f"half way from {NAME} 0.337 to 0.9" in level.in_words
    found = finding_of(Table(rows_of(LEVELS_OFF, [RECALL])))
    assert found.success is not None
    assert all(s.success is not None and s.success.succeeded == 0 for s in found.success.scales)


def test_of_a_loss_no_shortcut_is_asked(curve_through: Make) -> None:
    curve = curve_through([3, 2.9, 2.8, 2, 1, 0.9], what=LOSS, chance=None, items=None)
    assert floor_of(curve) is None
    assert over_floor(curve) is curve


@pytest.mark.filterwarnings("error")
def test_a_rise_that_the_largest_scales_are_still_on_is_judged_without_a_height() -> None:
    steps = [10, 40, 80, 130, 190, 250, 310, 370, 430, 500, 600, 700, 800]
    runs = [  # six runs of modular addition, of which one has got it
        [0.02, 0.01, 0.01, 0.02, 0.02, 0.04, 0.07, 0.11, 0.16, 0.19, 0.23, 0.27, 0.29],
        [0.02, 0.01, 0.01, 0.01, 0.01, 0.05, 0.13, 0.23, 0.47, 0.83, 0.97, 0.99, 1.00],
        [0.02, 0.01, 0.01, 0.01, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.15, 0.20],
        [0.02, 0.01, 0.01, 0.01, 0.03, 0.04, 0.06, 0.08, 0.11, 0.16, 0.23, 0.30, 0.36],
        [0.01, 0.01, 0.01, 0.01, 0.02, 0.08, 0.16, 0.22, 0.24, 0.27, 0.28, 0.29, 0.29],
        [0.02, 0.01, 0.00, 0.00, 0.03, 0.11, 0.20, 0.25, 0.28, 0.29, 0.30, 0.32, 0.33],
    ]
    curve = make_curve(
        steps,
        np.array(runs).T,
        what=SHARE,
        items=1000,
        chance=0.02,
        shortcut=0.0257,
        shortcut_by="giving the most frequent answer",
        axis="step",
    )
    assert judged(curve).verdict == "undetermined"
