"""Which run directory a training command works in: a new one, or an unfinished one again.

No torch here: a wrong request ends before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emergectl.config.experiment import LoadedExperiment, experiment_hash, load_experiment
from emergectl.config.schema import Experiment
from emergectl.errors import EmergectlError, ExperimentError, RequestError
from emergectl.store.locate import find_run, list_runs
from emergectl.store.origins import once_settled, settle_origins
from emergectl.store.run import Run, create_run, open_run, read_facts
from emergectl.store.status import read_status


@dataclass(frozen=True)
class Request:
    """What a person asked of `train`, `pretrain` or `finetune`."""

    root: Path
    loaded: LoadedExperiment | None
    """None with `resume` alone: the run's own experiment"""
    resume: str | None
    run_dir: Path | None
    argv: Sequence[str]


@dataclass(frozen=True)
class Choice:
    """A run directory, new (None) or old, and the experiment that is to run there."""

    experiment: Experiment
    existing: Path | None
    parent: str | None
    is_done: bool = False


def choose_run(request: Request) -> Choice:
    """Settle what is run where, without making anything.

    Raises RequestError where the run to go on with is not to be found, or is another experiment's.
    """
    if request.loaded is None:
        if request.resume in (None, "auto"):
            raise RequestError("give an experiment FILE, or --resume RUN")
        path = find_run(str(request.resume), request.root)
        kept = load_experiment(path / "experiment.yaml", check_paths=False).experiment
        return Choice(kept, path, None, read_status(path).state == "done")
    try:
        experiment, parent = settle_origins(request.loaded.experiment, request.root)
    except ExperimentError:
        if (orphan := _orphan_to_go_on_with(request)) is None:
            raise
        return orphan
    digest = experiment_hash(experiment)
    if request.resume is None:
        return Choice(experiment, None, parent)
    if request.resume == "auto":
        existing = _newest_with(digest, request.root)
        if existing is None and (orphan := _orphan_to_go_on_with(request)) is not None:
            return orphan
    else:
        existing = find_run(request.resume, request.root)
        if _digest(existing) != digest and (orphan := _orphan_to_go_on_with(request)) is not None:
            return orphan
        if _digest(existing) != digest:
            raise RequestError(
                f"{existing.name} is a run of another experiment; `emergectl runs diff` shows how, "
                "--resume without FILE goes on with its own"
            )
    if existing is None:
        return Choice(experiment, None, parent)
    return Choice(experiment, existing, parent, read_status(existing).state == "done")


def take_run(request: Request, choice: Choice) -> Run:
    """Make or take up the chosen run directory, and hold its lock."""
    if choice.existing is not None:
        return open_run(choice.existing)
    return create_run(
        request.root,
        choice.experiment,
        argv=request.argv,
        parent=choice.parent,
        run_dir=request.run_dir,
    )


def _newest_with(digest: str, root: Path) -> Path | None:
    """The newest run of this very experiment, whatever its state."""
    same = [path for path in list_runs(root) if _digest(path) == digest]
    return max(same, key=lambda path: path.name, default=None)


def _orphan_to_go_on_with(request: Request) -> Choice | None:
    """The run that a request resumes, though what it started from at first is gone by now: its
    experiment names that in full, and its checkpoint holds what is needed. None: there is none."""
    if request.loaded is None or request.resume is None:
        return None
    if request.resume == "auto":
        runs = list_runs(request.root)
    else:
        runs = [find_run(request.resume, request.root)]
    for run in runs:
        digest = _digest(run)
        if digest is None:
            continue
        try:
            kept = load_experiment(run / "experiment.yaml", check_paths=False).experiment
        except EmergectlError:  # no reason to stop either, see `_digest`
            continue
        settled = once_settled(request.loaded.experiment, kept)
        if settled is not None and experiment_hash(settled) == digest:
            return Choice(kept, run, None, read_status(run).state == "done")
    return None


def _digest(run: Path) -> str | None:
    """The hash of a run's experiment; None where its run.json cannot be read, which is no reason
    to stop: that run is simply not the one that is looked for."""
    try:
        return read_facts(run).get("experiment_hash")
    except RequestError:
        return None
