"""Results of OLMES, HELM and MTEB, in JSON; of DataDecide, whose rows hold OLMES's metrics."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.identity import ASKED, identify
from emergectl.analysis.formats.records import (
    BESIDE,
    FileRecords,
    Record,
    as_dict,
    collected,
    is_number,
)
from emergectl.errors import DataError

SAME_AGAIN = ("primary_score", "primary_metric")
"""OLMES's name for one of the other metrics"""
_OLMES_ANSWERS = ("no_answer", "num_instances", "predicted_index", "correct_choice")
_OLMES_DIRECTION = re.compile(
    r"(?P<falls>bits_per_byte|ppl|perplexity)|acc_|exact_match|f1|pass_at|total_prob|margin"
    r"|(?:uncond_|norm_)?correct_prob|logits_per|sum_logits"
)
_HELM_BOOKKEEPING = re.compile(
    r"num_|training_|inference_|batch_size|finish_reason|predicted_index|prompt_truncated"
    r"|max_prob|none$|platt_|selective_|idle_runtime"
)
_OF_LOGPROBS = ("logprob", "perplexity", "bits_per_byte", "logprob_per_byte")
_MTEB_BOOKKEEPING = ("evaluation_time", "kg_co2_emissions", "hf_subset", "languages")


def is_olmes(part: Any) -> bool:
    """Whether an object is a task's metrics by OLMES, or a file of several."""
    if not isinstance(part, dict):
        return False
    own = isinstance(part.get("metrics"), dict) and ("task_name" in part or "alias" in part)
    tasks = part.get("tasks")
    return own or (isinstance(tasks, list) and bool(tasks) and all(map(is_olmes, tasks)))


def olmes(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of metrics.json or one task's metrics."""
    parts = data.get("tasks") if not isinstance(data.get("metrics"), dict) else [data]
    return _olmes_parts(
        path, [(f"{path}:tasks.{i}", {**data, **part}) for i, part in enumerate(parts or [])]
    )


def olmes_lines(path: Path, rows: Iterable[tuple[int, Record]]) -> FileRecords:
    """Records of metrics-all.jsonl: a task a line."""
    return _olmes_parts(path, [(f"{path}:{line}", record) for line, record in rows])


def _olmes_parts(path: Path, parts: Sequence[tuple[str, Mapping[str, Any]]]) -> FileRecords:
    rows: list[tuple[str, Record]] = []
    notes: list[str] = []
    for where, part in parts:
        model, task = as_dict(part.get("model_config")), as_dict(part.get("task_config"))
        name = str(model.get("model_path") or model.get("model") or path.parent.name)
        who = identify(name, str(model.get("revision") or ""))
        notes += who.notes
        fixed = {
            "task": str(part.get("task_name") or part.get("alias")),
            **who.fields(),
            "shots": task.get("num_shots"),
            "version": task.get("version"),
            "split": task.get("split"),
            "n": part.get("num_instances"),
            "limit": task.get("limit"),
            "dtype": model.get("dtype"),
        }
        for metric, row in _olmes_metrics(as_dict(part.get("metrics"))):
            rows.append((f"{where}.{metric}", {**fixed, **row}))
    return collected(rows, asked=(*ASKED, "split"), notes=dict.fromkeys(notes))


def _olmes_metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(metric, what a record says of it), without what is an answer and no measure of it."""
    for metric, value in metrics.items():
        if not is_number(value) or metric.startswith(_OLMES_ANSWERS):
            continue
        found = _OLMES_DIRECTION.match(metric)
        row: dict[str, Any] = {"metric": metric, "value": value}
        row["higher_is_better"] = not found["falls"] if found else None
        if metric in SAME_AGAIN:
            row[BESIDE] = "another metric again, as the primary one (--where metric=… takes it)"
        yield metric, row


def is_data_decide(names: Sequence[str]) -> bool:
    """Whether columns are those of DataDecide's results, published or as they were computed."""
    own = set(names)
    return {"task", "step", "metrics"} <= own and (
        {"params", "data"} <= own or {"model", "group"} <= own
    )


def data_decide(
    path: Path, names: Sequence[str], rows: Iterable[tuple[int, Record]]
) -> FileRecords:
    """Records of DataDecide (Magnusson et al. 2025): a row has all metrics of a task as an object.

    A curve runs over the sizes of one recipe (`group`: data); compute is FLOPs. As computed, the
    columns are called `model` (a size) and `group` (the recipe).
    """
    size, recipe = ("params", "data") if "data" in names else ("model", "group")

    def melted() -> Iterator[tuple[str, Record]]:
        for line, record in rows:
            where = f"{path}:{line}"
            data, params = record[recipe], record[size]
            fixed = {
                **{name: record.get(name) for name in names if name != "metrics"},
                **{"data": data, "group": data, "model": f"{data}-{params}", "params": params},
                **{"flops": record.get("compute"), "count": "named"},
            }
            for metric, row in _olmes_metrics(_object(record["metrics"], where)):
                yield f"{where}:{metric}", {**fixed, **row}

    own = [name for name in names if name != "metrics"]
    added = ["data", "group", "model", "params", "count", "flops", "metric", "value"]
    return FileRecords(list(dict.fromkeys([*own, *added])), melted())


def _object(cell: Any, where: str) -> dict[str, Any]:
    if isinstance(cell, dict):
        return cell
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(str(cell))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    raise DataError(f"{where}: metrics are no object of names and numbers")


def is_helm_stats(data: Any) -> bool:
    """Whether a list is what HELM measured in one run (stats.json)."""
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(s, dict) and "name" in as_dict(s.get("name")) for s in data)
    )


