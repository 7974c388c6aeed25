"""What an experiment asks for, settled without torch, data or weights.

The schema sees fields, this sees whether they go together: family and objective, size, task and
its parameters, columns and templates, the metric that is watched. `validate` calls it, and
training before anything is made, so that a wrong request costs a fraction of a second.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from emergectl.config.schema import CLASSIFICATION, Experiment, FileSource, TaskSource
from emergectl.data.templates import template_fields
from emergectl.errors import ExperimentError
from emergectl.models.ladder import rung
from emergectl.models.model_types import check_family, family_kind
from emergectl.tasks.catalog import make_task
from emergectl.tasks.task import SequenceTask

Name = Literal["clm", "mlm", "binary", "multiclass", "multilabel", "answer"]


def check_asked(experiment: Experiment) -> None:
    """Raise ExperimentError, naming the key, for the first thing that is unknown or cannot be.

    Weights that `model.from` names are judged as far as a directory's config.json tells.
    """
    spec = experiment.model
    if spec.from_ is None:
        check_family(spec.family)
        model_type: str | None = spec.family
    else:
        model_type = _type_of_directory(Path(spec.from_))
        if experiment.tokenizer.kind in ("char", "bpe"):
            raise ExperimentError(
                "tokenizer.kind",
                "the weights of `model.from` know another vocabulary than one learnt anew: leave "
                "the tokenizer out to take theirs, or name it with `tokenizer.from`",
            )
    if spec.size is not None:
        rung(spec.size)
    name = objective_name(experiment, model_type)
    task = asked_task(experiment, name)
    if task is None:
        _check_columns(experiment, name)
    _check_watched(experiment, name, task)
    data = experiment.data
    holds_out = task is not None or data.validation or data.validation_fraction > 0
    if experiment.train.early_stopping is not None and not holds_out:
        raise ExperimentError("train.early_stopping", "nothing is held out to see it by")


def objective_name(experiment: Experiment, model_type: str | None) -> Name:
    """The experiment's objective, or the family's own (clm, mlm) where it names none.

    `model_type` is None where it is not known yet. Raises ExperimentError where the two do not go
    together.
    """
    kind = None if model_type is None else family_kind(model_type)
    name = experiment.objective.name
    if name is None:
        if experiment.stage == "finetune":
            raise ExperimentError("objective.name", "stage finetune needs one: answer, binary …")
        name = "mlm" if kind == "masked" else "clm"
    wanted = {"clm": "causal", "answer": "causal", "mlm": "masked"}.get(name)
    if wanted is not None and kind is not None and wanted != kind:
        raise ExperimentError(
            "objective.name", f"`{name}` needs a {wanted} model; `{model_type}` is {kind}"
        )
    if experiment.objective.whole_word and name != "mlm":
        raise ExperimentError("objective.whole_word", f"belongs to `name: mlm`, not `{name}`")
    return name


def asked_task(experiment: Experiment, objective: Name) -> SequenceTask | None:
    """The task that makes the training data, its parameters checked; None where it is read.

    Raises ExperimentError for what does not go with a task.
    """
    sources = experiment.data.train
    tasks = [source for source in sources if isinstance(source, TaskSource)]
    if not tasks:
        if experiment.evaluation.tasks:
            raise ExperimentError(
                "evaluation.tasks", "a task that makes its own tokens needs it as data.train too"
            )
        return None
    if len(sources) > 1 or experiment.data.validation:
        raise ExperimentError(
            "data.train", "a task that makes its own tokens and held-out items stands alone"
        )
    if objective != "clm":
        raise ExperimentError("objective.name", f"`{tasks[0].task}` is learnt with clm")
    task = make_task(tasks[0], key="data.train.0")
    unknown = [other for other in experiment.evaluation.tasks if other != task.name]
    if unknown:
        raise ExperimentError(
            "evaluation.tasks", f"only `{task.name}` shares this run's tokens, not `{unknown[0]}`"
        )
    return task


def metric_names(objective: Name, *, is_task: bool) -> tuple[str, ...]:
    """The metrics that an evaluation can give, without the name of the held-out set."""
    if objective in CLASSIFICATION:
        mcc = () if objective == "multilabel" else ("mcc",)
        return ("loss", "accuracy", "f1", *mcc, "roc_auc")
    counted = ("accuracy", "exact_match") if is_task or objective == "answer" else ()
    bits = ("bits_per_byte",) if objective == "clm" and not is_task else ()
    return ("loss", "perplexity", *counted, *bits)


def _type_of_directory(directory: Path) -> str | None:
    """The model type in a directory's config.json; None where there is none to be read."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
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


def _check_watched(experiment: Experiment, objective: Name, task: SequenceTask | None) -> None:
    watched = experiment.evaluation.best.removeprefix("-")
    names = metric_names(objective, is_task=task is not None)
    held_out = "validation" if task is None else task.name
    if watched not in (*names, *(f"{held_out}/{name}" for name in names)):
        raise ExperimentError(
            "evaluation.best",
            f"no metric `{watched}` with `{objective}`; there are: {', '.join(names)}",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
