"""The tidy table of a sweep: one row for each value that was measured, from the runs themselves.

Columns: model, params, tokens, flops, loss, step, seed, task, metric, value, n, chance, then the
trial and what the sweep varies. Values come from metrics.jsonl (evaluations while training) and
from `evals/` (what was asked afterwards, which wins where both measured the same at a step). No
times and no run ids: two sweeps of one file give the same table, whatever happened on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.errors import RequestError
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts
from emergectl.store.table import read_experiment
from emergectl.sweeps.folder import Planned, SweepFolder

COLUMNS = (
    *("model", "params", "tokens", "flops", "loss", "step", "seed"),
    *("task", "metric", "value", "n", "chance", "trial"),
)
TRIAL_DIGITS = 12

_STEP = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Measured:
    """One value of one metric of one trial at one step."""

    step: int
    task: str
    metric: str
    value: Any
    n: int | None = None
    chance: float | None = None


def sweep_table(
    folder: SweepFolder, planned: Sequence[Planned], *, final: bool = False
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows, trial by trial in the plan's order, steps ascending.

    Trials that have not been measured have no rows. With `final`, the last step of each metric
    alone.
    """
    varied = list(dict.fromkeys(key for each in planned for key in each.values))
    own = [key for key in varied if key not in ("seed", "model.size")]
    rows = []
    for each in planned:
        record = folder.record(each.key)
        if record is None or not (folder.root / record.run / "run.json").exists():
            continue
        values = each.values or record.values
        tail = [record.trial[:TRIAL_DIGITS], *(values.get(key) for key in own)]
        run = folder.root / record.run
        rows += [[*row, *tail] for row in _rows(run, final=final)]
    if not own:  # A search's plan has no values: they are drawn later.
        return _with_drawn(folder, planned, rows)
    return [*COLUMNS, *own], rows


def _with_drawn(
    folder: SweepFolder, planned: Sequence[Planned], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """The table with the values that a search has drawn."""
    records = [record for each in planned if (record := folder.record(each.key)) is not None]
    drawn = {record.trial[:TRIAL_DIGITS]: record.values for record in records}
    keys = [key for key in dict.fromkeys(k for v in drawn.values() for k in v) if key != "seed"]
    trial = COLUMNS.index("trial")
    return [*COLUMNS, *keys], [[*row, *(drawn[row[trial]].get(k) for k in keys)] for row in rows]


def _rows(run: Path, *, final: bool) -> Iterator[list[Any]]:
    facts = read_facts(run)
    experiment = read_experiment(run)
    model = _model_name(experiment.get("model") or {})
    records = {record["step"]: record for record in _merged(run)}
    measured = {**_in_training(records, facts), **_afterwards(run)}
    found = sorted(measured.values(), key=lambda m: (m.step, m.task, m.metric))
    if final:
        found = list({(m.task, m.metric): m for m in found}.values())
    for each in found:
        record = records.get(each.step, {})
        yield [
            model,
            facts.get("non_embedding_parameters", record.get("non_embedding_parameters")),
            record.get("tokens"),
            record.get("flops"),
            _loss(record),
            each.step,
            facts.get("seed"),
            each.task,
            each.metric,
            each.value,
            each.n,
            each.chance,
        ]


def _merged(run: Path) -> list[dict[str, Any]]:
    """One record a step: a training line and an evaluation of the same step are one."""
    steps: dict[int, dict[str, Any]] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        steps.setdefault(record["step"], {}).update(record)
    return list(steps.values())


def _in_training(
    records: Mapping[int, Mapping[str, Any]], facts: Mapping[str, Any]
) -> dict[tuple[int, str, str], Measured]:
    chances, rows = facts.get("chance") or {}, facts.get("held_out") or {}
    found = {}
    for step, record in records.items():
        for name, value in record.items():
            task, slash, metric = name.rpartition("/")
            if slash:
                chance = chances.get(name)
                found[step, task, metric] = Measured(
                    step, task, metric, value, rows.get(task), chance
                )
    return found


def _afterwards(run: Path) -> dict[tuple[int, str, str], Measured]:
    """What `eval` has left: `evals/step-NNNNNNNN/TASK/results.json`, whole, not by group."""
    found = {}
    for path in sorted((run / "evals").glob("step-*/*/results.json")):
        named = _STEP.fullmatch(path.parent.parent.name)
        if named is None:
            continue
        step, task = int(named[1]), path.parent.name
        for each in _results(path):
            if not each.get("group"):
                chance, n = each.get("chance"), each.get("items")
                metric, value = str(each["metric"]), each["value"]
                found[step, task, metric] = Measured(step, task, metric, value, n, chance)
    return found


def _results(path: Path) -> list[dict[str, Any]]:
    """The values in a results.json: a list of objects, or metric → value of held-out data."""
    try:
        data = json.loads(path.read_bytes())
        metrics = data["metrics"]
        if isinstance(metrics, dict):
            chance = data.get("chance") or {}
            return [
                {"metric": k, "value": v, "items": data.get("items"), "chance": chance.get(k)}
                for k, v in metrics.items()
            ]
        return [dict(each) for each in metrics]
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path}: not the results of an evaluation ({error!r})") from None


def _loss(record: Mapping[str, Any]) -> Any:
    """The held-out loss of a step, else its training loss."""
    held_out = [name for name in record if name.endswith("/loss")]
    for name in ("validation/loss", *held_out, "loss"):
        if name in record:
            return record[name]
    return None


def _model_name(model: Mapping[str, Any]) -> str:
    """Family and size, as one would say it; the origin of a model that was not made anew."""
    if model.get("from"):
        return str(model["from"])
    size = model.get("size")
    if size is None:
        fields = model.get("config") or {}
        size = ",".join(f"{key}={value}" for key, value in fields.items())
    return f"{model.get('family')} {size}".strip()


def best_trials(
    folder: SweepFolder, planned: Sequence[Planned], metric: str
) -> list[tuple[float, Planned, str]]:
    """(value, trial, run) of each trial's last value of a metric, the best first.

    `-metric`: more is better. Raises RequestError where no trial has the metric.
    """
    name = metric.removeprefix("-")
    found: list[tuple[float, Planned, str]] = []
    known: set[str] = set()
    for each in planned:
        record = folder.record(each.key)
        if record is None or folder.look(each.key).state != "done":
            continue
        last = last_metrics(folder.root / record.run)
        known |= last.keys()
        if isinstance(last.get(name), int | float) and last[name] == last[name]:
            shown = Planned(each.key, each.values or record.values)
            found.append((float(last[name]), shown, record.run))
    if not found:
        there = f"; there are: {', '.join(sorted(k for k in known if '/' in k))}" if known else ""
        raise RequestError(f"no trial that is done has the metric `{name}`{there}")
    return sorted(found, key=lambda row: row[0], reverse=metric.startswith("-"))


def last_metrics(run: Path) -> dict[str, Any]:
    """The last value of each metric of a run."""
    last: dict[str, Any] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        last |= record
    return last


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as Parquet; a column of mixed kinds is written as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = []
    for place in range(len(columns)):
        values = [row[place] for row in rows]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            texts = [
                None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values
            ]
            arrays.append(pa.array(texts))
    pq.write_table(pa.table(arrays, names=list(columns)), path)
