"""Forecasts: intervals that hold whatever the gradual shape, and are not offered where none can."""

from dataclasses import replace

import numpy as np
import pytest
from metric_kinds import LOGPROB, LOSS, SHARE

from emergectl.analysis.calibration import measure
from emergectl.analysis.conditions import CLAIMS
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.examine import examine
from emergectl.analysis.findings import AbilityFinding
from emergectl.analysis.forecast import Forecast, backtest, predict, predict_through
from emergectl.analysis.foretold import foretell
from emergectl.analysis.table import Table, TableRow
from emergectl.analysis.table_curves import curves_of
from emergectl.analysis.verdict import judge
from emergectl.store.measurements import MetricFacts

T = np.linspace(18, 21.5, 8)
MEAN = MetricFacts("continuous", "up", "mean", least=0, most=1)


def shares(p: np.ndarray, *, runs: int = 4, items: int = 500, seed: int = 0) -> np.ndarray:
    """Shares of right answers where each is right with probability p [rungs]: [rungs, runs]."""
    rng = np.random.default_rng(seed)
    return rng.binomial(items, np.clip(p, 0, 1)[:, None], (len(p), runs)) / items


def ability(p: np.ndarray, *, runs: int = 4, items: int = 500, chance: float = 0.0) -> Curve:
    values = shares(p, runs=runs, items=items)
    return make_curve(10**T, values, what=SHARE, items=items, chance=chance, axis="flops")


def below(curve: Curve, cut: int) -> Curve:
    return curve.rungs(np.arange(len(curve.x)) < cut)


def from_cutoff(curve: Curve, cut: int) -> Forecast:
    return predict(below(curve, cut), curve.x[cut:])


@pytest.mark.parametrize("name", ["any gradual curve", "loss"])
def test_intervals_hold_from_four_scales_on(name: str) -> None:
    """Simulated by what shares no formula with the forecasts; today's rates stand in the docs."""
    (claim,) = [claim for claim in CLAIMS if claim.name == f"forecast: {name}"]
    (said,) = measure([replace(claim, share=1.0)], trials=30)
    rates = {rate.name.rpartition(": ")[2]: rate for rate in said.rates}
    assert rates["covered"].trials > 15
    assert rates["covered"].rate is not None
    assert rates["covered"].rate > 0.85
    assert rates["outside the range"].count == rates["of no width"].count == 0


def test_an_interval_says_something() -> None:
    line = ability(0.1 + 0.2 * (T - 18))
    told = from_cutoff(line, 6)
    assert told.scales == tuple(line.x[6:])
    for interval, value in zip(told.predicted, line.values[6:], strict=True):
        assert interval.low < value < interval.high
        assert interval.high - interval.low < 0.3


def test_a_growing_power_that_reaches_the_ceiling_within_the_ladder_is_not_ruled_out() -> None:
    """It was, where a curve had to stay within the range as far as anything may be asked for."""
    growing = ability(10 ** ((T - T[-1]) / 1.05), items=1000)
    (interval,) = from_cutoff(growing, 7).predicted
    assert interval.low < growing.values[-1] <= interval.high


def test_runs_that_differ_widen_what_is_foretold_from_the_same_means() -> None:
    p = 0.2 + 0.15 * (T - 18)
    means = shares(p, runs=1, items=2000)
    apart = np.array([-0.06, -0.02, 0.02, 0.06])
    alike, differing = (
        make_curve(10**T, means + by, what=SHARE, items=500, chance=0.0, axis="flops")
        for by in (0.1 * apart, apart)
    )
    first, second = (from_cutoff(curve, 6).predicted[0] for curve in (alike, differing))
    assert second.high - second.low > 1.5 * (first.high - first.low)


def test_a_metric_never_leaves_its_range_and_no_interval_is_without_width() -> None:
    """A cross-entropy of -34 was once foretold, from a loss that falls faster and faster."""
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal((len(T), 3))
    perplexity = MetricFacts("continuous", "down", "ratio", "log", least=1, likelihood="token")
    curves = [
        make_curve(10**T, (4 - 0.32 * (T - 18) ** 2)[:, None] + noise, what=LOSS, axis="flops"),
        make_curve(
            10**T, (-2.3 + 0.65 * (T - 18))[:, None] - abs(noise), what=LOGPROB, axis="flops"
        ),
        make_curve(10**T, 1 + 9 / (T - 17)[:, None] + abs(noise), what=perplexity, axis="flops"),
        make_curve(10**T, np.clip(0.2 * (T - 18), 0, 1), what=MEAN, axis="flops"),
        ability(np.minimum(1, 0.4 * (T - 18))),
    ]
    for curve in curves:
        (found,) = backtest(curve)
        assert found.predictions > 0, curve.what
        for interval in (i for forecast in found.forecasts for i in forecast.predicted):
            assert interval.low < interval.high
            assert interval.low <= interval.value <= interval.high
            if curve.what.least is not None:
                assert interval.low >= curve.what.least
            if curve.what.most is not None:
                assert interval.high <= curve.what.most


