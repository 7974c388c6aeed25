"""Results of lm-evaluation-harness, 0.3 and 0.4: `{"results": {task: {metric: value}}, …}`.

0.3 has metrics under their names and `config.num_fewshot`; 0.4 has `metric,filter`, with
bookkeeping beside them under names without a comma, and tells shots, versions, items and
directions a task. Groups stand among the tasks; their items are those of their tasks together,
where their value is the mean over these (their error is pooled, so it tells no items). lighteval's
files are of the same kind, with tasks called `suite|task|shots`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.identity import ASKED, Identity, identify, read_model_args
from emergectl.analysis.formats.records import (
    FileRecords,
    Record,
    as_dict,
    is_number,
    items_of_share,
)
from emergectl.errors import DataError
from emergectl.store.model_names import name_of_file, shots_of_file

BOOKKEEPING = frozenset(
    {"alias", "name", "sample_len", "sample_count", "samples", "time", "seed", "version"}
)
"""what 0.3 and its descendants keep beside metrics"""
DEFAULT_FEWSHOT_SEED = 1234
PARTS = ("configs", "n-shot", "versions", "n-samples", "higher_is_better", "group_subtasks")
"""what 0.4 tells by task"""
Told = dict[str, dict[str, Any]]


def is_harness(part: Any) -> bool:
    """Whether an object holds results by task."""
    results = part.get("results") if isinstance(part, dict) else None
    return isinstance(results, dict) and bool(results) and all(map(_is_dict, results.values()))


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def harness(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """FileRecords of a results file. Raises DataError where a task's results are no numbers."""
    config = as_dict(data.get("config"))
    identity, settings = _identity(path, data, config)
    notes = list(identity.notes)
    shots = {*as_dict(data.get("n-shot")).values(), config.get("num_fewshot")} - {None}
    if (named := shots_of_file(path)) is not None and not shots:
        config = {**config, "num_fewshot": named}
    elif named is not None and named not in shots:
        notes.append(
            f"shots in {path.name}: {', '.join(map(str, shots))} by its config, {named} by its "
            "name; the config's are taken"
        )
    results = data["results"]
    for task, scores in results.items():
        if any(map(as_dict, scores.values())) and not any(map(is_number, scores.values())):
            raise DataError(f"{path}:1: results of {task!r} hold no numbers, but objects of them")
    filtered = any("," in key for scores in results.values() for key in scores)
    told: Told = {part: as_dict(data.get(part)) for part in PARTS}
    told = {**told, "leaves": {g: _leaves(told["group_subtasks"], g) for g in _groups(data)}}
    model = {**identity.fields(), **settings, "prompt": _prompt(data)}
    rows = [
        row
        for task, scores in results.items()
        if task != "all"  # lighteval's mean over everything
        for row in _rows(
            path, {**model, **_asked(told, config, task)}, told, task, results, filtered=filtered
        )
    ]
    names = list(rows[0][1]) if rows else []  # All records of a file have the same fields.
    return FileRecords(names, rows, ASKED, notes=notes)


def _identity(
    path: Path, data: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Identity, dict[str, Any]]:
    args = read_model_args(config.get("model_args"))
    general = as_dict(data.get("config_general"))
    name = args.name or str(
        data.get("model_name") or config.get("model_name") or general.get("model_name") or ""
    )
    count = config.get("model_num_parameters")
    revision = args.revision or str(config.get("model_revision") or "")
    identity = identify(
        name or name_of_file(path, shots=True),
        revision,
        count=float(count) if is_number(count) and count > 0 else None,
    )
    kept = ("model", "model_dtype", "batch_size", "device", "limit", "gen_kwargs")
    settings = {f"config.{key}": config[key] for key in kept if config.get(key) is not None}
    settings |= {key: value for key, value in args.settings.items() if key not in identity.fields()}
    settings |= {key: data[key] for key in ("date", "git_hash") if data.get(key) is not None}
    seed = config.get("fewshot_seed")
    if not identity.seed and is_number(seed) and seed != DEFAULT_FEWSHOT_SEED:
        settings["seed"] = str(seed)
    return identity, settings


