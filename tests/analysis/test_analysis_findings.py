"""Metric pairs, seeds, time, axes, scaling laws, tails: against what is known."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from metric_kinds import LOGPROB, SHARE

from emergectl.analysis.axis import loss_at_appearance, score_axes
from emergectl.analysis.curve_families import logistic_rise
from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.lags import lag, lags
from emergectl.analysis.metric_pair import explain_by_power, pair_up
from emergectl.analysis.scaling import fit_law, fit_law_with_intervals, isoflop
from emergectl.analysis.table import TableRow
from emergectl.analysis.tails import fit_tail
from emergectl.analysis.verdict import judge

T = np.linspace(6, 9.5, 8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rise(at: float, width: float, *, over: np.ndarray = T) -> np.ndarray:
    return logistic_rise(over, np.array([at]), np.array([width]))


def over_t(values: object, **options: object) -> Curve:
    return make_curve(10**T, values, **{"what": SHARE, **options})  # type: ignore[arg-type]


def test_exact_match_of_five_tokens_is_explained_by_the_log_probability() -> None:
    p = 0.3 + 0.65 * (T - 6) / 3.5
    exact = over_t(rng().binomial(2000, p**5) / 2000, items=2000, chance=0.0, metric="exact_match")
    smooth = over_t(np.log(p), metric="logprob_per_token", what=LOGPROB)
    made = explain_by_power(exact, smooth)
    assert made is not None
    assert made.length == pytest.approx(5, abs=0.3)
    assert made.share > 0.99


def test_two_metrics_that_rise_together_have_no_lag() -> None:
    step = np.tile(np.where(T > 7.7, 0.6, 0.01)[:, None], 4)
    jump = over_t(step, items=1000, chance=0.0, metric="exact_match")
    sharp = over_t(np.log(0.2 + step), metric="logprob_per_token", what=LOGPROB)
    level = over_t(
        -2 + 0.01 * rng().standard_normal((len(T), 4)), metric="logprob_per_token", what=LOGPROB
    )
    found = judge([jump, sharp, level])
    lag = pair_up(found[0], found[1]).lag_decades
    assert lag is not None
    assert lag.low < 0 < lag.high
    assert pair_up(found[0], found[2]).lag_decades is None  # what does not rise cannot lag


def test_the_lag_of_a_grokking_run_holds_what_it_was() -> None:
    steps = np.geomspace(10, 1e5, 33)

    def run(at: float, task: str) -> Curve:
        values = rng().binomial(2000, 0.01 + 0.98 * rise(np.log10(at), 0.2, over=np.log10(steps)))
        known = {"items": 2000, "chance": 0.01, "what": SHARE}
        return make_curve(steps, values / 2000, task=task, axis="step", **known)

    train, test = judge([run(200, "train"), run(9000, "test")])
    found = lag(test, train, rng())
    assert (found.first, found.second) == ("train/accuracy", "test/accuracy")
    assert found.lag.low < 8800 < found.lag.high
    assert found.p_first > 0.99
    assert "test/accuracy follows train/accuracy" in found.sentence
    assert [x.second for x in lags([test, train], rng())] == ["test/accuracy"]


def test_a_law_is_recovered_from_runs_that_follow_it() -> None:
    n, d = 10 ** np.random.default_rng(0).uniform([[7], [9]], [[10], [11]], (2, 80))
    law = fit_law(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
    np.testing.assert_allclose([law.E, law.alpha, law.beta], [1.7, 0.34, 0.28], rtol=0.01)
    assert law.params_exponent == pytest.approx(0.28 / 0.62, rel=0.01)
    # The optimum for a budget is where no other size does better.
    best = law.optimal_params(1e21)
    tried = best * np.array([0.9, 1, 1.1])
    assert law.loss(tried, 1e21 / 6 / tried).argmin() == 1


def chinchilla(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = list(csv.DictReader(file.open()))
    n, flops, loss = (
        np.array([float(r[k]) for r in rows]) for k in ("Model Size", "Training FLOP", "loss")
    )
    keep = np.argsort(loss)[:-5]
    return n[keep], flops[keep], loss[keep]


def test_the_chinchilla_refit_is_the_published_one(published: Callable[[str], Path]) -> None:
    n, flops, loss = chinchilla(published("chinchilla_epoch/svg_extracted_data.csv"))
    law = fit_law(n, flops / 6 / n, loss)
    assert law.objective == pytest.approx(0.00101827, rel=1e-4)
    assert pytest.approx(477.84, rel=1e-3) == law.A
    assert pytest.approx(2143.86, rel=1e-3) == law.B
    published_exponents = [1.8172, 0.34731, 0.36718]
    np.testing.assert_allclose([law.E, law.alpha, law.beta], published_exponents, rtol=1e-4)
    optima = isoflop(n, flops, loss)
    assert optima.exponent == pytest.approx(0.5, abs=0.05)
    assert "biased" in optima.caution


@pytest.mark.long
def test_the_errors_of_the_chinchilla_refit_are_the_published_ones_to_15_percent(
    published: Callable[[str], Path],
) -> None:
    n, flops, loss = chinchilla(published("chinchilla_epoch/svg_extracted_data.csv"))
    fit = fit_law_with_intervals(n, flops / 6 / n, loss, rng(), draws=1000)
    errors = {"A": 124.52, "B": 1293.28, "E": 0.02566, "alpha": 0.01540, "beta": 0.02060}
    for name, error in errors.items():
        assert fit.standard_errors[name] == pytest.approx(error, rel=0.15)


def test_published_tails_are_found(published: Callable[[str], Path]) -> None:
    blackouts = np.loadtxt(published("powerlaw_shared/blackouts.txt")) / 1000
    tail = fit_tail(blackouts, discrete=False)
    assert (round(tail.alpha, 1), tail.xmin, tail.points) == (2.3, 230, 59)
    terrorism = np.loadtxt(published("powerlaw_shared/terrorism.txt"))
    tail = fit_tail(terrorism, discrete=True)
    assert (round(tail.alpha, 1), tail.xmin, tail.points) == (2.4, 12, 547)
    assert tail.against["lognormal"] == pytest.approx((-0.278, 0.78), abs=0.01)


def models_on_loss() -> list[TableRow]:
    rows = []
    for params in (1e7, 1e8, 1e9, 1e10):
        for tokens in np.geomspace(1e8, 1e11, 8):
            loss = 1.7 + 400 / params**0.34 + 410 / tokens**0.28
            value = float(1 / (1 + np.exp((loss - 3.2) / 0.1)))
            rows.append(
                TableRow(
                    "t",
                    value,
                    "acc",
                    f"{params:g}",
                    what=SHARE,
                    params=params,
                    tokens=tokens,
                    loss=float(loss),
                    chance=0.0,
                )
            )
    return rows


def test_the_axis_that_made_the_ability_explains_it_best() -> None:
    scores = score_axes(models_on_loss(), rng())
    assert scores[0].axis == "loss"
    assert scores[0].best > 0.9
    assert {s.axis for s in scores} == {"loss", "params", "tokens", "flops"}
    found = loss_at_appearance(models_on_loss(), rng())
    assert 2.7 < found.low < 3.2 < found.high < 3.6


def test_too_few_models_for_an_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="3 models"):
        score_axes([replace(row, model="one") for row in models_on_loss()], rng())
