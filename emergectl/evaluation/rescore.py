"""Metrics computed anew from the items that an evaluation left: no model, no question.

What is known of the asking (chance, the task's own metrics, groups) stands in results.json; new
metrics and groups are added to it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from emergectl.errors import RequestError
from emergectl.evaluation.item_files import ITEMS, RESULTS, read_items, read_json
from emergectl.evaluation.metrics import find_metric
from emergectl.evaluation.results import TaskResult, facts_of, summarize
from emergectl.store.atomic import json_floats, write_json
from emergectl.store.measurements import append_measurements


def rescore_run(
    run: Path, *, tasks: Sequence[str] = (), metrics: Sequence[str] = (), by: Sequence[str] = ()
) -> list[TaskResult]:
    """Add metrics and groups to every finished evaluation of a run, of `tasks` alone where given.

    Raises RequestError for an unknown metric or fact, and where there is nothing of the sort.
    """
    for name in metrics:
        find_metric(name)
    folders = [
        folder for folder in finished_evaluations(run) if not tasks or _task_of(folder) in tasks
    ]
    if not folders:
        there = ", ".join(dict.fromkeys(map(_task_of, finished_evaluations(run)))) or "none"
        raise RequestError(f"{run / 'evals'}: no finished evaluation to rescore; tasks: {there}")
    read = {folder: list(read_items(folder / ITEMS)) for folder in folders}
    known = {fact for records in read.values() for one in records for fact in facts_of(one)}
    for fact in by:
        if fact not in known:
            there = ", ".join(sorted(known)) or "none"
            raise RequestError(f"no item has the fact `{fact}` to group by; there are: {there}")
    results = []
    for folder, records in read.items():
        asked = json_floats(read_json(folder / RESULTS))
        asked["metric_names"] = list(dict.fromkeys([*asked["metric_names"], *metrics]))
        asked["by"] = list(dict.fromkeys([*asked["by"], *by]))
        result, told = summarize(folder, records, asked, seed=asked["seed"])
        append_measurements(run, result.values)
        write_json(folder / RESULTS, told)
        results.append(result)
    return results


def finished_evaluations(run: Path) -> Iterator[Path]:
    """Folders of finished evaluations; what held-out sets left long ago has no `metric_names`."""
    for path in sorted((run / "evals").rglob(RESULTS)):
        if "metric_names" in read_json(path):
            yield path.parent


def _task_of(folder: Path) -> str:
    return str(read_json(folder / RESULTS)["task"])
