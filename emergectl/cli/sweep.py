"""`emergectl sweep FILE` brings a sweep to its end; `status`, `stop`, `logs`, `table`, `best`.

Running the same command again runs what is missing, goes on with what was stopped, and repeats
nothing that is done. While a sweep is being run on this machine a second start ends at once with
exit code 4, without a word where nobody is watching, so that cron may fire every minute.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from emergectl.cli.options import Json, Root
from emergectl.cli.output import clean, one_line, print_json, print_table, say
from emergectl.cli.progress import format_duration
from emergectl.errors import (
    AlreadyRunningError,
    RequestError,
)
from emergectl.store.locate import runs_root

if TYPE_CHECKING:
    from emergectl.sweeps.folder import Planned, Standing, SweepFolder


class RunByDefault(TyperGroup):
    """`sweep FILE` is `sweep run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before anything that is neither a command nor a cry for help."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RunByDefault,
    help="Run many experiments from one file: `sweep FILE` is short for `sweep run FILE`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SweepFile = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep (YAML).")]
Named = Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's file, or its name.")]
SweepOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Fields to set, of the sweep (seeds=2) or of its experiment (train.steps=100).",
        metavar="[KEY.PATH=VALUE]…",
    ),
]


@app.command()
def run(
    file: SweepFile,
    overrides: SweepOverrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be run, and what it costs.")
    ] = False,
    workers: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Processes here; auto: one a GPU, or as many as pay."),
    ] = "auto",
    retry: Annotated[
        int, typer.Option(min=0, metavar="N", help="Take up failed trials, each at most N times.")
    ] = 0,
    launcher: Annotated[
        Literal["here", "slurm"],
        typer.Option(
            help="Run here, or in jobs of a Slurm cluster (sbatch's SBATCH_… are obeyed)."
        ),
    ] = "here",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="slurm: jobs, a node each.")] = 1,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at a failure.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
) -> None:
    """Run what is missing of a sweep."""
    from emergectl.cli.sweep_plan import show_dry_run
    from emergectl.cli.sweep_run import drive, end_as, launch_jobs, summary_of
    from emergectl.config.sweep import load_sweep
    from emergectl.runtime.stop import StopRequest
    from emergectl.sweeps.asked import load_asks
    from emergectl.sweeps.driver import Wishes
    from emergectl.sweeps.folder import SweepFolder
    from emergectl.sweeps.hosts import HostLock
    from emergectl.sweeps.plan import plan_sweep

    stop = StopRequest()
    stop.install()
    loaded = load_sweep(file, overrides or ())
    wishes = Wishes(
        workers=_workers(workers),
        retry=retry,
        fail_fast=fail_fast,
        ensemble=loaded.spec.ensemble,
    )
    asks = load_asks(loaded)
    folder = SweepFolder(runs_root(runs_dir), loaded.name, None if asks is None else asks.digest)
    if dry_run:
        show_dry_run(plan_sweep(loaded), folder, wishes, json_=json_)
        return
    folder.make()
    if launcher == "slurm":
        launch_jobs(plan_sweep(loaded), folder, file, overrides or [], wishes, jobs)
        return
    try:
        lock = HostLock(folder)
    except AlreadyRunningError as error:
        if sys.stderr.isatty():
            raise
        raise typer.Exit(error.exit_code) from None
    try:
        outcome = drive(plan_sweep(loaded), folder, wishes, stop, json_=json_)
    finally:
        lock.close()
    if json_:
        print_json(summary_of(folder, outcome))
    end_as(folder, outcome, stop.was_keyboard)


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise RequestError(f"--workers {one_line(text)}: expected a number from 1 on, or auto")
    return int(text)


@app.command()
def status(sweep: Named, runs_dir: Root = None, json_: Json = False) -> None:
    """Show how a sweep stands: trials by state, what runs now, failures, time remaining."""
    from emergectl.sweeps.claims import Claims
    from emergectl.sweeps.folder import count_states

    folder, planned = _open(sweep, runs_dir)
    standings = {each.key: folder.look(each.key) for each in planned}
    states = count_states(standings.values())
    owners = Claims(folder.path / "claims").owners()
    rows = [
        _status_row(each, standings[each.key], owners.get(each.key))
        for each in planned
        if standings[each.key].state not in ("waiting", "done", "pruned") or json_
    ]
    if json_:
        names = ("trial", "state", "step", "seconds", "run", "host", "reason", "values")
        trials = [dict(zip(names, row, strict=True)) for row in rows]
        print_json({"sweep": folder.name, "path": folder.path, "states": states, "trials": trials})
        return
    from emergectl.sweeps.plan import told

    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    print(clean(f"{folder.name}: {len(planned):,} trials: {counts}"))
    if rows:
        columns = ("trial", "state", "step", "time", "run", "values", "reason")
        print_table(
            columns,
            [[r[0][:12], r[1], r[2], format_duration(r[3]), r[4], told(r[7]), r[6]] for r in rows],
        )


def _status_row(each: Planned, standing: Standing, owner: Any) -> list[Any]:
    record = standing.record
    values = each.values or (record.values if record else {})
    return [
        each.key,
        standing.state,
        standing.step,
        standing.seconds,
        record.run if record else None,
        owner.host if owner else None,
        standing.reason,
        values,
    ]


@app.command()
def stop(sweep: Named, runs_dir: Root = None) -> None:
    """Ask every machine at work on a sweep to stop; trials in hand keep a checkpoint."""
    folder, _ = _open(sweep, runs_dir)
    folder.ask_to_stop()
    say(f"{folder.name}: asked to stop; `emergectl sweep` goes on with it")


@app.command()
def logs(
    sweep: Named,
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="A trial's log: its key, or a prefix.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Last lines.")] = 50,
    runs_dir: Root = None,
) -> None:
    """Print the log of a sweep, or of one of its trials."""
    folder, planned = _open(sweep, runs_dir)
    file = folder.path / "log.txt"
    if trial is not None:
        keys = [each.key for each in planned if each.key.startswith(trial)]
        if len(keys) != 1:
            found = f"{len(keys)} trials begin so" if keys else "no trial begins so"
            raise RequestError(f"{one_line(trial)}: {found}; `sweep status` lists them")
        record = folder.record(keys[0])
        if record is None:
            raise RequestError(f"{one_line(trial)}: has not begun")
        file = folder.root / record.run / "log.txt"
    if file.exists():
        for line in file.read_text("utf-8", errors="replace").splitlines()[-lines:]:
            print(clean(line))


@app.command()
def table(
    sweep: Named,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there: .csv .json .parquet"),
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="The last step of each metric.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
) -> None:
    """Print the tidy table of a sweep: a row for each measured value (CSV, or --json)."""
    from emergectl.sweeps.table import sweep_table

    folder, planned = _open(sweep, runs_dir)
    columns, rows = sweep_table(folder, planned, final=final)
    if output is None:
        print_table(columns, rows, json_=json_, csv=not json_)
    else:
        _write_table(output, columns, rows)
        say(f"{len(rows):,} rows to {output}")


@app.command()
def best(
    sweep: Named,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="With its task or without (default: that of a search, or of evaluation.best); "
            "-NAME: more is better, whatever it is.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="So many trials.")] = 5,
    runs_dir: Root = None,
    json_: Json = False,
) -> None:
    """Show the best trials by a metric (of a search: its own), best first."""
    from emergectl.sweeps.search import JOURNAL, importances
    from emergectl.sweeps.table import best_trials

    folder, planned = _open(sweep, runs_dir)
    name, direction = (metric, None) if metric else folder.read_metric()
    if name is not None and name.startswith("-"):
        name, direction = name[1:], "up"
    found = best_trials(folder, planned, name, direction)
    better = "more" if found.direction == "up" else "less"
    say(f"by {found.metric}: {better} is better")
    if metric is None and (folder.path / JOURNAL).exists() and (shares := importances(folder)):
        told = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
        say(f"how much each key matters (fANOVA; shares of the spread): {told}")
    keys = list(dict.fromkeys(key for _, each in found.trials for key in each.values))
    columns = ["trial", found.metric, *keys, "run"]
    rows = [
        [each.trial[:12], value, *(each.values[key] for key in keys), each.row.run.id]
        for value, each in found.trials[:count]
    ]
    print_table(columns, rows, json_=json_)


def _open(sweep: str, runs_dir: Path | None) -> tuple[SweepFolder, list[Planned]]:
    from emergectl.config.sweep import sweep_name
    from emergectl.sweeps.folder import SweepFolder

    folder = SweepFolder(runs_root(runs_dir), sweep_name(sweep)).as_begun()
    return folder, folder.read_plan()


def _write_table(output: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table to a file, as its ending says. Raises RequestError for another ending."""
    from emergectl.store.atomic import write_text
    from emergectl.sweeps.table import write_parquet

    if output.suffix not in (".csv", ".json", ".parquet"):
        raise RequestError(f"{output}: a table is written as .csv, .json or .parquet")
    if not output.parent.is_dir():
        raise RequestError(f"{output}: there is no folder {output.parent}")
    if output.suffix == ".parquet":
        write_parquet(output, columns, rows)
        return
    as_json = output.suffix == ".json"
    with redirect_stdout(io.StringIO()) as text:
        print_table(columns, rows, json_=as_json, csv=not as_json)
    write_text(output, text.getvalue())
