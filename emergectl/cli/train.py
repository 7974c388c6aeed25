"""`train`, `pretrain`, `finetune`: from an experiment file to a run directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergectl.cli.output import say
from emergectl.cli.reading import reading_progress
from emergectl.cli.run_summary import print_outcome, show_outcome
from emergectl.config.experiment import load_experiment
from emergectl.errors import (
    EmergectlError,
    ExperimentError,
    InterruptedRunError,
    PreemptedError,
    RequestError,
)
from emergectl.evaluation.watched import check_watched
from emergectl.runtime.select_run import Choice, Request, choose_run, take_run
from emergectl.runtime.stop import StopRequest
from emergectl.store.locate import runs_root
from emergectl.store.status import read_status
from emergectl.tasks.resolve import check_asked, resolve

if TYPE_CHECKING:
    from emergectl.runtime.listeners import Listener
    from emergectl.store.run import Run

ExperimentFile = Annotated[
    Path | None, typer.Argument(help="The experiment (YAML); may be left out with --resume RUN.")
]
ExperimentOverrides = Annotated[
    list[str] | None, typer.Argument(help="Fields to set.", metavar="[KEY.PATH=VALUE]…")
]
Gpus = Annotated[int | None, typer.Option(help="Ranks here, one a GPU (on CPU: processes).", min=1)]
RunDir = Annotated[Path | None, typer.Option(help="Make the run directory exactly here.")]
ResumeOption = Annotated[
    str | None,
    typer.Option(help="Go on with this run; `auto`: with the newest run of the same experiment."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON; no display.")]
RunsDir = Annotated[
    Path | None, typer.Option(help="The runs folder (default: $EMERGECTL_RUNS or ./runs).")
]


def _command(stage: str | None, summary: str) -> Callable[..., None]:
    """The command that insists on `stage`; the three differ in nothing else."""

    def command(
        file: ExperimentFile = None,
        overrides: ExperimentOverrides = None,
        gpus: Gpus = None,
        run_dir: RunDir = None,
        resume: ResumeOption = None,
        json_: _Json = False,
        runs_dir: RunsDir = None,
    ) -> None:
        _train(stage, file, overrides, gpus, run_dir, resume, json_, runs_dir)

    command.__doc__ = summary
    return command


train = _command(None, "Run an experiment, as its `stage` says.")
pretrain = _command("pretrain", "Train a language model; the experiment's stage must be pretrain.")
finetune = _command("finetune", "Train a model further, for a task; the stage must be finetune.")


def _train(
    stage: str | None,
    file: Path | None,
    overrides: list[str] | None,
    gpus: int | None,
    run_dir: Path | None,
    resume: str | None,
    json_: bool,
    runs_dir: Path | None,
) -> None:
    stop = StopRequest()
    stop.install()
    if file is None and overrides:
        raise RequestError("key=value needs an experiment FILE")
    request = Request(runs_root(runs_dir), None, resume, run_dir, sys.argv)
    if file is not None:
        request = _with_experiment(request, file, overrides or ())
    loaded = request.loaded
    try:
        choice = choose_run(request)
        if stage is not None and choice.experiment.stage != stage:
            raise ExperimentError("stage", f"is `{choice.experiment.stage}`: use `emergectl train`")
        check_asked(choice.experiment)
        if choice.experiment.stage != "evaluate":
            check_watched(resolve(choice.experiment))
        if choice.is_done:
            assert choice.existing is not None
            say(f"{choice.existing.name} is done already")
            _tell(choice.existing, json_)
            return
        if gpus is not None and gpus > 1 and "RANK" not in os.environ:
            _work_on_ranks(request, choice, gpus, stop, json_)
        elif choice.experiment.stage == "evaluate":
            _evaluate(request, choice, stop, json_)
        else:
            run = train_here(request, choice, stop, quiet=json_)
            if run is not None:
                _tell(run, json_)
    except ExperimentError as error:
        raise error if loaded is None else loaded.locate(error) from None


def _with_experiment(request: Request, file: Path, overrides: Sequence[str]) -> Request:
    """The request with its experiment. What that starts from may be gone where a run of it is there
    to go on with."""
    try:
        return replace(request, loaded=load_experiment(file, overrides))
    except RequestError:
        if request.resume is None:
            raise
        loaded = load_experiment(file, overrides, check_paths=False)
        resuming = replace(request, loaded=loaded)
        try:
            found = choose_run(resuming).existing
        except RequestError:
            found = None
        if found is None:
            raise
        return resuming


def _evaluate(request: Request, choice: Choice, stop: StopRequest, json_: bool) -> None:
    from emergectl.cli.evaluate_display import AskingDisplay
    from emergectl.cli.evaluate_results import show_results
    from emergectl.evaluation.session import run_evaluation

    is_main = os.environ.get("RANK", "0") == "0"
    with AskingDisplay(silent=json_ or not is_main) as display:
        path, results = run_evaluation(request, choice, stop, display.tell)
    if not is_main:
        return  # rank 0 tells
    show_results(results, json_=json_, csv=False)
    if not json_:
        say(str(path))


def train_here(request: Request, choice: Choice, stop: StopRequest, *, quiet: bool) -> Path | None:
    """Train in this process, alone or as one rank of several; the run (of the first rank)."""
    from emergectl.cli.display import open_display
    from emergectl.runtime.listeners import ListenerGroup
    from emergectl.runtime.ranks import join_ranks, leave_ranks
    from emergectl.store.run import forget_unbegun, read_facts
    from emergectl.tasks.learning.materials import check_experiment
    from emergectl.training.session import Session, run_session

    if choice.existing is None:
        check_experiment(choice.experiment)
    ranks = join_ranks(choice.experiment.train)
    run: Run | None = None
    try:
        listeners: list[Listener] = []
        if ranks.is_main:
            run = take_run(request, choice)
            listeners = [open_display("quiet" if quiet else "auto"), *_trackers(run, choice)]
        before = read_facts(run.path) if run is not None and choice.existing else {}
        session = Session(
            run=run,
            ranks=ranks,
            listener=ListenerGroup(listeners),
            stop=stop,
            decided=ranks.from_main(before.get("arithmetic")),
            data_progress=reading_progress() if ranks.is_main and not quiet else None,
        )
        run_session(choice.experiment, session)
    except RequestError:
        if run is not None and choice.existing is None:
            run.close()
            forget_unbegun(run.path)
        raise
    finally:
        if run is not None:
            run.close()
        leave_ranks()
    return None if run is None else run.path


def _trackers(run: Run, choice: Choice) -> list[Listener]:
    from emergectl.training.tracking import open_trackers

    return open_trackers(
        choice.experiment.tracking,
        run_path=run.path,
        run_id=run.id,
        experiment=choice.experiment.model_dump(mode="json", by_alias=True),
        warn=run.log,
    )


def _work_on_ranks(
    request: Request, choice: Choice, ranks: int, stop: StopRequest, json_: bool
) -> None:
    """Make the run directory, let torchrun's launcher work in it, and report its end."""
    from emergectl.runtime.launch import launch_ranks
    from emergectl.runtime.ranks import check_ranks
    from emergectl.store.run import forget_unbegun, open_run

    if choice.experiment.stage != "evaluate":
        check_ranks(choice.experiment.train, ranks)
    run = take_run(request, choice)
    run.close()
    arguments = ["train", "--resume", str(run.path), *(["--json"] if json_ else [])]
    try:
        killed = launch_ranks(arguments, ranks=ranks, stop=stop).killed
    except (PreemptedError, InterruptedRunError) as error:
        with open_run(run.path) as again:
            again.set_status("preempted", exit_code=error.exit_code, reason=str(error))
        raise
    if killed is not None:
        say(killed)
    status = read_status(run.path)
    if status.state == "done":
        return
    if status.exit_code == RequestError.exit_code and choice.existing is None:
        forget_unbegun(run.path)
    if status.exit_code is not None:
        raise typer.Exit(status.exit_code)  # Rank 0 has said why.
    raise EmergectlError(status.reason or f"{run.id} did not finish")


def _tell(run: Path, json_: bool) -> None:
    if json_:
        print_outcome(run)
    else:
        show_outcome(run)
