"""Measured values with what is known of the run that they are of: the one reader of the road.

Tables of sweeps, analysis, reports and the command line get their rows here, whether a run was
named alone or as a trial of a sweep, so that the same run always gives the same rows.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emergectl.errors import DataError
from emergectl.store.measurements import FILE, Measurement, MetricFacts, read_measurements
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts
from emergectl.store.table import read_experiment

Lookup = Callable[[str], MetricFacts | None]
"""a metric's name → what it is; None where nobody knows"""


@dataclass(frozen=True)
class MeasuredRun:
    """What rows say of their run. Both counts of parameters, None where there is no model of its
    own (a model that was only asked); `model` is its family and size, or where it came from;
    `experiment` is the whole of it, resolved, as plain data."""

    path: Path
    id: str
    name: str
    model: str
    seed: int | None
    parameters: int | None
    non_embedding_parameters: int | None
    experiment: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Row:
    """One measurement and the state of the run at its step.

    `tokens` and `flops` spent up to the step, by straight lines between the steps that the log
    tells; `loss`: the held-out loss measured at this very step, else the training loss there, None
    where neither was. `where` is `file:line`, or the file.
    """

    measurement: Measurement
    run: MeasuredRun
    tokens: float | None
    flops: float | None
    loss: float | None
    where: str


def rows_of_run(path: Path, lookup: Lookup | None = None) -> list[Row]:
    """Every measured value of a run directory, by step, task and metric.

    What was measured twice stands once: of the same items at the same step, what `eval` measured
    takes the place of the loop's, under the loop's name. `lookup` tells of the metrics of runs
    that are older than `measurements.jsonl`. Raises RequestError where `path` is no run, DataError
    where a file does not hold what it should.
    """
    facts = read_facts(path)
    run = _measured_run(path, facts)
    log = _Log(path / "metrics.jsonl")
    measured, file = read_measurements(path), path / FILE
    if facts.get("stage") != "evaluate":
        if not measured:
            file = path / "metrics.jsonl"
        measured = [*_of_older_run(log, facts, lookup, measured), *measured]
    losses, where = _losses(measured), str(file)
    states: dict[int | None, tuple[float | None, float | None, float | None]] = {}
    for step in {one.step for one in measured}:
        loss = losses.get(step, log.value(step, "loss"))
        states[step] = log.at(step, "tokens"), log.at(step, "flops"), loss
    rows = [Row(one, run, *states[one.step], where) for one in _each_once(measured)]
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[object, ...]:
    one = row.measurement
    group = () if one.group is None else (one.group[0], str(one.group[1]))
    asked = str(sorted(one.asked.items())) if one.asked else ""
    return (one.step or 0, one.task, one.metric, group, asked)


def _measured_run(path: Path, facts: Mapping[str, Any]) -> MeasuredRun:
    experiment = read_experiment(path)
    return MeasuredRun(
        path=path,
        id=str(facts["id"]),
        name=str(facts.get("name") or facts["id"]),
        model=model_name(experiment.get("model") or {}),
        seed=facts.get("seed"),
        parameters=facts.get("parameters"),
        non_embedding_parameters=facts.get("non_embedding_parameters"),
        experiment=experiment,
    )


def model_name(model: Mapping[str, Any]) -> str:
    """Family and size, as one would say it; the origin of a model that was not made anew."""
    if not model:
        return ""
    if model.get("from"):
        return str(model["from"])
    size = model.get("size")
    if size is None:
        fields = model.get("config") or {}
        size = ",".join(f"{key}={value}" for key, value in fields.items())
    return f"{model.get('family')} {size}".strip()


def _each_once(measured: list[Measurement]) -> list[Measurement]:
    """Of the same items at one step, the last that was measured besides training wins; all are
    called by the name under which they were measured first."""
    names: dict[object, str] = {}
    called_so: dict[str, str] = {}  # asked with other shots too, a task has that name
    for one in measured:
        called = names.setdefault(one.items or one.task, one.task)
        called_so[one.task] = called if called != one.task else called_so.get(one.task, called)
    kept: dict[tuple[object, ...], Measurement] = {}
    for one in measured:
        asked = tuple(sorted(one.asked.items())) if one.asked else ()
        items, called = one.items or one.task, called_so[one.task]
        key = (items, one.group, asked, one.step, one.metric)
        if key not in kept or one.source != "loop":
            kept[key] = one if called == one.task else replace(one, task=called)
    return list(kept.values())


def _losses(measured: list[Measurement]) -> dict[int | None, float]:
    """The held-out loss of each step that has one; validation data's before any task's."""
    found: dict[int | None, tuple[bool, float]] = {}
    for one in measured:
        if one.metric != "loss" or one.group is not None or one.task == "train":
            continue
        own = one.task == "validation"
        if one.step not in found or (own and not found[one.step][0]):
            found[one.step] = (own, one.value)
    return {step: loss for step, (_, loss) in found.items()}


class _Log:
    """What metrics.jsonl tells of each step; a training line and an evaluation are one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[int, dict[str, Any]] = {}
        for record in read_metrics(path):
            self.records.setdefault(record.get("step", 0), {}).update(record)

    @cached_property
    def _steps(self) -> list[int]:
        return sorted(self.records)

    def value(self, step: int | None, name: str) -> float | None:
        """What stands at this very step."""
        found = self.records.get(-1 if step is None else step, {}).get(name)
        return found if isinstance(found, int | float) and math.isfinite(found) else None

    def at(self, step: int | None, name: str) -> float | None:
        """A running sum at a step, on the straight line between its neighbours in the log."""
        if step is None or not self.records:
            return None
        known = self.value(step, name)
        index = bisect_left(self._steps, step)
        if known is not None or index == len(self._steps):
            return known
        before = self._steps[index - 1] if index else 0
        low = self.value(before, name) if index else 0.0
        high = self.value(self._steps[index], name)
        if low is None or high is None:
            return None
        return low + (high - low) * (step - before) / (self._steps[index] - before)


def _of_older_run(
    log: _Log, facts: Mapping[str, Any], lookup: Lookup | None, measured: Sequence[Measurement]
) -> Iterator[Measurement]:
    """The evaluations in the log of a run that was made, or begun, before measurements were typed:
    those of steps before the first that `measured` tells of."""
    own = [one.step or 0 for one in measured if one.source == "loop" and one.task != "test"]
    begun = min(own, default=math.inf)
    chances, rows = facts.get("chance") or {}, facts.get("held_out") or {}
    for step, record in log.records.items():
        if step >= begun:
            continue
        for name, value in record.items():
            task, slash, metric = name.rpartition("/")
            if not slash or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if metric == "accuracy" and f"{task}/exact_match" in record:
                metric = "token_accuracy"  # as it is called since
            what = lookup(metric) if lookup else None
            if what is None:
                raise DataError(
                    f"{log.path}: {name} was measured before values were typed, and no metric is "
                    f"called {metric}; `emergectl eval {facts['id']}` measures it anew"
                )
            chance, n = chances.get(name), rows.get(task)
            yield Measurement(task, metric, float(value), what, "loop", step, n=n, chance=chance)
