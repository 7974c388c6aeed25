"""Intervals, against published ones, theory and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from emergectl.evaluation.classes import roc_area
from emergectl.evaluation.estimates import interval, mean, of_sums, ratio
from emergectl.evaluation.intervals import area_interval, percentiles, wilson
from emergectl.store.measurements import MetricFacts


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(
    right: int, items: int, low: float, high: float
) -> None:
    assert wilson(right, items) == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_or_all_reaches_the_bound_and_no_further() -> None:
    assert wilson(0, 3)[0] == 0.0
    assert wilson(3, 3)[1] == 1.0
    assert wilson(3, 3)[0] == pytest.approx(1 - wilson(0, 3)[1])


FACTS = MetricFacts("continuous", "up", "mean")


def bootstrap(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    measure = mean(values)
    assert measure is not None
    low, high = interval(FACTS, measure, seed=seed)
    assert low is not None
    assert high is not None
    return low, high


# Drawn item by item, from the normal distribution, and way by way.
SAMPLES = {
    "few": np.random.default_rng(0).normal(3.0, 2.0, 900),
    "many": np.random.default_rng(0).normal(3.0, 2.0, 5000),
    "few ways": np.random.default_rng(0).integers(0, 5, 5000).astype(float),
}


@pytest.mark.parametrize("which", SAMPLES)
def test_the_bootstrap_of_a_mean_is_that_of_theory(which: str) -> None:
    values = SAMPLES[which]
    low, high = bootstrap(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize("items", [60, 1500])
def test_the_bootstrap_holds_what_it_promises(items: int) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        low, high = bootstrap(rng.exponential(1.0, items), seed=trial)
        held += low <= 1.0 <= high
    assert 0.88 <= held / 200 <= 0.985


def test_a_function_of_sums_has_the_interval_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(4)
    for items in (400, 3000):  # on both sides of where sums are drawn as normal ones
        above, below = rng.exponential(2.0, items), rng.integers(1, 9, items).astype(float)
        measure = ratio(above + below, below)
        assert measure is not None
        ours = interval(MetricFacts("continuous", "up", "ratio"), measure)
        theirs = stats.bootstrap(
            (above + below, below),
            lambda a, b, axis=-1: a.sum(axis) / b.sum(axis),
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=2000,
            batch=100,
            rng=rng,
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours == pytest.approx((theirs.low, theirs.high), abs=0.12 * width)


def test_the_same_seed_gives_the_same_interval() -> None:
    for values in (np.arange(40.0), np.random.default_rng(2).random(3000), np.arange(4000) % 3.0):
        assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
        assert bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_kinds_of_items_and_how_many_they_are_stand_for_the_items() -> None:
    kinds, times = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 1.0]]), np.array([70, 20, 10])

    def finish(sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums[:, 0] / sums[:, 1])

    whole, short = (
        of_sums(np.repeat(kinds, times, axis=0), finish),
        of_sums(kinds, finish, times=times),
    )
    assert whole is not None
    assert short is not None
    assert (short.value, short.items) == (whole.value, whole.items) == (0.9, 100)
    assert interval(FACTS, short) == pytest.approx(interval(FACTS, whole), abs=0.05)


def test_there_is_no_interval_of_one_item_or_of_what_is_hardly_ever_defined() -> None:
    one = mean([2.0])
    assert one is not None
    assert interval(FACTS, one) == (None, None)
    assert percentiles(np.array([1.0, np.nan, np.nan])) is None
    assert percentiles(np.array([1.0, np.inf, np.inf])) is None


def test_an_infinite_loss_of_one_item_leaves_no_interval_and_no_warning() -> None:
    for items in (20, 2000):
        values = np.random.default_rng(5).random(items)
        values[3] = np.inf
        measure = mean(values)
        assert measure is not None
        assert measure.value == math.inf
        assert interval(FACTS, measure) == (None, None)


def test_the_variance_of_an_area_is_delongs() -> None:
    # The estimator as it is written in DeLong et al. 1988, pair by pair.
    rng = np.random.default_rng(6)
    positive = rng.random(80) < 0.4
    scores = np.round(rng.normal(size=80) + positive, 1)
    x, y = scores[positive], scores[~positive]
    won = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    area, m, n = won.mean(), len(x), len(y)
    variance = ((won.mean(1) - area) ** 2).sum() / m**2 + ((won.mean(0) - area) ** 2).sum() / n**2
    found, parts = roc_area(scores, positive)
    assert found == pytest.approx(area)
    assert (parts**2).sum() == pytest.approx(variance)
    low, high = area_interval(area, variance)
    assert 0 < low < area < high < 1
    assert area_interval(1.0, 0.0) == (1.0, 1.0)


def test_the_interval_of_an_area_holds_what_it_promises() -> None:
    rng, held = np.random.default_rng(7), 0
    true = stats.norm.cdf(1 / math.sqrt(2))
    for _ in range(300):
        positive = np.arange(120) < 40
        area, parts = roc_area(rng.normal(size=120) + positive, positive)
        low, high = area_interval(area, float((parts**2).sum()))
        held += low <= true <= high
    assert 0.92 <= held / 300 <= 0.985
