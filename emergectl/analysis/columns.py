"""Columns of a table to rows: which column holds what, which rows are kept, in which units.

The mapping is `ColumnMapping`. Names that are the words of the project (params, tokens, task,
metric, …) are found by themselves; a wide table, one column a task, is told by `values`. It is the
same for every format, so that no option is without effect: a column that is named and is not there
is an error, whatever the table came from.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.cells import number
from emergectl.analysis.formats.records import BESIDE, FileRecords, Record
from emergectl.analysis.table import AXES, Table, listed
from emergectl.errors import RequestError
from emergectl.store.model_names import read_name

HINTS = ("what", "higher_is_better", "stderr", "count", "total_params")
"""columns in which a format says what it knows of a metric or a model"""


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a file holds what; None: the column of that very name, if there is one.

    `values` names the columns of a wide table, each a task (or `task/metric`; `COLUMN=task/metric`
    says which, so that metrics of the same outputs find each other). `scales` multiplies
    a column: {"params": 1e9} where sizes stand in billions, {"value": 0.01} for percent.
    """

    task: str | None = None
    metric: str | None = None
    value: str | None = None
    values: tuple[str, ...] = ()
    model: str | None = None
    group: str | None = None
    seed: str | None = None
    params: str | None = None
    tokens: str | None = None
    flops: str | None = None
    loss: str | None = None
    step: str | None = None
    n: str | None = None
    chance: str | None = None
    shortcut: str | None = None
    shortcut_by: str | None = None
    ceiling: str | None = None
    scales: Mapping[str, float] | None = None
    n_of: Mapping[str, str] = field(default_factory=dict)
    chance_of: Mapping[str, str] = field(default_factory=dict)
    shortcut_of: Mapping[str, str] = field(default_factory=dict)
    """columns of a wide table that hold the items, the level of guessing and that of a shortcut of
    one of its tasks"""

    @property
    def by_task(self) -> dict[str, Mapping[str, str]]:
        """Word → task → the column that tells it of that task alone."""
        return {"n": self.n_of, "chance": self.chance_of, "shortcut": self.shortcut_of}


_NO_WORDS = ("values", "scales", "n_of", "chance_of", "shortcut_of")
WORDS = tuple(f.name for f in fields(ColumnMapping) if f.name not in _NO_WORDS)
COUNTS = {
    "parameters": "total",
    "total_params": "total",
    "non_embedding_parameters": "non-embedding",
}
"""which count of parameters a column of our own runs holds"""


def add_records(
    table: Table,
    found: FileRecords,
    columns: ColumnMapping,
    *,
    where: Mapping[str, str],
    source: Path | str,
    format_: bool = False,
    decimal_comma: bool = False,
) -> bool:
    """Add records by a mapping; whether there were any.

    format_: whether they came from a format that tells what it knows (`HINTS`). Raises RequestError
    for a column that no record has.
    """
    complete, wide = _complete(columns, found.names, source)
    for key in where:
        _known(key, found.names, source)
    fields_of = _fields_of(table, found, complete, wide, format_, decimal_comma)
    asked_of = _asked_of(found, complete)
    own = {getattr(complete, word) for word in WORDS} | {column for column, _ in wide}
    own |= {column for of in complete.by_task.values() for column in of.values()}
    keeps_record = any(name not in own for name in found.names)
    any_ = False
    for place, record in found.rows:
        any_ = True
        if where and not all(_is(record.get(key), wanted) for key, wanted in where.items()):
            continue
        if BESIDE in record and "metric" not in where:
            table.skip(record[BESIDE], place)
            continue
        for one in fields_of(place, record):
            table.add(
                one,
                place,
                asked=asked_of(record),
                record=record if keeps_record else None,
                decimal_comma=decimal_comma,
            )
    for note in found.notes:
        table.note(note)
    return any_


FieldsOf = Callable[[str, Record], Iterable[Mapping[str, Any]]]


def _fields_of(
    table: Table,
    found: FileRecords,
    columns: ColumnMapping,
    wide: Sequence[tuple[str, str]],
    format_: bool,
    decimal_comma: bool,
) -> FieldsOf:
    """(place, record) → the fields of its row, or of one row for every column of a wide table."""
    cells = {word: name for word in WORDS if (name := getattr(columns, word)) is not None}
    hints = [word for word in HINTS if word in found.names]
    if format_:
        cells |= {word: word for word in hints if word != "count" or columns.params == "params"}
    sizes = _Sizes(table) if not format_ and _tells_no_scale(columns) else None
    scales = columns.scales or {}
    by_task = [(word, of) for word, of in columns.by_task.items() if of]
    called_so = all(word == name for word, name in cells.items()) and columns.metric is not None
    if called_so and not (wide or scales or sizes or (hints and not format_)):
        return lambda _, record: (record,)  # Nothing to rename: a third of the time of reading.

    def fields(place: str, record: Record) -> Iterator[Mapping[str, Any]]:
        row = {word: record.get(name) for word, name in cells.items()}
        if columns.params in COUNTS:
            row["count"] = COUNTS[columns.params]
        if sizes is not None:
            row["params"] = sizes.of(row.get("model"))
        for word, factor in scales.items():
            _scale(row, word, factor, place, decimal_comma)
        if not wide:
            if not row.get("metric"):
                row["metric"] = "loss" if columns.value == columns.loss else columns.value
            yield row
        for column, name in wide:
            task, _, metric = name.partition("/")
            one = {**row, "task": task, "metric": metric, "value": record.get(column)}
            for word, of in by_task:
                if (level := of.get(name) or of.get(task)) is not None:
                    one[word] = record.get(level)
            if "value" in scales:
                _scale(one, "value", scales["value"], place, decimal_comma)
            yield one

    return fields


