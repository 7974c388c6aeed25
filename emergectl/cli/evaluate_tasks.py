"""Models asked what they can do: the work behind `eval --tasks` and stage `evaluate`.

A run is asked in its own `evals/`; any other model gets a run of stage `evaluate`, whose experiment
says what was asked. Either goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergectl.cli.evaluate_display import AskingDisplay
from emergectl.cli.evaluate_ranks import joined
from emergectl.cli.output import print_json, print_table, say
from emergectl.config.experiment import LoadedExperiment
from emergectl.config.reader import parse_yaml
from emergectl.errors import (
    ExperimentError,
    InterruptedRunError,
    PreemptedError,
    RequestError,
)
from emergectl.runtime.select_run import Choice, Request, choose_run, take_run
from emergectl.runtime.stop import StopRequest
from emergectl.store.run import forget_unbegun

if TYPE_CHECKING:
    from emergectl.config.schema import Experiment
    from emergectl.evaluation.harness import HarnessTask
    from emergectl.evaluation.run_tasks import TaskResult, Watch
    from emergectl.evaluation.task_items import Asking, PreparedTask
    from emergectl.inference.loading import Weights
    from emergectl.runtime.place import Place
    from emergectl.store.run import Run


def watch_with(display: AskingDisplay, stop: StopRequest, *, beat: Run | None = None) -> Watch:
    """Progress onto the display and into the run's status; signals end between two items."""
    from emergectl.evaluation.run_tasks import Watch

    def tell(task: str, step: int | None, done: int, items: int, samples: int) -> None:
        display.tell(task, step, done, items, samples=samples)
        if beat is not None:
            beat.heartbeat(step or 0)

    def check() -> None:
        if stop.signum is not None:
            kind = InterruptedRunError if stop.was_keyboard else PreemptedError
            raise kind("stopped; what is answered is kept, and --resume goes on with the rest")

    return Watch(tell, check)


def asking_of(experiment: Experiment) -> Asking:
    """How an experiment of stage `evaluate` asks."""
    from emergectl.evaluation.task_items import Asking

    spec = experiment.evaluation
    temperature = spec.temperature
    if temperature is None:
        temperature = 1.0 if spec.samples > 1 or spec.until_passes else 0.0
    return Asking(
        shots=spec.shots,
        limit=spec.limit,
        seed=experiment.seed,
        samples=spec.samples,
        temperature=temperature,
        until_passes=spec.until_passes,
        most_samples=spec.most_samples,
        metrics=tuple(spec.metrics),
        by=tuple(spec.by),
        allow_code=spec.allow_code,
    )


def experiment_of(
    source: str,
    references: Sequence[str],
    asked: dict[str, Any],
    *,
    seed: int,
    precision: str,
) -> Experiment:
    """The experiment of stage `evaluate` that a command line asks for.

    Raises RequestError for a task that is none.
    """
    from emergectl.config.schema import Experiment
    from emergectl.config.task_files import written_task
    from emergectl.tasks.references import harness_file, load_task

    tasks = []
    for reference in references:
        if harness_file(reference) is None:
            load_task(reference)  # says where a parameter is wrong
        written = written_task(reference)
        tasks.append({"task": written.task, **written.params})
    return Experiment.model_validate(
        {
            "name": _name_for(source),
            "stage": "evaluate",
            "seed": seed,
            "model": {"from": source},
            "evaluation": {"tasks": tasks, **asked},
            "train": {"precision": precision},
        }
    )


def ask_model(
    weights: Sequence[Weights],
    experiment: Experiment,
    root: Path,
    place: Place,
    stop: StopRequest,
    *,
    resume: bool,
    contamination: bool,
    quiet: bool,
) -> tuple[Path, list[TaskResult]]:
    """Ask what an experiment says: of a run in its `evals/`, of any other model in a new run.

    Returns where the results are, and the results.
    """
    if weights[0].run is not None:
        return _ask_run(
            weights,
            experiment,
            place,
            stop,
            resume=resume,
            contamination=contamination,
            quiet=quiet,
        )
    document = parse_yaml("{}", name="emergectl eval")
    loaded = LoadedExperiment(experiment, document, Path("emergectl eval"))
    request = Request(root, loaded, "auto" if resume else None, None, sys.argv)
    path, results = _evaluate_in(request, choose_run(request), place, stop, quiet=quiet)
    return path / "evals", results


