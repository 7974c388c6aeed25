"""How a sweep goes and how long it will take, told while it runs."""

import io
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from emergectl.cli.sweep_display import LiveSweepDisplay, SweepProgress
from emergectl.config.schema import Experiment
from emergectl.sweeps.folder import Planned, Standing
from emergectl.sweeps.plan import Plan
from emergectl.sweeps.watcher import Running


def course(
    now: list[float], trials: dict[str, dict[str, Any]], *, asks: object = None
) -> SweepProgress:
    made = [
        SimpleNamespace(id=key, experiment=experiment(fields)) for key, fields in trials.items()
    ]
    plan = cast(Plan, SimpleNamespace(trials=made, asks=asks))
    return SweepProgress(plan, [Planned(key, {}) for key in trials], clock=lambda: now[0])


def experiment(fields: dict[str, Any]) -> Experiment:
    data = {"train": {"task": "copying"}}
    model = {"family": "gpt2", "size": fields.pop("size", "10k")}
    return Experiment.model_validate({"model": model, "data": data, **fields})


def standings(keys: Iterable[str], **seconds: float) -> dict[str, Standing]:
    waiting = Standing(state="waiting")
    done = {key: Standing(state="done", seconds=seconds[key]) for key in seconds}
    return {key: done.get(key, waiting) for key in keys}


def test_before_any_trial_is_done_those_in_hand_tell_what_remains() -> None:
    now = [0.0]
    ours = course(now, {key: {"train": {"steps": 100}, "seed": ord(key)} for key in "abcd"})
    hand = {key: Running(key=key, steps=100) for key in "ab"}
    ours.update(hand, standings("abcd"))
    assert ours.remaining_seconds is None

    now[0] = 10.0
    hand["a"].step, hand["b"].step = 50, 20  # 20 s and 50 s for the whole
    ours.update(hand, standings("abcd"))
    assert ours.remaining_seconds == pytest.approx(35 * (0.5 + 0.8 + 1 + 1) / 2)


def test_steps_of_an_earlier_start_are_no_part_of_the_pace() -> None:
    now = [0.0]
    ours = course(now, {"a": {"train": {"steps": 100}}})
    hand = {"a": Running(key="a", step=80, steps=100)}
    ours.update(hand, standings("a"))
    now[0], hand["a"].step = 10.0, 90
    ours.update(hand, standings("a"))
    assert ours.remaining_seconds == pytest.approx(10.0)


def test_longer_trials_and_larger_models_are_expected_to_take_longer() -> None:
    budgets = {"a": ("10k", 1e6), "b": ("10k", 4e6), "c": ("30k", 1e6), "d": ("300k", 2e6)}
    ours = course([0.0], {k: {"size": s, "train": {"tokens": n}} for k, (s, n) in budgets.items()})
    ours.update({}, standings("abcd", a=11.0))
    assert ours.remaining_seconds == pytest.approx(11 * (4 + 1 + 2))
    # From here on: 10 s for a million tokens, and 1 s more for each 10,000 parameters.
    ours.update({}, standings("abcd", a=11.0, c=13.0))
    assert ours.remaining_seconds == pytest.approx(4 * 11 + 2 * (10 + 30))


def test_what_trials_are_asked_counts_once_it_was_seen_how_long_that_takes() -> None:
    now = [0.0]
    ours = course(now, {key: {"train": {"steps": 100}} for key in "abc"}, asks=object())
    hand = {"a": Running(key="a", step=100, steps=100, asking="addition: 1 of 10 items")}
    trained = {"a": Standing(state="trained", seconds=20.0, trained=True)}
    ours.update(hand, standings("abc", b=20.0) | trained)
    assert "0:20 left, and the asking" in ours.in_words()

    now[0] = 6.0  # a was asked for six seconds; b waits to be
    ours.update({}, standings("abc", a=20.0) | {"b": trained["a"]})
    assert ours.remaining_seconds == pytest.approx(20 + 6 + 6)
    assert "0:32 left" in ours.in_words()


def test_nothing_remains_when_all_is_done() -> None:
    ours = course([0.0], {"a": {}})
    ours.update({}, standings("a", a=3.0))
    assert ours.remaining_seconds == 0
    assert "left" not in " ".join(ours.in_words())


@pytest.mark.parametrize("width", [30, 60, 120])
def test_the_panel_shows_its_counts_and_the_time_that_is_left_whole(width: int) -> None:
    now = [0.0]
    ours = course(now, {key: {"train": {"steps": 100}, "seed": ord(key)} for key in "abcd"})
    hand = {"a": Running(key="a", step=0, steps=100)}
    ours.update(hand, standings("abcd", d=7.0))
    now[0], hand["a"].step = 10.0, 50
    ours.update(hand, standings("abcd", d=7.0))
    display = LiveSweepDisplay(ours, io.StringIO())
    screen = Console(width=width, file=io.StringIO())
    lines = [
        "".join(segment.text for segment in line).rstrip()
        for line in screen.render_lines(display._render(), screen.options)
    ]
    assert set(lines[0]) <= set("━╸╺ ")
    said = " ".join(" ".join(lines[1:]).split())
    for part in ours.in_words():
        assert part in said
    assert "left" in said
    assert "step 50/100" in said
