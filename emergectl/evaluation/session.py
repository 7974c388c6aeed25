"""The session of an evaluation: from what is asked of which model to results on disk.

A run is asked in its own `evals/`; any other model gets a run of stage `evaluate`, whose experiment
says what was asked. Either goes on where it stopped. Who is told of progress, and where results are
shown, is the caller's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.config.experiment import LoadedExperiment
from emergectl.config.reader import parse_yaml
from emergectl.config.schema import Experiment
from emergectl.config.task_files import written_task
from emergectl.errors import ExperimentError, InterruptedRunError, PreemptedError, RequestError
from emergectl.evaluation.contamination import find_contaminated
from emergectl.evaluation.item_files import ResumeMode
from emergectl.evaluation.results import TaskResult
from emergectl.evaluation.run_tasks import Prepared, Tell, Watch, evaluate_tasks, prepare_tasks
from emergectl.evaluation.task_items import Asking, PreparedTask
from emergectl.inference.loading import Weights, find_weights
from emergectl.runtime.agreed_stop import join_evaluation
from emergectl.runtime.place import Place
from emergectl.runtime.rank_agreement import on_every_rank, on_main
from emergectl.runtime.select_run import Choice, Request, choose_run, take_run
from emergectl.runtime.stop import StopRequest
from emergectl.store.run import Run, forget_unbegun
from emergectl.tasks.references import harness_file, load_task


def asking_of(experiment: Experiment) -> Asking:
    """How an experiment of stage `evaluate` asks."""
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


def experiment_that_asks(
    source: str,
    references: Sequence[str],
    asked: Mapping[str, Any],
    *,
    seed: int,
    precision: str,
) -> Experiment:
    """The experiment of stage `evaluate` that a command line asks for.

    Raises RequestError for a task that is none.
    """
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
    *,
    root: Path,
    argv: Sequence[str],
    place: Place,
    stop: StopRequest,
    tell: Tell,
    resume: ResumeMode,
    contamination: bool,
) -> tuple[Path, list[TaskResult]]:
    """Ask what an experiment says: of a run in its `evals/`, of any other model in a new run.

    Returns where the results are, and the results.
    """
    run = weights[0].run
    if run is None:
        document = parse_yaml("{}", name="emergectl eval")
        loaded = LoadedExperiment(experiment, document, Path("emergectl eval"))
        request = Request(root, loaded, "auto" if resume else None, None, argv)
        path, results = _evaluate_in(request, choose_run(request), place, stop, tell)
        return path / "evals", results
    asked = on_every_rank(place, lambda: _prepare(experiment, weights, contamination=contamination))
    results = list(
        evaluate_tasks(
            weights,
            asked.tasks,
            run / "evals",
            place=place,
            resume=resume,
            bf16=experiment.train.precision == "bf16",
            contaminated=asked.contaminated,
            watch=watch_with(tell, stop),
        )
    )
    return run / "evals", results


def run_evaluation(
    request: Request, choice: Choice, stop: StopRequest, tell: Tell
) -> tuple[Path, list[TaskResult]]:
    """Carry out an experiment of stage `evaluate` in a run directory of its own.

    What the directory holds already is not asked again, so that a run that was stopped goes on.
    """
    with join_evaluation(choice.experiment.train.device, stop) as (place, agreed):
        return _evaluate_in(request, choice, place, agreed, tell)


def watch_with(tell: Tell, stop: StopRequest, *, beat: Run | None = None) -> Watch:
    """Progress to `tell` and into the run's status; signals end between two items."""

    def told(task: str, step: int | None, done: int, items: int, samples: int) -> None:
        tell(task, step, done, items, samples)
        if beat is not None:
            beat.heartbeat(step or 0)

    def check() -> None:
        if stop.signum is not None:
            kind = InterruptedRunError if stop.was_keyboard else PreemptedError
            raise kind("stopped; what is answered is kept, and --resume goes on with the rest")

    return Watch(told, check)


@dataclass(frozen=True)
class _Asked:
    """Tasks ready to be asked, and their items that stand in the training text where looked for."""

    tasks: Sequence[Prepared]
    contaminated: Mapping[str, Collection[str]] | None


def _prepare(experiment: Experiment, weights: Sequence[Weights], *, contamination: bool) -> _Asked:
    """All of an asking that needs no model."""
    tasks = prepare_tasks(experiment.evaluation.tasks, asking_of(experiment))
    if not contamination:
        return _Asked(tasks, None)
    run = weights[0].run
    if run is None:
        raise ExperimentError(
            "evaluation.contamination", f"what {weights[0].name} was trained on is not known"
        )
    ours = [task for task in tasks if isinstance(task, PreparedTask)]
    return _Asked(tasks, find_contaminated(run, ours))


def _evaluate_in(
    request: Request, choice: Choice, place: Place, stop: StopRequest, tell: Tell
) -> tuple[Path, list[TaskResult]]:
    experiment = choice.experiment
    source = experiment.model.from_
    assert source is not None

    def prepare() -> tuple[list[Weights], _Asked]:
        weights = find_weights(source, root=request.root)
        contamination = experiment.evaluation.contamination
        return weights, _prepare(experiment, weights, contamination=contamination)

    weights, asked = on_every_rank(place, prepare)
    run: Run | None = None

    def take() -> Path:
        nonlocal run
        run = take_run(request, choice)
        return run.path

    path = on_main(place, take)
    try:
        with run or nullcontext():
            results = evaluate_tasks(
                weights,
                asked.tasks,
                path / "evals",
                place=place,
                resume=True,
                bf16=experiment.train.precision == "bf16",
                contaminated=asked.contaminated,
                watch=watch_with(tell, stop, beat=run),
            )
            return path, list(results) if run is None else _accounted(run, results)
    except RequestError:
        answers = (path / "evals").rglob("items.jsonl")
        if (
            run is not None
            and choice.existing is None
            and not any(file.stat().st_size for file in answers)
        ):
            forget_unbegun(path)  # the model cannot be asked: it was no run
        raise


def _accounted(run: Run, results: Iterable[TaskResult]) -> list[TaskResult]:
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


def _name_for(model: str) -> str:
    """A name for the run that evaluates a model: `eval-` and the end of its path."""
    last = model.rstrip("/").rpartition("/")[2]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in last)
    return f"eval-{kept[:50]}".rstrip("-.")
