"""What `analyze` and `report` read: the options that say how, and the table that comes of it.

A source is a table of results (a file, or a folder of results in JSON), a run (over its steps) or a
sweep (its file or its name). The options are the same for every command that reads tables, so they
stand here once, and `reads_tables` gives them to a command.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergectl.cli.output import say
from emergectl.errors import RequestError

if TYPE_CHECKING:
    from emergectl.analysis.columns import ColumnMapping
    from emergectl.analysis.table import Axis, Duplicates, Table

AXIS_NAMES = ("params", "tokens", "flops", "loss", "step")
LEVELS = ("n", "chance", "shortcut")
"""options that tell a number by task, or where it stands"""
SCALED_NAMES = (*AXIS_NAMES, "value", *LEVELS)
LISTS = (*LEVELS, "scale", "where", "values", "lower")
"""options that may be repeated"""
DUPLICATES: tuple[Duplicates, ...] = ("refuse", "mean", "first", "last")
SHOW_PROGRESS_AFTER = 5.0

Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column (default: its name).")]


@dataclass(frozen=True)
class TableSource:
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
            help="CSV, TSV, JSONL, Parquet; results of lm-evaluation-harness, BIG-bench, OLMES, "
            "HELM, MTEB, logs of transformers (.json, or a folder of them); runs; or sweeps.",
        ),
    ],
    x: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(AXIS_NAMES), help="The axis of scale (default: what varies)."
        ),
    ] = None,
    task: Column = None,
    metric: Column = None,
    value: Column = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[=TASK/METRIC],…",
            help="Columns of a wide table: each is a task; may be repeated.",
        ),
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
        list[str] | None,
        typer.Option(
            metavar="N|TASK=N|COLUMN|FILE",
            help="Number of items of a measurement; may be repeated. FILE: columns task and n.",
        ),
    ] = None,
    chance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P|TASK=P|COLUMN|FILE",
            help="Level of guessing; may be repeated. FILE: columns task and chance.",
        ),
    ] = None,
    shortcut: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P|TASK=P|COLUMN|FILE",
            help="What needs no ability, where that is above guessing: the majority's share, say.",
        ),
    ] = None,
    lower: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="This falls as a model gets better; may be repeated."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD=FACTOR", help="Units: params=1e9 for billions, value=0.01 for percent."
        ),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Keep only such rows.")
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(DUPLICATES),
            help="Different values of one measurement (default: refuse).",
        ),
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML file with these options instead, by name."),
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where runs are.")] = None,
) -> None:
    """The parameters that every reading command shares; never called."""


OPTIONS = tuple(
    name
    for name in inspect.signature(_asked).parameters
    if name not in ("names", "x", "columns", "runs_dir")
)
"""the names of the options that say how a table is read"""


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the shared options before its own; it gets them as its first argument."""
    shared = inspect.signature(_asked, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    # Named ones may follow others whether or not they have a default.
    parameters = [*shared.values(), *(p.replace(kind=p.KEYWORD_ONLY) for p in own)]

    @wraps(command)
    def reading(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        names, runs_dir, file = (options.pop(name) for name in ("names", "runs_dir", "columns"))
        if file is not None:
            options = _with_file(options, file)
        command(TableSource(names, options, runs_dir), **given)

    del reading.__wrapped__
    reading.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    reading.__annotations__ = {p.name: p.annotation for p in parameters}
    return reading


def read_source(source: TableSource) -> Table:
    """Read everything that is named, into one table, with items and chance levels filled in.

    Raises RequestError, DataError.
    """
    from emergectl.analysis.formats.text_tables import file_kind
    from emergectl.analysis.levels import fitting
    from emergectl.analysis.reading import READ, add_runs, read_tables
    from emergectl.analysis.table import Table, with_defaults
    from emergectl.evaluation.metrics import metric_facts
    from emergectl.store.locate import find_run

    files: list[Path] = []
    runs: list[Path] = []
    for name in source.names:
        path = Path(name)
        if is_sweep(name, source.root):
            runs += _runs_of_sweep(name, source.root)
        elif file_kind(path) in READ or (path.is_dir() and not (path / "run.json").exists()):
            files.append(path)
        else:
            runs.append(find_run(name, source.root))
    told = {word: _levels(word, source.options.get(word)) for word in LEVELS}
    columns = _mapping(source.options, told)
    duplicates = next((d for d in DUPLICATES if d == (source.options.get("duplicates") or d)), None)
    if duplicates is None:
        raise RequestError(
            f"--duplicates {source.options['duplicates']}: one of {', '.join(DUPLICATES)}"
        )
    conditions = dict(_pair("--where", text) for text in source.options.get("where") or ())
    table = Table(lookup=metric_facts)
    if files:
        table = read_tables(files, columns, where=conditions, lookup=metric_facts)
    if runs:
        table = add_runs(table, runs, columns, where=conditions)
    if not table.rows:
        raise RequestError(f"no evaluations in {', '.join(source.names)}")
    table.duplicates = duplicates
    levels = {
        word: {**fitting(table, one.of_file, f"--{word} {one.file}"), **one.known}
        if one.file
        else one.known
        for word, one in told.items()
    }
    return with_defaults(table, **levels, lower=source.options.get("lower") or ())


def tell(table: Table) -> None:
    """Say what was left out of a table, and what had to be chosen."""
    for note in table.notes:
        say(note)
    for skipped in table.skipped:
        say(f"left out: {skipped.count} × {skipped.reason} (first: {skipped.first})")


def is_sweep(name: str, root: Path) -> bool:
    """Whether a name is a sweep's: its file, or a sweep that has begun in the runs directory."""
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return True
    return "/" not in name and (root / "sweeps" / name / "plan.json").is_file()


def axis_of(source: TableSource, table: Table) -> Axis:
    """The axis that was asked for, else the one that the table has."""
    from emergectl.analysis.table_curves import choose_axis, count_shown

    axis = source.options.get("x") or choose_axis(table)
    if axis not in AXIS_NAMES:
        raise RequestError(f"--x {axis}: an axis is one of {', '.join(AXIS_NAMES)}")
    both = any(row.total_params and row.count == "non-embedding" for row in table.rows)
    if axis == "params" and both:
        table.note(f"params: {count_shown(table.rows)}; --params total_params takes all of them")
    return axis


def _runs_of_sweep(name: str, root: Path) -> list[Path]:
    """The runs of a sweep that have begun, in the plan's order."""
    from emergectl.config.sweep import sweep_name
    from emergectl.sweeps.folder import SweepFolder

    folder = SweepFolder(root, sweep_name(name))
    records = (folder.record(planned.key) for planned in folder.read_plan())
    runs = (folder.root / record.run for record in records if record is not None)
    return [run for run in runs if (run / "run.json").exists()]


@dataclass
class _Levels:
    """What one of the options `LEVELS` says: numbers by name ("" for all), typed or in a file, a
    column, or columns by task."""

    known: dict[str, float] = field(default_factory=dict)
    file: str = ""
    of_file: dict[str, float] = field(default_factory=dict)
    column: str | None = None
    columns: dict[str, str] = field(default_factory=dict)


def _levels(word: str, given: Any) -> _Levels:
    """The levels that texts tell: numbers, `TASK=number`, `TASK=column`, a column, a file."""
    from emergectl.analysis.formats.text_tables import TABLES, file_kind
    from emergectl.analysis.levels import read_levels

    found = _Levels()
    for text in [given] if isinstance(given, str) else given or ():
        name, equals, level = text.rpartition("=")
        try:
            found.known[name] = float(level)
        except ValueError:
            if equals:
                found.columns[name] = level
            elif file_kind(Path(text)) in TABLES:
                found.file = text
                found.of_file |= read_levels(Path(text), word)
            else:
                found.column = text
    for name, count in {**found.of_file, **found.known}.items():
        if word == "n" and not count >= 1:
            said = f"{name}={count:g}" if name else f"{count:g}"
            raise RequestError(f"--n {said}: a number of items is 1 or more")
    return found


def _mapping(options: dict[str, Any], told: dict[str, _Levels]) -> ColumnMapping:
    """The columns that the options name."""
    from emergectl.analysis.columns import WORDS, ColumnMapping

    plain = {w: told[w].column if w in told else options.get(w) for w in WORDS}
    scales = {
        word: _number("--scale", text)
        for word, text in map(_scale_pair, options.get("scale") or ())
    }
    return ColumnMapping(
        **plain,
        values=tuple(options.get("values") or ()),
        scales=scales,
        n_of=told["n"].columns,
        chance_of=told["chance"].columns,
        shortcut_of=told["shortcut"].columns,
    )


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
        if key in LISTS:
            pairs = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else value
            options[key] = [str(one) for one in (pairs if isinstance(pairs, list) else [pairs])]
        elif isinstance(value, list | dict):
            raise RequestError(f"{path}: {key} is one name; {', '.join(LISTS)} may be lists")
        else:
            options[key] = str(value)
    return options


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RequestError(f"{option} {text!r}: expected NAME=VALUE")
    return name, value


def _scale_pair(text: str) -> tuple[str, str]:
    name, value = _pair("--scale", text)
    if name not in SCALED_NAMES:
        raise RequestError(f"--scale {text!r}: a scale is one of {', '.join(SCALED_NAMES)}")
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
