"""From an experiment to data, objective and model: what training and evaluation both begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from emergectl.config.schema import Experiment
from emergectl.data.build import build_data
from emergectl.data.feeds import Feed
from emergectl.data.mixing import MixedFeed
from emergectl.data.notes import percent
from emergectl.data.tokenizers import load_tokenizer
from emergectl.models.build import head_labels, load_model, new_model, quiet, source_model_type
from emergectl.models.family_config import family_config
from emergectl.models.model_types import family_kind
from emergectl.tasks.learning.feeds import TaskFeed
from emergectl.tasks.learning.text_feeds import TaskRows, rows_feed, test_rows, train_rows
from emergectl.tasks.learning.vocabulary import task_tokenizer, tasks_tokenizer
from emergectl.tasks.objectives.catalog import find_objective
from emergectl.tasks.objectives.objective import Objective
from emergectl.tasks.resolve import ResolvedExperiment, resolve
from emergectl.tasks.shortcuts import Bounds, bounds_of
from emergectl.tasks.task import Item, ItemKey, SequenceTask, TextTask, fingerprint_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class HeldOutSet:
    """A named set of held-out rows."""

    name: str
    feed: Feed
    rows: int
    """how many of the feed's held-out rows are asked"""
    bytes_per_token: float | None = None
    """UTF-8 bytes of a target token in the mean, where the objective is clm"""
    objective: Objective | None = None
    """how its rows are scored, where that is not how the training rows are"""
    keys: tuple[ItemKey, ...] = ()
    """what each row of the feed asks, where its rows are items of a task"""
    carried: tuple[bool, ...] = ()
    """whether the tokens of each of their answers carry its text"""
    asks_candidates: bool = True
    """whether the feed's candidates are asked, where it has any"""
    task: TextTask | SequenceTask | None = None
    """what they are rows of, where that is a task"""
    items: tuple[Item, ...] = ()
    """of a task in text: the item of each row of the feed"""

    @cached_property
    def bounds(self) -> Bounds:
        """What the rows that are asked come to without the ability, and at best."""
        if isinstance(self.task, TextTask):
            return bounds_of(self.task, self.items[: self.rows], as_learnt=True)
        scores = getattr(self.task, "shortcuts", {})
        return Bounds({"token_accuracy": scores} if scores else {})

    @property
    def candidates(self) -> tuple[str, ...]:
        """The texts that are asked of each row as its possible answers, where they are few."""
        return self.feed.candidates if self.asks_candidates else ()

    @property
    def unfit(self) -> int:
        """How many rows beside those that are asked have answers that do not fit: none of them is
        ever right. In proportion, where only a part of the rows is asked."""
        return round(self.feed.unfit * self.rows / self.feed.held_out_rows)

    @property
    def fingerprint(self) -> str:
        """Of the rows that are asked: that of the items, whatever their task is called, else of
        the data under the set's name."""
        own = (self.name, self.feed.fingerprint, self.rows)
        return fingerprint_of(self.keys[: self.rows] or [own])


@dataclass(frozen=True)
class Materials:
    """What is learnt, from what, and what is held out."""

    objective: Objective
    tokenizer: PreTrainedTokenizerFast
    train: Feed
    held_out: tuple[HeldOutSet, ...]
    test: tuple[HeldOutSet, ...] = ()
    """what is asked once, at the end: it is never among `held_out`, by which a run is steered"""
    chance: dict[str, float] = field(default_factory=dict)
    """`set/metric` → value of blind guessing"""
    report: dict[str, Any] = field(default_factory=dict)
    """what was read: rows, skipped rows, fingerprints; for run.json"""


def resolve_with_weights(experiment: Experiment) -> ResolvedExperiment:
    """`resolve`, with the model type that the weights of `model.from` have, wherever they are."""
    source = experiment.model.from_
    return resolve(experiment, model_type=None if source is None else source_model_type(source))


