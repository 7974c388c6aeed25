"""From columns to measured values: each metric's value, interval and chance, whole and by group.

Nothing here touches a model: it is all that the training loop needs of an evaluation once rows are
scored, and all that `eval --rescore` needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emergectl.evaluation.columns import Columns, columns_of_records
from emergectl.evaluation.estimates import interval
from emergectl.evaluation.metrics import find_metric
from emergectl.evaluation.metrics.definition import Metric
from emergectl.evaluation.records import ItemRecord
from emergectl.store.measurements import Fact, Measurement, Source
from emergectl.tasks.shortcuts import Bounds, GroupBounds, group_bounds_from_json
from emergectl.tasks.task import ItemKey, fingerprint_of

ASKED_APART = ("shots", "samples", "temperature", "until_passes", "bf16", "generates", "revision")
"""of what an evaluation was asked with, what tells two of the same items apart, where it is set"""


@dataclass(frozen=True)
class Measured:
    """What measured values have in common, whatever the metric."""

    task: str
    source: Source
    step: int | None
    asked: Mapping[str, Fact]
    items: str | None
    """the fingerprint of the items"""
    chance: Mapping[str, float]
    """metric → what blind guessing gets, where the columns cannot tell it"""
    bounds: Bounds = field(default_factory=Bounds)
    """of the items: what shortcuts score, and the best that can be reached"""
    group: tuple[str, Fact] | None = None


def metrics_to_take(own: Iterable[str], asked: Iterable[str] = ()) -> list[Metric]:
    """A task's own metrics and those asked for besides, each once.

    A judgement of right or wrong never stands alone: where all are discontinuous the
    log-probability is added. Raises RequestError for an unknown name.
    """
    metrics = [find_metric(name) for name in dict.fromkeys([*own, *asked])]
    if not any(metric.facts.kind == "continuous" for metric in metrics):
        metrics.append(find_metric("logprob"))
    return metrics


def measure_columns(
    columns: Columns, metrics: Iterable[Metric], of: Measured, *, seed: int = 0
) -> list[Measurement]:
    """Every metric that the columns can give; the intervals follow from `seed`."""
    measured = []
    for metric in metrics:
        measure = metric.measure(columns)
        if measure is None:
            continue
        low, high = interval(metric.facts, measure, seed=seed)
        chance = of.chance.get(metric.name) if measure.chance is None else measure.chance
        shortcut, shortcut_by = of.bounds.best(metric.name)
        measured.append(
            Measurement(
                task=of.task,
                metric=metric.name,
                value=measure.value,
                what=metric.facts,
                source=of.source,
                step=of.step,
                low=low,
                high=high,
                n=measure.items,
                chance=chance,
                shortcut=shortcut,
                shortcut_by=shortcut_by,
                ceiling=of.bounds.ceiling.get(metric.name),
                group=of.group,
                asked=of.asked,
                items=of.items,
            )
        )
    return measured


def measure_records(
    records: Sequence[ItemRecord],
    metrics: Sequence[Metric],
    of: Measured,
    *,
    by: Sequence[str] = (),
    bounds: GroupBounds | None = None,
    bytes_per_token: float | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """Every metric that the records can give: of all items, then of each group by each fact.

    Skipped items count in none. `of.chance` is the whole's: a group's may be another. `bounds`: of
    all items and of the groups, as far as they are known.
    """
    bounds = bounds or {}
    asked = [record for record in records if record.skipped is None]

    def measure(some: Sequence[ItemRecord], what: Measured) -> list[Measurement]:
        columns = columns_of_records(some, bytes_per_token=bytes_per_token)
        return measure_columns(columns, metrics, what, seed=seed)

    values = measure(asked, replace(of, bounds=bounds.get(None, Bounds())))
    for fact in by:
        groups: dict[Fact, list[ItemRecord]] = {}
        for record in asked:
            found = facts_of(record)
            if fact in found:
                groups.setdefault(found[fact], []).append(record)
        for name in sorted(groups, key=_in_order):
            own = bounds.get((fact, name), Bounds())
            values += measure(groups[name], replace(of, chance={}, bounds=own, group=(fact, name)))
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
    values: tuple[Measurement, ...]
    without: tuple[str, ...]
    """metrics that these records cannot give"""
    path: Path
    """where results.json and items.jsonl are"""
    contaminated: int | None = None
    """items that stand in the training text; None where that was not looked for"""
    was_there: bool = False
    """whether all of it had been asked before"""
    notes: tuple[str, ...] = ()
    """what reading the task's rows came upon"""


