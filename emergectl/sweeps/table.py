"""The tidy table of a sweep: one row for each value that was measured, from the runs themselves.

The rows are those of `store.rows`, the same as when the runs are named one by one; beside them
stands what the sweep varies, read from the experiment of each run. No times and no run ids: two
sweeps of one file give the same table, whatever happened on the way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.config.sweep_paths import innermost, leaves, resolved_values, set_at
from emergectl.errors import RequestError
from emergectl.evaluation.metrics import metric_facts
from emergectl.store.measurements import Direction
from emergectl.store.metrics_log import read_metrics
from emergectl.store.rows import Row, rows_of_run
from emergectl.sweeps.folder import Planned, SweepFolder, TrialRecord

COLUMNS = (
    *("model", "parameters", "non_embedding_parameters", "tokens", "flops", "loss", "step", "seed"),
    *("task", "group", "asked", "metric", "value", "low", "high", "n", "unit"),
    *("chance", "shortcut", "shortcut_by", "ceiling"),
    *("kind", "direction", "quantity", "scale", "source", "trial"),
)
TRIAL_DIGITS = 12
_IN_COLUMNS = ("seed", "model.size")
"""what a sweep varies that has a column of its own"""


@dataclass(frozen=True)
class TrialRow:
    """A measured value of a trial: `row` as its run has it, `values` what the sweep varies."""

    row: Row
    trial: str
    """hash of the trial's experiment"""
    values: Mapping[str, Any]
    """key path → what the resolved experiment has there"""


def rows_of_sweep(folder: SweepFolder, planned: Sequence[Planned]) -> list[TrialRow]:
    """Every measured value of a sweep, trial by trial in the plan's order, as `rows_of_run` has it.

    Trials that have not begun have no rows. All trials have the same keys in `values`. Raises
    DataError where a file does not hold what it should.
    """
    begun = _begun(folder, planned)
    varied = varied_keys([each.values or record.values for each, record in begun])
    found = []
    for _, record in begun:
        rows = rows_of_run(folder.root / record.run, metric_facts)
        values = _values_of(rows[0].run.experiment, record.values, varied) if rows else {}
        found += [TrialRow(row, record.trial, values) for row in rows]
    return found


def _begun(folder: SweepFolder, planned: Sequence[Planned]) -> list[tuple[Planned, TrialRecord]]:
    records = [(each, folder.record(each.key)) for each in planned]
    return [
        (each, record)
        for each, record in records
        if record is not None and (folder.root / record.run / "run.json").exists()
    ]


def varied_keys(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The key paths that points set, sections by what lies in them, each once."""
    return innermost(leaf for point in points for key in point for leaf in leaves(key, point[key]))


def _values_of(
    experiment: Mapping[str, Any], point: Mapping[str, Any], varied: Sequence[str]
) -> dict[str, Any]:
    """What a run's experiment has at some key paths; `point` says how files were named there."""
    return resolved_values(experiment, {key: set_at(point, key) for key in varied})


def sweep_table(
    folder: SweepFolder, planned: Sequence[Planned], *, final: bool = False
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of `rows_of_sweep`; with `final` the last step of each value alone."""
    found = rows_of_sweep(folder, planned)
    if final:
        found = list({_identity(each): each for each in found}.values())
    keys = dict.fromkeys(key for each in found for key in each.values)
    own = [key for key in keys if key not in _IN_COLUMNS]
    return [*COLUMNS, *own], [[*_cells(each), *(each.values[key] for key in own)] for each in found]


def _identity(each: TrialRow) -> tuple[object, ...]:
    """What is measured again at a later step."""
    one = each.row.measurement
    return (each.trial, one.task, one.metric, one.group, *sorted(one.asked.items()))


def _cells(each: TrialRow) -> list[Any]:
    row, one, run = each.row, each.row.measurement, each.row.run
    return [
        *(run.model, run.parameters, run.non_embedding_parameters),
        *(row.tokens, row.flops, row.loss, one.step, run.seed, one.task),
        None if one.group is None else f"{one.group[0]}={one.group[1]}",
        ", ".join(f"{name}={value}" for name, value in sorted(one.asked.items())) or None,
        *(one.metric, one.value, one.low, one.high, one.n, one.unit),
        *(one.chance, one.shortcut, one.shortcut_by, one.ceiling),
        *(one.what.kind, one.what.direction, one.what.quantity, one.what.scale),
        *(one.source, each.trial[:TRIAL_DIGITS]),
    ]


@dataclass(frozen=True)
class BestTrials:
    """The trials that are done, by the last value of one metric, the best first."""

    metric: str
    """`task/metric`, or a name of the log"""
    direction: Direction
    trials: list[tuple[float, TrialRow]]


def best_trials(
    folder: SweepFolder,
    planned: Sequence[Planned],
    metric: str | None = None,
    direction: Direction | None = None,
) -> BestTrials:
    """The trials that are done, ranked. `metric`: a name, with its task or without.

    None: what `evaluation.best` of the trials names, else the first loss that was measured.
    `direction`: which is better; None: as the metric is. Raises RequestError where no trial that
    is done has the metric.
    """
    done = [each for each in planned if folder.look(each.key).trained]
    last: dict[str, dict[str, TrialRow]] = {}
    for each in rows_of_sweep(folder, done):
        one = each.row.measurement
        if one.group is None and math.isfinite(one.value):
            named = last.setdefault(f"{one.task}/{one.metric}", {})
            plainer = each.trial in named and not named[each.trial].row.measurement.asked
            if not (one.asked and plainer):
                named[each.trial] = each
    name = _watched(last) if metric is None else _named(last, metric)
    if name is None:
        there = f"; there are: {', '.join(sorted(last))}" if last else ""
        wanted = f"the metric `{metric}`" if metric else "a loss"
        raise RequestError(f"no trial that is done has {wanted}{there}")
    found = [(each.row.measurement.value, each) for each in last[name].values()]
    better = direction or found[0][1].row.measurement.what.direction
    ranked = sorted(found, key=lambda pair: pair[0], reverse=better == "up")
    return BestTrials(name, better, ranked)


def _named(last: Mapping[str, Any], metric: str) -> str | None:
    """`task/metric` of a name that may leave out the task: the validation data's before others."""
    fitting = [name for name in last if metric in (name, name.partition("/")[2])]
    return min(fitting, key=lambda name: not name.startswith("validation/"), default=None)


def _watched(last: Mapping[str, Mapping[str, TrialRow]]) -> str | None:
    """What `evaluation.best` of the trials names, else the first loss."""
    trials = next(iter(last.values()), {})
    experiment = next((each.row.run.experiment for each in trials.values()), {})
    best = str((experiment.get("evaluation") or {}).get("best") or "loss")
    return _named(last, best.removeprefix("-")) or _named(last, "loss")


def last_metrics(run: Path) -> dict[str, Any]:
    """The last value of each metric in a run's log."""
    last: dict[str, Any] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        last |= record
    return last


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as Parquet; a column of mixed kinds is written as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = []
    for index in range(len(columns)):
        values = [row[index] for row in rows]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            texts = [
                None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values
            ]
            arrays.append(pa.array(texts))
    pq.write_table(pa.table(arrays, names=list(columns)), path)
