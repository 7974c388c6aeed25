"""Logs of training by others: trainer_state.json of transformers, CSV of W&B and TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.records import (
    BESIDE,
    FileRecords,
    Record,
    collected,
    is_number,
    split_name,
)
from emergectl.errors import DataError
from emergectl.store.model_names import read_name

TOKENS = ("num_input_tokens_seen", "num_tokens")
NO_METRICS = ("epoch", "step", "learning_rate", "grad_norm", "total_flos", *TOKENS)
_COST = re.compile(r"(_runtime|_per_second|_time|_mem_\w+|_samples)$|^memory/")
_AXES = {"token": "tokens", "flop": "flops", "step": "step", "iter": "step"}
"""what is in the name of a chart's axis → the axis that it is"""
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_EXPORTED = re.compile(r"run-(?P<run>.+?)-tag-(?P<tag>.+)")


def trainer_state(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of `log_history`: a loss or a metric at a step each; the run is the folder's name.

    Rates, gradients' norms, epochs and run times are no abilities, and the last entry's
    `train_loss` is the mean over the whole training.
    """
    folder = path.absolute().parent
    folder = folder.parent if _CHECKPOINT.fullmatch(folder.name) else folder
    told = read_name(folder.name)

    def rows() -> Iterator[tuple[str, Record]]:
        for index, entry in enumerate(data["log_history"]):
            if not isinstance(entry, dict):
                continue
            for name, value in entry.items():
                if name in NO_METRICS or _COST.search(name) or not is_number(value):
                    continue
                task, metric = split_name(name, "train")
                row = {
                    **{"task": task, "metric": metric, "value": value, "model": told.model},
                    **{"step": entry.get("step"), "epoch": entry.get("epoch")},
                    "tokens": next((entry[key] for key in TOKENS if entry.get(key)), None),
                    **{"params": told.params, "seed": told.seed, "higher_is_better": None},
                }
                if name == "train_loss" and "train_runtime" in entry:
                    row["metric"] = name
                    row[BESIDE] = "the mean over a whole training (--where metric=… takes it)"
                yield f"{path}:log_history.{index}", row

    return collected(rows())


def is_wandb(names: Sequence[str]) -> bool:
    """Whether columns are those of a chart exported from Weights & Biases."""
    return any(f"{name}__MIN" in names and f"{name}__MAX" in names for name in names)


def wandb_chart(
    path: Path, names: Sequence[str], rows: Iterable[tuple[int, Record]]
) -> FileRecords:
    """FileRecords of a chart: the first column is its axis, the others `run - metric`.

    Raises DataError for a chart over time or epochs.
    """
    axis, *columns = [n for n in names if not n.endswith(("__MIN", "__MAX"))]
    word = next((word for part, word in _AXES.items() if part in axis.lower()), None)
    if word is None:
        raise DataError(
            f"{path}:1: a chart over {axis!r}; export it over steps, tokens or FLOPs, or name its "
            "columns with --step and --values"
        )
    series = []
    for column in columns:
        run, dash, name = column.rpartition(" - ")
        if name.startswith("_"):  # `_step`, `_runtime`, `_timestamp` of W&B itself.
            continue
        task, metric = split_name(name if dash else column, "log")
        told = read_name(run)
        series.append(
            (column, {"task": task, "metric": metric, "model": run, "params": told.params})
        )

    def melted() -> Iterator[tuple[str, Record]]:
        for line, record in rows:
            for column, fixed in series:
                value = record.get(column)
                if value not in (None, ""):  # A run has no value at another run's step.
                    yield f"{path}:{line}", {**fixed, word: record.get(axis), "value": value}

    return FileRecords(["task", "metric", "model", "params", word, "value"], melted())


def is_tensorboard(names: Sequence[str]) -> bool:
    """Whether columns are those of a scalar exported from TensorBoard."""
    return list(names) == ["Wall time", "Step", "Value"]


def tensorboard_scalar(
    path: Path, _: Sequence[str], rows: Iterable[tuple[int, Record]]
) -> FileRecords:
    """Records of one scalar; run and tag stand in the file's name (`run-RUN-tag-TAG.csv`)."""
    found = _EXPORTED.fullmatch(path.stem)
    run, tag = (found["run"], found["tag"]) if found else ("", path.stem)
    run = "" if run == "." else run
    task, metric = split_name(tag, "log")
    fixed = {"task": task, "metric": metric, "model": run, "params": read_name(run).params}
    fixed_names = [*fixed, "step", "value"]
    return FileRecords(
        fixed_names,
        (
            (f"{path}:{line}", {**fixed, "step": record["Step"], "value": record["Value"]})
            for line, record in rows
        ),
    )
