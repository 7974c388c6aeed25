"""How long a sweep will take, told while it runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from emergectl.cli.sweep_display import Course
from emergectl.sweeps.driver import Running
from emergectl.sweeps.folder import Planned, Standing
from emergectl.sweeps.plan import Plan


def course(now: list[float], keys: str) -> Course:
    plan = cast(Plan, SimpleNamespace(trials=()))
    return Course(plan, [Planned(key, {}) for key in keys], clock=lambda: now[0])


def standings(keys: str, **known: Any) -> dict[str, Standing]:
    return {key: known.get(key, Standing(state="waiting")) for key in keys}


def test_before_any_trial_is_done_those_in_hand_tell_what_remains() -> None:
    now = [0.0]
    ours = course(now, "abcd")
    hand = {key: Running(key=key, steps=100, began=0.0) for key in "ab"}
    now[0] = 10.0
    ours.update(hand, standings("abcd"))
    assert ours.remaining_seconds is None

    hand["a"].step, hand["b"].step = 50, 20  # 20 s and 50 s for the whole
    ours.update(hand, standings("abcd"))
    assert ours.remaining_seconds == pytest.approx((10 + 40 + 35 + 35) / 2)


def test_trials_that_are_done_tell_more_than_the_pace_of_those_in_hand() -> None:
    now = [100.0]
    ours = course(now, "ab")
    hand = {"b": Running(key="b", step=50, steps=100, began=0.0)}
    ours.update(hand, standings("ab", a=Standing(state="done", seconds=30.0)))
    assert ours.remaining_seconds == pytest.approx(15.0)


def test_nothing_remains_when_all_is_done() -> None:
    ours = course([0.0], "a")
    ours.update({}, standings("a", a=Standing(state="done", seconds=3.0)))
    assert ours.remaining_seconds == 0
    assert "left" not in " ".join(ours.in_words())
