"""The simulator that error rates are measured on: its truth, by other means than its own."""

import ast
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import signal, stats

from emergectl.analysis import simulated, simulated_shapes
from emergectl.analysis.simulated import (
    Condition,
    answers,
    simulate,
    simulate_losses,
    simulate_more,
    simulate_seeds,
    simulate_together,
)
from emergectl.analysis.simulated_shapes import SHAPES


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("module", [simulated, simulated_shapes])
def test_the_simulator_shares_nothing_with_the_analysis(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "")
    standard = {"__future__", "collections.abc", "dataclasses", "math", "typing"}
    assert named <= standard | {"numpy", "numpy.typing", "emergectl.analysis.simulated_shapes"}


DENSITIES = {
    "logistic": stats.logistic,
    "ramp": stats.uniform,
    "cauchy": stats.cauchy,
    "gompertz": stats.gumbel_r,
    "gompertz reversed": stats.gumbel_l,
    "square": stats.beta(2, 1),
    "square root": stats.beta(0.5, 1),
    "exponential": stats.expon,
}


@pytest.mark.parametrize("shape", DENSITIES)
def test_rises_are_the_distributions_that_they_are_called_after(shape: str) -> None:
    peer = DENSITIES[shape]
    wide = 0.5 / (peer.ppf(0.9) - peer.ppf(0.1))
    t = np.linspace(0, 4, 41)
    ours = SHAPES[shape](t, 4.0, 1.7, 0.5)
    np.testing.assert_allclose(ours, peer.cdf((t - 1.7) / wide + peer.median()), atol=1e-6)


@pytest.mark.parametrize("shape", DENSITIES)
def test_the_truth_is_what_half_a_million_draws_say(shape: str) -> None:
    """Of draws from the density those on the ladder are kept: their quantiles, and the shortest
    stretch that holds four fifths of them."""
    peer = DENSITIES[shape]
    wide = 0.8 / (peer.ppf(0.9) - peer.ppf(0.1))
    drawn = 1.6 + wide * (peer.rvs(size=500_000, random_state=1) - peer.median())
    shown = np.sort(drawn[(drawn >= 0) & (drawn <= 4)])
    low, middle, high = np.quantile(shown, [0.1, 0.5, 0.9])
    held = int(0.8 * len(shown))
    truth = simulate(Condition((shape,), width=(0.8, 0.8), position=(0.4, 0.4)), rng()).truth
    assert truth.position == pytest.approx(6 + middle, abs=4e-3)
    assert truth.width == pytest.approx(high - low, abs=8e-3)
    assert truth.core == pytest.approx((shown[held:] - shown[:-held]).min(), abs=8e-3)


@pytest.mark.parametrize("shape", DENSITIES)
@pytest.mark.parametrize("of", ["10-90", "core"])
def test_a_width_can_be_stated_as_what_the_ladder_shows(shape: str, of: str) -> None:
    condition = Condition((shape,), position=(0.3, 0.3), width_of=of)  # type: ignore[arg-type]
    truth = simulate(condition, rng()).truth
    assert (truth.core if of == "core" else truth.width) == pytest.approx(1, abs=5e-3)


def test_shapes_that_do_not_level_off_are_as_they_say() -> None:
    t = np.linspace(0, 4, 401)

    def at(shape: str, width: float) -> np.ndarray:
        return SHAPES[shape](t, 4.0, 2.0, width)

    late = at("late line", 1.6)
    np.testing.assert_allclose([late[240], late[320], late[400]], [0, 0.5, 1], atol=1e-12)
    soft = at("late softplus", 2.5)
    assert 0 < soft[100] < 0.01 and soft[-1] == 1  # noqa: PT018
    assert np.diff(soft)[-1] == pytest.approx(0.01 / 2.5, rel=0.03)
    np.testing.assert_allclose(at("growth", 2.0)[[0, 200, 400]], [0.01, 0.1, 1])
    np.testing.assert_allclose(at("approach", 2.0)[[0, 200, 400]], [0, 0.9, 0.99])
    u = at("fall and rise", 1.0)
    assert u[0] > u.min() + 0.2
    assert u[-1] > u[0] + 0.5
    stairs = simulate(Condition(("staircase",), width=(1.1, 1.1)), rng()).truth
    assert stairs.width == pytest.approx(1.1, abs=2e-3)
    assert math.isnan(simulate(Condition(("flat",)), rng()).truth.position)


