"""`emergectl analyze`: what a table of results says, with the error rates of what is said."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergectl.cli.output import print_json, print_table, say
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.reading import Columns
    from emergectl.analysis.table import Table

app = typer.Typer(
    help="Judge whether abilities emerge; measure how often the judgement errs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AXES = ("params", "tokens", "flops", "loss", "step")
SHOW_PROGRESS_AFTER = 5.0

Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column (default: its name).")]


@app.command()
def emergence(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE|RUN…",
            help="CSV, TSV, JSONL, Parquet; results of lm-evaluation-harness or BIG-bench "
            "(.json, or a folder of them); or runs, over their steps.",
        ),
    ],
    x: Annotated[
        str | None,
        typer.Option(metavar="|".join(AXES), help="The axis of scale (default: what varies)."),
    ] = None,
    task: Column = None,
    metric: Column = None,
    value: Column = None,
    values: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,…", help="Columns of a wide table: each is a task."),
    ] = None,
    model: Column = None,
    group: Column = None,
    seed: Column = None,
    params: Column = None,
    tokens: Column = None,
    flops: Column = None,
    loss: Column = None,
    step: Column = None,
    n: Annotated[
        str | None, typer.Option(metavar="N|COLUMN", help="Number of items of a measurement.")
    ] = None,
    chance: Annotated[
        list[str] | None,
        typer.Option(metavar="P|TASK=P|COLUMN", help="Level of guessing; may be repeated."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=FACTOR", help="Units, such as params=1e9 for billions."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Keep only such rows.")
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML file with these options instead, by name."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="False discoveries among emergent verdicts.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="How near to chance a rate is flat.")
    ] = 0.05,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    runs_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where runs are.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV to stdout.")] = False,
) -> None:
    """Say of every ability whether it emerges, where, and how surely.

    emergent: at chance at small scales, above it at large ones, and no smooth curve fits as well.
    smooth: it rises without a break. flat: it stays at chance. undetermined: none of these shown.
    """
    if json_ and csv:
        raise RequestError("--json and --csv exclude each other")
    options: dict[str, Any] = {
        "task": task,
        "metric": metric,
        "value": value,
        "values": values,
        "model": model,
        "group": group,
        "seed": seed,
        "params": params,
        "tokens": tokens,
        "flops": flops,
        "loss": loss,
        "step": step,
        "n": n,
        "chance": chance,
        "scale": scale,
        "where": where,
        "x": x,
    }
    if columns is not None:
        options = _with_file(options, columns)
    table = _read(tables, options, runs_dir)

    from emergectl.analysis.describe import ROW, as_data, as_row, counts
    from emergectl.analysis.table import choose_axis, curves_of
    from emergectl.analysis.verdict import judge

    axis = options["x"] or choose_axis(table)
    if axis not in AXES:
        raise RequestError(f"--x {axis}: an axis is one of {', '.join(AXES)}")
    curves = curves_of(table, axis)
    for skipped in table.skipped:
        say(f"left out: {skipped.count} × {skipped.reason} (first: {skipped.first})")
    if not curves:
        raise RequestError(f"no row has a place on the axis {axis}")
    findings = judge(
        curves, alpha=alpha, margin=margin, workers=workers, progress=_progress("judged")
    )
    tell = _progress("fitted")
    data = []
    for index, finding in enumerate(findings, 1):
        data.append(as_data(finding))
        tell(index, len(findings))
    if json_:
        print_json(data)
        return
    print_table(ROW, [as_row(item) for item in data], csv=csv)
    if not csv:
        _explain(data)
        say(f"{counts(findings)} over {axis} (alpha {alpha:g})")


@app.command()
def calibrate(
    trials: Annotated[int, typer.Option(min=10, help="Simulated abilities of each kind.")] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Measure the error rates of the verdicts on simulated abilities; exit 1 where one is off."""
    from emergectl.analysis.calibration import all_rates

    rates = []
    for rate in all_rates(trials, seed):
        rates.append(rate)
        say(f"{rate.name}: {rate.rate:.3f}")
    header = ["what", "rate", "error", "low", "high", "holds"]
    rows = [[r.name, round(r.rate, 4), round(r.error, 4), r.low, r.high, r.holds] for r in rates]
    print_table(header, rows, json_=json_)
    if not all(rate.holds for rate in rates):
        raise typer.Exit(1)