def helm_stats(path: Path, data: Sequence[Mapping[str, Any]]) -> FileRecords:
    """Records of one run of HELM; model and shots stand in run_spec.json beside it.

    What was measured on perturbed items is left out, and so are costs and counts, and
    log-probabilities that no client gave (HELM writes 0 for each, a perplexity of 1).
    """
    spec = _sibling(path, "run_spec.json")
    adapter = as_dict(spec.get("adapter_spec"))
    run = str(spec.get("name") or path.parent.name)
    who = identify(str(adapter.get("model") or _part(run, "model") or path.parent.name))
    split = {"split": None, "n": None}
    items = {
        name.get("split"): stat.get("mean")
        for stat in data
        if (name := as_dict(stat["name"])).get("name") == "num_instances"
        and not name.get("perturbation")
    }
    scenario, _, args = run.partition(":")
    asked = [p for p in args.split(",") if p and not p.startswith(("model=", "model_deployment="))]
    task = f"{scenario}:{','.join(asked)}" if asked else scenario
    fixed = {
        "task": task,
        **who.fields(),
        "shots": adapter.get("max_train_instances"),
        **split,
        "higher_is_better": None,
    }
    silent = {
        name.get("split")
        for stat in data
        if (name := as_dict(stat["name"])).get("name") == "logprob" and stat.get("mean") == 0
    }
    rows = []
    for stat in data:
        name = as_dict(stat["name"])
        metric = str(name["name"])
        if _HELM_BOOKKEEPING.match(metric) or not is_number(stat.get("mean")):
            continue
        row = {
            **{**fixed, "metric": metric, "value": stat["mean"]},
            **{"split": name.get("split"), "n": items.get(name.get("split")) or None},
        }
        if name.get("perturbation"):
            row[BESIDE] = "measured on perturbed items"
        elif metric in _OF_LOGPROBS and name.get("split") in silent:
            row[BESIDE] = "log-probabilities that were not recorded (all are 0)"
        rows.append((f"{path}:{metric}", row))
    return collected(rows, asked=("shots", "split"), notes=who.notes)


def is_helm_table(part: Any) -> bool:
    """Whether an object is a table as HELM's leaderboards publish them (groups/*.json)."""
    if not isinstance(part, dict):
        return False
    header, rows = part.get("header"), part.get("rows")
    return (
        isinstance(header, list)
        and isinstance(rows, list)
        and all(isinstance(cell, dict) and "value" in cell for cell in header)
    )


def helm_table(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of a table with a model in every row and `scenario - metric` in every column."""
    rows: list[tuple[str, Record]] = []
    notes: list[str] = []
    for line, cells in enumerate(data["rows"]):
        values = [as_dict(cell).get("value") for cell in cells]
        who = identify(str(values[0] if values else ""))
        notes += who.notes
        for head, value in zip(data["header"][1:], values[1:], strict=False):
            scenario, _, metric = str(head["value"]).rpartition(" - ")
            if is_number(value) and scenario:
                row = {"task": scenario, "metric": metric, "value": value, **who.fields()}
                rows.append((f"{path}:rows.{line}", {**row, "higher_is_better": None}))
    return collected(rows, notes=notes)


def is_mteb(part: Any) -> bool:
    """Whether an object is a task's result of MTEB."""
    return isinstance(part, dict) and (
        "mteb_version" in part or (isinstance(part.get("scores"), dict) and "task_name" in part)
    )


def mteb(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of a task: its main score a split and subset; the others are left out unless named.

    The model stands in model_meta.json beside it, else in the folders (results/MODEL/REVISION/).
    """
    meta = _sibling(path, "model_meta.json")
    count = meta.get("n_parameters")
    above = path.absolute().parent
    revision = re.fullmatch(r"[0-9a-f]{40}|no_revision_available|external", above.name)
    above = above.parent if revision else above
    who = identify(
        str(meta.get("name") or above.name.replace("__", "/")),
        count=float(count) if is_number(count) and count > 0 else None,
    )
    task = str(data.get("task_name") or data.get("mteb_dataset_name") or path.stem)
    fixed = {**who.fields(), "version": data.get("dataset_revision")}
    fixed["revision"] = revision[0] if revision else None
    rows = []
    for split, subset, scores in _mteb_scores(data):
        own = {k: v for k, v in scores.items() if is_number(v) and k not in _MTEB_BOOKKEEPING}
        named = task if subset in ("", "default") else f"{task} ({subset})"
        for metric, value in own.items():
            row = {**fixed, "task": named, "split": split, "metric": metric, "value": value}
            row["higher_is_better"] = True if metric == "main_score" else None
            if "main_score" in own and metric != "main_score":
                row[BESIDE] = "beside the main score (--where metric=… takes it)"
            rows.append((f"{path}:{split}.{subset}.{metric}", row))
    return collected(rows, asked=("split", "version"), notes=who.notes)


def _mteb_scores(data: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(split, subset, scores), of files new and old."""
    if isinstance(data.get("scores"), dict):
        for split, parts in data["scores"].items():
            for part in parts if isinstance(parts, list) else []:
                yield split, str(as_dict(part).get("hf_subset") or ""), as_dict(part)
        return
    for split, scores in data.items():
        if not isinstance(scores, dict):
            continue
        yield split, "", scores
        for subset, below in scores.items():
            if isinstance(below, dict):
                yield split, subset, below


def _sibling(path: Path, name: str) -> dict[str, Any]:
    """A JSON object beside a file; empty where there is none that can be read."""
    try:
        return as_dict(json.loads((path.parent / name).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _part(text: str, key: str) -> str:
    return next(
        (p.partition("=")[2] for p in re.split("[,:]", text) if p.startswith(f"{key}=")), ""
    )
