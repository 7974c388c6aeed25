"""What the trials of a sweep are asked once they are trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from emergectl.config.schema import Experiment
from emergectl.config.sweep import LoadedSweep, error_at
from emergectl.errors import ExperimentError
from emergectl.sweeps.protocol import plain_experiment
from emergectl.tasks.catalog import make_task
from emergectl.tasks.references import harness_file, load_task
from emergectl.tasks.resolve import check_asked
from emergectl.tasks.task import TextTask


@dataclass(frozen=True)
class Asks:
    """What is asked of each trial: an experiment of stage `evaluate`, but for the model."""

    experiment: Experiment
    checkpoint: str
    """which models of a trial: last, best, all"""
    own_tasks: bool
    """whether each trial is asked its own `evaluation.tasks`"""

    @property
    def digest(self) -> str:
        """What tells this asking from another; a trial's own tasks are part of the trial."""
        plain = plain_experiment(self.experiment)
        plain["evaluation"] |= {"tasks": None} if self.own_tasks else {}
        told = json.dumps([plain, self.checkpoint], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def of(self, trial: Experiment) -> dict[str, Any]:
        """What one trial is asked, as plain data for its order."""
        plain = plain_experiment(self.experiment)
        if self.own_tasks:
            plain["evaluation"]["tasks"] = plain_experiment(trial)["evaluation"]["tasks"]
        return {"experiment": plain, "checkpoint": self.checkpoint, "digest": self.digest}


def load_asks(sweep: LoadedSweep, *, check_paths: bool = True) -> Asks | None:
    """What a sweep asks; None where it asks nothing. Raises RequestError for what cannot be."""
    spec = sweep.spec.evaluate
    loaded = sweep.asking(check_paths=check_paths)
    if spec is None or loaded is None:
        return None
    try:
        check_asked(loaded.experiment)
        if spec.tasks:
            _check_text(loaded.experiment)
    except ExperimentError as error:
        keys = error.key.split(".")[1:]
        raise error_at(sweep, ["evaluate", *keys], error.message) from None
    return Asks(loaded.experiment, spec.checkpoint, not spec.tasks)


def check_own_tasks(sweep: LoadedSweep, trial: Experiment) -> None:
    """Raise RequestError where a trial that is to be asked its own tasks has none to be asked."""
    if not trial.evaluation.tasks:
        raise error_at(
            sweep, ["evaluate"], "nothing to ask: give `tasks` here, or `evaluation.tasks`"
        )
    try:
        _check_text(trial)
    except ExperimentError as error:
        raise error_at(sweep, ["evaluate"], f"{error.key}: {error.message}") from None


def _check_text(experiment: Experiment) -> None:
    for number, asked in enumerate(experiment.evaluation.tasks):
        key = f"evaluation.tasks.{number}"
        if harness_file(asked if isinstance(asked, str) else asked.task) is not None:
            continue
        task = load_task(asked) if isinstance(asked, str) else make_task(asked, key=key)
        if not isinstance(task, TextTask):
            raise ExperimentError(
                key, f"`{task.name}` makes its own tokens: it is measured in training alone"
            )
