"""Tables from files: CSV, JSONL and Parquet with a mapping of columns, harness and BIG-bench JSON.

The mapping is `Columns`: which column holds what. Names that are the words of the project (params,
tokens, task, metric, …) are found by themselves; a wide table, one column a task, is told by
`values`. Results of lm-evaluation-harness and score files of BIG-bench are recognised by what is in
them.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from emergectl.analysis.table import Table, number
from emergectl.errors import DataError, RequestError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([kmbt])(?![a-z])", re.IGNORECASE)
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_STEP = re.compile(r"step[-_]?(\d+)")


@dataclass(frozen=True)
class Columns:
    """Which column of a file holds what; None: the column of that very name, if there is one.

    `values` names the columns of a wide table, each a task (or `task/metric`; `COLUMN=task/metric`
    says which, so that metrics of the same outputs find each other). `scales` multiplies
    a column: {"params": 1e9} where sizes stand in billions.
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
    scales: Mapping[str, float] | None = None


WORDS = tuple(f.name for f in fields(Columns) if f.name not in ("values", "scales"))


def read_tables(
    paths: Sequence[Path], columns: Columns | None = None, *, where: Mapping[str, str] | None = None
) -> Table:
    """Read and join tables; a folder stands for the JSON files below it.

    where: column → value, to keep only such rows. Raises RequestError for a missing file or column,
    DataError (`file:line: reason`) for what cannot be read.
    """
    table = Table()
    for path in paths:
        if not path.exists():
            raise RequestError(f"no file {path}")
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            _read(table, file, columns or Columns(), where or {})
    if not table.rows:
        detail = "".join(f"; {s.count} left out: {s.reason}" for s in table.skipped)
        raise RequestError(f"nothing to judge in {', '.join(map(str, paths))}{detail}")
    return table


def _read(table: Table, path: Path, columns: Columns, where: Mapping[str, str]) -> None:
    kind = path.suffix.lower()
    if kind == ".json":
        _read_json(table, path)
        return
    if kind not in TABLES:
        raise RequestError(f"{path}: expected {', '.join(TABLES)}, or a results .json")
    records = ((f"{path}:{line}", record) for line, record in _records(path))
    if not add_records(table, records, columns, where=where, source=path):
        raise DataError(f"{path}:1: the table is empty")


def add_records(
    table: Table,
    records: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Columns,
    *,
    where: Mapping[str, str],
    source: Path | str,
) -> bool:
    """Add records (where each stands, its fields) by a mapping; whether there were any.

    The first record's fields are the columns. Raises RequestError for a column that is not there.
    """
    complete = None
    for place, record in records:
        if complete is None:
            complete = _complete(columns, list(record), source)
            for key in where:
                _known(key, list(record), source)
        if all(_is(record.get(key), wanted) for key, wanted in where.items()):
            _add(table, record, complete, place)
    return complete is not None


def _is(cell: Any, wanted: str) -> bool:
    if str(cell) == wanted:
        return True
    try:
        return float(str(cell)) == float(wanted)
    except ValueError:
        return False


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}:1: no Parquet file: {error}") from None
        yield from enumerate(rows, 1)
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1: not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}:{line}: a NUL byte; this is no text")
    yield from _jsonl(path, text) if kind == ".jsonl" else _csv(path, text)


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"{path}:{line}: expected an object with the row's fields")
        yield line, record


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
    )
    try:
        header = next(reader, None)
        if header is None:
            return
        names = [name.strip() for name in header]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise DataError(f"{path}:1: two columns are called {double!r}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise DataError(
                    f"{path}:{reader.line_num}: {len(cells)} cells; the header has {len(names)}"
                )
            yield reader.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None


def _complete(columns: Columns, names: list[str], path: Path | str) -> Columns:
    """The mapping with columns that have the project's own names filled in, and checked."""
    for word in (*WORDS,):
        given = getattr(columns, word)
        if given is not None:
            _known(given, names, path)
    for value in columns.values:
        _known(wide_column(value)[0], names, path)
    found: dict[str, Any] = {w: getattr(columns, w) or (w if w in names else None) for w in WORDS}
    if not columns.values and found["value"] is None:
        found["value"] = found["loss"]  # A table of losses alone: they are what it says.
    if not columns.values and found["value"] is None:
        raise RequestError(
            f"{path}: no column `value`; name it with --value, or the columns of a wide table "
            f"with --values (there are {', '.join(names)})"
        )
    return Columns(**found, values=columns.values, scales=columns.scales)


