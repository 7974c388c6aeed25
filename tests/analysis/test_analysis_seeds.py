"""Whether seeds agree: two groups or one, who succeeds from which level on, how many are needed."""

from dataclasses import replace

import numpy as np
import pytest
from metric_kinds import LOGPROB, LOSS, PERPLEXITY, SHARE
from scipy import stats
from sklearn.mixture import GaussianMixture

from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.seed_groups import _one_beta, adjust_by_holm, find_humps
from emergectl.analysis.seeds import (
    judge_seeds,
    seeds_needed,
    seeds_to_see_one,
    success_level,
)
from emergectl.analysis.simulated import Spread, simulate_seeds
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.store.measurements import MetricFacts


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def curve_of(rows: object, **options: object) -> Curve:
    settings = {"what": SHARE, "items": 100, "chance": 0.0, **options}
    return make_curve(10.0 ** np.arange(len(rows)), rows, **settings)  # type: ignore[arg-type]


def test_the_dip_of_two_pairs_is_a_quarter_as_hartigan_says() -> None:
    assert find_humps(np.array([1, 1, 2, 2.0]), rng()).dip == pytest.approx(0.25)


def test_two_groups_of_a_metric_without_bounds_are_where_a_peer_finds_them() -> None:
    two = np.concatenate([rng().normal(0, 0.03, 12), rng().normal(0.8, 0.03, 8)])
    humps = find_humps(two, rng())
    assert max(humps.p_dip, humps.p_one) < 0.01
    peer = GaussianMixture(2, covariance_type="tied", random_state=0).fit(two[:, None])
    np.testing.assert_allclose([humps.low, humps.high], np.sort(peer.means_.ravel()), atol=0.01)
    assert humps.share_high == pytest.approx(0.4, abs=0.01)
    assert find_humps(rng().normal(size=30), rng()).p_one > 0.05


def test_two_groups_of_shares_are_where_they_were_put() -> None:
    right = np.concatenate([rng().binomial(200, 0.1, 20), rng().binomial(200, 0.4, 12)])
    humps = find_humps(right / 200, rng(), items=np.full(32, 200))
    assert humps.p_one < 0.01
    np.testing.assert_allclose([humps.low, humps.high], [0.1, 0.4], atol=0.02)
    assert humps.share_high == pytest.approx(12 / 32, abs=0.01)


def test_the_fitted_null_is_that_of_a_peer() -> None:
    """The likelihood of one beta-binomial beside scipy's own, at its best over a grid."""
    counts = stats.betabinom(50, 2, 6).rvs(40, random_state=1)
    told, mean, precision = (v[0] for v in _one_beta(counts[None].astype(float), np.full(40, 50.0)))
    a, b = mean * precision, (1 - mean) * precision
    coefficient = np.log([stats.binom.pmf(k, 50, 0.5) * 2.0**50 for k in counts]).sum()
    assert stats.betabinom(50, a, b).logpmf(counts).sum() == pytest.approx(told + coefficient)
    nearby = [
        stats.betabinom(50, m * p, (1 - m) * p).logpmf(counts).sum()
        for m in np.linspace(0.15, 0.35, 21)
        for p in np.geomspace(1, 100, 60)
    ]
    assert told + coefficient > max(nearby) - 0.1


def test_a_skewed_hump_with_few_far_seeds_is_no_two_groups() -> None:
    few = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 6, 7, 56, 67]) / 200
    assert find_humps(few, rng(), items=np.full(24, 200)).p_one == 1


def test_holm_is_as_by_hand() -> None:
    adjusted = adjust_by_holm(np.array([0.04, 0.01, 0.03]))
    np.testing.assert_allclose(adjusted, [0.06, 0.03, 0.06])
    assert adjust_by_holm(np.array([])).tolist() == []


@pytest.mark.parametrize("spread", ["beta", "logit-normal", "power", "triangle"])
@pytest.mark.parametrize("items", [200, None])
def test_seeds_of_one_skewed_hump_fall_in_no_two_groups(spread: Spread, items: int | None) -> None:
    said = 0
    for seed in range(15):
        drawn = simulate_seeds(spread, np.random.default_rng([seed, 5]))
        curve = curve_of(drawn.shares, items=items)
        found = judge_seeds(curve, np.random.default_rng(seed))
        assert found is not None
        said += bool(found.in_two_groups)
    assert said <= 3  # More would come up once in 180 times at a rate of 5%.


@pytest.mark.parametrize("items", [200, None])
def test_two_humps_thirty_points_apart_are_found_at_their_scale(items: int | None) -> None:
    found = 0
    for seed in range(10):
        drawn = simulate_seeds("two humps", np.random.default_rng(seed))
        seeds = judge_seeds(curve_of(drawn.shares, items=items), np.random.default_rng(seed))
        assert seeds is not None
        found += [s.scale for s in seeds.in_two_groups] == [1e4]
    assert found >= 8


