"""Runs side by side: curves of a metric, differences of experiments, tables to take elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.errors import RequestError
from emergectl.store.locate import short_id
from emergectl.store.measurements import read_measurements
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts
from emergectl.store.table import (
    KEYS,
    RunRow,
    flatten,
    last_values,
    read_experiment,
    read_row,
)

RunComparison = tuple[list[str], list[list[Any]]]
"""column names, and rows of as many values; None where a run has no such value"""

_X_AXES = ("step", "tokens", "flops", "seconds")


@dataclass(frozen=True)
class RunCurve:
    """One metric of one run."""

    run: str
    """the run's id"""
    name: str
    """the experiment's name"""
    values: dict[int, Any]
    """step → value, ascending"""


def read_curve(run: Path, metric: str) -> RunCurve:
    """The values of a metric over a run: of its log, else of what was measured, `task/metric`.

    Raises RequestError, with the metrics there are, where the run has logged no such metric.
    """
    values: dict[int, Any] = {}
    known: set[str] = set()
    for record in read_metrics(run / "metrics.jsonl"):
        known |= record.keys()
        if metric in record and "step" in record:
            values[record["step"]] = record[metric]
    if not values:
        for one in read_measurements(run):
            if one.group is None:
                name = f"{one.task}/{one.metric}"
                known.add(name)
                if metric in (name, one.metric):
                    values[one.step or 0] = one.value
    if not values:
        there = ", ".join(sorted(known - set(_X_AXES))) or "no metrics yet"
        raise RequestError(f"{run.name}: has no metric {metric!r}; it has {there}")
    row = read_row(run)
    return RunCurve(row.id, row.name, dict(sorted(values.items())))


def side_by_side(curves: Sequence[RunCurve], *, rows: int | None = None) -> RunComparison:
    """Steps down, runs across.

    With `rows`, at most so many, evenly spread with the first and the last; and then only steps
    that all runs have, where there are at least two such.
    """
    steps = sorted(set().union(*(curve.values for curve in curves)))
    if rows is not None:
        common = set(steps).intersection(*(curve.values for curve in curves))
        steps = _spread(sorted(common) if len(common) > 1 else steps, rows)
    table = [[step, *(curve.values.get(step) for curve in curves)] for step in steps]
    return ["step", *short_names(curves)], table


def short_names(curves: Sequence[RunCurve | RunRow]) -> list[str]:
    """The experiments' names where they tell the runs apart, else short ids, else the ids."""
    ids = [curve.run if isinstance(curve, RunCurve) else curve.id for curve in curves]
    choices = ([curve.name for curve in curves], [short_id(run_id) for run_id in ids])
    return next((names for names in choices if len(set(names)) == len(names)), ids)


def difference(runs: Sequence[Path], *, everything: bool = False) -> RunComparison:
    """Keys down, runs across: experiment, code and package versions; only what differs.

    With `everything`, what is equal too.
    """
    settings = [_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    rows = [[key, *(each.get(key) for each in settings)] for key in keys]
    if not everything:
        rows = [row for row in rows if any(value != row[1] for value in row[2:])]
    return ["key", *short_names([read_row(run) for run in runs])], rows


def run_table(rows: Sequence[RunRow]) -> RunComparison:
    """A row for each run: its columns, its experiment's keys, the last value of each metric."""
    last = [last_values(row.path / "metrics.jsonl", window_bytes=1 << 40) for row in rows]
    columns = list(KEYS)
    columns += [k for k in _in_order(row.experiment for row in rows) if k not in columns]
    own = [k for k in columns if k not in KEYS]
    metrics = [k for k in _in_order(last) if k not in columns]
    table = [
        [
            *(row[key] for key in KEYS),
            *(row.experiment.get(key) for key in own),
            *(values.get(key) for key in metrics),
        ]
        for row, values in zip(rows, last, strict=True)
    ]
    return columns + metrics, table


def metric_table(rows: Sequence[RunRow]) -> RunComparison:
    """A row for each value that was logged: run, name, seed, step, tokens, flops, metric, value."""
    table = [
        [row.id, row.name, row.seed, *(record.get(key) for key in _X_AXES), metric, value]
        for row in rows
        for record in read_metrics(row.path / "metrics.jsonl")
        for metric, value in record.items()
        if metric not in _X_AXES
    ]
    return ["run", "name", "seed", *_X_AXES, "metric", "value"], table


def _settings(run: Path) -> dict[str, Any]:
    facts = read_facts(run)
    beside = {key: facts[key] for key in ("code", "versions", "python") if key in facts}
    return flatten(read_experiment(run)) | flatten(beside)


def _in_order(parts: Any) -> list[str]:
    return list(dict.fromkeys(key for part in parts for key in part))


def _spread(steps: list[int], count: int) -> list[int]:
    if len(steps) <= count:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (count - 1))] for i in range(count)]