def test_where_no_honest_interval_can_be_given_none_is_and_a_line_says_why() -> None:
    line, flat = 0.2 + 0.2 * (T - 18), 0 * T + 0.25
    reasons = {
        "do not tell the noise": from_cutoff(ability(line, runs=1), 5),
        "3 scales; a forecast needs 4": from_cutoff(ability(line), 3),
        "it falls": from_cutoff(ability(0.9 - 0.2 * (T - 18)), 6),
        "the same value": from_cutoff(make_curve(10**T, 0 * T, what=MEAN, axis="flops"), 6),
        "more than three quarters of what the metric can be": from_cutoff(ability(flat), 4),
        "further off than the scales seen reach": predict(ability(line), np.array([1e30])),
    }
    for reason, told in reasons.items():
        assert reason in told.reason
        assert told.beyond
    assert reasons["it falls"].scales == reasons["it falls"].predicted == ()


def test_nothing_right_at_any_scale_below_is_something_to_foretell_from() -> None:
    """None of 500 is the usual floor of an ability that emerges; how many were asked is known."""
    told = from_cutoff(ability(0 * T), 6)
    assert told.scales == (10 ** T[6],)
    (interval,) = told.predicted
    assert (interval.low, interval.value) == pytest.approx((0, 0), abs=0.02)
    assert 0.1 < interval.high < 0.75  # A gradual rise may have begun behind the last of them.


def test_a_forecast_does_not_depend_on_what_else_is_asked_for() -> None:
    line = ability(0.1 + 0.1 * (T - 18))
    alone, among = (predict(line, np.array(asked)) for asked in ([1e22], [1e22, 1e24, 1e28]))
    first, same = alone.predicted[0], among.predicted[0]
    assert [first.low, first.high] == pytest.approx([same.low, same.high])
    assert among.beyond[-1] == 1e28


def test_a_rise_that_a_partner_explains_is_foretold_through_it() -> None:
    """Exact match of 12 tokens: nothing to be seen of its own curve, all of it in the tokens'."""
    p = 0.5 + 0.13 * (T - 18)
    noise = 0.002 * np.random.default_rng(1).standard_normal((len(T), 4))
    log_p = np.log(p)[:, None] + noise
    proxy = make_curve(10**T, log_p, metric="logprob_per_token", what=LOGPROB, axis="flops")
    exact = ability(p**12, items=2000)
    direct, through = backtest(exact, proxies=[proxy])
    assert (direct.method, through.method) == ("direct", "through logprob_per_token")
    assert direct.asked == through.asked == sum(range(1, 5))
    assert through.predictions > direct.predictions
    assert through.covered == through.predictions
    told = predict_through(below(proxy, 6), below(exact, 6), exact.x[6:]).predicted
    alone = from_cutoff(exact, 6).predicted
    assert told[-1].high - told[-1].low < 0.7 * (alone[-1].high - alone[-1].low)


def test_a_partner_that_says_nothing_of_the_ability_is_not_gone_through() -> None:
    flat = make_curve(10**T, 0 * T + 2.0, metric="loss", what=LOSS, axis="flops")
    told = predict_through(flat, ability(0.2 * (T - 18)), np.array([1e22]))
    assert told.scales == ()
    assert told.reason


def found_in(p: np.ndarray, chance: float = 0.25) -> AbilityFinding:
    values = shares(p, runs=3)
    rows = [
        TableRow(
            "add",
            float(value),
            metric="accuracy",
            n=500,
            chance=chance,
            what=SHARE,
            flops=float(10 ** (18 + 0.3 * k)),
            seed=str(seed),
            where=f"t.csv:{3 * k + seed + 2}",
        )
        for k, run in enumerate(values)
        for seed, value in enumerate(run)
    ]
    table = Table(rows)
    return examine(table, judge(curves_of(table, "flops")), alpha=0.05).abilities[0]


def test_a_surprise_is_what_no_gradual_curve_could_reach() -> None:
    sharp = found_in(np.array([0.25] * 5 + [0.9] * 4)).surprise
    assert sharp is not None
    assert sharp.holds is True
    assert sharp.predicted is not None
    assert sharp.measured is not None
    assert sharp.predicted.high < sharp.measured
    assert sharp.scale == pytest.approx(10**19.5)
    gradual = found_in(np.array([0.25] * 4 + [0.3, 0.38, 0.46, 0.54])).surprise
    assert gradual is not None
    assert gradual.holds is not True


def test_scales_that_were_measured_are_not_foretold() -> None:
    rows = [
        TableRow("t", 0.2 + 0.1 * k, "accuracy", n=500, what=SHARE, params=10.0**k, seed=s)
        for k in range(1, 7)
        for s in "ab"
    ]
    rows = [replace(row, where=f"t.csv:{index}") for index, row in enumerate(rows)]
    table = Table(rows)
    (told,) = foretell(table, curves_of(table, "params"), [1e3, 1e7])
    by_scale = {scale: forecast for forecast in told.forecasts for scale in forecast.scales}
    assert list(by_scale) == [1e7]
    (refused,) = [forecast for forecast in told.forecasts if forecast.beyond]
    assert (refused.beyond, refused.scales) == ((1e3,), ())
    assert "within the scales that were measured" in refused.reason
