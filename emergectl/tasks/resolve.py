"""What an experiment asks for, settled without torch, data or weights.

The schema sees fields, this sees whether they go together: family and objective, size, task and
its parameters, columns and templates, the metric that is watched. `validate` calls it, and
training before anything is made, so that a wrong request costs a fraction of a second.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emergectl.config.schema import CLASSIFICATION, Experiment, FileSource, TaskAsked, TaskSource
from emergectl.config.task_files import is_harness_file
from emergectl.data.templates import template_fields
from emergectl.errors import ExperimentError
from emergectl.models.ladder import rung
from emergectl.models.model_types import check_family, family_kind
from emergectl.tasks.catalog import Task, make_task, task_class
from emergectl.tasks.task import SequenceTask, TextTask

Name = Literal["clm", "mlm", "binary", "multiclass", "multilabel", "answer"]


def check_asked(experiment: Experiment) -> None:
    """Raise ExperimentError, naming the key, for the first thing that is unknown or cannot be.

    Weights that `model.from` names are judged as far as a directory's config.json tells.
    """
    if experiment.stage == "evaluate":
        _check_evaluation(experiment)
        return
    spec = experiment.model
    if spec.from_ is None:
        check_family(spec.family)
    elif experiment.tokenizer.kind in ("char", "bpe"):
        raise ExperimentError(
            "tokenizer.kind",
            "the weights of `model.from` know another vocabulary than one learnt anew: leave "
            "the tokenizer out to take theirs, or name it with `tokenizer.from`",
        )
    if spec.size is not None:
        rung(spec.size)
    name = objective_name(experiment, known_model_type(experiment))
    asked = asked_tasks(experiment, name)
    if not asked.learnt:
        _check_columns(experiment, name)
    data = experiment.data
    holds_out = asked.learnt or asked.evaluated or data.validation or data.validation_fraction > 0
    if experiment.train.early_stopping is not None and not holds_out:
        raise ExperimentError("train.early_stopping", "nothing is held out to see it by")


def _check_evaluation(experiment: Experiment) -> None:
    """Refuse a task that no model can be asked in text."""
    for number, asked in enumerate(experiment.evaluation.tasks):
        key = f"evaluation.tasks.{number}"
        wanted = TaskAsked(task=asked) if isinstance(asked, str) else asked
        if is_harness_file(Path(wanted.task)):
            if wanted.params:
                name = next(iter(wanted.params))
                raise ExperimentError(
                    f"{key}.{name}", "a file of lm-evaluation-harness takes no parameters"
                )
            continue
        if not isinstance(make_task(wanted, key=key), TextTask):
            raise ExperimentError(
                key, f"`{wanted.task}` makes its own tokens: only a run that learns it can be asked"
            )


def objective_name(experiment: Experiment, model_type: str | None) -> Name:
    """The experiment's objective, or the family's own (clm, mlm) where it names none.

    `model_type` is None where it is not known yet. Raises ExperimentError where the two do not go
    together.
    """
    kind = None if model_type is None else family_kind(model_type)
    name = experiment.objective.name
    if name is None:
        if _learns_text_tasks(experiment):
            name = "answer"
        elif experiment.stage == "finetune":
            raise ExperimentError("objective.name", "stage finetune needs one: answer, binary …")
        else:
            name = "mlm" if kind == "masked" else "clm"
    kinds = {"clm": ["causal"], "answer": ["causal", "seq2seq"], "mlm": ["masked"]}
    fitting = kinds.get(name, ["causal", "masked"])
    if kind is not None and kind not in fitting:
        hint = ": it learns by `answer`" if kind == "seq2seq" else ""
        raise ExperimentError(
            "objective.name",
            f"`{name}` needs a {' or '.join(fitting)} model; `{model_type}` is {kind}{hint}",
        )
    if experiment.objective.whole_word and name != "mlm":
        raise ExperimentError("objective.whole_word", f"belongs to `name: mlm`, not `{name}`")
    return name


@dataclass(frozen=True)
class AskedTasks:
    """The tasks of an experiment, their parameters checked.

    `learnt`: those that make the training data, with their weights; none where it is read from
    files. `evaluated`: what is asked during training, under the name that its metrics get: of
    every task that is learnt its held-out items, and the tasks of `evaluation.tasks`.
    """

    learnt: tuple[tuple[Task, float], ...] = ()
    evaluated: Mapping[str, Task] = field(default_factory=dict)

    @property
    def sequence_task(self) -> SequenceTask | None:
        """The task that is learnt where it makes its own tokens: then there is no other."""
        tasks = [task for task, _ in self.learnt if not isinstance(task, TextTask)]
        return tasks[0] if tasks else None


def asked_tasks(experiment: Experiment, objective: Name) -> AskedTasks:
    """The tasks that an experiment learns and is asked. Raises ExperimentError with the key."""
    sources = experiment.data.train
    taught = [source for source in sources if isinstance(source, TaskSource)]
    if taught and (len(taught) < len(sources) or experiment.data.validation):
        raise ExperimentError(
            "data.train", "tasks hold out items of their own, and do not mix with files"
        )
    learnt = tuple(
        (make_task(source, key=f"data.train.{number}"), source.weight)
        for number, source in enumerate(taught)
    )
    _check_objective(objective, learnt)
    evaluated: dict[str, Task] = {}
    for (task, _), source in zip(learnt, taught, strict=True):
        several = sum(task.name == other.name for other, _ in learnt) > 1
        named = several or "called" in source.params
        evaluated[task_label(task.name, source.params if named else {})] = task
    for number, asked in enumerate(experiment.evaluation.tasks):
        key = f"evaluation.tasks.{number}"
        wanted = TaskAsked(task=asked) if isinstance(asked, str) else asked
        label = task_label(wanted.task, wanted.params)
        if label in evaluated:
            continue  # asked anyway, since it is learnt
        task = make_task(wanted, key=key)
        if not isinstance(task, TextTask):
            raise ExperimentError(
                key, f"`{task.name}` makes its own tokens: only a run that learns it can be asked"
            )
        if learnt and not isinstance(learnt[0][0], TextTask):
            raise ExperimentError(
                key, f"only `{learnt[0][0].name}` shares this run's tokens, not `{task.name}`"
            )
        if objective not in ("clm", "answer"):
            raise ExperimentError(key, f"a model that learns by `{objective}` writes no answers")
        evaluated[label] = task
    return AskedTasks(learnt, evaluated)


def task_label(name: str, params: Mapping[str, object]) -> str:
    """What a task with parameters is called in metrics: `addition`, or `addition:digits=4`.

    A task that says itself what it is `called`, as those of task files do, is called that.
    """
    if "called" in params:
        return str(params["called"])
    given = ",".join(f"{key}={value}" for key, value in params.items())
    return f"{name}:{given}".replace("/", "|") if given else name


def _learns_text_tasks(experiment: Experiment) -> bool:
    found = [task_class(s.task) for s in experiment.data.train if isinstance(s, TaskSource)]
    return any(task is not None and issubclass(task, TextTask) for task in found)


def _check_objective(objective: Name, learnt: Sequence[tuple[Task, float]]) -> None:
    """Refuse tasks that do not go together, or with the objective."""
    names = [task.name for task, _ in learnt]
    own_tokens = [task.name for task, _ in learnt if not isinstance(task, TextTask)]
    if own_tokens and len(learnt) > 1:
        raise ExperimentError("data.train", f"`{own_tokens[0]}` makes its own tokens: alone")
    if own_tokens and objective != "clm":
        raise ExperimentError("objective.name", f"`{names[0]}` is learnt with clm")
    if learnt and not own_tokens and objective != "answer":
        raise ExperimentError(
            "objective.name", f"`{names[0]}` brings questions and answers: leave the objective out"
        )


def known_model_type(experiment: Experiment) -> str | None:
    """The model type as far as the experiment or the config.json of a directory tells it."""
    source = experiment.model.from_
    if source is None:
        return experiment.model.family
    try:
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a run or a hub name, or a directory that loading the model will judge
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _check_columns(experiment: Experiment, objective: Name) -> None:
    """Refuse a role that the objective never reads: most likely another was meant."""
    spec = experiment.objective
    if objective == "answer":
        roles = template_fields(spec.prompt or "", key="objective.prompt")
        roles += template_fields(spec.answer or "", key="objective.answer")
    elif objective in CLASSIFICATION:
        roles = ["text", "text_pair", "label"]
    else:
        roles = ["text"]
    for part in ("train", "validation"):
        for number, source in enumerate(getattr(experiment.data, part)):
            given = source.columns if isinstance(source, FileSource) else {}
            for role in given:
                if role not in (*roles, "id"):
                    raise ExperimentError(
                        f"data.{part}.{number}.columns.{role}",
                        f"`{objective}` reads {_listed(roles)}{_nearest(role, roles)}",
                    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
