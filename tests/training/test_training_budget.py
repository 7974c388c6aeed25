"""How long a run is, out of whichever budget the experiment gives."""

from typing import Any

import pytest

from emergectl.config.schema import TrainSpec
from emergectl.training.budget import DEFAULT_STEPS, Budget, plan_budget


def planned(**fields: Any) -> Budget:
    spec = TrainSpec.model_validate({"batch_size": 8, **fields})
    return plan_budget(spec, rows_per_epoch=100, tokens_per_step=512, flops_per_step=512_000.0)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"steps": 7}, 7),
        ({"tokens": 5120}, 10),
        ({"tokens": 5121}, 11),
        ({"tokens": 1}, 1),
        ({"epochs": 1}, 13),
        ({"epochs": 2.5}, 32),
        ({"flops": 5.12e6}, 10),
        ({}, DEFAULT_STEPS),
    ],
)
def test_a_budget_is_a_whole_number_of_steps_that_covers_it(
    fields: dict[str, Any], steps: int
) -> None:
    assert planned(**fields) == Budget(steps=steps, seconds=None)


def test_minutes_alone_know_no_steps_and_minutes_beside_steps_end_whichever_is_first() -> None:
    assert planned(minutes=2) == Budget(steps=None, seconds=120.0)
    both = planned(minutes=2, steps=50)
    assert both == Budget(steps=50, seconds=120.0)
    assert both.is_spent(50, 1.0)
    assert both.is_spent(3, 120.0)
    assert not both.is_spent(49, 119.0)


def test_what_is_over_goes_by_steps_and_by_time_where_there_are_none() -> None:
    assert Budget(steps=10, seconds=None).elapsed(5, 1e9) == 0.5
    assert Budget(steps=None, seconds=60.0).elapsed(10**9, 15.0) == 0.25
    assert Budget(steps=None, seconds=60.0).elapsed(0, 90.0) == 1.0
