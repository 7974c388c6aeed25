"""Task files of lm-evaluation-harness among the tasks that are asked (extra `lm-eval`).

lm-eval runs a file as a whole, so what is interrupted begins anew; what is complete is not asked
again. Its own metrics stand beside ours, which are computed from the item records like those of any
other task. What they are, our registry says, and which way is better lm-eval itself; of a metric
that nobody here knows the value alone is kept, in results.json.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.errors import RequestError, ToldError
from emergectl.evaluation.estimates import interval, mean
from emergectl.evaluation.item_files import RESULTS, ResumeMode, open_items, read_json
from emergectl.evaluation.metrics import metric_facts
from emergectl.evaluation.results import (
    TaskResult,
    asked_apart,
    fingerprint_of_records,
    metrics_to_take,
    summarize,
)
from emergectl.evaluation.task_items import Asking
from emergectl.store.measurements import Fact, Measurement, measurement_from_json
from emergectl.tasks.shortcuts import Bounds, bounds_of_items, group_bounds_to_json
from emergectl.tasks.task import Item

if TYPE_CHECKING:
    from emergectl.evaluation.lm_eval import OwnMetric
    from emergectl.evaluation.records import ItemRecord
    from emergectl.inference.loading import LanguageModel, Weights
    from emergectl.runtime.place import Place

HARNESS_METRICS = ("accuracy", "exact_match", "logprob", "logprob_per_token", "brier", "margin")
"""those of ours that are tried on the records"""


@dataclass(frozen=True)
class HarnessTask:
    """A task file that lm-eval runs, and how it is asked."""

    path: Path
    asking: Asking

    @property
    def label(self) -> str:
        """What results call the task."""
        return self.path.stem


def prepare_file(path: Path, asking: Asking) -> HarnessTask:
    """The task of a file. RequestError without lm-eval, for what lm-eval decides itself, and for
    a file that cannot be used, or whose code is not allowed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise RequestError(
            f"{path} is a task of lm-evaluation-harness: pip install 'emergectl[lm-eval]'"
        )
    if asking.samples > 1 or asking.temperature or asking.until_passes:
        raise RequestError(f"{path}: how many texts are written, and how, is the file's to say")
    metrics_to_take(
        HARNESS_METRICS, asking.metrics
    )  # an unknown one is said before anything is asked
    from emergectl.evaluation.lm_eval_files import read_task_file

    read_task_file(path, allow_code=asking.allow_code)
    return HarnessTask(path, asking)


def evaluate_file(
    task: HarnessTask,
    weights: Weights,
    load: Callable[[], LanguageModel],
    folder: Path,
    *,
    run: Path,
    place: Place,
    resume: ResumeMode,
    bf16: bool,
) -> TaskResult:
    """Have lm-eval run the file with the model that `load` gives; results go to `folder`, and what
    was measured into `run`.

    Raises RequestError for a file that lm-eval cannot use, and AlreadyRunningError.
    """
    asking = task.asking
    asked = {
        "task": task.label,
        "file": str(task.path),
        "file_sha256": hashlib.sha256(task.path.read_bytes()).hexdigest(),
        "model": weights.name,
        "revision": weights.revision,
        "shots": asking.shots,
        "limit": asking.limit,
        "seed": asking.seed,
        "bf16": bf16,
    }
    with open_items(folder, asked, resume=resume, place=place) as file:
        was_there = file.is_complete
        if was_there:
            before = read_json(folder / RESULTS)
            records, own = file.records, before["lm_eval"]
            theirs = [
                measurement_from_json(one, f"{folder / RESULTS}: harness")
                for one in before.get("harness", ())
            ]
            shots = before["shots"]
        else:
            from emergectl.evaluation.lm_eval import run_task_file

            model = load()
            try:
                found = run_task_file(
                    model,
                    task.path,
                    shots=asking.shots or None,
                    limit=asking.limit,
                    seed=asking.seed,
                    allow_code=asking.allow_code,
                )
            except RequestError as error:  # the same on every rank: the file is to blame
                if place.is_main:
                    raise
                raise ToldError(str(error), error.exit_code) from error
            records, own, shots = list(found.records), found.metrics, found.shots
            told_apart = asked_apart({**asked, "shots": shots})
            theirs = _measurements(found.own, records, task.label, weights.step, told_apart)
        names = [metric.name for metric in metrics_to_take(HARNESS_METRICS, asking.metrics)]
        told: dict[str, Any] = {
            **file.asked,
            "shots": shots,
            "step": weights.step,
            "metric_names": names,
            "by": list(asking.by),
            "chance": {},
            "bounds": group_bounds_to_json({None: _bounds(records)}),
        }
        result, told = summarize(folder, records, told, seed=asking.seed)
        values = (*theirs, *result.values)
        told |= {"lm_eval": own, "harness": [one.to_json() for one in theirs]}
        file.finish(records, told, run=run, measured=values)
    without = tuple(name for name in result.without if name in asking.metrics)
    return replace(result, values=values, without=without, was_there=was_there)


def _bounds(records: Sequence[ItemRecord]) -> Bounds:
    """What the items come to by what stands in their records; their questions do not."""
    items = [
        Item(one.item, "", target=one.target, choices=one.choices, right=one.right)
        for one in records
        if one.skipped is None
    ]
    chosen = bool(items) and all(item.choices and item.right for item in items)
    return bounds_of_items(items, ask="choice" if chosen else "target")


def _measurements(
    own: Sequence[OwnMetric],
    records: Sequence[ItemRecord],
    task: str,
    step: int | None,
    asked: dict[str, Fact],
) -> list[Measurement]:
    """lm-eval's values of metrics that are known here, with intervals where they are means."""
    fingerprint = fingerprint_of_records(records)
    count = sum(record.skipped is None for record in records)
    found = []
    for one in own:
        what = metric_facts(one.metric)
        if what is None:
            continue
        if one.higher_is_better is not None:
            what = replace(what, direction="up" if one.higher_is_better else "down")
        measure = mean(one.of_items)
        low, high = interval(what, measure) if measure else (None, None)
        found.append(
            Measurement(
                task=task,
                metric=one.metric,
                value=one.value,
                what=what,
                source="harness",
                step=step,
                low=low,
                high=high,
                n=len(one.of_items) or count,
                asked={**asked, "filter": one.filter},
                items=fingerprint,
            )
        )
    return found
