"""The families and shapes: fits against scipy's optimiser and against curves that are known."""

import numpy as np
import pytest
from metric_kinds import SCORE, SHARE
from scipy import optimize

from emergectl.analysis.curve_families import logistic_rise
from emergectl.analysis.curves import make_curve
from emergectl.analysis.shapes import fit_shapes

T = np.linspace(6, 9, 9)


def test_a_logistic_rises_from_10_to_90_percent_over_its_width() -> None:
    low, high = logistic_rise(np.array([6.5, 8.0]), np.array([7.25]), np.array([1.5]))
    assert (low, high) == pytest.approx((0.1, 0.9))


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
