"""Results of lm-evaluation-harness, 0.3 and 0.4: `{"results": {task: {metric: value}}, …}`.

0.3 has metrics under their names and `config.num_fewshot`; 0.4 has `metric,filter`, with
bookkeeping beside them under names without a comma, and tells shots, versions, items and
directions a task. Groups stand among the tasks; their items are those of their tasks together,
where their value is the mean over these. lighteval's files are of the same kind, with tasks called
`suite|task|shots`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergectl.analysis.formats.identity import ASKED, Identity, identify, read_model_args
from emergectl.analysis.formats.records import FileRecords, Record, as_dict, is_number
from emergectl.errors import DataError

BOOKKEEPING = frozenset(
    {"alias", "name", "sample_len", "sample_count", "samples", "time", "seed", "version"}
)
"""what 0.3 and its descendants keep beside metrics"""
DEFAULT_FEWSHOT_SEED = 1234
PARTS = ("configs", "n-shot", "versions", "n-samples", "higher_is_better", "group_subtasks")
"""what 0.4 tells by task"""
Told = Mapping[str, Mapping[str, Any]]


def harness(path: Path, data: Mapping[str, Any]) -> FileRecords:
    """Records of a results file. Raises DataError where a task's results are no object."""
    config = as_dict(data.get("config"))
    identity, settings = _identity(path, data, config)
    results = data["results"]
    for task, scores in results.items():
        if not isinstance(scores, dict):
            raise DataError(f"{path}:1: results of {task!r} are no object")
    filtered = any("," in key for scores in results.values() for key in scores)
    told = {part: as_dict(data.get(part)) for part in PARTS}
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
    return FileRecords(names, rows, ASKED, notes=list(identity.notes))


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
        name or path.stem, revision, count=float(count) if is_number(count) and count > 0 else None
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
    own = _count(told["n-samples"].get(task))
    leaves = [] if own is not None else _leaves(told["group_subtasks"], task)
    for key, value in scores.items():
        metric, comma, filter_ = key.partition(",")
        if filtered != bool(comma) or metric.endswith("_stderr") or metric in BOOKKEEPING:
            continue
        if not is_number(value):
            continue
        stderr = scores.get(f"{metric}_stderr{comma}{filter_}")
        yield (
            at + key.removesuffix(",none"),
            {
                **fixed,
                "metric": metric,
                "value": value,
                "filter": filter_ or None,
                "n": _items_of_group(told, results, leaves, key, value) if leaves else own,
                "stderr": stderr if is_number(stderr) else None,
                "higher_is_better": higher.get(metric),
            },
        )


def _items_of_group(
    told: Told,
    results: Mapping[str, Mapping[str, Any]],
    leaves: Sequence[str],
    key: str,
    group_value: float,
) -> float | None:
    """The items of a group's tasks together, where its value is the mean over them."""
    counts = [_count(told["n-samples"].get(leaf)) for leaf in leaves]
    values = [as_dict(results.get(leaf)).get(key) for leaf in leaves]
    known = [(v, c) for v, c in zip(values, counts, strict=True) if is_number(v) and c is not None]
    if len(known) < len(leaves):
        return None
    total = sum(count for _, count in known)
    mean = sum(value * count for value, count in known) / total
    return total if math.isclose(mean, group_value, rel_tol=1e-6) else None


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