def _asked(told: Told, config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """How a task was asked."""
    shots = told["n-shot"].get(task)
    if shots is None:
        shots = as_dict(told["configs"].get(task)).get("num_fewshot", config.get("num_fewshot"))
    if (parts := task.split("|"))[2:]:  # lighteval: `suite|task|shots`
        task, shots = parts[1], int(parts[2]) if parts[2].isdigit() else shots
    version = told["versions"].get(task)
    return {
        "task": task,
        "shots": shots,
        "version": f"{version:g}" if is_number(version) else version,
    }


def _prompt(data: Mapping[str, Any]) -> str | None:
    if "chat_template" not in data:
        return None
    parts = ["chat" if data.get("chat_template") else "plain"]
    if data.get("fewshot_as_multiturn"):
        parts.append("multiturn")
    if data.get("system_instruction"):
        parts.append(f"system {str(data.get('system_instruction_sha') or 'prompt')[:8]}")
    return " ".join(parts)


def _rows(
    path: Path,
    fixed: Mapping[str, Any],
    told: Told,
    task: str,
    results: Mapping[str, Mapping[str, Any]],
    *,
    filtered: bool,
) -> Iterator[tuple[str, Record]]:
    at = f"{path}:{task}/"
    scores, higher = results[task], as_dict(told["higher_is_better"].get(task))
    own, group = _count(told["n-samples"].get(task)), task in told["leaves"]
    for key, value in scores.items():
        metric, comma, filter_ = key.partition(",")
        if filtered != bool(comma) or metric.endswith("_stderr") or metric in BOOKKEEPING:
            continue
        if not is_number(value):
            continue
        tail = f"{comma}{filter_}"
        stderr = None if group else scores.get(f"{metric}_stderr{tail}")
        n = _items_of_group(told, results, task, metric, tail) if group and own is None else own
        yield (
            at + key.removesuffix(",none"),
            {
                **fixed,
                "metric": metric,
                "value": value,
                "filter": filter_ or None,
                "n": n,
                "stderr": stderr if is_number(stderr) else None,
                "higher_is_better": higher.get(metric),
            },
        )


def _groups(data: Mapping[str, Any]) -> list[str]:
    """The groups among the tasks."""
    below = as_dict(data.get("group_subtasks"))
    return [*(group for group in below if below[group]), *as_dict(data.get("groups"))]


def _items_of_group(
    told: Told,
    results: Mapping[str, Mapping[str, Any]],
    task: str,
    metric: str,
    filter_: str,
) -> float | None:
    """The items of a group's tasks together, where its value is the mean over them."""
    key, error = f"{metric}{filter_}", f"{metric}_stderr{filter_}"
    known = []
    for leaf in told["leaves"][task]:
        scores = as_dict(results.get(leaf))
        value, count = scores.get(key), _count(told["n-samples"].get(leaf))
        if is_number(value) and count is None:
            count = items_of_share(value, scores.get(error))
        if not is_number(value) or count is None:
            return None
        known.append((value, count))
    total = sum(count for _, count in known)
    if not total:
        return None
    mean = sum(value * count for value, count in known) / total
    return total if math.isclose(mean, results[task][key], rel_tol=1e-6) else None


def _count(samples: Any) -> float | None:
    effective = as_dict(samples).get("effective")
    return float(effective) if is_number(effective) and effective > 0 else None


def _leaves(groups: Mapping[str, Any], task: str, depth: int = 10) -> list[str]:
    """The tasks of a group, of the groups in it too."""
    below = groups.get(task)
    if not isinstance(below, list) or not below or depth == 0:
        return []
    return [
        leaf
        for one in below
        if isinstance(one, str)
        for leaf in _leaves(groups, one, depth - 1) or [one]
    ]
