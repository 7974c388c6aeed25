"""From records to what a table shows: each metric's value, interval and chance, whole and by group.

Nothing here touches a model: it is all that `eval --rescore` needs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergectl.evaluation.metrics import Kind, Metric, find_metric
from emergectl.evaluation.records import ItemRecord
from emergectl.tasks.task import Fact


@dataclass(frozen=True)
class Value:
    """One metric of one group of items (of all of them where `group` is None).

    `low`, `high`: the 95% interval; None where there is none. `chance`: what blind guessing gets,
    where that is known. `items`: how many items it is of.
    """

    metric: str
    kind: Kind
    value: float
    low: float | None
    high: float | None
    chance: float | None
    items: int
    group: tuple[str, Fact] | None = None

    def to_json(self) -> dict[str, Any]:
        """The value as an object of results.json."""
        group = {} if self.group is None else {"group": dict([self.group])}
        return {
            "metric": self.metric,
            "kind": self.kind,
            **group,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "chance": self.chance,
            "items": self.items,
        }


def metrics_to_take(own: Iterable[str], asked: Iterable[str] = ()) -> list[Metric]:
    """A task's own metrics and those asked for besides, each once.

    A judgement of right or wrong never stands alone: where all are discontinuous the
    log-probability is added. Raises RequestError for an unknown name.
    """
    metrics = [find_metric(name) for name in dict.fromkeys([*own, *asked])]
    if not any(metric.kind == "continuous" for metric in metrics):
        metrics.append(find_metric("logprob"))
    return metrics


def values_of(
    records: Sequence[ItemRecord],
    metrics: Sequence[Metric],
    *,
    by: Sequence[str] = (),
    chance: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Value]:
    """Every metric that the records can give: of all items, then of each group by each fact.

    Skipped items count in none. `chance` is the task's own, used for the whole where a metric
    cannot tell it from the records; a group's may be another. The intervals follow from `seed`.
    """
    asked = [record for record in records if record.skipped is None]
    values = _values(asked, metrics, chance or {}, None, seed)
    for fact in by:
        groups: dict[Fact, list[ItemRecord]] = {}
        for record in asked:
            found = facts_of(record)
            if fact in found:
                groups.setdefault(found[fact], []).append(record)
        for name in sorted(groups, key=_in_order):
            values += _values(groups[name], metrics, {}, (fact, name), seed)
    return values


@dataclass(frozen=True)
class TaskResult:
    """What came of one task at one step."""

    task: str
    model: str
    step: int | None
    items: int
    """asked and skipped"""
    skipped: dict[str, int]
    """reason → items"""
    values: tuple[Value, ...]
    without: tuple[str, ...]
    """metrics that these records cannot give"""
    path: Path
    """where results.json and items.jsonl are"""
    contaminated: int | None = None
    """items that stand in the training text; None where that was not looked for"""
    notes: tuple[str, ...] = ()
    """what reading the task's rows came upon"""


def summarize(
    folder: Path, records: Sequence[ItemRecord], asked: dict[str, Any], *, seed: int
) -> tuple[TaskResult, dict[str, Any]]:
    """Results of records, and what results.json says of them.

    `asked` holds `task`, `model`, `step`, `metric_names`, `by` and `chance`, and is kept.
    """
    metrics = [find_metric(name) for name in asked["metric_names"]]
    values = values_of(records, metrics, by=asked["by"], chance=asked["chance"], seed=seed)
    skipped = dict(Counter(one.skipped for one in records if one.skipped is not None))
    given = {value.metric for value in values}
    result = TaskResult(
        task=asked["task"],
        model=asked["model"],
        step=asked["step"],
        items=len(records),
        skipped=skipped,
        values=tuple(values),
        without=tuple(metric.name for metric in metrics if metric.name not in given),
        path=folder,
        contaminated=asked.get("contamination", {}).get("items"),
    )
    told = {**asked, "skipped": skipped, "metrics": [value.to_json() for value in values]}
    return result, told


def facts_of(record: ItemRecord) -> dict[str, Fact]:
    """What a record can be grouped by: its item's facts, and what was found out since."""
    return {**record.facts, **record.extra}


def _values(
    records: Sequence[ItemRecord],
    metrics: Sequence[Metric],
    chance: Mapping[str, float],
    group: tuple[str, Fact] | None,
    seed: int,
) -> list[Value]:
    values = []
    for metric in metrics:
        measure = metric.measure(records)
        if measure is None:
            continue
        value = measure.value()
        if math.isnan(value):
            continue
        low, high = measure.interval(seed=seed) or (None, None)
        known = measure.chance if measure.chance is not None else chance.get(metric.name)
        values.append(
            Value(metric.name, metric.kind, value, low, high, known, measure.items, group)
        )
    return values


def _in_order(name: Fact) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    if isinstance(name, str):
        return True, 0.0, name
    return False, float(name), ""
