"""Tables from files: what a file is, by what is in it, and its rows.

CSV, TSV, JSONL and Parquet are read by a mapping of columns (`columns.py`); results of others'
tools are recognised and read by the function of their format (`formats/`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.columns import ColumnMapping, add_records
from emergectl.analysis.formats.benchmarks import (
    data_decide,
    helm_stats,
    helm_table,
    is_data_decide,
    is_helm_stats,
    is_helm_table,
    is_mteb,
    is_olmes,
    mteb,
    olmes,
    olmes_lines,
)
from emergectl.analysis.formats.big_bench import big_bench
from emergectl.analysis.formats.harness import harness, is_harness
from emergectl.analysis.formats.leaderboards import (
    is_open_compass,
    is_open_llm,
    open_compass,
    open_llm,
)
from emergectl.analysis.formats.records import FileRecords, Record
from emergectl.analysis.formats.text_tables import (
    TABLES,
    file_kind,
    no_pointer,
    open_table,
    open_text,
)
from emergectl.analysis.formats.training_logs import (
    is_tensorboard,
    is_wandb,
    tensorboard_scalar,
    trainer_state,
    wandb_chart,
)
from emergectl.analysis.runs import run_records
from emergectl.analysis.table import Table, told_apart
from emergectl.errors import DataError, RequestError
from emergectl.store.rows import Lookup

READ = (*TABLES, ".json")
"""what a name has to end in to be read as a table; `.gz` may stand behind it"""
SAMPLES = {"doc_id", "resps"}
"""columns of the harness's answers, item by item"""
NO_RESULTS = frozenset(
    {
        *("run_spec.json", "scenario.json", "scenario_state.json", "per_instance_stats.json"),
        *("instances.json", "display_requests.json", "display_predictions.json"),
        *("model_meta.json", "config.json", "generation_config.json", "tokenizer.json"),
        *("tokenizer_config.json", "special_tokens_map.json", "vocab.json"),
    }
)
"""files that stand beside results, some of them huge"""
KINDS = (
    "lm-evaluation-harness, BIG-bench, OLMES, HELM, MTEB or trainer_state.json; other results go "
    "in as CSV or JSONL with the columns task, metric, value, params, …"
)

Melt = Callable[[Path, Sequence[str], Iterable[tuple[int, Record]]], FileRecords]
JSON: tuple[tuple[Callable[[Any], bool], Callable[[Path, Any], FileRecords]], ...] = (
    (is_mteb, mteb),
    (is_olmes, olmes),
    (is_helm_stats, helm_stats),
    (is_helm_table, helm_table),
    (is_harness, harness),
    (lambda part: isinstance(part, dict) and isinstance(part.get("scores"), list), big_bench),
    (lambda p: isinstance(p, dict) and isinstance(p.get("log_history"), list), trainer_state),
)
TEXT: tuple[tuple[Callable[[Sequence[str]], bool], Melt], ...] = (
    (is_wandb, wandb_chart),
    (is_tensorboard, tensorboard_scalar),
    (is_open_compass, open_compass),
    (is_open_llm, open_llm),
    (is_data_decide, data_decide),
)


def read_tables(
    paths: Sequence[Path],
    columns: ColumnMapping | None = None,
    *,
    where: Mapping[str, str] | None = None,
    lookup: Lookup | None = None,
) -> Table:
    """Read and join tables; a folder stands for the results below it.

    where: column → value, to keep only such rows. lookup: what a metric is, by its name. In a
    folder a file that holds no results is passed over and counted. Raises RequestError for a
    missing file or column, DataError (`file:line: reason`) for what cannot be read.
    """
    table = Table(lookup=lookup)
    for path in paths:
        if not path.exists():
            raise RequestError(f"no file {path}")
        if path.is_dir():
            _read_folder(table, path, columns or ColumnMapping(), where or {})
        else:
            _read(table, path, columns or ColumnMapping(), where or {})
    if not table.rows:
        kept = "".join(f" with {key}={value}" for key, value in (where or {}).items())
        detail = "".join(f"; {s.count} left out: {s.reason}" for s in table.skipped)
        raise RequestError(f"nothing to judge in {', '.join(map(str, paths))}{kept}{detail}")
    return told_apart(table)


