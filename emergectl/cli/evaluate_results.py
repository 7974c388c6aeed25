"""The results of an evaluation, printed: for people, as JSON, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emergectl.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from emergectl.evaluation.results import TaskResult
    from emergectl.store.measurements import Measurement


def show_results(results: Sequence[TaskResult], *, json_: bool, csv: bool) -> None:
    """Print results: a table of metrics, task by task, group by group; or JSON, or CSV.

    What was not asked is said, with the reasons.
    """
    from emergectl.evaluation.results import shown_metric

    _tell_left_out(results)
    if json_:
        print_json([_as_json(result) for result in results])
        return
    rows = [
        [
            result.model.rpartition("@")[0] or result.model,
            result.step,
            result.task,
            None if value.group is None else f"{value.group[0]}={value.group[1]}",
            shown_metric(value),
            value.value,
            *((value.low, value.high) if csv else (_interval(value.low, value.high),)),
            value.chance,
            *_shortcut(value, csv=csv),
            value.n,
        ]
        for result in results
        for value in result.values
    ]
    bounds = ["low", "high"] if csv else ["95% interval"]
    around = ["shortcut", "shortcut_by", "ceiling"] if csv else ["shortcut"]
    columns = ["model", "step", "task", "group", "metric", "value", *bounds, "chance", *around, "n"]
    if not csv:  # A column that says nothing is left out for people.
        kept = [
            i
            for i, name in enumerate(columns)
            if (name not in ("model", "step", "group") or _says(rows, i))
            and (name != "shortcut" or any(row[i] for row in rows))
        ]
        columns = [columns[i] for i in kept]
        rows = [[_for_people(row[i], columns[n]) for n, i in enumerate(kept)] for row in rows]
    print_table(columns, rows, csv=csv)


def _tell_left_out(results: Sequence[TaskResult]) -> None:
    """Say which items were not asked, which were trained on, and which metrics there are not."""
    models = {result.model.rpartition("@")[0] for result in results}
    for note in dict.fromkeys(note for result in results for note in result.notes):
        say(note)
    for result in results:
        at = result.task if result.step is None else f"step {result.step:,}, {result.task}"
        at = at if len(models) == 1 else f"{result.model.rpartition('@')[0]}, {at}"
        if result.was_there:
            say(f"{at}: asked before, and kept ({result.path})")
        skipped = sum(result.skipped.values())
        if skipped:
            reason, items = max(result.skipped.items(), key=lambda entry: entry[1])
            also = (
                "" if items == skipped else f" ({items:,} of them; other reasons in results.json)"
            )
            say(f"{at}: {skipped:,} of {result.items:,} items skipped: {reason}{also}")
        if result.contaminated is not None:
            say(f"{at}: {result.contaminated:,} of {result.items:,} items are in the training data")
        if result.without and skipped < result.items:
            say(f"{at}: its items give no {', '.join(result.without)}")


def _as_json(result: TaskResult) -> dict[str, object]:
    return {
        "task": result.task,
        "model": result.model,
        "step": result.step,
        "items": result.items,
        "skipped": dict(result.skipped),
        "notes": list(result.notes),
        "metrics": [value.to_json() for value in result.values],
        "path": result.path,
    }


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.3g} … {high:.3g}"


def _shortcut(value: Measurement, *, csv: bool) -> tuple[object, ...]:
    """The score of the best shortcut and which that is; for people in one cell."""
    if csv:
        return value.shortcut, value.shortcut_by, value.ceiling
    return (None if value.shortcut is None else f"{value.shortcut:.4g} {value.shortcut_by}",)


def _says(rows: Sequence[Sequence[object]], column: int) -> bool:
    """Whether a column differs between rows."""
    return len({row[column] for row in rows}) > 1


def _for_people(value: object, column: str) -> object:
    rounded = column in ("value", "chance") and isinstance(value, float)
    return float(f"{value:.4g}") if rounded else value
