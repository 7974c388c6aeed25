"""`emergectl runs`: what has been run, how it stands, how runs differ, results to take elsewhere.

A run is named by its id, a unique prefix or the end `name-xxxx` of it, its experiment's name,
`latest`, or a path. Where a command takes several runs, a filter such as `status=done` or
`name=add*` stands for all that pass. Tables go to stdout, plain, `--json` or `--csv`; talk goes to
stderr.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
import string
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from emergectl.cli.options import Json, Root
from emergectl.cli.output import clean, print_json, print_table, say, use_color
from emergectl.cli.progress import format_duration
from emergectl.errors import RequestError
from emergectl.store.locate import find_run, find_run_by_full_id, runs_root

app = typer.Typer(
    help="List, show, compare and export runs.", no_args_is_help=True, rich_markup_mode=None
)

Csv = Annotated[bool, typer.Option("--csv", help="CSV to stdout.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Id, unique prefix, name, `latest` or path.")
]
RunNames = Annotated[
    list[str], typer.Argument(metavar="RUN…", help="Runs, or filters such as name=add*.")
]
Filters = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILTER…]",
        help="status=failed,preempted name=add* stage=finetune since=2d 'step>=1000' "
        "'loss<2.5' optimizer.lr=0.001 …: all must hold.",
    ),
]
Sort = Annotated[
    str, typer.Option(metavar="KEY", help="Column, metric or experiment key; -KEY: high to low.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="At most N runs.")]

ROWS_SHOWN = 25
CHART_COLORS = ("blue", "orange", "green", "magenta", "cyan", "red")


@app.command("list")
def list_(
    filters: Filters = None,
    sort: Sort = "-created",
    limit: Limit = None,
    all_: Annotated[bool, typer.Option("--all", help="The trials of sweeps, too.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """List runs, newest first; of sweeps the number of trials, unless a filter asks for them."""
    from emergectl.store.table import KEYS, list_rows, without_trials

    root = runs_root(runs_dir)
    rows = list_rows(root, where=filters or (), sort=sort)
    if json_ or csv_:
        keys = (*KEYS, "measured")
        table = [[row[key] for key in keys] for row in rows[:limit]]
        print_table(keys, table, json_=json_, csv=csv_)
        return
    found, sweeps = (rows, {}) if all_ or filters else without_trials(rows)
    if found:
        found = found[:limit]
        measured = ["measured"] if any(row.measured for row in found) else []
        columns = ["id", "stage", "status", "step", "loss", *measured, "time", "reason"]
        print_table(columns, [_for_people(row, columns) for row in found])
    elif not rows:
        say(f"no runs{' pass these filters' if filters else ''} in {root}")
    for name, states in sweeps.items():
        told = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        say(f"sweep {name}: {states.total():,} trials: {told} (`runs list sweep={name}`)")


@app.command()
def show(
    run: RunName = "latest", runs_dir: Root = None, json_: Json = False, csv_: Csv = False
) -> None:
    """Show one run: how it stands, where it came from, what it has reached."""
    _check_formats(json_, csv_)
    path = find_run(run, runs_root(runs_dir))
    facts = _facts(path)
    if json_:
        print_json(facts)
        return
    from emergectl.store.table import flatten

    rows = [[key, _one_cell(value)] for key, value in flatten(_brief(facts, csv_)).items()]
    print_table(["key", "value"], rows, csv=csv_)


@app.command()
def tail(
    run: RunName = "latest",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines to print.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines come, until the run ends.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="log.txt instead of the metrics.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """Print the last metrics of a run (a JSON line each with --json)."""
    _check_formats(json_, csv_)
    from emergectl.cli.following import MetricPrinter, last_lines, print_log

    path = find_run(run, runs_root(runs_dir))
    file = path / ("log.txt" if log else "metrics.jsonl")
    printer = print_log if log else MetricPrinter(json_=json_, csv_=csv_)
    for batch in last_lines(file, path, count=lines, follow=follow):
        printer(batch)
        sys.stdout.flush()


@app.command()
def compare(
    runs: RunNames,
    metric: Annotated[str, typer.Option("--metric", "-m", metavar="NAME")] = "loss",
    all_: Annotated[bool, typer.Option("--all", help="Every step, not some 25.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """Put the curves of a metric side by side: steps down, runs across."""
    from emergectl.store.compare import read_curve, short_names, side_by_side

    curves = [read_curve(path, metric) for path in _pick(runs, runs_root(runs_dir))]
    everything = all_ or json_ or csv_
    columns, rows = side_by_side(curves, rows=None if everything else ROWS_SHOWN)
    print_table(columns, rows, json_=json_, csv=csv_)
    if sys.stdout.isatty() and not json_ and not csv_:
        named = zip(short_names(curves), (curve.values for curve in curves), strict=True)
        print(_plot(dict(named), metric))


@app.command()
def diff(
    runs: RunNames,
    all_: Annotated[bool, typer.Option("--all", help="What is equal, too.")] = False,
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """Show in what runs differ: experiment, code and package versions."""
    from emergectl.store.compare import difference

    paths = _pick(runs, runs_root(runs_dir))
    if len(paths) < 2:
        raise RequestError(f"diff wants two runs or more, {len(paths)} given")
    columns, rows = difference(paths, everything=all_)
    if not rows and not json_ and not csv_:
        say("no difference: same experiment, same code, same packages")
        return
    rows = [[row[0], *(_one_cell(value) if csv_ else value for value in row[1:])] for row in rows]
    print_table(columns, rows, json_=json_, csv=csv_)


@app.command()
def rm(
    runs: Annotated[list[str], typer.Argument(metavar="ID…", help="Full ids; no patterns.")],
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """Delete runs for good. Wants full ids, never asks, and refuses a run that is at work."""
    from emergectl.store.run import check_removable, remove_run

    root = runs_root(runs_dir)
    paths = list(dict.fromkeys(find_run_by_full_id(run, root) for run in runs))
    for path in paths:  # All or none, as far as one can know beforehand.
        check_removable(path)
    for path in paths:
        remove_run(path)
        if not json_ and not csv_:
            print(clean(f"removed {path.name}"))
    if json_ or csv_:
        print_table(["removed"], [[str(path)] for path in paths], json_=json_, csv=csv_)


@app.command()
def path(
    run: RunName = "latest", runs_dir: Root = None, json_: Json = False, csv_: Csv = False
) -> None:
    """Print a run's directory, for scripts: cd "$(emergectl runs path latest)"."""
    found = find_run(run, runs_root(runs_dir))
    if json_ or csv_:
        print_table(["id", "path"], [[found.name, str(found)]], json_=json_, csv=csv_)
    else:
        print(found)


