"""The families and shapes: fits against scipy's optimiser and against curves that are known."""

import numpy as np
import pytest
from metric_kinds import SCORE, SHARE
from scipy import optimize

from emergectl.analysis.curve_families import (
    broken_grid,
    explained,
    fit,
    hinge_rise,
    hinge_width,
    logistic_rise,
    project,
    smooth_grid,
    total_squares,
)
from emergectl.analysis.curves import make_curve
from emergectl.analysis.refine import refined_smooth_grid
from emergectl.analysis.shapes import fit_shapes

T = np.linspace(6, 9, 9)


def test_a_logistic_rises_from_10_to_90_percent_over_its_width() -> None:
    low, high = logistic_rise(np.array([6.5, 8.0]), np.array([7.25]), np.array([1.5]))
    assert (low, high) == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize("power", [0.0, 0.25, 1.0, 4.0])
def test_a_hinge_rises_from_10_to_90_percent_of_what_is_measured_over_its_width(
    power: float,
) -> None:
    t = np.linspace(0, 3, 300_001)
    rise = hinge_rise(t, np.array([1.0]), np.array([power]))
    share = rise / rise[-1]
    seen = t[np.searchsorted(share, 0.9)] - t[np.searchsorted(share, 0.1)]
    assert hinge_width(np.array(1.0), np.array(power), 3.0) == pytest.approx(seen, abs=1e-4)


def test_the_squares_left_are_those_of_weighted_least_squares() -> None:
    rng = np.random.default_rng(0)
    weights, y = rng.uniform(1, 5, len(T)), np.sort(rng.normal(size=len(T)))
    projector = project(smooth_grid(T), weights)
    squares = total_squares(weights, y) - explained(projector, y)
    for node in rng.integers(0, len(squares), 20):
        design = np.stack([np.ones(len(T)), projector.grid.shapes[node]], axis=1)
        root = np.sqrt(weights)
        found, rest, *_ = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)
        if found[1] > 0 and len(rest):
            assert squares[node] == pytest.approx(rest[0], rel=1e-6, abs=1e-9)


def test_the_smooth_family_fits_as_well_as_an_optimiser_finds_at_any_precision() -> None:
    rng = np.random.default_rng(1)
    for noise in (0.03, 0.01, 0.003, 0.001) * 3:
        weights = np.full(len(T), 1 / noise**2)
        position, width = rng.uniform(6.5, 8.5), rng.uniform(1.2, 2.5)
        y = 0.1 + 0.6 * logistic_rise(T, np.array([position]), np.array([width]))
        y = y + noise * rng.standard_normal(len(T))
        gained = explained(project(refined_smooth_grid(T, y, weights), weights), y).max()

        def rest(p: np.ndarray, y: np.ndarray = y, noise: float = noise) -> np.ndarray:
            return (p[0] + p[1] * logistic_rise(T, p[2:3], p[3:4]) - y) / noise

        best = 2 * optimize.least_squares(rest, [0.1, 0.6, position, width]).cost
        assert total_squares(weights, y) - gained < best + 0.05


def test_no_shape_explains_more_than_there_is_however_unequal_the_weights() -> None:
    y = np.array([0.0, 0.605, 0.878, 0.94, 0.963])
    for first in (1.0, 1e2, 1e4, 1e6):
        weights = np.array([2.0 * first, 4, 4, 4, 4]) * 1e3
        t = 6 + 1.14 * np.arange(5)
        for grid in (refined_smooth_grid(t, y, weights), broken_grid(t)):
            gained = explained(project(grid, weights), y).max()
            assert gained <= total_squares(weights, y) * (1 + 1e-9)


def test_a_step_is_fitted_by_the_broken_family_alone() -> None:
    y, weights = np.where(T > 7.4, 0.7, 0.1), np.full(len(T), 1e4)
    assert fit(project(broken_grid(T), weights), y).squares < 1
    assert fit(project(smooth_grid(T), weights), y).squares > 100


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("line", 0.1 + 0.2 * (T - 6)),
        ("power", 0.9 - 0.8 * 10 ** (-0.6 * (T - 6))),
        ("sigmoid", 0.05 + 0.8 / (1 + np.exp(-4 * (T - 7.6)))),
        ("hinge", 0.05 + 0.5 * np.maximum(T - 7.7, 0)),
    ],
)
def test_the_shape_that_made_a_curve_has_the_largest_weight(name: str, values: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    curve = make_curve(10**T, rng.binomial(20_000, values) / 20_000, items=20_000, what=SHARE)
    shapes = fit_shapes(curve)
    assert shapes[0].form.name == name
    assert sum(shape.weight for shape in shapes) == pytest.approx(1)
    assert shapes[0].left_out_error < 0.03
    np.testing.assert_allclose(shapes[0].at(T), shapes[0].values)


def test_a_broken_power_law_is_found_with_its_break_and_its_exponent() -> None:
    t = np.linspace(2, 5, 25)
    y = 0.75 * (1 - (1 + 10 ** ((t - 3) / 0.05)) ** (-0.5 * 0.05))
    curve = make_curve(10**t, y, items=10**6, what=SHARE)
    broken = next(s for s in fit_shapes(curve) if s.form.name == "broken")
    assert broken.weight > 0.99
    assert broken.parameters["position"] == pytest.approx(3, abs=0.01)
    assert broken.parameters["power"] == pytest.approx(0.5, abs=0.02)
    assert broken.parameters["height"] == pytest.approx(0.75, abs=0.01)


def test_the_sigmoid_fits_as_well_as_scipys_curve_fit() -> None:
    rng = np.random.default_rng(3)
    truth = 0.1 + 0.7 / (1 + np.exp(-3 * (T - 7.3)))
    curve = make_curve(10**T, truth + 0.01 * rng.standard_normal(len(T)), what=SCORE)
    sigmoid = next(s for s in fit_shapes(curve) if s.form.name == "sigmoid")

    def model(t: np.ndarray, a: float, b: float, c: float, k: float) -> np.ndarray:
        return a + b / (1 + np.exp(-k * (t - c)))

    sizes = 1 / np.sqrt(_weights(curve))
    best, _ = optimize.curve_fit(model, T, curve.level, [0.1, 0.7, 7.3, 3], sigma=sizes)
    assert sigmoid.parameters["position"] == pytest.approx(best[2], abs=2e-3)
    assert sigmoid.parameters["height"] == pytest.approx(best[1], abs=2e-3)


def _weights(curve):  # type: ignore[no-untyped-def]
    from emergectl.analysis.shapes import rung_weights

    return rung_weights(curve)[0]