def summarize(
    folder: Path, records: Sequence[ItemRecord], asked: dict[str, Any], *, seed: int
) -> tuple[TaskResult, dict[str, Any]]:
    """Results of records, and what results.json says of them.

    `asked` holds `task`, `model`, `step`, `metric_names`, `by`, `chance` and `bounds` (as plain
    data; none in what is older), and is kept.
    """
    metrics = [find_metric(name) for name in asked["metric_names"]]
    values = measure_records(
        records,
        metrics,
        Measured(
            task=asked["task"],
            source="eval",
            step=asked["step"],
            asked=asked_apart(asked),
            items=asked.get("fingerprint") or fingerprint_of_records(records),
            chance=asked["chance"],
        ),
        by=asked["by"],
        bounds=group_bounds_from_json(asked.get("bounds", ())),
        bytes_per_token=asked.get("bytes_per_token"),
        seed=seed,
    )
    skipped = dict(Counter(one.skipped for one in records if one.skipped is not None))
    given = {value.metric for value in values}
    told, notes = _of_texts(records, asked["task"])
    asked = {**asked, **told}
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
        notes=notes,
    )
    told = {**asked, "skipped": skipped, "metrics": [value.to_json() for value in values]}
    return result, told


def _of_texts(records: Sequence[ItemRecord], task: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What results.json and a person are told of texts that did not end, and of answers whose
    tokens do not carry them."""
    told: dict[str, Any] = {}
    notes = []
    texts = sum(record.extra.get("samples", len(record.written)) for record in records)
    cut = sum(record.extra.get("cut", 0) for record in records)
    if cut:
        told["cut"] = {"texts": cut, "of": texts}
        notes.append(f"{task}: {cut:,} of {texts:,} texts did not end within their tokens")
    uncarried = sum(
        any(one and one.bytes is None for one in (record.target_score, *record.choice_scores))
        for record in records
    )
    if uncarried:
        told["uncarried"] = uncarried
        notes.append(
            f"{task}: the tokens of answers to {uncarried:,} of {len(records):,} items do not "
            "carry their text: no figure per byte is of these"
        )
    return told, tuple(notes)


def asked_apart(asked: Mapping[str, Any]) -> dict[str, Fact]:
    """What of an asking tells it apart from others of the same items: shots, samples …"""
    plain = {"samples": 1}
    return {
        name: asked[name]
        for name in ASKED_APART
        if asked.get(name) and asked[name] != plain.get(name)
    }


def shown_metric(one: Measurement) -> str:
    """What a table calls a metric: those that lm-evaluation-harness took itself are its own."""
    if one.source != "harness":
        return one.metric
    kept = one.asked.get("filter", "none")
    return f"lm_eval/{one.metric}" if kept == "none" else f"lm_eval/{one.metric},{kept}"


def fingerprint_of_records(records: Sequence[ItemRecord]) -> str:
    """The fingerprint of the items that were asked, in their order, whatever the task is called."""
    return fingerprint_of(
        ItemKey(record.prompt_hash, record.item, record.target, record.choices, record.right)
        for record in records
        if record.skipped is None
    )


def facts_of(record: ItemRecord) -> dict[str, Fact]:
    """What a record can be grouped by: its item's facts, and what was found out since."""
    return {**record.facts, **record.extra}


def _in_order(name: Fact) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    if isinstance(name, str):
        return True, 0.0, name
    return False, float(name), ""