def gather_materials(
    resolved: ResolvedExperiment, *, progress: Callable[..., None] | None = None
) -> Materials:
    """Data, tokenizer and objective of an experiment. Raises RequestError and its kin."""
    experiment = resolved.experiment
    if resolved.sequence_task is not None:
        return _of_sequences(resolved, resolved.sequence_task)
    if resolved.learnt:
        return _of_text_tasks(resolved)
    tokenizer = None
    spec = experiment.tokenizer
    if experiment.model.from_ is not None and spec.kind is None and spec.from_ is None:
        tokenizer = load_tokenizer(experiment.model.from_, key="model.from")
    shape, apart = resolved.objective.data, _answers_apart(resolved)
    head = None
    if resolved.objective.head == "classify" and experiment.model.from_ is not None:
        head = head_labels(experiment.model.from_)
    data = build_data(
        experiment,
        objective=shape,
        apart=apart,
        head=head,
        tokenizer=tokenizer,
        progress=progress,
    )
    objective = resolved.objective.make(
        experiment.objective, labels=data.labels or (), class_counts=data.class_counts or ()
    )
    held_out: list[HeldOutSet] = []
    per_token = data.validation_bytes_per_token
    if data.validation is not None:
        held_out.append(
            HeldOutSet("validation", data.validation, _rows(experiment, data.validation), per_token)
        )
    asks = [
        test_rows(task, data.tokenizer, label=label, apart=apart)
        for label, task in resolved.text_tasks.items()
    ]
    tasks, warnings = _asked_sets(experiment, asks, seq_len=data.train.seq_len)
    held_out += tasks
    if experiment.evaluation.train_rows:
        held_out.append(HeldOutSet("train", data.train, _rows(experiment, data.train), per_token))
    test: tuple[HeldOutSet, ...] = ()
    if data.test is not None:
        rows = data.test.held_out_rows
        test = (HeldOutSet("test", data.test, rows, data.test_bytes_per_token),)
    return Materials(
        objective=objective,
        tokenizer=data.tokenizer,
        train=data.train,
        held_out=tuple(held_out),
        test=test,
        chance=_chances(asks),
        report={**data.report, "warnings": [*data.report.get("warnings", []), *warnings]},
    )


def _of_sequences(resolved: ResolvedExperiment, task: SequenceTask) -> Materials:
    experiment = resolved.experiment
    feed = TaskFeed(task, seed=experiment.seed)
    held_out = [HeldOutSet(task.name, feed, _rows(experiment, feed), task=task)]
    if experiment.evaluation.train_rows:
        own = TaskFeed(task, seed=experiment.seed, held_out=False)
        held_out.append(HeldOutSet("train", own, _rows(experiment, own)))
    return Materials(
        objective=resolved.objective.make(experiment.objective, counts_correct=True),
        tokenizer=task_tokenizer(task),
        train=feed,
        held_out=tuple(held_out),
        chance={f"{task.name}/token_accuracy": task.chance},
        report={"fingerprint": feed.fingerprint},
    )


def _of_text_tasks(resolved: ResolvedExperiment) -> Materials:
    """Questions and answers of one task, or of several in proportion to their weights.

    The sequence length follows from all that is learnt and asked, unless the experiment says it.
    """
    experiment, evaluated = resolved.experiment, list(resolved.text_tasks.items())
    learnt = [(task, weight) for task, weight in resolved.learnt if isinstance(task, TextTask)]
    tokenizer = tasks_tokenizer(
        experiment, [task for task, _ in learnt], [task for _, task in evaluated]
    )
    apart = _answers_apart(resolved)
    rows = [train_rows(task, tokenizer, seed=experiment.seed, apart=apart) for task, _ in learnt]
    asks = [test_rows(task, tokenizer, label=label, apart=apart) for label, task in evaluated]
    seq_len = experiment.data.seq_len or max(2, *(some.longest for some in (*rows, *asks)))
    feeds, warnings = [], []
    for some in rows:
        feed, left_out = _rows_feed(experiment, some, seq_len)
        feeds.append(feed)
        warnings += _warnings(some, left_out, seq_len)
    train = feeds[0]
    if len(feeds) > 1:
        train = MixedFeed(feeds, [weight for _, weight in learnt], seed=experiment.seed)
    held_out, more = _asked_sets(experiment, asks, seq_len=seq_len)
    if experiment.evaluation.train_rows:
        held_out.append(HeldOutSet("train", train, _rows(experiment, train)))
    return Materials(
        objective=resolved.objective.make(experiment.objective),
        tokenizer=tokenizer,
        train=train,
        held_out=tuple(held_out),
        chance=_chances(asks),
        report={
            "fingerprint": train.fingerprint,
            "train": [
                {"task": some.label, "rows": feed.rows, "fingerprint": feed.fingerprint}
                for some, feed in zip(rows, feeds, strict=True)
            ],
            "warnings": warnings + more,
        },
    )


