"""The rates that are promised: a few trials in every run of the suite, the real ones when asked."""

import math

import numpy as np
import pytest

from emergectl.analysis import calibration
from emergectl.analysis.calibration import Ladder, Rate, as_curves, measure
from emergectl.analysis.conditions import (
    AT_MOST_5,
    CLAIMS,
    COVERS,
    NOTHING,
    SHARP,
    WIDE,
    Claim,
    Promise,
)
from emergectl.analysis.simulated import simulate


def claims(*patterns: str) -> list[Claim]:
    found = [claim for claim in CLAIMS if any(p in claim.name for p in patterns)]
    assert found
    return found


def rates_of(*patterns: str, trials: int, **options: object) -> dict[str, Rate]:
    said = measure(claims(*patterns), trials=trials, **options)  # type: ignore[arg-type]
    return {rate.name: rate for progress in said for rate in progress.rates}


CONVEX = [
    f"false emergent: {name}{noise}"
    for name in ("growing power", "power law to a ceiling")
    for noise in ("", ", runs differ by 0.02")
]
"""a short ladder shows less than a decade of them; they end or begin without a plateau"""


def test_every_claim_has_a_name_of_its_own() -> None:
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) > 80


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if c.measure == "emergent"], ids=lambda c: c.name.split(": ")[1]
)
def test_what_must_not_be_called_emergent_is_no_sharp_rise(claim: Claim) -> None:
    """By the simulator's truth: as wide as the convention, or no rise that the ladder shows end."""
    for seed in range(5):
        truth = simulate(claim.condition, np.random.default_rng(seed)).truth
        assert math.isnan(truth.core) or truth.core >= 0.99 or claim.name in CONVEX


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.name)
def test_every_claim_can_be_measured(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SMOOTH", 3)
    monkeypatch.setattr(calibration, "EMERGENT", 2)
    (said,) = measure([claim], trials=1)
    assert said.done == 1
    assert len(said.rates) == len(claim.promises)
    for rate in said.rates:
        assert rate.name.startswith(claim.name)
        assert 0 <= rate.count <= rate.trials <= 5


def test_what_is_judged_is_what_was_drawn() -> None:
    drawn = simulate(SHARP, np.random.default_rng(0))
    exact, partner = as_curves(drawn)
    np.testing.assert_array_equal(exact.seed_values, drawn.correct / 500)
    assert (exact.chance, exact.items.tolist()) == (0.25, [2000] * 8)
    assert (exact.task, exact.what.kind) == (partner.task, "discontinuous")
    assert partner.what.kind == "continuous"
    np.testing.assert_array_equal(partner.seed_values, drawn.continuous)


def test_the_rates_are_the_same_in_two_processes_and_alone() -> None:
    names = ("false emergent: line", "sharp rise: 50 points")
    options = {"trials": 12, "ladder": Ladder(rungs=5, runs=1, items=100)}
    assert rates_of(*names, **options) == rates_of(*names, jobs=2, **options)  # type: ignore[arg-type]
    alone = rates_of("sharp rise: 50 points, a ramp", **options)  # type: ignore[arg-type]
    assert alone.items() <= rates_of(*names, **options).items()  # type: ignore[arg-type]


def test_another_ladder_is_drawn_and_what_is_found_on_it_is_no_promise() -> None:
    (sharp,) = claims("sharp rise: 50 points, a ramp")
    own = Ladder(rungs=5, runs=1, items=100).over(sharp)
    drawn = simulate(own.condition, np.random.default_rng(0))
    assert (drawn.correct.shape, drawn.items) == ((5, 1), 100)
    assert own.promises == {**sharp.promises, "found": NOTHING}
    assert Ladder().over(sharp) == sharp


def test_a_rate_holds_is_broken_or_open() -> None:
    assert Rate("x", 95, 100, COVERS).state == "holds"
    assert Rate("x", 400, 400, COVERS).state == "broken"
    assert Rate("x", 10, 10, COVERS).state == "open"
    # Newcombe's (1998) worked example of Wilson's interval: 81 of 263.
    assert Rate("x", 81, 263, AT_MOST_5).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert Rate("x", 0, 40, AT_MOST_5).state == "open"  # [0, .088] ends above .08
    assert Rate("x", 0, 50, AT_MOST_5).state == "holds"
    assert Rate("x", 20, 400, AT_MOST_5).state == "holds"
    assert Rate("x", 21, 400, AT_MOST_5).state == "broken"
    assert Rate("x", 20, 60, AT_MOST_5).state == "broken"
    assert Rate("x", 89, 100, Promise(low=0.9)).state == "open"
    assert Rate("x", 20, 60, NOTHING).state == ""
    assert Rate("x", 0, 0, AT_MOST_5).state == "open"


def test_smooth_abilities_are_hardly_ever_called_emergent() -> None:
    smooth = rates_of(
        *(f"false emergent: {name}" for name in ("line", "growing", "wide sigmoid", "exact")),
        trials=6,
    )
    false = smooth.values()
    assert sum(rate.count for rate in false) <= 0.15 * sum(rate.trials for rate in false)


def test_breaks_of_fifty_points_are_found_where_they_are() -> None:
    ramp = "sharp rise: 50 points, a ramp"
    found = rates_of(ramp, trials=12)
    assert found[f"{ramp}: found"].count >= 9
    assert found[f"{ramp}: position covered"].count >= 9
    assert found[f"{ramp}: position of no width"].count == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "false emergent: ramp",
        "false emergent: power law to a ceiling",
        "false emergent: onsets scatter by 0.3, 4 runs",
        "sharp rise: 50 points",
        "sharp rise: onsets scatter by 0.3",
        "false groups of seeds",
        "groups of seeds 30 points apart",
    ],
)
def test_no_promise_is_broken(name: str) -> None:
    rates = rates_of(name, trials=400, jobs=2)
    assert not [rate for rate in rates.values() if rate.state == "broken"]


def test_the_convention_is_the_hardest_case() -> None:
    assert simulate(WIDE, np.random.default_rng(0)).truth.core == pytest.approx(1, abs=2e-3)
