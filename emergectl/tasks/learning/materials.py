"""From an experiment to data, objective and model: what training and evaluation both begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from emergectl.config.schema import Experiment
from emergectl.data.build import build_data
from emergectl.data.feeds import Feed
from emergectl.data.tokenizers import load_tokenizer
from emergectl.models.build import load_model, new_model, quiet, source_model_type
from emergectl.models.families import family_config
from emergectl.tasks.asked import Name, asked_task, objective_name
from emergectl.tasks.learning.feeds import TaskFeed, task_tokenizer
from emergectl.tasks.learning.objectives import Objective, make_objective
from emergectl.tasks.task import SequenceTask

Say = Callable[[str], None]


@dataclass(frozen=True)
class HeldOut:
    """A named set of held-out rows."""

    name: str
    feed: Feed
    rows: int
    """how many of the feed's held-out rows are asked"""
    bytes_per_token: float | None = None
    """UTF-8 bytes of a target token in the mean, where the objective is clm"""


@dataclass(frozen=True)
class Materials:
    """What is learnt, from what, and what is held out."""

    objective: Objective
    tokenizer: PreTrainedTokenizerFast
    train: Feed
    held_out: tuple[HeldOut, ...]
    chance: dict[str, float] = field(default_factory=dict)
    """task → accuracy of blind guessing"""
    report: dict[str, Any] = field(default_factory=dict)
    """what was read: rows, skipped rows, fingerprints; for run.json"""


def gather_materials(
    experiment: Experiment, *, progress: Callable[..., None] | None = None
) -> Materials:
    """Data, tokenizer and objective of an experiment. Raises RequestError and its kin."""
    name = objective_name(experiment, model_type(experiment))
    task = asked_task(experiment, name)
    if task is not None:
        return _of_task(experiment, name, task)
    tokenizer = None
    spec = experiment.tokenizer
    if experiment.model.from_ is not None and spec.kind is None and spec.from_ is None:
        tokenizer = load_tokenizer(experiment.model.from_, key="model.from")
    data = build_data(experiment, objective=name, tokenizer=tokenizer, progress=progress)
    held_out: tuple[HeldOut, ...] = ()
    if data.validation is not None:
        rows = _rows(experiment, data.validation)
        per_token = data.validation_bytes_per_token if name == "clm" else None
        held_out = (HeldOut("validation", data.validation, rows, per_token),)
    return Materials(
        objective=make_objective(
            experiment, name, labels=data.labels, class_counts=data.class_counts
        ),
        tokenizer=data.tokenizer,
        train=data.train,
        held_out=held_out,
        report=data.report,
    )


def _of_task(experiment: Experiment, name: Name, task: SequenceTask) -> Materials:
    feed = TaskFeed(task, seed=experiment.seed)
    rows = _rows(experiment, feed)
    return Materials(
        objective=make_objective(experiment, name, is_task=True),
        tokenizer=task_tokenizer(task),
        train=feed,
        held_out=(HeldOut(task.name, feed, rows),),
        chance={task.name: task.chance},
        report={"fingerprint": feed.fingerprint},
    )


def _rows(experiment: Experiment, feed: Feed) -> int:
    spec = experiment.evaluation
    if spec.batches is None:
        return feed.held_out_rows
    size = spec.batch_size or experiment.train.batch_size
    return min(feed.held_out_rows, spec.batches * size)


def model_type(experiment: Experiment) -> str:
    """The transformers model type that the experiment trains."""
    source = experiment.model.from_
    if source is None:
        return experiment.model.family
    return source_model_type(source)


def make_model(experiment: Experiment, materials: Materials, *, say: Say) -> PreTrainedModel:
    """The model to train: new from the seed, or with the weights of `model.from`."""
    objective, tokenizer, feed = materials.objective, materials.tokenizer, materials.train
    classify = objective.head == "classify"
    common: dict[str, Any] = {
        "head": objective.head,
        "vocab_size": len(tokenizer),
        "seq_len": feed.seq_len,
        "seed": experiment.seed,
        "labels": list(objective.labels) if classify else None,
        "problem": objective.name if classify else None,
        "pad_token_id": tokenizer.pad_token_id,
    }
    spec = experiment.model
    if spec.from_ is not None:
        return load_model(spec.from_, dropout=spec.dropout, say=say, **common)
    return new_model(
        spec, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, **common
    )


def check_experiment(experiment: Experiment) -> None:
    """Find what only transformers can tell, beyond `check_asked`: a family's own config fields.

    Reads no data. Raises ExperimentError with the key.
    """
    if experiment.model.from_ is None:
        with quiet():  # the vocabulary is not known yet, and need not fit the family's defaults
            family_config(experiment.model, vocab_size=256, seq_len=experiment.data.seq_len)
    else:
        objective_name(experiment, model_type(experiment))