def _asked_sets(
    experiment: Experiment, asks: Sequence[TaskRows], *, seq_len: int
) -> tuple[list[HeldOutSet], list[str]]:
    """Held-out items of tasks as sets to evaluate, and what has to be said of them."""
    sets, warnings = [], []
    for rows in asks:
        feed, left_out = _rows_feed(experiment, rows, seq_len)
        objective = find_objective("answer").make(experiment.objective)
        count = _rows(experiment, feed)
        sets.append(
            HeldOutSet(
                rows.label,
                feed,
                count,
                objective=objective,
                keys=rows.fitting(rows.keys, seq_len),
                carried=rows.fitting(rows.carried, seq_len),
                task=rows.task,
                items=rows.fitting(rows.items, seq_len),
            )
        )
        warnings += _warnings(rows, left_out, seq_len)
    return sets, warnings


def _rows_feed(experiment: Experiment, rows: TaskRows, seq_len: int) -> tuple[Feed, int]:
    refuse = experiment.data.too_long == "refuse"
    return rows_feed(rows, seed=experiment.seed, seq_len=seq_len, refuse=refuse)


def _warnings(rows: TaskRows, left_out: int, seq_len: int) -> list[str]:
    said = list(rows.task.notes) if rows.split == "test" else []
    if left_out:
        said.append(
            f"{left_out} of {len(rows.encoded)} {rows.split} items of {rows.label} are longer than "
            f"{seq_len} tokens and left out"
        )
    if rows.without_answer:
        said.append(
            f"of {rows.without_answer} {rows.split} items of {rows.label} the tokenizer knows no "
            "character of the answer: they are left out"
        )
    if rows.unknown.unknown:
        said.append(
            f"{rows.label} holds what the tokenizer cannot write: {percent(rows.unknown.share)} of "
            "its characters are read as unknown"
        )
    return said


def _chances(asks: Sequence[TaskRows]) -> dict[str, float]:
    """Of what is measured in the loop; a task knows the chance of other metrics too."""
    known = {rows.label: rows.task.chance for rows in asks}
    return {
        f"{label}/exact_match": chance["exact_match"]
        for label, chance in known.items()
        if "exact_match" in chance
    }


def _rows(experiment: Experiment, feed: Feed) -> int:
    spec = experiment.evaluation
    if spec.batches is None:
        return feed.held_out_rows
    size = spec.batch_size or experiment.train.batch_size
    return min(feed.held_out_rows, spec.batches * size)


def _answers_apart(resolved: ResolvedExperiment) -> bool:
    """Whether an answer begins a text of its own: a decoder's, behind an encoder."""
    return resolved.model_type is not None and family_kind(resolved.model_type) == "seq2seq"


def make_model(resolved: ResolvedExperiment, materials: Materials, *, say: Say) -> PreTrainedModel:
    """The model to train: new from the seed, or with the weights of `model.from`."""
    experiment = resolved.experiment
    objective, tokenizer, feed = materials.objective, materials.tokenizer, materials.train
    classify = objective.head == "classify"
    writes = _answers_apart(resolved) and not classify
    common: dict[str, Any] = {
        "head": "seq2seq" if writes else objective.head,
        "vocab_size": len(tokenizer),
        "seq_len": feed.seq_len,
        "seed": experiment.seed,
        "labels": list(objective.labels) if classify else None,
        "problem": objective.data if classify else None,
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
            family_config(experiment.model, vocab_size=256, seq_len=experiment.data.row_tokens)
    else:
        resolve_with_weights(experiment)
