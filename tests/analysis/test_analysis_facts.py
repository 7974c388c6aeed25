"""What a metric is decides its direction, its noise and its place beside others, never its name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from metric_kinds import LOGPROB, LOSS, PERPLEXITY, SCORE, SHARE
from scipy import stats

from emergectl.analysis.contrasts import noise_between_neighbours
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.evidence import gather
from emergectl.analysis.metric_claim import beside
from emergectl.analysis.metric_order import restates_loss
from emergectl.analysis.metric_pair import as_probability
from emergectl.analysis.onset import p_above
from emergectl.analysis.sample import sample_of
from emergectl.analysis.verdict import judge
from emergectl.store.measurements import MetricFacts

Make = Callable[..., Curve]
STEP = [0.0, 0.01, 0.0, 0.01, 0.59, 0.6, 0.61, 0.6]
AREA = MetricFacts("continuous", "up", "area", least=0, most=1)
EDITS = MetricFacts("continuous", "down", "mean", least=0)
BRIER = MetricFacts("continuous", "down", "mean", least=0, most=2)


@pytest.mark.parametrize("name", ["surprisal", "disorder"])
def test_a_new_metric_that_falls_when_a_model_gets_better_is_judged_as_a_rise(
    curve_through: Make, name: str
) -> None:
    values = np.array([4.0, 3.99, 4.01, 4.0, 1.55, 1.52, 1.5, 1.5])[:, None] + [0.01, 0.0, -0.01]
    (finding,) = judge([curve_through(values, metric=name, what=EDITS, items=None, chance=None)])
    assert finding.evidence.p_rise <= 0.001
    assert finding.q_break <= 0.05
    assert "falls" not in finding.reason


def test_a_falling_share_is_judged_as_the_share_of_the_other_items(curve_through: Make) -> None:
    runs = [np.full(4, value) for value in STEP]
    errors = [1 - values for values in runs]
    wrong = replace(SHARE, direction="down")
    right, turned = judge(
        [curve_through(runs), curve_through(errors, what=wrong, chance=1.0, metric="accuracy")]
    )
    assert turned.verdict == right.verdict == "emergent"
    assert turned.evidence.p_above == pytest.approx(right.evidence.p_above)


@pytest.mark.parametrize("what", [AREA, EDITS, SCORE], ids=["area", "edit distance", "score"])
def test_the_noise_of_what_is_no_share_of_items_is_not_binomial_even_where_values_are_0_and_1(
    curve_through: Make, what: MetricFacts
) -> None:
    values = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    assert not curve_through(values, what=what, chance=None).is_binomial
    assert curve_through(values, what=SHARE).is_binomial
    assert not curve_through(values, what=SHARE, items=None).is_binomial


def test_more_items_do_not_make_an_area_more_certain(curve_through: Make) -> None:
    few, many = (
        gather(curve_through(np.linspace(0.5, 0.8, 8), what=AREA, chance=0.5, items=n))
        for n in (50, 50_000)
    )
    assert few.p_above == many.p_above


def test_students_degrees_of_freedom_are_what_the_seeds_leave() -> None:
    """The pooled variance of a textbook, and rungs · (seeds - 1) degrees of freedom."""
    t, seeds = np.arange(6.0), np.array([-1.0, 0.2, 0.8])
    spread = 2.0 * seeds
    rows = [0.6 * each + spread for each in t]
    curve = make_curve(10**t, rows, what=SCORE, metric="score")
    noise = noise_between_neighbours(sample_of(curve, t))
    freedom = len(t) * (len(seeds) - 1)
    pooled = len(t) * float(((spread - spread.mean()) ** 2).sum()) / freedom
    assert noise.freedom == freedom
    assert noise.phi == pytest.approx(pooled, rel=1e-9)
    everything = np.ones(len(t), bool)
    mean = float(np.mean(rows))
    # Rungs that lie on a line differ by more than seeds do: that is the error of their mean.
    error = np.std(0.6 * t, ddof=1) / np.sqrt(len(t))
    expected = stats.t.sf(mean / error, freedom)
    assert p_above(sample_of(curve, t), noise, everything, 0.0) == pytest.approx(expected)


def test_a_value_outside_its_metrics_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        make_curve([1, 2], [[0.5], [1.5]], what=SHARE)


def test_beside_a_discontinuous_metric_stands_the_likelihood_per_token_first() -> None:
    def curve(metric: str, what: MetricFacts) -> Curve:
        value = [1.0] if what is PERPLEXITY else [0.0]
        return make_curve([1, 2], [value, value], what=what, metric=metric)

    per_byte = replace(LOGPROB, likelihood="byte")
    whole = replace(LOGPROB, likelihood="item")
    order = [
        curve("z", LOGPROB),
        curve("y", LOSS),
        curve("x", whole),
        curve("w", per_byte),
        curve("v", BRIER),
        curve("u", EDITS),
        curve("t", AREA),
        curve("s", PERPLEXITY),
    ]
    exact = make_curve([1, 2], [[0.0], [1.0]], what=SHARE)
    for index, first in enumerate(order):
        assert beside(exact, [exact, *reversed(order[index:])]) is first
    assert beside(exact, [exact]) is None
    assert beside(curve("y", LOSS), [exact, curve("z", LOGPROB)]) is None


def test_a_perplexity_and_bits_per_byte_restate_the_loss_and_nothing_else_does() -> None:
    bits = replace(LOSS, likelihood="byte")
    every = {"bits": bits, "loss": LOSS, "ppl": PERPLEXITY, "logprob": LOGPROB, "brier": BRIER}
    assert [name for name in every if restates_loss(name, every)] == ["bits", "ppl"]
    assert not restates_loss("ppl", {"ppl": PERPLEXITY, "logprob": LOGPROB})


def test_likelihoods_are_read_as_probabilities_and_nothing_else_that_falls_is() -> None:
    p = np.array([0.1, 0.5, 0.9])

    def read(values: np.ndarray, what: MetricFacts) -> np.ndarray | None:
        return as_probability(make_curve([1, 2, 3], values, what=what, metric="m"), values)

    for values, what in ((np.log(p), LOGPROB), (-np.log(p), LOSS), (1 / p, PERPLEXITY)):
        np.testing.assert_allclose(read(values, what), p)
    assert read(p, EDITS) is None
    np.testing.assert_allclose(read(p, AREA), p)
