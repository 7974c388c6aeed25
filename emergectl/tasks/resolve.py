"""What an experiment asks for, settled once, without torch, data or weights.

The schema sees fields, this sees whether they go together: family and objective, size, task and
its parameters, columns and templates. `resolve` gives all of it as one
object, which everything downstream takes. `validate` calls it, and training before anything is
made, so that a wrong request costs a fraction of a second.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from emergectl.config.schema import Experiment, FileSource, TaskAsked, TaskSource
from emergectl.config.task_files import is_harness_file
from emergectl.data.templates import template_fields
from emergectl.errors import ExperimentError, RequestError
from emergectl.models.families import matrices_per_layer
from emergectl.models.ladder import shape_of_size
from emergectl.models.model_types import check_family, family_kind
from emergectl.tasks.catalog import Task, make_task, task_class
from emergectl.tasks.objectives.catalog import find_objective
from emergectl.tasks.objectives.objective import Objective
from emergectl.tasks.synthetic import MadeTask
from emergectl.tasks.task import SequenceTask, TextTask


@dataclass(frozen=True)
class ResolvedExperiment:
    """An experiment that trains, with what it means: its objective, its tasks, their labels.

    `learnt`: the tasks that make the training data, with their weights; none where it is read from
    files. `evaluated`: what is asked during training, under the label that its metrics get: of
    every task that is learnt its held-out items, and the tasks of `evaluation.tasks`.
    `model_type` is None where nobody has looked into the weights of `model.from` yet.
    """

    experiment: Experiment
    model_type: str | None
    objective: type[Objective]
    learnt: tuple[tuple[Task, float], ...] = ()
    evaluated: Mapping[str, Task] = field(default_factory=dict)

    @property
    def sequence_task(self) -> SequenceTask | None:
        """The task that is learnt where it makes its own tokens: then there is no other."""
        tasks = [task for task, _ in self.learnt if not isinstance(task, TextTask)]
        return tasks[0] if tasks else None

    @property
    def text_tasks(self) -> dict[str, TextTask]:
        """Those of `evaluated` that are asked in text, by label."""
        return {name: task for name, task in self.evaluated.items() if isinstance(task, TextTask)}


def check_asked(experiment: Experiment) -> None:
    """Raise ExperimentError, naming the key, for the first thing that is unknown or cannot be.

    Weights that `model.from` names are judged as far as a directory's config.json tells.
    """
    if experiment.stage == "evaluate":
        asked_tasks(experiment)
    else:
        resolve(experiment)


def resolve(experiment: Experiment, *, model_type: str | None = None) -> ResolvedExperiment:
    """The experiment with all that its file settles; `model_type` is that of the weights of
    `model.from`, where they were looked into. Raises ExperimentError naming the key."""
    spec = experiment.model
    if spec.from_ is None:
        check_family(spec.family)
        model_type = spec.family
    else:
        model_type = model_type or _type_of_directory(Path(spec.from_))
        if experiment.tokenizer.kind in ("char", "bpe"):
            raise ExperimentError(
                "tokenizer.kind",
                "the weights of `model.from` know another vocabulary than one learnt anew: leave "
                "the tokenizer out to take theirs, or name it with `tokenizer.from`",
            )
    if spec.size is not None:
        shape_of_size(spec.size, matrices_per_layer=matrices_per_layer(spec.family))
    objective = objective_of(experiment, model_type)
    resolved = _with_tasks(experiment, model_type, objective)
    if not resolved.learnt:
        _check_columns(experiment, objective)
    data = experiment.data
    holds_out = resolved.evaluated or data.validation or data.validation_fraction > 0
    if experiment.train.early_stopping is not None and not holds_out:
        raise ExperimentError("train.early_stopping", "nothing is held out to see it by")
    return resolved


def asked_tasks(experiment: Experiment) -> list[TextTask]:
    """What an experiment of stage `evaluate` asks, but for lm-evaluation-harness's own tasks.

    Raises ExperimentError, naming the key, for one that no model can be asked in text.
    """
    found = []
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
        task = make_task(wanted, key=key)
        if not isinstance(task, TextTask):
            raise ExperimentError(
                key, f"`{wanted.task}` makes its own tokens: only a run that learns it can be asked"
            )
        found.append(task)
    return found


def objective_of(experiment: Experiment, model_type: str | None) -> type[Objective]:
    """The experiment's objective, or the family's own (clm, mlm) where it names none.

    `model_type` is None where it is not known yet. Raises ExperimentError where the two, or the
    objective and its settings, do not go together.
    """
    spec = experiment.objective
    kind = None if model_type is None else family_kind(model_type)
    name = spec.name
    if name is None:
        if _learns_text_tasks(experiment):
            name = "answer"
        elif experiment.stage == "finetune":
            raise ExperimentError("objective.name", "stage finetune needs one: answer, binary …")
        else:
            name = "mlm" if kind == "masked" else "clm"
    objective = find_objective(name)
    if kind is not None and kind not in objective.learners:
        hint = ": it learns by `answer`" if kind == "seq2seq" else ""
        raise ExperimentError(
            "objective.name",
            f"`{name}` needs a {' or '.join(objective.learners)} model; "
            f"`{model_type}` is {kind}{hint}",
        )
    _check_settings(experiment, objective)
    return objective


def _check_settings(experiment: Experiment, objective: type[Objective]) -> None:
    """Refuse settings of `objective` that belong to objectives of other data."""
    spec, name = experiment.objective, objective.name
    if spec.whole_word and objective.data != "mlm":
        raise ExperimentError("objective.whole_word", f"belongs to `name: mlm`, not `{name}`")
    if objective.data != "answer" and (spec.prompt is not None or spec.answer is not None):
        key = "prompt" if spec.prompt is not None else "answer"
        raise ExperimentError(f"objective.{key}", f"belongs to `name: answer`, not `{name}`")
    if spec.name is not None and objective.data == "answer":
        missing = "prompt" if spec.prompt is None else "answer" if spec.answer is None else None
        if missing is not None and not _learns_text_tasks(experiment):
            raise ExperimentError("objective", f"`{name}` needs `{missing}`, a template")
    for key in ("labels", "class_weights"):
        if getattr(spec, key) is not None and not objective.classifies():
            raise ExperimentError(f"objective.{key}", "belongs to an objective of classification")
    if objective.data == "multilabel" and spec.label_smoothing:
        raise ExperimentError("objective.label_smoothing", f"does not apply to `name: {name}`")


def _with_tasks(
    experiment: Experiment, model_type: str | None, objective: type[Objective]
) -> ResolvedExperiment:
    sources = experiment.data.train
    taught = [source for source in sources if isinstance(source, TaskSource)]
    others = experiment.data.validation or experiment.data.test
    if taught and (len(taught) < len(sources) or others):
        raise ExperimentError(
            "data.train", "tasks hold out items of their own, and do not mix with files"
        )
    learnt = tuple(
        (_learnt_task(source, f"data.train.{number}"), source.weight)
        for number, source in enumerate(taught)
    )
    _check_learnt(objective, learnt)
    evaluated: dict[str, Task] = {}
    for (task, _), source in zip(learnt, taught, strict=True):
        several = sum(task.name == other.name for other, _ in learnt) > 1
        named = several or "called" in source.params
        evaluated[task_label(task.name, source.params if named else {})] = task
    for number, asked in enumerate(experiment.evaluation.tasks):
        key = f"evaluation.tasks.{number}"
        wanted = TaskAsked(task=asked) if isinstance(asked, str) else asked
        label = task_label(wanted.task, wanted.params)
        if label not in evaluated:  # else it is asked anyway, since it is learnt
            evaluated[label] = _asked_task(wanted, key, learnt, objective)
    return ResolvedExperiment(experiment, model_type, objective, learnt, evaluated)


def _learnt_task(source: TaskSource, key: str) -> Task:
    task = make_task(source, key=key)
    if isinstance(task, MadeTask) and (problem := _too_few(type(task), task.model_dump_json())):
        raise ExperimentError(f"{key}.examples", problem)
    return task


@cache
def _too_few(kind: type[MadeTask], params: str) -> str | None:
    """Why there are not `examples` items; looked up once for all trials of a sweep."""
    try:
        kind.model_validate_json(params).check_examples()
    except RequestError as error:
        return str(error)
    return None


def _asked_task(
    wanted: TaskAsked,
    key: str,
    learnt: Sequence[tuple[Task, float]],
    objective: type[Objective],
) -> Task:
    """A task that is asked while something else is learnt."""
    task = make_task(wanted, key=key)
    if not isinstance(task, TextTask):
        raise ExperimentError(
            key, f"`{task.name}` makes its own tokens: only a run that learns it can be asked"
        )
    if learnt and not isinstance(learnt[0][0], TextTask):
        raise ExperimentError(
            key, f"only `{learnt[0][0].name}` shares this run's tokens, not `{task.name}`"
        )
    if objective.head != "causal":
        raise ExperimentError(key, f"a model that learns by `{objective.name}` writes no answers")
    return task


def task_label(name: str, params: Mapping[str, object]) -> str:
    """What a task with parameters is called in metrics: `addition`, or `addition:digits=4`.

    A task that says itself what it is `called`, as those of task files do, is called that.
    """
    if "called" in params:
        return str(params["called"])
    given = ",".join(f"{key}={value}" for key, value in params.items())
    return f"{name}:{given}".replace("/", "|") if given else name


def _learns_text_tasks(experiment: Experiment) -> bool:
    found = [
        task_class(source.task, key=f"data.train.{number}.task")
        for number, source in enumerate(experiment.data.train)
        if isinstance(source, TaskSource)
    ]
    return any(task is not None and issubclass(task, TextTask) for task in found)


def _check_learnt(objective: type[Objective], learnt: Sequence[tuple[Task, float]]) -> None:
    """Refuse tasks that do not go together, or with the objective."""
    names = [task.name for task, _ in learnt]
    own_tokens = [task.name for task, _ in learnt if not isinstance(task, TextTask)]
    if own_tokens and len(learnt) > 1:
        raise ExperimentError("data.train", f"`{own_tokens[0]}` makes its own tokens: alone")
    if own_tokens and objective.data != "clm":
        raise ExperimentError("objective.name", f"`{names[0]}` is learnt with clm")
    if learnt and not own_tokens and objective.data != "answer":
        raise ExperimentError(
            "objective.name", f"`{names[0]}` brings questions and answers: leave the objective out"
        )


def _type_of_directory(directory: Path) -> str | None:
    """The model type in a directory's config.json; None where there is none to be read."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a run or a hub name, or a directory that loading the model will judge
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None


def _check_columns(experiment: Experiment, objective: type[Objective]) -> None:
    """Refuse a role that the objective never reads: most likely another was meant."""
    spec = experiment.objective
    if objective.data == "answer":
        roles = template_fields(spec.prompt or "", key="objective.prompt")
        roles += template_fields(spec.answer or "", key="objective.answer")
    elif objective.classifies():
        roles = ["text", "text_pair", "label"]
    else:
        roles = ["text"]
    for part in ("train", "validation", "test"):
        for number, source in enumerate(getattr(experiment.data, part)):
            given = source.columns if isinstance(source, FileSource) else {}
            for role in given:
                if role not in (*roles, "id"):
                    raise ExperimentError(
                        f"data.{part}.{number}.columns.{role}",
                        f"`{objective.name}` reads {_listed(roles)}{_nearest(role, roles)}",
                    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