def _known(name: str, names: list[str], path: Path | str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
        raise RequestError(f"{path}: no column {name!r}; {hint}")


def _add(table: Table, record: Mapping[str, Any], columns: Columns, where: str) -> None:
    cells = {w: record.get(name) for w in WORDS if (name := getattr(columns, w)) is not None}
    for word, factor in (columns.scales or {}).items():
        value = number(cells.get(word), word, where)
        cells[word] = None if value is None else value * factor
    if not columns.values:
        if columns.value == columns.loss and not cells.get("metric"):
            cells["metric"] = "loss"
        table.add(cells, where)
        return
    for column, name in map(wide_column, columns.values):
        task, _, metric = name.partition("/")
        table.add({**cells, "task": task, "metric": metric, "value": record.get(column)}, where)


def wide_column(text: str) -> tuple[str, str]:
    """(column, name) of a column of a wide table: `COLUMN`, or `COLUMN=TASK/METRIC`."""
    column, equals, name = text.partition("=")
    return (column, name) if equals and name else (text, text)


def _read_json(table: Table, path: Path) -> None:
    """Results of lm-evaluation-harness, or scores of BIG-bench."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:1: not JSON: {error}") from None
    kinds = {"results": dict, "scores": list}
    for part in data if isinstance(data, list) else [data]:
        found = [
            k for k, t in kinds.items() if isinstance(part, dict) and isinstance(part.get(k), t)
        ]
        if not found:
            raise DataError(
                f"{path}:1: neither results of lm-evaluation-harness (`results`) nor scores of "
                "BIG-bench (`scores`)"
            )
        (_harness if found[0] == "results" else _bigbench)(table, path, part)


def _harness(table: Table, path: Path, data: dict[str, Any]) -> None:
    config = data.get("config")
    config = config if isinstance(config, dict) else {}
    name = str(data.get("model_name") or config.get("model_args") or path.stem)
    step = _STEP.search(name) or _STEP.search(path.stem)
    params = config.get("model_num_parameters") or size_in(name) or size_in(path.stem)
    samples = data.get("n-samples")
    samples = samples if isinstance(samples, dict) else {}
    for task, scores in data["results"].items():
        if not isinstance(scores, dict):
            raise DataError(f"{path}:1: results of {task!r} are no object")
        count = samples.get(task)
        items = count.get("effective") if isinstance(count, dict) else None
        for key, value in scores.items():
            metric = key.split(",")[0]
            if metric.endswith("_stderr") or isinstance(value, str | bool | dict | list):
                continue
            cells = {
                "task": task,
                "metric": metric,
                "value": value,
                "model": name,
                "params": params,
                "step": int(step[1]) if step else None,
                "n": items or _items_of(scores, key, value),
            }
            table.add(cells, f"{path}:{task}/{metric}")


def _items_of(scores: Mapping[str, Any], key: str, value: Any) -> float | None:
    """How many items a rate was taken over, from its standard error: p(1 − p)/(n − 1) = stderr²."""
    metric, _, rest = key.partition(",")
    error = scores.get(f"{metric}_stderr,{rest}" if rest else f"{metric}_stderr")
    if metric not in ("acc", "acc_norm", "exact_match", "em"):
        return None
    if not isinstance(error, int | float) or not isinstance(value, int | float) or error <= 0:
        return None
    return float(round(value * (1 - value) / error**2 + 1))


def _bigbench(table: Table, path: Path, data: dict[str, Any]) -> None:
    model = data.get("model")
    model = model if isinstance(model, dict) else {}
    named = data.get("task")
    named = named.get("task_name") if isinstance(named, dict) else named
    task = str(named or path.stem)
    for index, score in enumerate(data["scores"]):
        if not isinstance(score, dict) or not isinstance(score.get("score_dict"), dict):
            raise DataError(f"{path}:1: scores.{index} has no score_dict")
        shots = score.get("number_of_shots")
        for metric, value in score["score_dict"].items():
            cells = {
                "task": str(score.get("subtask_description") or task),
                "metric": metric,
                "value": value,
                "model": str(model.get("model_name") or ""),
                "group": "/".join(
                    part
                    for part in (
                        str(model.get("model_family") or ""),
                        f"{shots}-shot" if shots is not None else "",
                    )
                    if part
                ),
                "params": model.get("non_embedding_params") or model.get("total_params"),
            }
            low = score.get("low_score")
            if metric == score.get("preferred_score") and isinstance(low, int | float):
                cells["chance"] = low
            table.add(cells, f"{path}:scores.{index}.{metric}")


def size_in(name: str) -> float | None:
    """The parameters that a model's name tells: `pythia-1.4b` → 1.4e9; None where it does not."""
    found = _SIZE.findall(name)
    return float(found[-1][0]) * _UNITS[found[-1][1].lower()] if found else None