def test_groups_of_many_scales_are_looked_for_at_some_and_that_is_told() -> None:
    rows = rng().binomial(100, 0.5, (50, 8)) / 100
    found = judge_seeds(curve_of(rows), rng())
    assert found is not None
    assert found.passed_over == 10
    assert sum(s.humps is not None for s in found.scales) == 40


def test_success_is_counted_by_scale_with_exact_intervals() -> None:
    rows = [[0, 0, 0, 0], [0, 0, 0, 0.9], [0.9, 1, 0, 0.8]]
    found = judge_seeds(curve_of(rows), rng())
    assert found is not None
    told = [s.success for s in found.scales]
    assert [t.succeeded for t in told if t] == [0, 1, 3]
    exact = stats.binomtest(3, 4).proportion_ci(0.95, "exact")
    assert told[2] is not None
    assert (told[2].low, told[2].high) == (exact.low, exact.high)
    assert told[2].mean_of_successful == pytest.approx(0.9)


def test_what_is_zero_everywhere_succeeds_nowhere() -> None:
    found = judge_seeds(curve_of(np.zeros((5, 3))), rng())
    assert found is not None
    assert [s.success.succeeded for s in found.scales if s.success] == [0] * 5


def test_seeds_that_answer_by_a_shortcut_do_not_succeed() -> None:
    """Naming the most frequent value gets .338; .34 at every size is that, however high it goes."""
    found = judge_seeds(curve_of([[0.31, 0.33, 0.34]] * 5, chance=0.338), rng())
    assert found is not None
    assert found.level is not None
    assert found.level.value == pytest.approx((0.338 + 1) / 2)
    assert found.level.in_words == "0.669 or better, half way from chance 0.338 to 1"
    assert not any(s.success.succeeded for s in found.scales if s.success)


FALLING = MetricFacts("discontinuous", "down", "share", least=0, most=1)


@pytest.mark.parametrize(
    ("what", "chance", "ceiling", "level"),
    [
        (SHARE, 0.25, None, 0.625),
        (SHARE, 0.25, 0.85, 0.55),
        (SHARE, None, None, 0.5),
        (SHARE, 1.0, None, None),
        (FALLING, 0.8, None, 0.4),
        (FALLING, 0.8, 0.2, 0.5),
        (LOGPROB, -2.0, None, -1.0),
        (LOGPROB, None, None, None),
        (LOSS, 4.0, None, None),
        (LOSS, 4.0, 2.0, 3.0),
        (PERPLEXITY, 100.0, 1.0, 10.0),
    ],
)
def test_the_level_of_success_is_half_way_from_chance_to_the_best(
    what: MetricFacts, chance: float | None, ceiling: float | None, level: float | None
) -> None:
    value = -0.5 if what is LOGPROB else 0.5
    curve = curve_of([[value, value]] * 5, what=what, chance=chance, ceiling=ceiling, items=None)
    found = success_level(curve)
    assert (found and found.value) == (level and pytest.approx(level))
    if found is not None:
        assert found.chance_known == (chance is not None)


def test_falling_shares_succeed_below_their_level() -> None:
    rows = [[0.9, 0.8], [0.5, 0.3], [0.1, 0.0]]
    found = judge_seeds(curve_of(rows, what=FALLING, chance=0.8), rng())
    assert found is not None
    assert [s.success.succeeded for s in found.scales if s.success] == [0, 1, 2]


def test_groups_are_told_in_the_metrics_units() -> None:
    split = np.concatenate([rng().binomial(100, 0.1, 10), rng().binomial(100, 0.8, 10)]) / 100
    percent = MetricFacts("discontinuous", "up", "mean", least=0, most=100)
    for what, rows, want in (
        (FALLING, split, (0.8, 0.1)),
        (percent, 100 * split, (10, 80)),
        (LOSS, 2 + split, (2.8, 2.1)),
    ):
        found = judge_seeds(curve_of([rows] * 5, what=what, chance=None), rng())
        assert found is not None
        humps = found.in_two_groups[0].humps
        assert humps is not None
        assert (humps.low, humps.high) == pytest.approx(want, rel=0.15)


def test_a_ceiling_of_the_rows_is_that_of_the_curve() -> None:
    rows = [
        TableRow("t", 0.5, seed=str(s), params=10.0**k, n=50, what=SHARE, chance=0.2, ceiling=0.9)
        for k in range(5)
        for s in range(2)
    ]
    (curve,) = curves_of(Table(rows), "params")
    assert curve.ceiling == 0.9
    rows[0] = replace(rows[0], ceiling=0.8)
    (curve,) = curves_of(Table(rows), "params")
    assert curve.ceiling is None


def test_how_many_seeds_are_needed() -> None:
    wilson = stats.binomtest(48, 96).proportion_ci(0.95, "wilson")
    assert (wilson.high - wilson.low) / 2 < 0.1
    assert 90 <= seeds_needed(0.5) <= 96
    assert seeds_to_see_one(0.1) == 29  # 0.9^29 < 0.05