def _ask_run(
    weights: Sequence[Weights],
    experiment: Experiment,
    place: Place,
    stop: StopRequest,
    *,
    resume: bool,
    contamination: bool,
    quiet: bool,
) -> tuple[Path, list[TaskResult]]:
    from emergectl.evaluation.run_tasks import evaluate_tasks
    from emergectl.runtime.rank_agreement import on_every_rank

    run = weights[0].run
    assert run is not None
    asked = on_every_rank(place, lambda: _prepare(experiment, weights, contamination=contamination))
    display = AskingDisplay(silent=quiet or not place.is_main)
    try:
        results = evaluate_tasks(
            weights,
            asked.tasks,
            run / "evals",
            place=place,
            resume=resume,
            bf16=experiment.train.precision == "bf16",
            contaminated=asked.contaminated,
            watch=watch_with(display, stop),
        )
        return run / "evals", list(results)
    finally:
        display.clear()


@dataclass(frozen=True)
class Prepared:
    """Tasks ready to be asked, and their items that stand in the training text where looked for."""

    tasks: Sequence[PreparedTask | HarnessTask]
    contaminated: Mapping[str, Collection[str]] | None


def _prepare(
    experiment: Experiment, weights: Sequence[Weights], *, contamination: bool
) -> Prepared:
    """All of an asking that needs no model."""
    from emergectl.evaluation.contamination import find_contaminated
    from emergectl.evaluation.run_tasks import prepare_tasks
    from emergectl.evaluation.task_items import PreparedTask

    tasks = prepare_tasks(experiment.evaluation.tasks, asking_of(experiment))
    if not contamination:
        return Prepared(tasks, None)
    run = weights[0].run
    if run is None:
        raise ExperimentError(
            "evaluation.contamination", f"what {weights[0].name} was trained on is not known"
        )
    ours = [task for task in tasks if isinstance(task, PreparedTask)]
    return Prepared(tasks, find_contaminated(run, ours))


def run_evaluation(
    request: Request, choice: Choice, stop: StopRequest, *, quiet: bool
) -> tuple[Path, list[TaskResult]]:
    """Carry out an experiment of stage `evaluate` in a run directory of its own.

    What the directory holds already is not asked again, so that a run that was stopped goes on.
    """
    with joined(choice.experiment.train.device, stop) as (place, agreed):
        return _evaluate_in(request, choice, place, agreed, quiet=quiet)


def _evaluate_in(
    request: Request, choice: Choice, place: Place, stop: StopRequest, *, quiet: bool
) -> tuple[Path, list[TaskResult]]:
    from emergectl.inference.loading import find_weights
    from emergectl.runtime.rank_agreement import on_every_rank

    experiment = choice.experiment
    source = experiment.model.from_
    assert source is not None
    contamination = experiment.evaluation.contamination

    def prepare() -> tuple[list[Weights], Prepared]:
        weights = find_weights(source, root=request.root)
        return weights, _prepare(experiment, weights, contamination=contamination)

    weights, prepared = on_every_rank(place, prepare)
    return _run_prepared(request, choice, weights, prepared, place, stop, quiet=quiet)


def _run_prepared(
    request: Request,
    choice: Choice,
    weights: Sequence[Weights],
    prepared: Prepared,
    place: Place,
    stop: StopRequest,
    *,
    quiet: bool,
) -> tuple[Path, list[TaskResult]]:
    from emergectl.evaluation.run_tasks import evaluate_tasks
    from emergectl.runtime.rank_agreement import on_main

    run: Run | None = None

    def take() -> Path:
        nonlocal run
        run = take_run(request, choice)
        return run.path

    path = on_main(place, take)
    display = AskingDisplay(silent=quiet or not place.is_main)
    try:
        with run or nullcontext():
            results = evaluate_tasks(
                weights,
                prepared.tasks,
                path / "evals",
                place=place,
                resume=True,
                bf16=choice.experiment.train.precision == "bf16",
                contaminated=prepared.contaminated,
                watch=watch_with(display, stop, beat=run),
            )
            return path, list(results) if run is None else _told(run, results)
    except RequestError:
        answers = (path / "evals").rglob("items.jsonl")
        if (
            run is not None
            and choice.existing is None
            and not any(file.stat().st_size for file in answers)
        ):
            forget_unbegun(path)  # the model cannot be asked: it was no run
        raise
    finally:
        display.clear()


