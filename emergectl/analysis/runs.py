"""Runs as rows of a table: what `metrics.jsonl` says of every evaluation, over a run's steps.

A metric written `validation/exact_match` is task `validation`, metric `exact_match`. Parameters,
tokens and FLOPs stand on the same line; seed and chance levels are the run's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from emergectl.analysis.table import Table
from emergectl.store.metrics_log import read_metrics
from emergectl.store.run import read_facts


def add_run(table: Table, path: Path) -> None:
    """Add every evaluation of a run directory. Step 0 has no place on a log axis and is skipped."""
    facts = read_facts(path)
    log = path / "metrics.jsonl"
    chances = facts.get("chance") or {}
    losses = {
        record.get("step"): record["loss"] for record in read_metrics(log) if "loss" in record
    }
    table.parameters = "total"
    for line, record in enumerate(read_metrics(log), 1):
        for key, value in record.items():
            if "/" not in key or isinstance(value, bool):
                continue
            where = f"{log}:{line}"
            if not isinstance(value, int | float) or not math.isfinite(value):
                table.skip("value missing or not finite", where)
                continue
            task, _, metric = key.rpartition("/")
            table.add(
                {
                    **_scales(record),
                    "loss": losses.get(record.get("step")),
                    **_names(facts),
                    "task": task,
                    "metric": metric,
                    "value": value,
                    "chance": chances.get(key),
                },
                where,
            )


def _scales(record: Mapping[str, object]) -> dict[str, object]:
    scales = {key: record.get(key) for key in ("step", "tokens", "flops")}
    return {**scales, "params": record.get("parameters")}


def _names(facts: Mapping[str, object]) -> dict[str, object]:
    return {"model": facts.get("name") or facts.get("id") or "", "seed": facts.get("seed")}
