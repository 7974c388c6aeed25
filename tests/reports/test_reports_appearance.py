"""The rule for the step at which an ability appears: sharp, noisy, never, always, lost again."""

import math
import random
from collections.abc import Sequence

import pytest

from emergectl.reports.appearance import ability_line, find_appearance

CHANCE = 1 / 16


def step_of(
    steps: Sequence[float], values: Sequence[float], *, chance: float | None = None
) -> int | None:
    return find_appearance(steps, values, chance=chance).step


def curve(
    at: float, *, points: int = 80, noise: float = 0.0, sharpness: float = 2.0, seed: int = 0
) -> tuple[list[int], list[float]]:
    """Accuracy on `points` evaluations 25 steps apart, rising from chance to 0.98 at step `at`."""
    noisy = random.Random(seed)
    steps = [25 * (i + 1) for i in range(points)]
    rise = [1 / (1 + math.exp(min(700.0, -(s - at) / (25 * sharpness)))) for s in steps]
    values = [CHANCE + (0.98 - CHANCE) * r + noisy.gauss(0, noise) for r in rise]
    return steps, values


def test_it_appears_at_the_first_step_above_half_way_between_chance_and_plateau() -> None:
    steps = [100, 200, 300, 400, 500, 600, 700, 800]
    values = [0.0, 0.1, 0.0, 0.49, 0.51, 0.9, 1.0, 1.0]
    assert find_appearance(steps, values, chance=0.0).threshold == pytest.approx(0.5)
    assert step_of(steps, values, chance=0.0) == 500


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_step_by_one_evaluation_at_most(seed: int) -> None:
    steps, values = curve(1000, noise=0.05, seed=seed)
    found = step_of(steps, values, chance=CHANCE)
    assert found is not None
    assert abs(found - 1000) <= 50


@pytest.mark.parametrize("chance", [None, CHANCE])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_an_ability_that_never_comes_is_not_found_in_noise(
    chance: float | None, noise: float
) -> None:
    found = [step_of(*curve(1e9, noise=noise, seed=s), chance=chance) for s in range(200)]
    assert sum(step is not None for step in found) <= 2


def test_an_ability_that_was_always_there_is_present_from_the_first_evaluation() -> None:
    ability = find_appearance([0, 10, 20, 30, 40], [0.9, 0.92, 0.91, 0.9, 0.93], chance=0.25)
    assert (ability.kind, ability.step) == ("present", 0)


def test_without_chance_a_flat_curve_shows_no_ability_however_high() -> None:
    assert step_of([0, 10, 20, 30, 40], [0.9, 0.9, 0.9, 0.9, 0.9]) is None


def test_without_chance_the_floor_is_where_the_curve_begins() -> None:
    steps, values = curve(990)
    assert step_of(steps, values) == step_of(steps, values, chance=CHANCE)


def test_one_lucky_evaluation_is_no_ability_and_one_unlucky_one_does_not_end_it() -> None:
    steps, values = curve(1000)
    expected = step_of(steps, values, chance=CHANCE)
    values[10], values[60] = 0.95, 0.05
    assert step_of(steps, values, chance=CHANCE) == expected
    values = curve(1e9)[1]
    values[-1] = 0.9
    assert step_of(steps, values, chance=CHANCE) is None


def test_an_ability_that_is_lost_and_comes_back_counts_from_its_return() -> None:
    steps = list(range(0, 400, 10))
    values = [0.0] * 10 + [1.0] * 10 + [0.0] * 10 + [1.0] * 10
    assert step_of(steps, values, chance=0.0) == 300


def test_an_ability_that_is_lost_for_good_is_absent() -> None:
    values = [0.0] * 10 + [1.0] * 10 + [0.0] * 20
    assert step_of(list(range(40)), values, chance=0.0) is None


def test_it_may_appear_at_the_second_evaluation() -> None:
    assert step_of([1, 2, 4, 8, 16, 32], [0.0, 1, 1, 1, 1, 1], chance=0.0) == 2


def test_it_may_appear_two_evaluations_before_the_end() -> None:
    assert step_of([1, 2, 4, 8, 16, 32], [0.0, 0, 0, 0, 1, 1], chance=0.0) == 16


def test_order_repeats_and_missing_values_do_not_matter() -> None:
    steps, values = curve(1000)
    expected = step_of(steps, values, chance=CHANCE)
    points = list(zip(steps, values, strict=True))
    random.Random(1).shuffle(points)
    points = [(500, 0.99), (1700, math.nan), *points]  # told again later; not a number
    assert step_of(*map(list, zip(*points, strict=True)), chance=CHANCE) == expected


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_evaluations_show_nothing(count: int) -> None:
    assert step_of(list(range(count)), [0.0, 1.0, 1.0, 1.0][:count], chance=0.0) is None


def test_the_line_says_at_which_step_and_by_which_rule() -> None:
    steps, values = curve(1000)
    assert ability_line("copying", steps, values, chance=CHANCE) == (
        "copying appears at step 1,000: from there on above 0.52, half way from chance (0.06) "
        "to its plateau (0.98)"
    )


def test_the_line_says_that_nothing_appeared_or_that_it_was_there_already() -> None:
    steps, values = curve(1e9)
    assert ability_line("copying", steps, values, chance=CHANCE) == (
        "copying does not appear within 2,000 steps: 0.06 at the end, against chance (0.06)"
    )
    line = ability_line("copying", steps, [0.9] * len(steps), chance=CHANCE)
    assert line.startswith("copying is there from the first evaluation on (step 25)")
    assert ability_line("copying", [], []) == "copying was never measured"


@pytest.mark.parametrize("steps", [[300], [0, 100, 200, 300]])
def test_what_was_measured_too_few_times_for_the_rule_is_said_as_a_value(steps: list[int]) -> None:
    values = [0.0, 0.5, 0.75, 0.81][-len(steps) :]
    assert ability_line("test/accuracy", steps, values, chance=0.5) == (
        "test/accuracy is 0.81 at step 300, against chance (0.50)"
    )
    assert ability_line("test/f1", steps, values) == "test/f1 is 0.81 at step 300"