@app.command()
def export(
    filters: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN|FILTER…]", help="Default: all runs.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Every logged value, a row each, not a row a run.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there; .json is JSON."),
    ] = None,
    runs_dir: Root = None,
    json_: Json = False,
    csv_: Csv = False,
) -> None:
    """Export runs as one table (CSV unless --json): status, experiment, last metrics."""
    from emergectl.store.atomic import write_text
    from emergectl.store.compare import metric_table, run_table
    from emergectl.store.table import read_row

    _check_formats(json_, csv_)
    rows = [read_row(path) for path in _pick(filters or [], runs_root(runs_dir))]
    columns, table = metric_table(rows) if metrics else run_table(rows)
    as_json = json_ or (not csv_ and output is not None and output.suffix == ".json")
    if not as_json:
        table = [[_one_cell(value) for value in row] for row in table]
    if output is None:
        print_table(columns, table, json_=as_json, csv=not as_json)
        return
    if not output.parent.is_dir():
        raise RequestError(f"{output}: there is no folder {output.parent}")
    with redirect_stdout(io.StringIO()) as text:
        print_table(columns, table, json_=as_json, csv=not as_json)
    write_text(output, text.getvalue())
    say(f"{len(table):,} rows to {output}")


def _check_formats(json_: bool, csv_: bool) -> None:
    if json_ and csv_:
        raise RequestError("--json and --csv exclude each other")


def _pick(refs: Sequence[str], root: Path) -> list[Path]:
    """The runs that are named, and those that pass all the filters among the names."""
    from emergectl.store.table import is_filter, list_rows

    where = [ref for ref in refs if is_filter(ref)]
    paths = [find_run(ref, root) for ref in refs if not is_filter(ref)]
    if where or not refs:
        passing = [row.path for row in list_rows(root, where=where)]
        if not passing and refs:
            raise RequestError(f"no run in {root} passes {' '.join(where)}")
        paths += passing
    return list(dict.fromkeys(paths))


def _for_people(row: Any, columns: Sequence[str]) -> list[Any]:
    return [format_duration(row.seconds) if column == "time" else row[column] for column in columns]


def _facts(path: Path) -> dict[str, Any]:
    """All that is known of a run, as one nested object."""
    from dataclasses import asdict

    from emergectl.store.checkpoints import list_steps
    from emergectl.store.run import read_facts
    from emergectl.store.status import read_status
    from emergectl.store.table import last_values, read_experiment

    status = asdict(read_status(path))
    facts = read_facts(path)
    return {
        "id": facts.pop("id"),
        "path": str(path),
        "status": status.pop("state"),
        **{key: value for key, value in status.items() if value is not None},
        **facts,
        "metrics": last_values(path / "metrics.jsonl"),
        "checkpoints": list_steps(path / "checkpoints"),
        "snapshots": list_steps(path / "snapshots"),
        "experiment": read_experiment(path),
    }


def _brief(facts: dict[str, Any], everything: bool) -> dict[str, Any]:
    """What a person wants to see first; programs get everything."""
    if everything:
        return facts
    hidden = ("owner", "environment", "versions", "experiment", "platform", "experiment_hash")
    brief = {key: value for key, value in facts.items() if key not in hidden and value is not None}
    brief["seconds"] = format_duration(facts["seconds"])
    if facts["status"] not in ("pending", "running"):
        brief.pop("heartbeat", None)
    return {key: value for key, value in brief.items() if value not in ({}, [])}


def _one_cell(value: Any) -> Any:
    """A list as one cell: its items with blanks between, or JSON where it holds more than that."""
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return " ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _plot(curves: dict[str, dict[int, Any]], metric: str) -> str:
    """A line chart for the terminal: curves told apart by colour, without colour by letter."""
    import plotext

    size = shutil.get_terminal_size()
    color = use_color(sys.stdout)
    looks = zip(
        itertools.cycle(CHART_COLORS), itertools.cycle(string.ascii_lowercase), strict=False
    )
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(min(size.columns, 120), min(max(size.lines // 2, 12), 24))
    figure.title(clean(metric))
    for (name, values), (hue, letter) in zip(curves.items(), looks, strict=False):
        points = [(x, y) for x, y in values.items() if isinstance(y, (int, float)) and isfinite(y)]
        marker = plotext.marker("hd", hue) if color else plotext.marker(letter)
        if points:
            steps, heights = map(list, zip(*points, strict=True))
            figure.draw(figure.signal(steps, heights, marker=marker).lines().label(clean(name)))
    chart = str(figure.build())
    return chart if color else clean(chart)
