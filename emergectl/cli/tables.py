"""What `analyze` and `report` read: the options that say how, and the table that comes of it.

A source is a table of results (a file, or a folder of results in JSON), a run (over its steps) or a
sweep (its file or its name). The options are the same for every command that reads tables, so they
stand here once, and `reads_tables` gives them to a command.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergectl.cli.output import say
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.reading import Columns
    from emergectl.analysis.table import Axis, Table

AXES = ("params", "tokens", "flops", "loss", "step")
SHOW_PROGRESS_AFTER = 5.0

Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column (default: its name).")]


@dataclass(frozen=True)
class Source:
    """What a person asked to be read: names, and options by name (None: not given)."""

    names: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    runs_dir: Path | None = None

    @property
    def root(self) -> Path:
        """The runs directory."""
        from emergectl.store.locate import runs_root

        return runs_root(self.runs_dir)


def _asked(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE|RUN|SWEEP…",
            help="CSV, TSV, JSONL, Parquet; results of lm-evaluation-harness or BIG-bench "
            "(.json, or a folder of them); runs, over their steps; or sweeps (file or name).",
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
    runs_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where runs are.")] = None,
) -> None:
    """The parameters that every reading command shares; never called."""


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the shared options before its own; it gets them as its first argument."""
    shared = inspect.signature(_asked, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    parameters = [*shared.values(), *own]

    @wraps(command)
    def reading(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        names, runs_dir, file = (options.pop(name) for name in ("names", "runs_dir", "columns"))
        if file is not None:
            options = _with_file(options, file)
        command(Source(names, options, runs_dir), **given)

    del reading.__wrapped__
    reading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    reading.__annotations__ = {p.name: p.annotation for p in parameters}
    return reading


def read_source(source: Source) -> Table:
    """Read everything that is named, into one table, with items and chance levels filled in.

    Raises RequestError, DataError.
    """
    from emergectl.analysis.reading import TABLES, add_records, read_tables
    from emergectl.analysis.runs import add_run
    from emergectl.analysis.table import Table, with_defaults
    from emergectl.store.locate import find_run

    files: list[Path] = []
    runs: list[str] = []
    sweeps: list[str] = []
    for name in source.names:
        path = Path(name)
        if is_sweep(name, source.root):
            sweeps.append(name)
        elif path.suffix.lower() in (*TABLES, ".json") or (
            path.is_dir() and not (path / "run.json").exists()
        ):
            files.append(path)
        else:
            runs.append(name)
    columns, n, chance = _mapping(source.options)
    conditions = dict(_pair("--where", text) for text in source.options.get("where") or ())
    table = read_tables(files, columns, where=conditions) if files else Table()
    for name in sweeps:
        records = _sweep_records(name, source.root)
        add_records(table, records, columns, where=conditions, source=name)
    for name in runs:
        add_run(table, find_run(name, source.root))
    if not table.rows:
        raise RequestError(f"no evaluations in {', '.join(source.names)}")
    return with_defaults(table, n=n, chance=chance)


def is_sweep(name: str, root: Path) -> bool:
    """Whether a name is a sweep's: its file, or a sweep that has begun in the runs directory."""
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return True
    return "/" not in name and (root / "sweeps" / name / "plan.json").is_file()


def axis_of(source: Source, table: Table) -> Axis:
    """The axis that was asked for, else the one that the table has."""
    from emergectl.analysis.table import choose_axis

    axis = source.options.get("x") or choose_axis(table)
    if axis not in AXES:
        raise RequestError(f"--x {axis}: an axis is one of {', '.join(AXES)}")
    return axis


def _sweep_records(name: str, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a sweep's table, each with the file that it came from.

    What the sweep varies keeps curves apart (`group`), but for what follows from the model alone,
    as learning rates along a ladder do.
    """
    from emergectl.config.sweep import sweep_name
    from emergectl.sweeps.folder import SweepFolder
    from emergectl.sweeps.table import rows_of_sweep

    folder = SweepFolder(root, sweep_name(name))
    found = rows_of_sweep(folder, folder.read_plan())
    found = [each for each in found if each.row.measurement.group is None]
    records = [
        {
            "model": each.row.run.model,
            "params": each.row.run.non_embedding_parameters,
            "tokens": each.row.tokens,
            "flops": each.row.flops,
            "loss": each.row.loss,
            "step": each.row.measurement.step,
            "seed": each.row.run.seed,
            "task": each.row.measurement.task,
            "metric": each.row.measurement.metric,
            "value": each.row.measurement.value,
            "n": each.row.measurement.n,
            "chance": each.row.measurement.chance,
            **each.values,
        }
        for each in found
    ]
    varied = found[0].values if found else {}
    own = [key for key in varied if key not in ("seed", "model.size")]
    keys = [key for key in own if not _follows_model(records, key)]
    for record, each in zip(records, found, strict=True):
        group = ", ".join(f"{key.rpartition('.')[2]} {_told(record[key])}" for key in keys)
        yield each.row.where, {**record, "group": group}


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _follows_model(records: list[dict[str, Any]], key: str) -> bool:
    values: dict[Any, Any] = {}
    return all(values.setdefault(record["model"], record[key]) == record[key] for record in records)


def _mapping(options: dict[str, Any]) -> tuple[Columns, float | None, dict[str, float]]:
    """The columns, the number of items and the chance levels that the options name."""
    from emergectl.analysis.reading import WORDS, Columns

    plain = {w: options.get(w) for w in WORDS if w not in ("n", "chance")}
    scales = {
        word: _number("--scale", text)
        for word, text in map(_scale_pair, options.get("scale") or ())
    }
    names = options.get("values")
    found = Columns(**plain, scales=scales, values=tuple(names.split(",")) if names else ())
    items = None
    if options.get("n") is not None:
        try:
            items = float(options["n"])
        except ValueError:
            found = replace(found, n=options["n"])
        if items is not None and not items >= 1:
            raise RequestError(f"--n {items:g}: a number of items is 1 or more")
    chance: dict[str, float] = {}
    for text in options.get("chance") or ():
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
            pairs = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else value
            value = [str(pair) for pair in (pairs if isinstance(pairs, list) else [pairs])]
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


def progress(what: str) -> Callable[[int, int], None]:
    """A line every few seconds on stderr, once it has taken that long."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SHOW_PROGRESS_AFTER and done < total:
            last = now
            say(f"{what} {done} of {total}")

    return tell