def _told(run: Run, results: Iterable[TaskResult]) -> list[TaskResult]:
    """The results as they come; how that goes and ends stands in the run's status and metrics."""
    run.set_status("running")
    try:
        found = list(results)
    except (PreemptedError, InterruptedRunError) as error:
        run.set_status("preempted", exit_code=error.exit_code, reason=str(error))
        raise
    _into_metrics(run, found)
    run.set_status("done", exit_code=0)
    return found


def show_results(results: Sequence[TaskResult], *, json_: bool, csv: bool) -> None:
    """Print results: a table of metrics, task by task, group by group; or JSON, or CSV.

    What was not asked is said, with the reasons.
    """
    from emergectl.evaluation.results import shown_metric

    _tell_left_out(results)
    if json_:
        print_json([_as_json(result) for result in results])
        return
    rows = [
        [
            result.step,
            result.task,
            None if value.group is None else f"{value.group[0]}={value.group[1]}",
            shown_metric(value),
            value.value,
            *((value.low, value.high) if csv else (_interval(value.low, value.high),)),
            value.chance,
            value.n,
        ]
        for result in results
        for value in result.values
    ]
    bounds = ["low", "high"] if csv else ["95% interval"]
    columns = ["step", "task", "group", "metric", "value", *bounds, "chance", "n"]
    if not csv:  # A column that says nothing is left out for people.
        kept = [
            i for i, name in enumerate(columns) if name not in ("step", "group") or _says(rows, i)
        ]
        columns = [columns[i] for i in kept]
        rows = [[_for_people(row[i], columns[n]) for n, i in enumerate(kept)] for row in rows]
    print_table(columns, rows, csv=csv)


def _tell_left_out(results: Iterable[TaskResult]) -> None:
    """Say which items were not asked, which were trained on, and which metrics there are not."""
    for result in results:
        at = result.task if result.step is None else f"step {result.step:,}, {result.task}"
        if result.was_there:
            say(f"{at}: asked before, and kept ({result.path})")
        skipped = sum(result.skipped.values())
        if skipped:
            reason, items = max(result.skipped.items(), key=lambda entry: entry[1])
            also = (
                "" if items == skipped else f" ({items:,} of them; other reasons in results.json)"
            )
            say(f"{at}: {skipped:,} of {result.items:,} items skipped: {reason}{also}")
        if result.contaminated is not None:
            say(f"{at}: {result.contaminated:,} of {result.items:,} items are in the training data")
        if result.without and skipped < result.items:
            say(f"{at}: its items give no {', '.join(result.without)}")


def _into_metrics(run: Run, results: Sequence[TaskResult]) -> None:
    """The values of whole tasks, as `task/metric`, into the run's metrics.jsonl, step by step."""
    run.metrics.truncate(0)
    for step in sorted({result.step or 0 for result in results}):
        values = {
            value.name: value.value
            for result in results
            if (result.step or 0) == step
            for value in result.values
            if value.group is None
        }
        run.metrics.append({"step": step, **values})


def _as_json(result: TaskResult) -> dict[str, object]:
    return {
        "task": result.task,
        "model": result.model,
        "step": result.step,
        "items": result.items,
        "skipped": dict(result.skipped),
        "metrics": [value.to_json() for value in result.values],
        "path": result.path,
    }


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.3g} … {high:.3g}"


def _says(rows: Sequence[Sequence[object]], column: int) -> bool:
    """Whether a column differs between rows."""
    return len({row[column] for row in rows}) > 1


def _for_people(value: object, column: str) -> object:
    rounded = column in ("value", "chance") and isinstance(value, float)
    return float(f"{value:.4g}") if rounded else value


def _name_for(model: str) -> str:
    """A name for the run that evaluates a model: `eval-` and the end of its path."""
    last = model.rstrip("/").rpartition("/")[2]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in last)
    return f"eval-{kept[:50]}".rstrip("-.")
