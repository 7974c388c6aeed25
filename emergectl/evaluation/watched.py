"""The metric that chooses the best checkpoint and ends training early: `evaluation.best`.

Whether it is better high or low is the metric's own to say. Experiments written before it did put
a `-` before metrics that are better high: that is still read there, and refused before others.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from emergectl.config.schema import Experiment
from emergectl.errors import ExperimentError, TrainingError
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.evaluation.metrics.definition import HeldOutKind
from emergectl.store.measurements import Measurement
from emergectl.tasks.resolve import Name, asked_tasks, known_model_type, objective_name


def check_watched(experiment: Experiment) -> None:
    """Raise ExperimentError where `evaluation.best` is not measured, or is asked to be bad."""
    if experiment.stage == "evaluate":
        return
    objective = objective_name(experiment, known_model_type(experiment))
    asked = asked_tasks(experiment, objective)
    names = held_out_names(objective, is_task=asked.sequence_task is not None)
    known = [*names] if asked.learnt else [*names, *(f"validation/{name}" for name in names)]
    answers = held_out_names("answer", is_task=True)
    known += [f"{label}/{name}" for label in asked.evaluated for name in answers]
    if experiment.evaluation.train_rows:
        known += [f"train/{name}" for name in names]
    best = experiment.evaluation.best
    name = best.removeprefix("-")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ExperimentError(
            "evaluation.best",
            f"no metric `{name}` with `{objective}`; there are: {', '.join(names)}{hint}",
        )
    directions = {metric.name: metric.facts.direction for metric in held_out_metrics()}
    if best.startswith("-") and directions[name.rpartition("/")[2]] == "down":
        raise ExperimentError(
            "evaluation.best", f"`{name}` is better the lower it is: leave out the `-`"
        )


def held_out_names(objective: Name, *, is_task: bool) -> list[str]:
    """The metrics that are taken of held-out rows, without the name of their set."""
    kinds: dict[Name, HeldOutKind] = {
        "clm": "answers" if is_task else "text",
        "mlm": "masked",
        "answer": "answers",
        "multilabel": "labels",
    }
    return [metric.name for metric in held_out_metrics(kinds.get(objective, "classes"))]


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
