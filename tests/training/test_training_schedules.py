"""The learning rate over a run, and when something is due: pure functions of the step."""

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import torch

from emergectl.config.schema import ScheduleSpec
from emergectl.training.schedule import is_due, learning_rate_factor

STEPS = 100


def due_at(every: Any, step: int) -> bool:
    return is_due(every, step, steps_per_epoch=Fraction(7))


def factors(total: int | None = STEPS, **fields: Any) -> list[float]:
    spec = ScheduleSpec.model_validate(fields)
    return [
        learning_rate_factor(spec, step, total_steps=total, elapsed=step / STEPS)
        for step in range(STEPS)
    ]


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "wsd"])
def test_warm_up_rises_in_equal_steps_and_ends_at_the_peak(name: str) -> None:
    rates = factors(name=name, warmup_steps=10)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)


def test_cosine_is_half_way_down_in_the_middle_and_ends_above_the_lowest_rate() -> None:
    rates = factors(name="cosine", min_lr_ratio=0.1)
    assert rates[50] == pytest.approx(0.55)
    assert 0.1 < rates[-1] < 0.101
    assert rates == sorted(rates, reverse=True)


def test_cosine_is_what_torch_gives() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for ours in factors(name="cosine"):
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_linear_falls_evenly_from_the_end_of_warm_up() -> None:
    rates = factors(name="linear", warmup_steps=20, min_lr_ratio=0.2)
    falls = [before - after for before, after in itertools.pairwise(rates[20:])]
    assert falls == pytest.approx([0.8 / 80] * len(falls))


def test_wsd_stays_at_the_peak_until_its_decay() -> None:
    rates = factors(name="wsd", warmup_steps=10, decay_fraction=0.2)
    assert rates[10:81] == pytest.approx([1.0] * 71)
    assert rates[90] == pytest.approx(0.5)


def test_constant_never_falls() -> None:
    assert set(factors(name="constant")) == {1.0}


def test_without_a_number_of_steps_the_rate_follows_the_time() -> None:
    rates = factors(total=None, name="linear")
    assert rates[25] == pytest.approx(0.75)


def test_log_spaced_steps_are_eight_a_decade_without_doubles() -> None:
    due = [step for step in range(2000) if due_at("log", step)]
    assert due[:10] == [1, 2, 3, 4, 6, 7, 10, 13, 18, 24]
    assert [step for step in due if 100 <= step < 1000] == [100, 133, 178, 237, 316, 422, 562, 750]


def test_log_spaced_steps_are_the_rounded_powers_and_no_others() -> None:
    powers = {round(10 ** (k / 8)) for k in range(60)}
    largest = max(powers)
    for power in powers:
        assert due_at("log", power)
    for step in (5, 11, 99, 101, 999, 1001, largest - 1):
        assert not due_at("log", step) or step in powers
    assert math.isclose(largest, 10 ** (59 / 8), rel_tol=1e-6)


def test_a_number_a_list_and_null() -> None:
    assert [step for step in range(10) if due_at(3, step)] == [3, 6, 9]
    assert [step for step in range(10) if due_at([0, 4], step)] == [0, 4]
    assert not any(due_at(None, step) for step in range(10))


@pytest.mark.parametrize(
    ("rows", "batch_size", "steps"),
    [(44, 8, [6, 11, 17]), (8, 8, [1, 2, 3]), (9, 3, [3, 6, 9]), (4, 8, [1, 2, 3])],
)
def test_an_epoch_ends_with_the_step_that_takes_its_last_row(
    rows: int, batch_size: int, steps: list[int]
) -> None:
    epoch = Fraction(rows, batch_size)
    due = [step for step in range(20) if is_due("epoch", step, steps_per_epoch=epoch)]
    assert due[:3] == steps
