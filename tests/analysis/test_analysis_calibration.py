"""The rates that are promised: a small sample in every run of the suite, a large one when asked."""

import numpy as np
import pytest

from emergectl.analysis.calibration import (
    COMPACT,
    SMOOTH,
    Ladder,
    Rate,
    all_rates,
    broken_ability,
    false_emergent,
    smooth_ability,
)
from emergectl.analysis.verdict import gather


@pytest.mark.parametrize("kind", SMOOTH)
def test_smooth_abilities_are_hardly_ever_called_emergent(kind: str) -> None:
    rng = np.random.default_rng(7)
    found = [gather(smooth_ability(kind, rng)).p_emergent <= 0.05 for _ in range(25)]
    assert sum(found) <= 4  # More would come up once in 150 times at a rate of 5%.


@pytest.mark.parametrize("kind", COMPACT)
def test_breaks_of_fifty_points_are_found_where_they_are(kind: str) -> None:
    rng = np.random.default_rng(8)
    found = covered = 0
    for _ in range(20):
        curve, truth = broken_ability(kind, rng)
        evidence = gather(curve)
        assert evidence.break_ is not None
        at = evidence.break_.position
        found += evidence.p_emergent <= 0.05
        covered += at.low <= 10**truth <= at.high
    assert found >= 17
    assert covered >= 16


def test_one_seed_of_many_items_does_not_make_a_power_law_emergent() -> None:
    (rate,) = false_emergent("power", 60, 3, ladder=Ladder(rungs=5, seeds=1, items=1000))
    assert rate.count <= 6  # More would come up once in 30 times at a rate of 5%.


def test_the_rates_are_the_same_in_one_process_and_in_two() -> None:
    ladder = Ladder(rungs=5, seeds=1, items=100)
    rates = [list(all_rates(2, ladder=ladder, workers=workers)) for workers in (1, 2)]
    assert rates[0] == rates[1]
    assert [r.low for r in rates[0] if r.name.startswith("breaks found")] == [0, 0]


def test_a_rate_outside_what_is_promised_does_not_hold() -> None:
    assert Rate("x", 95, 100, 0.92, 0.98).holds
    assert not Rate("x", 99, 100, 0.92, 0.98).holds


@pytest.mark.long
def test_every_rate_that_is_promised_holds() -> None:
    off = [rate for rate in all_rates(1000, workers=2) if not rate.holds]
    # Beyond what a thousand trials can tell.
    assert not [r for r in off if min(abs(r.rate - r.low), abs(r.rate - r.high)) > 2 * r.error]
