"""What evaluations left, item by item: the value of a metric of each item that was asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from emergectl.evaluation.columns import columns_of_records
from emergectl.evaluation.item_files import ITEMS, RESULTS, read_items, read_json
from emergectl.evaluation.metrics import find_metric
from emergectl.evaluation.rescore import finished_evaluations


def item_values(
    run: Path, *, items: str, step: int, metric: str, asked: Mapping[str, str]
) -> dict[str, float] | None:
    """id of an item → the metric of it, of what a run's `evals/` hold; of equal items their mean.

    items: their fingerprint. asked: how they were asked, as texts. None where that is not there, or
    the metric is no mean of its items.
    """
    folder = _folders(run).get((items, step, metric, *sorted(asked.items())))
    return None if folder is None else _values(folder, metric)


@lru_cache(maxsize=64)
def _folders(run: Path) -> dict[tuple[Any, ...], Path]:
    found: dict[tuple[Any, ...], Path] = {}
    for folder in finished_evaluations(run):
        for one in read_json(folder / RESULTS)["metrics"]:
            if "group" not in one:
                asked = sorted((name, str(value)) for name, value in one.get("asked", {}).items())
                found[(one.get("items"), one.get("step") or 0, one["metric"], *asked)] = folder
    return found


@lru_cache(maxsize=64)
def _values(folder: Path, metric: str) -> dict[str, float] | None:
    records = [one for one in read_items(folder / ITEMS) if one.skipped is None]
    found = find_metric(metric)
    bytes_per_token = read_json(folder / RESULTS).get("bytes_per_token")

    def values(some: list[Any]) -> list[float] | None:
        measure = found.measure(columns_of_records(some, bytes_per_token=bytes_per_token))
        return None if measure is None or measure.values is None else list(measure.values)

    every = values(records)
    if every is None:
        return None
    if len(every) == len(records):
        each: list[list[float] | None] = [[value] for value in every]
    else:  # the metric is of some items alone
        each = [values([record]) for record in records]
    by_item: dict[str, list[float]] = {}
    for record, own in zip(records, each, strict=True):
        by_item.setdefault(record.item, []).extend(own or ())
    return {item: sum(own) / len(own) for item, own in by_item.items() if own}
