"""Score files of BIG-bench: `{"model": …, "task": …, "scores": [{"score_dict": …}, …]}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.records import (
    BESIDE,
    FileRecords,
    Record,
    as_dict,
    collected,
    is_number,
)
from emergectl.errors import DataError
from emergectl.store.model_names import read_name

_AGAIN = {BESIDE: "the subtasks' scores again, as one mean (--where metric=… takes it)"}


def big_bench(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of a score file: one for each metric of each subtask and number of shots.

    Raises DataError for a score without its `score_dict`.
    """
    return collected(_rows(path, data), asked=("shots",), in_group=("shots",))


def _rows(path: Path, data: Mapping[str, Any]) -> Iterator[tuple[str, Record]]:
    model, named = as_dict(data.get("model")), data.get("task")
    named = named.get("task_name") if isinstance(named, dict) else named
    family, name = str(model.get("model_family") or ""), str(model.get("model_name") or "")
    counts = (model.get("non_embedding_params"), model.get("total_params"))
    for index, score in enumerate(data["scores"]):
        if not isinstance(score, dict) or not isinstance(score.get("score_dict"), dict):
            raise DataError(f"{path}:1: scores.{index} has no score_dict")
        shots = score.get("number_of_shots")
        asked = f"{shots}-shot" if shots is not None else ""
        low = score.get("low_score")
        for metric, value in score["score_dict"].items():
            if isinstance(value, dict | list):
                continue
            yield (
                f"{path}:scores.{index}.{metric}",
                {
                    "task": str(score.get("subtask_description") or named or path.stem),
                    "metric": metric,
                    "value": value,
                    "model": name,
                    "group": "/".join(part for part in (family, asked) if part),
                    "shots": shots,
                    "params": counts[0] or counts[1] or read_name(name).params,
                    "count": "non-embedding" if counts[0] else "total" if counts[1] else "named",
                    "total_params": counts[1],
                    "chance": low
                    if metric == score.get("preferred_score") and is_number(low)
                    else None,
                    "higher_is_better": None,
                    **(_AGAIN if metric == "normalized_aggregate_score" else {}),
                },
            )