def _read(names: list[str], options: dict[str, Any], runs_dir: Path | None) -> Table:
    from emergectl.analysis.reading import TABLES, read_tables
    from emergectl.analysis.runs import add_run
    from emergectl.analysis.table import Table, with_defaults
    from emergectl.store.locate import find_run, runs_root

    files: list[str] = []
    runs: list[str] = []
    for name in names:
        path = Path(name)
        is_run = (path / "run.json").exists()
        is_file = path.suffix.lower() in (*TABLES, ".json") or (path.is_dir() and not is_run)
        (files if is_file else runs).append(name)
    mapping, n, chance = _mapping(options)
    conditions = dict(_pair("--where", text) for text in options["where"] or ())
    table = Table()
    if files:
        table = read_tables([Path(name) for name in files], mapping, where=conditions)
    for name in runs:
        add_run(table, find_run(name, runs_root(runs_dir)))
    if not table.rows:
        raise RequestError(f"no evaluations in {', '.join(names)}")
    return with_defaults(table, n=n, chance=chance)


def _mapping(options: dict[str, Any]) -> tuple[Columns, float | None, dict[str, float]]:
    """The columns, the number of items and the chance levels that the options name."""
    from emergectl.analysis.reading import WORDS, Columns

    plain = {w: options[w] for w in WORDS if w not in ("n", "chance")}
    scales = {
        word: _number("--scale", text) for word, text in map(_scale_pair, options["scale"] or ())
    }
    names = options["values"]
    found = Columns(**plain, scales=scales, values=tuple(names.split(",")) if names else ())
    items = None
    if options["n"] is not None:
        try:
            items = float(options["n"])
        except ValueError:
            found = replace(found, n=options["n"])
        if items is not None and not items >= 1:
            raise RequestError(f"--n {items:g}: a number of items is 1 or more")
    chance: dict[str, float] = {}
    for text in options["chance"] or ():
        name, equals, level = str(text).rpartition("=")
        if equals:
            chance[name] = _number("--chance", level)
            continue
        try:
            chance[""] = float(text)
        except ValueError:
            found = replace(found, chance=text)
    return found, items, chance


def _with_file(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """The options with those of a YAML file filled in; what was typed wins."""
    from emergectl.config.reader import read_yaml

    data = read_yaml(path).data
    if not isinstance(data, dict):
        raise RequestError(f"{path}: expected a mapping of options, such as `task: Task name`")
    for key, value in data.items():
        if key not in options:
            raise RequestError(f"{path}: no option {key!r}; there are {', '.join(options)}")
        if options[key] is not None:
            continue
        if key in ("chance", "scale", "where"):
            pairs = value.items() if isinstance(value, dict) else None
            value = [f"{k}={v}" for k, v in pairs] if pairs is not None else [str(value)]
        elif isinstance(value, list):
            value = ",".join(map(str, value))
        options[key] = str(value) if not isinstance(value, list) else value
    return options


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RequestError(f"{option} {text!r}: expected NAME=VALUE")
    return name, value


def _scale_pair(text: str) -> tuple[str, str]:
    name, value = _pair("--scale", text)
    if name not in AXES:
        raise RequestError(f"--scale {text!r}: a scale is one of {', '.join(AXES)}")
    return name, value


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"{option}: {text!r} is no number") from None


def _progress(what: str) -> Callable[[int, int], None]:
    """A line every few seconds on stderr, once it has taken that long."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SHOW_PROGRESS_AFTER and done < total:
            last = now
            say(f"{what} {done} of {total}")

    return tell


def _explain(data: list[dict[str, Any]]) -> None:
    """One line of reason under the table for each ability, as far as a person reads."""
    if not sys.stdout.isatty() and len(data) > 40:
        return
    for item in data[:40]:
        name = "/".join(part for part in (item["group"], item["task"], item["metric"]) if part)
        last = f"would settle it: {item['settle']}" if item["settle"] else ""
        last = last or f"would overturn it: {item['overturn']}"
        say(f"{name}: {item['verdict']}: {item['reason']}; {last}")