def _asked_of(
    found: FileRecords, columns: ColumnMapping
) -> Callable[[Record], tuple[tuple[str, str], ...]]:
    """A record → how it was asked, but for what is in its group or seed already."""
    grouped = found.in_group if columns.group == "group" else ()
    keys = [key for key in found.asked if key not in (columns.group, columns.seed, *grouped)]
    if not keys:
        return lambda _: ()
    ways: dict[tuple[Any, ...], tuple[tuple[str, str], ...]] = {}

    def asked(record: Record) -> tuple[tuple[str, str], ...]:
        way = tuple(map(record.get, keys))
        if way not in ways:
            known = zip(keys, way, strict=True)
            ways[way] = tuple((key, str(value)) for key, value in known if value is not None)
        return ways[way]

    return asked


def _scale(row: dict[str, Any], word: str, factor: float, place: str, decimal_comma: bool) -> None:
    value = number(row.get(word), word, place, decimal_comma=decimal_comma)
    row[word] = None if value is None else value * factor


class _Sizes:
    """Parameters by the names of models, for a table that tells no scale at all; noted."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.known: dict[str, float | None] = {}

    def of(self, model: Any) -> float | None:
        name = "" if model is None else str(model)
        if name not in self.known:
            told = read_name(name)
            self.known[name] = told.params
            if told.params is not None:
                self.table.note("no column tells a scale: params are read from the models' names")
            if told.guessed:
                self.table.note(f"params of {name}: {told.params:.4g} ({told.guessed})")
        return self.known[name]


def _tells_no_scale(columns: ColumnMapping) -> bool:
    return columns.model is not None and not any(getattr(columns, axis) for axis in AXES)


def _is(cell: Any, wanted: str) -> bool:
    if str(cell) == wanted:
        return True
    try:
        return float(str(cell)) == float(wanted)
    except ValueError:
        return False


def _complete(
    columns: ColumnMapping, names: list[str], path: Path | str
) -> tuple[ColumnMapping, list[tuple[str, str]]]:
    """The mapping with columns that have the project's own names filled in, and checked; and
    (column, name) of a wide table's."""
    for word in WORDS:
        given = getattr(columns, word)
        if given is not None:
            _known(given, names, path)
    wide = [pair for text in columns.values for pair in _wide_columns(text, names, path)]
    tasks = {part for _, name in wide for part in (name, name.partition("/")[0])}
    for option, of in ((f"--{word}", of) for word, of in columns.by_task.items()):
        for task, column in of.items():
            _known(column, names, path)
            if task not in tasks:
                raise RequestError(f"{option} {task}={column}: --values names no such column")
    found: dict[str, Any] = {w: getattr(columns, w) or (w if w in names else None) for w in WORDS}
    if not wide and found["value"] is None:
        found["value"] = found["loss"]  # A table of losses alone: they are what it says.
    if not wide and found["value"] is None:
        raise RequestError(
            f"{path}: no column `value`; name it with --value, or the columns of a wide table "
            f"with --values (there are {listed(names, 40)})"
        )
    for word in columns.scales or {}:
        if found[word] is None and not (word == "value" and wide):
            raise RequestError(f"{path}: no column `{word}` to scale; name it with --{word}")
    return replace(columns, **found), wide


def _wide_columns(text: str, names: Sequence[str], path: Path | str) -> list[tuple[str, str]]:
    """(column, name) of what a text names: one `COLUMN` or `COLUMN=TASK/METRIC`, or several with
    commas between; columns may have commas in their names."""
    whole = _pair(text, names)
    if whole is not None and (whole[0] == text or "," not in whole[1]):
        return [whole]
    parts, pairs = text.split(","), []
    while parts:
        pair, end = None, 0
        while pair is None and end < len(parts):
            end += 1
            pair = _pair(",".join(parts[:end]), names)
        if pair is None:
            if whole is not None:  # The comma is in the name that is given to a column.
                return [whole]
            raise _missing(parts[0].partition("=")[0], names, path)
        pairs.append(pair)
        parts = parts[end:]
    return pairs


def _pair(text: str, names: Sequence[str]) -> tuple[str, str] | None:
    if text in names:
        return text, text
    cuts = (index for index, character in enumerate(text) if character == "=")
    cut = next((index for index in cuts if text[:index] in names and text[index + 1 :]), None)
    return None if cut is None else (text[:cut], text[cut + 1 :])


def _known(name: str, names: Sequence[str], path: Path | str) -> None:
    if name not in names:
        raise _missing(name, names, path)


def _missing(name: str, names: Sequence[str], path: Path | str) -> RequestError:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {listed(names, 40)}"
    return RequestError(f"{path}: no column {name!r}; {hint}")