def test_counts_have_the_mean_and_variance_that_the_condition_says() -> None:
    base = Condition(("ramp",), position=(0.5, 0.5), width=(0.5, 0.5), runs=(6000,), rungs=(5,))
    p = np.array([0.25, 0.25, 0.5, 0.75, 0.75])
    plain = simulate(base, rng())
    np.testing.assert_allclose(plain.shares.mean(axis=1), p, atol=0.003)
    for change, variance in (
        ({}, p * (1 - p) / 500),
        ({"cluster": 5, "design_effect": 3.0}, 3 * p * (1 - p) / 500),
        ({"cluster": 5, "design_effect": 5.0}, 5 * p * (1 - p) / 500),
        ({"skill": 0.03}, p * (1 - p) / 500 + 0.03**2),
    ):
        found = simulate(replace(base, **change), rng())  # type: ignore[arg-type]
        np.testing.assert_allclose(found.shares.var(axis=1), variance, rtol=0.09)


def test_onsets_scatter_along_the_axis() -> None:
    scattered = Condition(
        ("ramp",), width=(3.2, 3.2), position=(0.5, 0.5), onset=0.2, runs=(20_000,), rungs=(5,)
    )
    slope = 0.5 / 4
    middle = simulate(scattered, rng()).shares[2]
    assert middle.var() == pytest.approx(0.25 / 500 + (0.2 * slope) ** 2, rel=0.05)


def test_a_share_of_clusters_that_does_not_come_out_even_is_answered_in_full() -> None:
    assert answers(np.ones(3), 502, rng(), cluster=5, effect=2.0).tolist() == [502] * 3
    assert simulate(Condition(("flat",), stated=4.0), rng()).stated == 2000


def test_a_mirage_is_a_power_of_what_its_partner_tells() -> None:
    mirage = Condition(
        ("logistic",), chance=(0.0,), partner="tokens", items=(100_000,), partner_noise=1e-9
    )
    drawn = simulate(mirage, rng())
    assert drawn.continuous is not None
    np.testing.assert_allclose(drawn.shares, np.exp(20 * drawn.continuous), atol=0.01)
    assert drawn.continuous_truth is not None
    assert drawn.truth.width < 1 < drawn.continuous_truth.width


def test_a_partner_of_the_same_rise_rises_where_the_ability_does() -> None:
    drawn = simulate(Condition(("ramp",), width=(0.3, 0.3), partner="same rise"), rng())
    assert drawn.continuous is not None
    assert drawn.continuous_truth == drawn.truth
    assert (drawn.continuous <= 0).all()
    assert np.corrcoef(drawn.shares.ravel(), drawn.continuous.ravel())[0, 1] > 0.99


def test_abilities_of_the_same_runs_scatter_together() -> None:
    flat = Condition(("flat",), chance=(0.5,), skill=0.1, items=(100_000,), runs=(500,))
    for correlation in (0.0, 0.5):
        first, second = simulate_together([flat, flat], rng(), correlation=correlation)
        seen = np.corrcoef(first.shares.ravel(), second.shares.ravel())[0, 1]
        assert seen == pytest.approx(correlation, abs=0.04)


@pytest.mark.parametrize("spread", ["beta", "logit-normal", "power", "triangle", "two humps"])
def test_runs_have_one_hump_or_two_as_said(spread: str) -> None:
    """Counted on a smooth density of many runs."""
    drawn = simulate_seeds(spread, rng(), runs=3000, items=2000)  # type: ignore[arg-type]
    modes = []
    for shares in drawn.shares:
        # Bounded by 0 and 1, humps may stand at either end: mirror there.
        mirrored = np.concatenate([-shares, shares, 2 - shares])
        heights = stats.gaussian_kde(mirrored, 0.07)(np.linspace(-0.05, 1.05, 56))
        modes.append(len(signal.find_peaks(heights, prominence=0.2 * heights.max())[0]))
    assert max(modes) == (2 if spread == "two humps" else 1)


def test_losses_fall_to_a_floor() -> None:
    _, losses = simulate_losses(rng(), rungs=9, runs=1, decades=20, noise=0.0)
    assert (np.diff(losses[:, 0]) < 0).all()
    assert losses[-1, 0] > 1.4


def test_more_runs_of_an_ability_rise_where_the_first_did() -> None:
    """At its own scales their mean is that of the first; between and beyond, the rise's."""
    condition = Condition(("ramp",), width=(0.8, 0.8), position=(0.5, 0.5), runs=(2000,))
    drawn = simulate(condition, rng())
    again = simulate_more(drawn, condition, np.repeat(np.log10(drawn.scales), 2000), 500, rng())
    means = again.reshape(8, 2000).mean(axis=1) / 500
    np.testing.assert_allclose(means, drawn.shares.mean(axis=1), atol=0.003)
    inner = simulate_more(drawn, condition, np.array([5.0, 7.75, 8.0, 11.0]), 1_000_000, rng())
    np.testing.assert_allclose(inner / 1e6, [0.25, 0.375, 0.5, 0.75], atol=0.003)
    scattered = replace(condition, onset=0.1)
    middle = simulate_more(drawn, scattered, np.full(20_000, 8.0), 100_000, rng()) / 100_000
    assert middle.std() == pytest.approx(0.5 * 0.1, rel=0.05)
