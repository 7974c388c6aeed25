"""`eval`: ask any model what it can do, or measure a run on what it held out."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergectl.cli.output import say
from emergectl.errors import AlreadyRunningError, RequestError, ToldError
from emergectl.store.locate import find_run, list_runs, name_in_id, runs_root

if TYPE_CHECKING:
    from emergectl.config.schema import Experiment
    from emergectl.inference.loading import Weights


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run (id, unique prefix, name, `latest`, path; RUN@STEP), a sweep (its file or "
            "name: all its models), a model directory, a name on the hub, or revisions of one "
            "(hub:org/model@step*)."
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="What to ask: names, parameters behind a colon (addition:digits=4), task files; "
            "separated by commas. Without: what the run held out."
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="Of a run: last, best, a step, or all (snapshots too; what is measured already "
            "stays)."
        ),
    ] = "last",
    shots: Annotated[int, typer.Option(min=0, help="Solved items before each question.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of a task at most.")] = None,
    by: Annotated[str, typer.Option(help="Group results by these facts as well: a,b.")] = "",
    metrics: Annotated[str, typer.Option(help="Metrics beside the tasks' own: a,b.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="Texts written for each item.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Of sampling (default: greedy; 1 for several).")
    ] = None,
    until_passes: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Write texts for each item until so many are right: the pass rate of what is "
            "rare (10: to about a third).",
        ),
    ] = None,
    most_samples: Annotated[
        int | None,
        typer.Option(min=1, help="With --until-passes: texts of an item at most (10,000)."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of items, shots, samples; 0: those asked in training.")
    ] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16: fast, rough.")] = False,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run the Python code that came with lm-eval task files."),
    ] = False,
    contamination: Annotated[
        bool, typer.Option("--contamination", help="Look for the items in the run's training text.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is there.")] = False,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Compute metrics anew from items.jsonl; no model.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to stdout.")] = False,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Ranks here that share the items, one a GPU (on CPU: processes)."),
    ] = None,
    runs_dir: Annotated[
        Path | None, typer.Option(help="The runs folder (default: $EMERGECTL_RUNS or ./runs).")
    ] = None,
) -> None:
    """Ask a model what it can do, item by item; written to the run's `evals/` and printed.

    Of each item what the model did is kept in items.jsonl, and every metric is computed from that.
    A model that is no run gets a run of its own, of stage `evaluate`.
    """
    if json_ and csv:
        raise RequestError("--json and --csv exclude each other")
    root = runs_root(runs_dir)
    asked: dict[str, Any] = {
        "shots": shots or None,
        "limit": limit,
        "by": split(by) or None,
        "metrics": split(metrics) or None,
        "samples": samples if samples > 1 else None,
        "temperature": temperature,
        "until_passes": until_passes,
        "most_samples": most_samples,
        "allow_code": allow_code or None,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    others = {
        "seed": seed,
        "bf16": bf16,
        "contamination": contamination,
        "resume": resume,
        "checkpoint": rescore and checkpoint != "last",
    }
    try:
        _check_options(
            asked | {name: value for name, value in others.items() if value},
            has_tasks=tasks is not None,
            rescore=rescore,
            ranks=int(os.environ.get("WORLD_SIZE", gpus or 1)),
        )
    except RequestError as error:
        if os.environ.get("RANK", "0") == "0":
            raise
        raise ToldError(str(error), error.exit_code) from None  # to every rank alike
    if gpus is not None and gpus > 1 and "RANK" not in os.environ:
        _ask_on_ranks(gpus)
        return
    if rescore:
        _rescore(find_run(model, root), split(tasks or ""), asked, json_=json_, csv=csv)
        return
    if tasks is None:
        _measure_held_out(find_run(model, root), checkpoint, json_=json_, csv=csv)
        return
    models = _models(model, root)
    if len(models) > 1 and checkpoint not in ("last", "best", "all"):
        raise RequestError(f"--checkpoint {checkpoint}: of a sweep, say last, best or all")
    _ask(
        models,
        split(tasks),
        asked,
        root=root,
        checkpoint=checkpoint,
        seed=seed,
        bf16=bf16,
        contamination=contamination,
        resume=resume,
        json_=json_,
        csv=csv,
    )


def _models(model: str, root: Path) -> list[str]:
    """What is to be asked: the model itself, or the runs of a sweep's trials that are trained.

    Raises RequestError where no trial of a sweep is.
    """
    from emergectl.cli.tables import is_sweep

    if not is_sweep(model, root):
        return [model]
    from emergectl.config.sweep import sweep_name
    from emergectl.sweeps.folder import SweepFolder

    folder = SweepFolder(root, sweep_name(model))
    standings = [folder.look(planned.key) for planned in folder.read_plan()]
    runs = [str(each.path) for each in standings if each.trained and each.path is not None]
    if not runs:
        raise RequestError(f"{folder.name}: none of its {len(standings):,} trials is trained yet")
    if len(runs) < len(standings) and os.environ.get("RANK", "0") == "0":
        missing = len(standings) - len(runs)
        say(f"{folder.name}: {missing:,} of {len(standings):,} trials are not trained: left out")
    return runs


def _ask(
    models: Sequence[str],
    tasks: Sequence[str],
    asked: Mapping[str, Any],
    *,
    root: Path,
    checkpoint: str,
    seed: int,
    bf16: bool,
    contamination: bool,
    resume: bool,
    json_: bool,
    csv: bool,
) -> None:
    """Ask one model after the other and print what came of all; exit code 3 where some could not
    be asked."""
    from emergectl.cli.evaluate_display import AskingDisplay
    from emergectl.cli.evaluate_results import show_results
    from emergectl.evaluation.session import ask_model, experiment_that_asks
    from emergectl.inference.loading import find_weights
    from emergectl.runtime.agreed_stop import join_evaluation
    from emergectl.runtime.rank_agreement import on_every_rank
    from emergectl.runtime.stop import StopRequest

    def settle(model: str) -> tuple[list[Weights], Experiment]:
        """What is asked of what."""
        weights = find_weights(model, which=checkpoint, root=root)
        if weights[0].revision is not None:
            if os.environ.get("RANK", "0") == "0":
                names = [str(one.revision) for one in weights]
                shown = ", ".join(names if len(names) < 8 else [*names[:3], "…", names[-1]])
                say(f"{model}: {shown} ({len(names)} in all)")
        elif weights[0].run is None and not Path(weights[0].source).exists():
            _tell_near_run(weights[0].source, root)
        if contamination and weights[0].run is None:
            name = weights[0].name
            raise RequestError(f"--contamination: what {name} was trained on is not known")
        precision = "bf16" if bf16 else "fp32"
        source = weights[0].source if weights[0].revision is None else model
        return weights, experiment_that_asks(source, tasks, asked, seed=seed, precision=precision)

    several = len(models) > 1 or checkpoint == "all"
    results, places, failed = [], [], 0
    stop = StopRequest()
    stop.install()
    with (
        join_evaluation("auto", stop) as (at, agreed),
        AskingDisplay(silent=json_ or not at.is_main) as display,
    ):
        for number, model in enumerate(models, start=1):
            display.of = f"model {number:,} of {len(models):,}, " if len(models) > 1 else ""
            try:
                weights, experiment = on_every_rank(at, partial(settle, model))
                place, found = ask_model(
                    weights,
                    experiment,
                    root=root,
                    argv=sys.argv,
                    place=at,
                    stop=agreed,
                    tell=display.tell,
                    resume=resume or ("same" if several or len(weights) > 1 else False),
                    contamination=contamination,
                )
            except (RequestError, AlreadyRunningError) as error:
                if len(models) == 1:
                    raise
                failed += 1
                say(f"{Path(model).name}: {error}")
                continue
            results += found
            places.append(place)
    if os.environ.get("RANK", "0") != "0":
        return  # rank 0 tells
    show_results(results, json_=json_, csv=csv)
    if not json_ and places:
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        say(f"written to {places[0]}{more}")
    if failed:
        say(f"{failed:,} of {len(models):,} models could not be asked")
        raise typer.Exit(3)


def _ask_on_ranks(ranks: int) -> None:
    """Run this very command as so many ranks; rank 0 prints. Ends as they do."""
    from emergectl.runtime.launch import launch_ranks
    from emergectl.runtime.stop import StopRequest

    stop = StopRequest()
    stop.install()
    ended = launch_ranks(sys.argv[1:], ranks=ranks, stop=stop)
    if ended.killed is not None:
        say(ended.killed)
    if ended.exit_code:
        raise typer.Exit(ended.exit_code)


def split(names: str) -> list[str]:
    """The parts of a list with commas; those between brackets part nothing."""
    parts = re.split(r",(?![^\[{]*[\]}])", names)
    return [part.strip() for part in parts if part.strip()]


def _tell_near_run(source: str, root: Path) -> None:
    """Say which run may be meant by what is about to be taken for a name on the hub."""
    runs = {name for path in list_runs(root) for name in (path.name, name_in_id(path.name))}
    near = difflib.get_close_matches(source, runs, n=1, cutoff=0.7)
    if near and os.environ.get("RANK", "0") == "0":
        say(f"no run `{source}` (did you mean `{near[0]}`?): taken for a name on the hub")


def _check_options(given: Mapping[str, Any], *, has_tasks: bool, rescore: bool, ranks: int) -> None:
    """Raise RequestError for options that would have no effect, or exclude each other."""
    options = {name: f"--{name.replace('_', '-')}" for name in given}
    if rescore:
        for name, option in options.items():
            if name not in ("by", "metrics"):
                raise RequestError(f"{option} is for asking, and --rescore asks nothing")
    elif not has_tasks:
        for option in options.values():
            raise RequestError(f"{option} needs --tasks: what to ask")
    if ranks > 1 and (rescore or not has_tasks):
        raise RequestError(
            "several ranks share the items of --tasks; "
            + ("--rescore" if rescore else "what a run held out")
            + " is for one process: leave out --gpus, or torchrun"
        )
    if "most_samples" in given and "until_passes" not in given:
        raise RequestError("--most-samples belongs to --until-passes")
    if "samples" in given and "until_passes" in given:
        raise RequestError("--samples and --until-passes exclude each other")
    if "until_passes" in given and given.get("temperature") == 0:
        raise RequestError("--until-passes needs a --temperature above 0: greedy texts are equal")


def _rescore(
    run: Path, tasks: Sequence[str], asked: dict[str, Any], *, json_: bool, csv: bool
) -> None:
    """Compute metrics anew from what a run's `evals/` holds."""
    from emergectl.cli.evaluate_results import show_results
    from emergectl.evaluation.rescore import rescore_run

    results = rescore_run(
        run, tasks=tasks, metrics=asked.get("metrics", ()), by=asked.get("by", ())
    )
    show_results(results, json_=json_, csv=csv)


def _measure_held_out(run: Path, checkpoint: str, *, json_: bool, csv: bool) -> None:
    """Measure a run's checkpoints on what it held out."""
    from emergectl.cli.evaluate_results import show_results
    from emergectl.evaluation.checkpoints import evaluate_run

    results = []
    for result in evaluate_run(run, checkpoint, say=say):
        if checkpoint == "all" and not result.was_there:
            say(f"step {result.step}: {result.task}, {result.items} items")
        results.append(result)
    show_results(results, json_=json_, csv=csv)
    if not json_ and not csv:
        say(f"written to {run / 'evals'}")
