"""Verdicts on curves whose truth is known, on published curves, and on tables that are poor."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from metric_kinds import LOGPROB, LOSS, SCORE, SHARE
from scipy import stats

from emergectl.analysis.breaks import break_difference, breakthroughness, linearity, locate
from emergectl.analysis.columns import ColumnMapping
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.examine import describe_finding
from emergectl.analysis.plain import as_plain
from emergectl.analysis.reading import read_tables
from emergectl.analysis.table import with_defaults
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import VERDICTS, Finding, adjust, judge
from emergectl.evaluation.metrics import metric_facts

Make = Callable[..., Curve]
STEP = [0.0, 0.01, 0.0, 0.01, 0.59, 0.6, 0.61, 0.6]
FOUR_RUNS = [np.full(4, value) for value in STEP]


def judged(curve: Curve) -> Finding:
    return judge([curve])[0]


def test_an_ability_that_jumps_from_chance_is_emergent(curve_through: Make) -> None:
    finding = judged(curve_through(FOUR_RUNS))
    assert finding.verdict == "emergent"
    assert finding.break_ is not None
    assert finding.break_.between == pytest.approx((10**7.5, 10**8))
    assert finding.break_.height.low < 0.6 < finding.break_.height.high


def test_a_jump_of_one_run_a_scale_stands_on_how_onsets_scatter(curve_through: Make) -> None:
    """One late run after an early one makes a gradual rise a jump; more runs would tell."""
    finding = judged(curve_through(STEP, items=80))
    assert finding.verdict == "undetermined"
    assert finding.evidence.sharpness is not None
    assert finding.evidence.sharpness.p_without_scatter <= 0.05
    assert "scatter" in finding.reason
    assert "seeds at each of the scales" in finding.settle
    in_time = judged(replace(curve_through(STEP, items=80), axis="step"))
    assert in_time.verdict == "emergent"  # one run has one onset


def test_the_word_says_where_no_continuous_metric_was_measured(curve_through: Make) -> None:
    finding = judged(curve_through(FOUR_RUNS))
    assert finding.metric.holds is None
    assert "no continuous metric" in finding.reason


def test_a_sharp_metric_beside_a_gradual_one_is_made_by_the_metric(curve_through: Make) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(8)[:, None] / 7
    gradual = np.log(0.3 + 0.65 * t) + 0.01 * rng.standard_normal((8, 4))
    partner = curve_through(
        gradual, what=LOGPROB, metric="logprob_per_token", items=None, chance=None
    )
    exact, other = judge([curve_through(FOUR_RUNS, metric="exact_match"), partner])
    assert exact.verdict == "metric-made"
    assert exact.metric.partner == "logprob_per_token"
    assert other.verdict == "smooth"
    sharp = np.log(np.where(t > 0.5, 0.9, 0.2)) + 0.01 * rng.standard_normal((8, 4))
    exact, _ = judge(
        [
            curve_through(FOUR_RUNS, metric="exact_match"),
            curve_through(sharp, what=LOGPROB, metric="logprob_per_token", items=None, chance=None),
        ]
    )
    assert exact.verdict == "emergent"
    assert exact.metric.holds is True


def test_a_curve_that_falls_and_rises_again_is_non_monotone(curve_through: Make) -> None:
    finding = judged(curve_through([[v] * 3 for v in (0.6, 0.5, 0.3, 0.2, 0.25, 0.4, 0.6, 0.8)]))
    assert finding.verdict == "non-monotone"
    assert finding.evidence.turn == pytest.approx(10**7.5)


def test_a_small_share_of_right_answers_where_guessing_has_none_is_not_flat(
    curve_through: Make,
) -> None:
    """41 of 1,000 right where chance is 0: within five points of it, and no chance."""
    values = [0.0, 0.001, 0.002, 0.012, 0.022, 0.03, 0.041, 0.041]
    assert judged(curve_through(values, items=1000)).verdict != "flat"
    assert judged(curve_through([0.0] * 8, items=1000)).verdict == "flat"


def test_one_ladder_has_one_verdict_on_every_axis() -> None:
    """Tokens grow with the models, so that a decade of parameters is two of compute."""
    x = 10 ** (6 + 0.5 * np.arange(8))
    for values in (FOUR_RUNS, [[v] * 4 for v in np.linspace(0.0, 0.7, 8)]):
        said = []
        for axis, scales in (("params", x), ("tokens", 20 * x), ("flops", 120 * x**2)):
            curve = make_curve(
                scales, values, what=SHARE, items=500, chance=0.0, axis=axis, flops=120 * x**2
            )
            finding = judged(curve)
            said.append((finding.verdict, finding.evidence.p_sharp))
        assert said[0] == said[1] == said[2]


def test_over_loss_without_compute_nothing_is_emergent() -> None:
    loss = np.linspace(4, 2, 8)
    scales = {"axis": "loss", "what": SHARE, "items": 500, "chance": 0.0}
    alone = make_curve(1 / loss, FOUR_RUNS, **scales)  # type: ignore[arg-type]
    assert judged(alone).verdict == "undetermined"
    assert "compute" in judged(alone).settle
    flops = 10 ** (15 + np.arange(8.0))
    with_compute = make_curve(1 / loss, FOUR_RUNS, flops=flops, **scales)  # type: ignore[arg-type]
    assert judged(with_compute).evidence.convention.unit == "training FLOPs"


def test_an_ability_that_rises_along_a_line_is_smooth_or_gradual(curve_through: Make) -> None:
    lines = [[v] * 4 for v in np.linspace(0.05, 0.7, 8)]
    assert judged(curve_through(lines, chance=None)).verdict == "smooth"
    assert judged(curve_through(lines, chance=0.05)).verdict == "gradual"


def test_an_ability_that_stays_at_chance_is_flat(curve_through: Make) -> None:
    values = [0.25, 0.26, 0.24, 0.25, 0.25, 0.24, 0.26, 0.25]
    assert judged(curve_through(values, chance=0.25)).verdict == "flat"


def test_with_few_items_nothing_is_shown_and_the_finding_says_what_would(
    curve_through: Make,
) -> None:
    values = [0.2, 0.3, 0.2, 0.3, 0.4, 0.3, 0.4, 0.4]
    finding = judged(curve_through(values, items=10, chance=0.25))
    assert finding.verdict == "undetermined"
    assert "items" in finding.settle


def test_a_jump_from_above_chance_is_no_emergence(curve_through: Make) -> None:
    finding = judged(curve_through([v + 0.2 for v in FOUR_RUNS]))
    assert finding.verdict == "undetermined"
    assert finding.q_break <= 0.05
    assert "at chance" in finding.reason


def test_without_a_chance_level_a_break_is_seen_but_no_emergence(curve_through: Make) -> None:
    finding = judged(curve_through(FOUR_RUNS, chance=None))
    assert finding.verdict == "undetermined"
    assert "chance" in finding.reason
    assert "--chance" in finding.settle


def test_a_loss_that_falls_counts_as_a_rise(curve_through: Make) -> None:
    losses = np.array([4.0, 3.99, 4.01, 4.0, 2.0, 1.52, 1.5, 1.5])
    runs = losses[:, None] + 0.01 * np.array([-1, 0, 1])
    falling = curve_through(runs, what=LOSS, chance=None)
    finding = judged(falling)
    assert finding.q_break <= 0.05
    assert finding.evidence.p_rise < 0.05


def test_seeds_that_differ_wildly_take_the_certainty_away(curve_through: Make) -> None:
    rng = np.random.default_rng(0)
    calm = [np.full(4, v) for v in STEP]
    wild = [np.clip(v + 0.3 + 0.25 * rng.standard_normal(4), 0, 1) for v in STEP]
    assert judged(curve_through(calm)).evidence.p_sharp < 0.01
    assert judged(curve_through(wild, chance=0.3)).verdict != "emergent"


def test_the_order_of_curves_changes_nothing_and_the_seed_repeats(curve_through: Make) -> None:
    curves = [curve_through(STEP), curve_through(np.linspace(0, 0.5, 8), task="line")]
    first, again = judge(curves), judge(curves[::-1])[::-1]
    assert [f.evidence.p_sharp for f in first] == [f.evidence.p_sharp for f in again]


def test_two_processes_find_what_one_finds(curve_through: Make) -> None:
    curves = [curve_through(STEP, task=f"task {i}") for i in range(40)]
    told: list[tuple[int, int]] = []
    alone = judge(curves)
    together = judge(curves, workers=2, progress=lambda done, total: told.append((done, total)))
    assert [f.evidence.p_sharp for f in alone] == [f.evidence.p_sharp for f in together]
    assert told[-1] == (40, 40)


@pytest.mark.parametrize(
    ("values", "said"),
    [([0.1, 0.2, 0.3], "3 scales"), ([2.0] * 8, "same at every scale")],
)
def test_what_cannot_be_judged_is_undetermined_with_the_reason(
    curve_through: Make, values: list[float], said: str
) -> None:
    finding = judged(curve_through(values, items=None, chance=None, what=SCORE))
    assert finding.verdict == "undetermined"
    assert said in finding.reason
    assert finding.settle


@pytest.mark.filterwarnings("error")
def test_whatever_numbers_come_a_verdict_comes_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        rungs, seeds = int(rng.integers(1, 40)), int(rng.integers(1, 4))
        x = 10 ** np.cumsum(rng.exponential(float(rng.choice([1e-3, 0.3, 3])), rungs) + 1e-6)
        values = [
            rng.random((rungs, seeds)),
            rng.integers(0, 2, (rungs, seeds)).astype(float),
            rng.normal(0, 1e29, (rungs, seeds)),
            rng.normal(0, 1e-200, (rungs, seeds)),
            np.tile(np.linspace(0, 1, rungs)[:, None], (1, seeds)),
        ][int(rng.integers(0, 5))]
        items = [None, 1, 10**9][int(rng.integers(0, 3))]
        chance = [None, 0.0, 0.25, 1.0][int(rng.integers(0, 4))]
        bounded = values.min() >= 0 and values.max() <= 1
        what = SHARE if bounded else SCORE
        finding = judged(make_curve(x, values, what=what, items=items, chance=chance))
        assert finding.verdict in VERDICTS
        json.dumps(as_plain(describe_finding(finding, 0.05)), allow_nan=False)


def test_a_constant_rate_at_chance_is_flat(curve_through: Make) -> None:
    assert judged(curve_through([0.0] * 8)).verdict == "flat"


def test_q_values_are_those_of_scipy() -> None:
    p = np.array([0.001, 0.04, 0.03, 0.2, 0.8, np.nan, 0.011])
    q = adjust(p)
    np.testing.assert_allclose(q[~np.isnan(p)], stats.false_discovery_control(p[~np.isnan(p)]))
    assert np.isnan(q[5])


def test_metrics_of_one_ability_weigh_one_together() -> None:
    """Three metrics of one ability against two more abilities: as if it stood there once."""
    p = np.array([0.02, 0.02, 0.02, 0.5, 0.9])
    of_three = adjust(p, ["a", "a", "a", "b", "c"])
    alone = stats.false_discovery_control(np.array([0.02, 0.5, 0.9]))
    np.testing.assert_allclose(of_three, [alone[0]] * 3 + list(alone[1:]))


def test_breakthroughness_and_linearity_are_bigbenchs_formulas() -> None:
    straight = np.array([0.0, 0.2, 0.4, 0.6])
    assert linearity(straight) == pytest.approx(3)
    assert breakthroughness(straight) == pytest.approx(3)
    jump = np.array([0.0, 0.1, 0.0, 0.1, 0.9])  # steps .1 .1 .1 .8
    assert breakthroughness(jump) == pytest.approx(0.9 / 0.1)
    assert linearity(jump) == pytest.approx(0.9 / np.sqrt((3 * 0.01 + 0.64) / 4))
    assert breakthroughness(jump[::-1]) < 0
    assert breakthroughness(np.zeros(4)) == 0


def test_one_break_seen_under_two_metrics_differs_by_nothing(curve_through: Make) -> None:
    rng = np.random.default_rng(0)
    early = locate(curve_through([0, 0, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]), rng)
    middle = locate(curve_through(STEP), rng)
    same = break_difference(middle, locate(curve_through(STEP, items=300), rng))
    assert same.low < 0 < same.high
    apart = break_difference(early, middle)
    assert 0.2 < apart.low < 1 < apart.high < 1.8


def pythia(file: Path, metric: str, task: str, chance: float | None, items: int | None) -> list:
    only = {"variant": "standard", "task": task, "metric": metric}
    table = read_tables([file], ColumnMapping(model="params"), where=only, lookup=metric_facts)
    levels = {} if chance is None else {"": chance}
    return curves_of(with_defaults(table, n=items, chance=levels), "step")


def test_lambada_sets_in_between_steps_512_and_1000_at_every_size_from_160m_up(
    published: Callable[[str], Path],
) -> None:
    file = published("pythia_v1_zeroshot/pythia_v1_zeroshot.csv")
    accuracy = judge(pythia(file, "acc", "lambada_openai", 0.0, 5153))
    perplexity = judge(pythia(file, "ppl", "lambada_openai", None, None))
    for finding, other in zip(accuracy, perplexity, strict=True):
        size = float(finding.curve.group)
        if size < 1e8:
            continue
        assert finding.evidence.onset_between == (512, 1000)
        # It goes on rising to the end: more than a decade of steps.
        assert finding.verdict == "gradual", finding.curve.name
        # Perplexity improves all through that region, without a break as sharp.
        inside = (other.curve.x >= 512) & (other.curve.x <= 1000)
        assert (np.diff(other.curve.level[inside]) > 0.5).all()


def test_mmlu_of_pythia_is_not_emergent_on_either_axis(
    published: Callable[[str], Path],
) -> None:
    file = published("pythia_v1_zeroshot/pythia_v1_zeroshot.csv")
    in_time = judge(pythia(file, "acc", "mmlu_mean_57", 0.25, 14042))
    words = {float(f.curve.group): f.verdict for f in in_time}
    assert {word for size, word in words.items() if size < 1e9} == {"flat"}
    # With 14,042 questions two points over chance are no chance.
    assert {word for size, word in words.items() if size > 1e9} == {"smooth"}
    only = {"variant": "standard", "task": "mmlu_mean_57"}
    table = read_tables([file], ColumnMapping(model="params"), where=only, lookup=metric_facts)
    sizes = curves_of(with_defaults(table, n=14042, chance={"": 0.25}), "params")
    assert [f.verdict for f in judge(sizes)] == ["undetermined"]


def test_the_tasks_of_wei_over_open_models_rise_without_a_break_that_scatter_allows(
    published: Callable[[str], Path],
) -> None:
    names = ("arithmetic_2dm_2_acc", "ipa_transliterate_2_exact_match", "ipa_transliterate_2_bleu")
    columns = ColumnMapping(values=names, model="Model", flops="flops_e21", scales={"flops": 1e21})
    file = published("obsscaling_base/emergent_joined.csv")
    table = read_tables([file], columns, lookup=metric_facts)
    findings = judge(curves_of(with_defaults(table, n=None, chance={"": 0.0}), "flops"))
    assert [f.evidence.p_rise <= 0.001 for f in findings] == [True] * 3
    assert "emergent" not in {f.verdict for f in findings}
    assert table.skipped[0].count > 0  # models without FLOPs are counted


def test_positions_hold_where_steep_rises_scatter_from_run_to_run() -> None:
    """Many items and a steep rise: a run tells its own onset to a hundredth of a decade, and a sum
    over few onsets must not take the ones that it happens to try for likelier."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(30):
        t, position = np.linspace(6, 10, 8), rng.uniform(7.2, 8.8)
        onsets = position + 0.3 * rng.standard_normal((8, 4))
        right = 0.25 + 0.5 / (1 + np.exp(-4.394 / 0.3 * (t[:, None] - onsets)))
        values = rng.binomial(2000, right) / 2000
        curve = make_curve(10**t, values, what=SHARE, items=2000, chance=0.25)
        found = locate(curve, rng).position
        covered += found.low <= 10**position <= found.high
    assert covered >= 23  # 15 where each onset that is tried counts as a point


def test_rungs_may_come_unsorted_and_a_scale_twice() -> None:
    values = [[0.5], [0.1, 0.2], [0.7]]
    curve = make_curve([100, 10, 100], values, what=SHARE, items=[100, 50, 300])
    assert curve.x.tolist() == [10, 100]
    assert curve.items.tolist() == [100, 400]
    np.testing.assert_allclose(curve.values, [0.15, 0.65])
