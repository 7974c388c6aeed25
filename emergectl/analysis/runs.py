"""Runs as records of a table: every measured value of every run, told apart by what differs.

The records are the same whether the runs are named one by one or as a sweep. `params` are the
parameters without embeddings, where a run knows both counts; `parameters` and
`non_embedding_parameters` are there under their own names for who wants the other on the axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.identity import identify
from emergectl.analysis.formats.records import BESIDE, FileRecords, Record, collected
from emergectl.store.measurements import Measurement
from emergectl.store.model_names import read_name, split_revision
from emergectl.store.rows import Lookup, MeasuredRun, Row, rows_of_run
from emergectl.store.table import flatten

PLAIN = {"shots": 0, "samples": 1}
"""how what does not say it was asked"""
NEVER_APART = ("seed", "name")
"""keys of an experiment that do not make another curve of it"""


def run_records(runs: Sequence[Path], lookup: Lookup | None = None) -> FileRecords:
    """The measured values of run directories.

    `group` names what differs between their experiments, but for the seed and what follows from the
    model alone, as learning rates along a ladder do. What was measured of a part of the items is
    left out. Raises RequestError where a path is no run, DataError for a file that cannot be read.
    """
    measured = {run: rows_of_run(run, lookup) for run in dict.fromkeys(runs)}
    apart = _what_differs({run: rows[0].run for run, rows in measured.items() if rows})
    asked = {
        key: None for rows in measured.values() for row in rows for key in row.measurement.asked
    }
    plain = {key: PLAIN[key] for key in asked if key in PLAIN}
    records = (
        (_where(row), {**plain, **_record(row, apart[run])})
        for run, rows in measured.items()
        for row in rows
    )
    asked.pop("revision", None)  # a step or a seed, and no way of asking
    return collected(records, asked=(*asked, "part"))


def _where(row: Row) -> str:
    """Where a value stands; steps and ways of asking have a place each."""
    one = row.measurement
    asked = "".join(f" {key}={value}" for key, value in sorted(one.asked.items()))
    return f"{row.where}:step {one.step or 0}{asked}"


def _record(row: Row, differs: Mapping[str, Any]) -> Record:
    one, run = row.measurement, row.run
    without = run.non_embedding_parameters
    record = {
        **one.asked,
        **differs,
        **{"task": one.task, "metric": one.metric, "value": one.value, "what": one.what},
        **{"n": one.n, "unit": one.unit, "chance": one.chance, "ceiling": one.ceiling},
        **{"shortcut": one.shortcut, "shortcut_by": one.shortcut_by},
        **{"low": one.low, "high": one.high, "source": one.source},
        "items": one.items,
        **{"model": run.model or run.name, "seed": run.seed, "run": run.id},
        **{"step": one.step, "tokens": row.tokens, "flops": row.flops, "loss": row.loss},
        "params": run.parameters if without is None else without,
        "count": "total" if without is None else "non-embedding",
        "total_params": run.parameters,
        "parameters": run.parameters,
        "non_embedding_parameters": without,
        "group": ", ".join(f"{k.rpartition('.')[2]} {_told(v)}" for k, v in differs.items()),
        **_told_by_name(one, run),
    }
    if one.group is not None:
        record["part"] = f"{one.group[0]} {one.group[1]}"
        record[BESIDE] = "of a part of the items alone"
    return record


def _told_by_name(one: Measurement, run: MeasuredRun) -> dict[str, Any]:
    """What the name and revision of a model that was only asked tell: its size, step, seed."""
    if run.parameters is not None or not run.model or Path(run.model).is_absolute():
        return {}
    name, _ = split_revision(run.model)
    revision = str(one.asked.get("revision") or "")
    who = identify(name, revision)
    told = {**who.fields(), "seed": who.seed or read_name(revision).seed}
    return {key: value for key, value in told.items() if value not in (None, "")}


def _what_differs(runs: Mapping[Path, MeasuredRun]) -> dict[Path, dict[str, Any]]:
    """The keys of the runs' experiments that tell runs of one model apart, with their values."""
    if len(runs) < 2:
        return {path: {} for path in runs}
    flat = {path: flatten(run.experiment) for path, run in runs.items()}
    keys = [
        key
        for key in dict.fromkeys(key for one in flat.values() for key in one)
        if key not in NEVER_APART
        and not _follows((run.model, flat[path].get(key)) for path, run in runs.items())
    ]
    return {path: {key: one.get(key) for key in keys} for path, one in flat.items()}


def _follows(found: Iterable[tuple[str, Any]]) -> bool:
    """Whether the runs of each model have one value, of (model, value) a run."""
    values: dict[str, Any] = {}
    return all(values.setdefault(model, value) == value for model, value in found)


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
