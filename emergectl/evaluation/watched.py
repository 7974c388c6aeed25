"""The metric that chooses the best checkpoint and ends training early: `evaluation.best`.

Whether it is better high or low is the metric's own to say. Experiments written before it did put
a `-` before metrics that are better high: that is still read there, and refused before others.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emergectl.errors import ExperimentError, TrainingError
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.evaluation.metrics.definition import HeldOutKind
from emergectl.store.measurements import Measurement
from emergectl.tasks.objectives.objective import DataShape
from emergectl.tasks.resolve import ResolvedExperiment

if TYPE_CHECKING:
    from emergectl.tasks.learning.materials import HeldOutSet  # torch


def check_watched(resolved: ResolvedExperiment) -> None:
    """Raise ExperimentError where `evaluation.best` is not measured, or is asked to be bad."""
    spec, objective = resolved.experiment.evaluation, resolved.objective
    name = spec.best.removeprefix("-")
    if name.startswith("test/"):
        raise ExperimentError(
            "evaluation.best",
            "the test data is asked once, at the end, and chooses nothing; watch a metric of "
            f"`validation/…`, such as {name.replace('test/', 'validation/', 1)}",
        )
    names = held_out_names(objective.data, is_task=resolved.sequence_task is not None)
    if objective.data == "answer" and not resolved.learnt:
        names += _of_candidates()
    known = [*names]
    known += [] if resolved.learnt else [f"validation/{one}" for one in names]
    answers = held_out_names("answer", is_task=True)
    known += [f"{label}/{one}" for label in resolved.evaluated for one in answers]
    if spec.train_rows:
        known += [f"train/{one}" for one in names]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ExperimentError(
            "evaluation.best",
            f"no metric `{name}` with `{objective.name}`; there are: {', '.join(names)}{hint}",
        )
    directions = {metric.name: metric.facts.direction for metric in held_out_metrics()}
    if spec.best.startswith("-") and directions[name.rpartition("/")[2]] == "down":
        raise ExperimentError(
            "evaluation.best", f"`{name}` is better the lower it is: leave out the `-`"
        )


def check_measured(best: str, data: DataShape, sets: Sequence[HeldOutSet]) -> None:
    """Raise ExperimentError where `best` is of the few candidates for answers and there are none,
    which is known only when the data is read."""
    asked, _, metric = best.removeprefix("-").rpartition("/")
    has_candidates = any(one.candidates for one in sets if not asked or one.name == asked)
    if data == "answer" and metric in _of_candidates() and not has_candidates:
        raise ExperimentError(
            "evaluation.best",
            f"`{metric}` is of candidates, and what is held out has none: the answers to learn are "
            "not few, or not often there, or to ask for all of them would cost too much",
        )


def _of_candidates() -> list[str]:
    """The metrics that are taken of answers only where these are few."""
    answers = held_out_metrics("answers")
    return [one.name for one in held_out_metrics("candidates") if one not in answers]


def held_out_names(data: DataShape, *, is_task: bool) -> list[str]:
    """The metrics that are taken of held-out rows of a shape, without the name of their set.

    `is_task`: of the items of a task, whose right answers are known.
    """
    kinds: dict[DataShape, HeldOutKind] = {
        "clm": "answers" if is_task else "text",
        "mlm": "masked",
        "answer": "answers",
        "binary": "classes",
        "multiclass": "classes",
        "multilabel": "labels",
    }
    return [metric.name for metric in held_out_metrics(kinds[data])]


def watched_value(measured: Sequence[Measurement], best: str) -> float:
    """The value that `best` names, negated where higher is better, so that lower always is.

    Raises TrainingError where that was not measured.
    """
    name = best.removeprefix("-")
    for one in measured:
        if name in (one.metric, one.name):
            return -one.value if one.what.direction == "up" else one.value
    there = ", ".join(sorted(one.name for one in measured))
    raise TrainingError(f"evaluation.best: no metric `{name}`; measured are {there}")
