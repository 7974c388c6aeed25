"""Tasks asked of models, onto disk: the way from a request to items.jsonl and results.json.

The tasks are prepared first, then a model is loaded once and the weights of each further step put
into it. Each task of each step has a folder of its own (`item_files`), so what is complete is never
asked twice, and what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emergectl.config.experiment import load_experiment
from emergectl.config.schema import TaskAsked
from emergectl.data.notes import percent
from emergectl.data.unknown import UnknownCounter
from emergectl.errors import RequestError
from emergectl.evaluation.contamination import RULE
from emergectl.evaluation.harness import HarnessTask, evaluate_file, prepare_file
from emergectl.evaluation.item_files import FollowedItems, ItemFile, ResumeMode, open_items
from emergectl.evaluation.records import ItemRecord
from emergectl.evaluation.results import TaskResult, facts_of, summarize
from emergectl.evaluation.task_items import (
    Asking,
    PreparedTask,
    ask_items,
    check_groups,
    in_item_order,
    prepare_task,
)
from emergectl.inference.loading import LanguageModel, Weights, load_language_model
from emergectl.runtime.place import Place
from emergectl.runtime.rank_agreement import on_every_rank
from emergectl.store.checkpoints import step_name
from emergectl.tasks.catalog import make_task
from emergectl.tasks.references import harness_file, load_task
from emergectl.tasks.resolve import objective_of, task_label
from emergectl.tasks.shortcuts import bounds_by_group, group_bounds_to_json
from emergectl.tasks.task import TextTask

_NO_NAME = re.compile(r"[^\w.=,+-]+")
_LONGEST_NAME = 100


Tell = Callable[[str, int | None, int, int, int], None]
"""called with task, step, items done, all items, and samples drawn so far (0: not told)"""


@dataclass(frozen=True)
class Watch:
    """Who is told of progress, and who may stop it."""

    tell: Tell = lambda *_: None
    check: Callable[[], None] = lambda: None
    """called between two items; raises to stop there"""


Prepared = PreparedTask | HarnessTask


def prepare_tasks(tasks: Sequence[str | TaskAsked], asking: Asking) -> list[Prepared]:
    """The tasks that are named, ready to be asked; see `ask_tasks.prepare`, and `harness` for
    files of lm-evaluation-harness.

    Raises RequestError also for a task that is none, or that is named twice.
    """
    prepared: list[Prepared] = []
    for number, asked in enumerate(tasks):
        one = _prepared(asked, asking, key=f"evaluation.tasks.{number}")
        if one.label in (other.label for other in prepared):
            raise RequestError(f"two tasks are called `{one.label}`; tell them apart by `called`")
        prepared.append(one)
    check_groups([one for one in prepared if isinstance(one, PreparedTask)], asking.by)
    return prepared


def _prepared(asked: str | TaskAsked, asking: Asking, *, key: str) -> Prepared:
    file = harness_file(asked if isinstance(asked, str) else asked.task)
    if file is not None:
        return prepare_file(file, asking)
    found = load_task(asked) if isinstance(asked, str) else make_task(asked, key=key)
    if not isinstance(found, TextTask):
        raise RequestError(
            f"`{found.name}` makes its own tokens: only a run that learns it can be asked, "
            "with `emergectl eval RUN` and no tasks"
        )
    return prepare_task(found, label_of(found), asking)


def label_of(task: TextTask) -> str:
    """What results call a task: its title, else its name with the parameters that were given."""
    if task.title != task.name:
        return task.title
    given = {name: getattr(task, name) for name in sorted(task.model_fields_set)}
    return task_label(task.name, {name: value for name, value in given.items() if _is_short(value)})


def _is_short(value: object) -> bool:
    """Whether a parameter can be part of a name: no path, no template, no list."""
    if isinstance(value, str):
        return len(value) <= 32 and value.isprintable() and "/" not in value
    return isinstance(value, int | float)


def evaluate_tasks(
    weights: Sequence[Weights],
    tasks: Sequence[Prepared],
    folder: Path,
    *,
    place: Place | None = None,
    resume: ResumeMode = False,
    bf16: bool = False,
    contaminated: Mapping[str, Collection[str]] | None = None,
    watch: Watch | None = None,
) -> Iterator[TaskResult]:
    """Ask every task of every step; results go to `folder/step-N/TASK` and are yielded as they
    stand (of a revision on the hub, to `folder/REVISION/TASK`; of any other model that is no
    run's, to `folder/TASK`). `folder` is the `evals` of a run, whose measurements.jsonl is told of
    them.

    `place`: where it computes and with which ranks, all of which yield everything while rank 0
    alone writes; None is this process on its GPU, if there is one.
    `contaminated`: task → ids of items that stand in the training text, where that was looked for.
    Raises RequestError and AlreadyRunningError before anything is asked of a step.
    """
    watch = watch or Watch()
    place = place or alone()
    models = _Models(bf16, place)
    for some in weights:
        for task in tasks:
            at = folder / _folder_of(some) / _folder_name(task)
            if isinstance(task, HarnessTask):
                watch.check()
                load = partial(models.holding, some)
                yield evaluate_file(
                    task, some, load, at, run=folder.parent, place=place, resume=resume, bf16=bf16
                )
                continue
            asked = _asked(task, some, bf16)
            with open_items(at, asked, resume=resume, place=place) as file:
                was_there = file.is_complete
                notes = () if was_there else _ask_rest(models, some, task, file, watch)
                records = _marked(task, in_item_order(task, file.records), contaminated)
                result = _finish(file, task, some, records, run=folder.parent)
                yield replace(result, notes=(*result.notes, *notes), was_there=was_there)


def alone() -> Place:
    """This process by itself, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Place(device=device, autocast=nullcontext)


class _Models:
    """The model at hand, loaded when the first question comes."""

    def __init__(self, bf16: bool, place: Place) -> None:
        self._bf16 = bf16
        self._place = place
        self._model: LanguageModel | None = None

    def holding(self, weights: Weights) -> LanguageModel:
        """The model with these weights in it."""
        if self._model is None or weights.revision not in (None, self._model.weights.revision):
            self._model = None  # its memory is free before the next one comes
            self._model = on_every_rank(
                self._place,
                lambda: load_language_model(weights, place=self._place, bf16=self._bf16),
            )
        elif self._model.weights != weights:
            self._model.swap(weights)
        return self._model


def _ask_rest(
    models: _Models,
    weights: Weights,
    task: PreparedTask,
    file: ItemFile | FollowedItems,
    watch: Watch,
) -> tuple[str, ...]:
    """Ask what is not in the file yet, into the file; what has to be said of it."""
    samples = sum(record.extra.get("samples", 0) for record in file.records)

    def tell(count: int = 0) -> None:
        nonlocal samples
        samples += count
        watch.tell(task.label, weights.step, len(file.records), len(task.items), samples)
        watch.check()

    tell()
    if len(file.records) == len(task.items):
        return ()
    ends = task.task.ends and _learnt_to_end(weights.run)
    model = models.holding(weights)
    for record in ask_items(model, task, known=tuple(file.records), ends=ends, drawn=tell):
        file.append(record)
        tell()
    return _unknown_note(model, task)


def _unknown_note(model: LanguageModel, task: PreparedTask) -> tuple[str, ...]:
    """What is to be said of characters that the model's tokenizer does not know."""
    texts = [*task.contexts]
    for item in task.items:
        texts += [text for text in (item.target, *item.choices) if text is not None]
    found = UnknownCounter(model.coder.tokenizer).in_texts(texts)
    if not found.unknown:
        return ()
    return (
        f"the tokenizer does not know {percent(found.share)} of the characters that are asked: "
        "the model reads them as unknown",
    )


def _learnt_to_end(run: Path | None) -> bool:
    """Whether a run was trained on answers, which it ends with its end token."""
    if run is None:
        return False
    experiment = load_experiment(run / "experiment.yaml", check_paths=False).experiment
    return objective_of(experiment, None).data == "answer"


def _marked(
    task: PreparedTask,
    records: Sequence[ItemRecord],
    contaminated: Mapping[str, Collection[str]] | None,
) -> list[ItemRecord]:
    """The records, told whether the training text holds them where that was looked for."""
    if contaminated is None:
        return list(records)
    ids = contaminated[task.label]
    return [
        replace(record, extra={**record.extra, "contaminated": record.item in ids})
        for record in records
    ]


def _asked(task: PreparedTask, weights: Weights, bf16: bool) -> dict[str, Any]:
    """What decides the answers: asked otherwise, it is another evaluation."""
    asking = task.asking
    return {
        "task": task.label,
        "params": task.task.model_dump(mode="json"),
        "model": weights.name,
        "revision": weights.revision,
        "shots": asking.shots,
        "limit": asking.limit,
        "seed": asking.seed,
        "samples": asking.samples,
        "temperature": asking.temperature,
        "until_passes": asking.until_passes,
        "most_samples": asking.most_samples if asking.until_passes else None,
        "bf16": bf16,
        "writes": task.writes,
        "items": len(task.items),
        "items_fingerprint": task.fingerprint,
    }


def _finish(
    file: ItemFile | FollowedItems,
    task: PreparedTask,
    weights: Weights,
    records: Sequence[ItemRecord],
    *,
    run: Path,
) -> TaskResult:
    marks = [record.extra["contaminated"] for record in records if "contaminated" in record.extra]
    by = [*task.asking.by, *(["contaminated"] if any(marks) else [])]
    judged = [pair for pair in zip(task.items, records, strict=True) if pair[1].skipped is None]
    bounds = bounds_by_group(
        task.task, [item for item, _ in judged], [facts_of(record) for _, record in judged], by
    )
    asked: dict[str, Any] = {
        **file.asked,
        "step": weights.step,
        "metric_names": [metric.name for metric in task.metrics],
        "by": by,
        "chance": dict(task.task.chance),
        "bounds": group_bounds_to_json(bounds),
        "generates": task.task.ask == "generate",
    }
    if marks:
        asked["contamination"] = {"rule": RULE, "items": sum(marks), "of": len(marks)}
    if report := getattr(task.task, "report", None):
        asked["read"] = dict(report)
    result, told = summarize(file.folder, records, asked, seed=task.asking.seed)
    file.finish(records, told, run=run, measured=result.values)
    return replace(result, notes=(*task.task.notes, *result.notes))


def _folder_of(weights: Weights) -> str:
    """The folder of a step, or of a revision; "" where there is one state of the model."""
    if weights.revision is not None:
        return _NO_NAME.sub("-", weights.revision).strip(".-") or "revision"
    return "" if weights.step is None else step_name(weights.step)


def _folder_name(task: Prepared) -> str:
    shots = f"-{task.asking.shots}shot" if task.asking.shots else ""
    name = _NO_NAME.sub("-", task.label).strip(".-") or "task"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(task.label.encode()).hexdigest()[:8]
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return name + shots
