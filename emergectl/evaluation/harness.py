"""Task files of lm-evaluation-harness among the tasks that are asked (extra `lm-eval`).

lm-eval runs a file as a whole, so what is interrupted begins anew; what is complete is not asked
again. Its own metrics stand in the results as `lm_eval/NAME`, beside ours, which are computed from
the item records like those of any other task.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.errors import RequestError, ToldError
from emergectl.evaluation.item_files import RESULTS, Resume, open_items, read_json
from emergectl.evaluation.results import TaskResult, Value, metrics_to_take, summarize
from emergectl.evaluation.task_items import Asking

if TYPE_CHECKING:
    from emergectl.inference.loading import LanguageModel, Weights
    from emergectl.runtime.place import Place

METRICS = ("accuracy", "exact_match", "logprob", "logprob_per_token", "brier", "margin")
"""those of ours that are tried on the records"""

_RIGHT_OR_WRONG = ("acc", "exact_match", "em", "mcc", "f1")


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
    """The task of a file. RequestError without lm-eval, and for what lm-eval decides itself."""
    if importlib.util.find_spec("lm_eval") is None:
        raise RequestError(
            f"{path} is a task of lm-evaluation-harness: pip install 'emergectl[lm-eval]'"
        )
    if asking.samples > 1 or asking.temperature or asking.until_passes:
        raise RequestError(f"{path}: how many texts are written, and how, is the file's to say")
    metrics_to_take(METRICS, asking.metrics)  # an unknown one is said before anything is asked
    return HarnessTask(path, asking)


def evaluate_file(
    task: HarnessTask,
    weights: Weights,
    load: Callable[[], LanguageModel],
    folder: Path,
    *,
    place: Place,
    resume: Resume,
    bf16: bool,
) -> TaskResult:
    """Have lm-eval run the file with the model that `load` gives; results go to `folder`.

    Raises RequestError for a file that lm-eval cannot use, and AlreadyRunningError.
    """
    asking = task.asking
    asked = {
        "task": task.label,
        "file": str(task.path),
        "file_sha256": hashlib.sha256(task.path.read_bytes()).hexdigest(),
        "model": weights.name,
        "shots": asking.shots,
        "limit": asking.limit,
        "seed": asking.seed,
        "bf16": bf16,
    }
    with open_items(folder, asked, resume=resume, place=place) as file:
        if file.is_complete:
            records, own = file.records, read_json(folder / RESULTS)["lm_eval"]
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
                )
            except RequestError as error:  # the same on every rank: the file is to blame
                if place.is_main:
                    raise
                raise ToldError(str(error), error.exit_code) from error
            records, own = list(found.records), found.metrics
        names = [metric.name for metric in metrics_to_take(METRICS, asking.metrics)]
        told: dict[str, Any] = {
            **file.asked,
            "step": weights.step,
            "metric_names": names,
            "by": list(asking.by),
            "chance": {},
        }
        result, told = summarize(folder, records, told, seed=asking.seed)
        file.finish(records, {**told, "lm_eval": own})
    theirs = tuple(_value(name, value, result) for name, value in own.items())
    without = tuple(name for name in result.without if name in asking.metrics)
    return replace(result, values=(*theirs, *result.values), without=without)


def _value(name: str, value: float, result: TaskResult) -> Value:
    kind = "discontinuous" if name.partition(",")[0].startswith(_RIGHT_OR_WRONG) else "continuous"
    items = result.items - sum(result.skipped.values())
    return Value(f"lm_eval/{name}", kind, value, None, None, None, items)  # type: ignore[arg-type]