def add_runs(
    table: Table, runs: Sequence[Path], columns: ColumnMapping, *, where: Mapping[str, str]
) -> Table:
    """The table with the measured values of runs; all of them at once, to be told apart.

    Raises RequestError, DataError.
    """
    source = ", ".join(run.name for run in runs[:3])
    add_records(
        table, run_records(runs, table.lookup), columns, where=where, source=source, format_=True
    )
    return told_apart(table)


def _read(table: Table, path: Path, columns: ColumnMapping, where: Mapping[str, str]) -> None:
    kind = file_kind(path)
    if kind == ".json":
        parts = _read_json(path)
        if not parts:
            raise DataError(f"{path}:1: no results of {KINDS}")
        _add(table, parts, columns, where, path)
        return
    if kind not in TABLES:
        raise RequestError(f"{path}: expected {', '.join(TABLES)}, or a results .json")
    if not _read_text(table, path, columns, where):
        raise DataError(f"{path}:1: the table is empty")


def _read_text(table: Table, path: Path, columns: ColumnMapping, where: Mapping[str, str]) -> bool:
    """Add a table of text or Parquet; whether it had rows."""
    opened = open_table(path)
    named = columns.value is not None or bool(columns.values)
    melt = None if named else next((m for is_, m in TEXT if is_(opened.names)), None)
    if melt is not None:
        found = melt(path, opened.names, opened.rows)
    elif not named and {"task_name", "metrics"} <= set(opened.names):
        found = olmes_lines(path, opened.rows)
    elif not named and set(opened.names) >= SAMPLES:
        raise DataError(
            f"{path}:1: answers of lm-evaluation-harness item by item; read the results_*.json "
            "that stands beside them"
        )
    else:
        rows = ((f"{path}:{line}", record) for line, record in opened.rows)
        return bool(opened.names) and add_records(
            table,
            FileRecords(opened.names, rows),
            columns,
            where=where,
            source=path,
            decimal_comma=opened.decimal_comma,
        )
    return add_records(table, found, columns, where=where, source=path, format_=True)


def _read_json(path: Path) -> list[FileRecords]:
    """The results in a JSON file, one part or a list of them; empty where there are none."""
    try:
        with open_text(path) as file:
            text = file.read()
        no_pointer(text, path)
        data = json.loads(text)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}:1: cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:1: not JSON: {error}") from None
    whole = next((read for is_, read in JSON if is_(data)), None)
    if whole is not None:
        return [whole(path, data)]
    parts = data if isinstance(data, list) else []
    readers = [next((read for is_, read in JSON if is_(part)), None) for part in parts]
    if None in readers:
        return []
    return [read(path, part) for read, part in zip(readers, parts, strict=True) if read]


def _add(
    table: Table,
    parts: Sequence[FileRecords],
    columns: ColumnMapping,
    where: Mapping[str, str],
    source: Path,
) -> None:
    """Add results that belong together: their columns are those of all of them."""
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    for part in parts:
        part.names = names
        add_records(table, part, columns, where=where, source=source, format_=True)


def _read_folder(
    table: Table, path: Path, columns: ColumnMapping, where: Mapping[str, str]
) -> None:
    """Add every file of results below a folder; what holds none is counted."""
    parts: list[FileRecords] = []
    for file in sorted(path.rglob("*")):
        kind = file_kind(file)
        if kind not in READ or not file.is_file():
            continue
        if file.name in NO_RESULTS or file.name.startswith("samples_"):
            table.skip("a file without results", str(file))
        elif kind == ".json":
            try:
                found = _read_json(file)
            except DataError as error:
                table.skip("a file that cannot be read", str(error))
                continue
            parts += found
            if not found:
                table.skip("a file without results", str(file))
        else:
            _read_text_in_folder(table, file, columns, where)
    if parts:
        _add(table, parts, columns, where, path)


def _read_text_in_folder(
    table: Table, file: Path, columns: ColumnMapping, where: Mapping[str, str]
) -> None:
    try:
        names = open_table(file).names
    except DataError as error:
        table.skip("a file that cannot be read", str(error))
        return
    own = columns.value or "value"
    if own in names or columns.values or any(is_(names) for is_, _ in TEXT) or "metrics" in names:
        _read_text(table, file, columns, where)
    else:
        table.skip("a file without results", str(file))
