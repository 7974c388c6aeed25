"""From rows to curves: which axis a table has, and which rows make one ability.

Along steps and tokens each model has its own curve; along any other axis one curve runs over all
models of a group. Two different values of one measurement are an error that names what tells them
apart, for nobody but their owner can say which of them is true.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emergectl.analysis.curves import Curve, make_curve
from emergectl.analysis.numbers import several
from emergectl.analysis.stretches import MOST_SCALES, in_stretches
from emergectl.analysis.table import MOST_NAMED, Axis, Table, TableRow, listed
from emergectl.errors import DataError, RequestError

LATE_FIRST = ("step", "tokens")
"""axes along which one model has many measurements, of which other axes take the last"""
FEWEST_NEAR_VALUES = 1e-12
LONGEST = 60
"""characters of a value that are shown in a message"""


def choose_axis(table: Table) -> Axis:
    """The axis along which models differ: parameters first, then FLOPs, steps, tokens, loss.

    The first with three different values, as `curves_of` would take them; where none has, with two,
    then with one. Raises RequestError where there is no scale at all.
    """
    order: tuple[Axis, ...] = ("params", "flops", "step", "tokens", "loss")
    latest = latest_rows(table.rows)
    scales = {
        axis: {row.scale(axis) for row in (table.rows if axis in LATE_FIRST else latest)} - {None}
        for axis in order
    }
    for fewest in (3, 2, 1):
        for axis in order:
            if len(scales[axis]) >= fewest:
                return axis
    raise RequestError(
        "no scale: there is none of the columns params, flops, tokens, step, loss; map one with "
        "--params and the like"
    )


def count_shown(rows: Iterable[TableRow]) -> str:
    """Which count of parameters the axis `params` shows, as a person is told; "" where the table
    does not say."""
    counts = sorted({row.count for row in rows if row.count and row.params})
    said = " and ".join(_COUNTS.get(count, count) for count in counts)
    return f"{said}: different counts on one axis" if len(counts) > 1 else said


_COUNTS = {
    "total": "total parameters",
    "non-embedding": "non-embedding parameters",
    "named": "parameters as the models are called",
}


def curves_of(table: Table, axis: Axis) -> list[Curve]:
    """Every ability of a table as a curve over one axis, sorted by name.

    Along steps and tokens each model has its own curve; along other axes one curve runs over all
    models of a group, each at its latest measurement. Rows without a place on the axis, at zero,
    and exact doubles are skipped and counted in `table`; two values for one measurement are a
    DataError, if `table.duplicates` does not say which counts. Loss as an axis runs downwards: the
    scale is its inverse.
    """
    series: dict[tuple[str, str, str], list[TableRow]] = {}
    several = len({row.params for row in table.rows}) > 1 or len({r.model for r in table.rows}) > 1
    for row in table.rows:
        scale = row.scale(axis)
        if scale is None:
            table.skip(f"no {axis}", row.where)
        elif not (math.isfinite(scale) and scale > 0):
            table.skip(f"{axis} is zero, negative or not finite", row.where)
        else:
            group = row.group
            if axis in LATE_FIRST and several:
                name = row.model or (f"{row.params:g}" if row.params else "")
                group = "/".join(part for part in (row.group, name) if part)
            series.setdefault((group, row.task, row.metric), []).append(row)
    curves: list[Curve] = []
    cut: list[str] = []
    averaged: list[str] = []
    together: dict[float, set[str]] = {}
    merged: Counter[str] = Counter()
    for (group, task, metric), rows in sorted(series.items(), key=_as_people_count):
        kept = rows if axis in LATE_FIRST else latest_rows(rows)
        kept = without_doubles(table, kept, axis, merged)
        if axis in LATE_FIRST:
            shorter = in_stretches(kept, axis)
            if len(shorter) < len(kept):
                cut.append(f"{task}/{metric}")
            kept = shorter
        for row in kept:
            together.setdefault(float(row.scale(axis) or 0), set()).add(f"{group}\0{row.model}")
        shortcut, by, least, most = _shortcut(kept)
        if most > least:
            averaged.append(f"{task}/{metric}: {least:.3g} to {most:.3g}")
        curves.append(_curve(kept, axis, group, task, metric, shortcut=shortcut, by=by))
    _note_together(table, axis, together)
    if cut:
        table.note(
            f"{len(cut)} long series, such as {cut[0]}, are judged as means over {MOST_SCALES} "
            f"stretches of log {axis}"
        )
    if averaged:
        table.note(
            f"what shortcuts score differs with the items in {len(averaged)} curves, such as "
            f"{averaged[0]}: their mean is taken"
        )
    note_merged(table, merged)
    return curves


def note_merged(table: Table, merged: Counter[str]) -> None:
    """Say which values others stand for."""
    if merged:
        kept_as = {"mean": "their mean is taken", "first": "the first counts"}
        table.note(
            f"{merged.total()} values stand for measurements that have another one, such as "
            f"{next(iter(merged))}: {kept_as.get(table.duplicates, 'the last counts')}"
        )


def _note_together(table: Table, axis: Axis, together: Mapping[float, set[str]]) -> None:
    """Say where models of different names share one place of a curve: their mean is judged."""
    shared: dict[tuple[float, str], list[str]] = {}
    for scale, named in together.items():
        for name in sorted(named):
            group, _, model = name.partition("\0")
            shared.setdefault((scale, group), []).append(model)
    first = next((place for place, models in shared.items() if len(models) > 1), None)
    if first is not None:
        count = sum(len(models) > 1 for models in shared.values())
        table.note(
            f"{several(count, 'scale')} {'has' if count == 1 else 'have'} several models, "
            "whose mean is judged, such as "
            f"{listed(shared[first])} at {axis} {first[0]:.4g}; --group keeps families apart, "
            "--where keeps one"
        )


def _as_people_count(named: tuple[tuple[str, str, str], Any]) -> list[Any]:
    """Names in order, numbers in them by their size: 5 before 20."""
    parts = re.split(r"(\d+)", "\0".join(named[0]))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def time_of(row: TableRow) -> float:
    """When in training; what does not say it is of the end."""
    return row.step if row.step is not None else row.tokens if row.tokens is not None else math.inf


def latest_rows(rows: Sequence[TableRow]) -> list[TableRow]:
    """Each model and seed at its last step (most tokens)."""
    last: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = (row.model, row.params, row.seed)
        last[key] = max(time_of(row), last.get(key, -math.inf))
    return [row for row in rows if time_of(row) == last[(row.model, row.params, row.seed)]]


def without_doubles(
    table: Table, rows: list[TableRow], axis: Axis, merged: Counter[str]
) -> list[TableRow]:
    """One row of each measurement; `merged` counts the values that others stand for, by name."""
    seen: dict[tuple[Any, ...], TableRow] = {}
    others: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        key = (row.scale(axis), row.model, row.seed)
        other = seen.get(key)
        if other is None:
            seen[key] = row
        elif table.duplicates != "refuse":
            merged[f"{row.task}/{row.metric} at {row.where}"] += 1
            if table.duplicates == "last":
                seen[key] = row
            elif table.duplicates == "mean":
                others.setdefault(key, [other.value]).append(row.value)
        elif math.isclose(other.value, row.value, rel_tol=FEWEST_NEAR_VALUES, abs_tol=0.0):
            table.skip("the same measurement again", row.where)
        else:
            raise DataError(
                f"{row.where}: {row.task}/{row.metric} is {row.value:g} and was {other.value:g} at "
                f"{other.where}, for one {axis}, model and seed; {_difference(row, other)}"
            )
    for key, values in others.items():
        seen[key] = replace(seen[key], value=math.fsum(values) / len(values))
    return list(seen.values())


def _difference(row: TableRow, other: TableRow) -> str:
    """What to do about two values of one measurement: the fields in which their records differ."""
    one, two = row.record or {}, other.record or {}
    differ = [
        name
        for name in dict.fromkeys([*one, *two])
        if name not in _OF_VALUE and not name.startswith(" ") and one.get(name) != two.get(name)
    ]
    if not differ:
        return (
            "say what tells them apart with --seed or --group, or which counts with --duplicates "
            "mean, first or last"
        )
    differ.sort(key=lambda name: len(f"{one.get(name)}{two.get(name)}") > LONGEST)
    said = ", ".join(
        f"{name} ({_short(two.get(name))}, {_short(one.get(name))})" for name in differ[:MOST_NAMED]
    )
    return (
        f"they differ in {said}: keep one with --where '{differ[0]}={one.get(differ[0])}', or tell "
        f"them apart with --seed '{differ[0]}' or --group '{differ[0]}', or say with --duplicates "
        "(mean, first, last) which counts"
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


_OF_VALUE = ("value", "n", "chance", "shortcut", "low", "high", "stderr")


def _shortcut(rows: Sequence[TableRow]) -> tuple[float | None, str, float, float]:
    """(the mean of what the shortcuts of rows score, the name that most have, lowest, highest).

    It is scored on the very items, so rows of other items may have another.
    """
    told = [(row.shortcut, row.shortcut_by) for row in rows if row.shortcut is not None]
    if not told:
        return None, "", 0.0, 0.0
    scores = [score for score, _ in told]
    ((name, _),) = Counter(name for _, name in told).most_common(1)
    least, most = min(scores), max(scores)
    return (least if least == most else float(np.mean(scores))), name, least, most


def _curve(
    rows: list[TableRow],
    axis: Axis,
    group: str,
    task: str,
    metric: str,
    *,
    shortcut: float | None,
    by: str,
) -> Curve:
    chances = {row.chance for row in rows}
    if len(chances) > 1:
        at = rows[0].where
        raise DataError(
            f"{at}: {task}/{metric} has more than one chance level: {sorted(map(str, chances))}"
        )
    places = np.array([float(row.scale(axis) or math.nan) for row in rows])
    known = all(row.n is not None for row in rows)
    chance = chances.pop()
    ceilings = {row.ceiling for row in rows}
    if chance is not None and chance <= 0 and rows[0].what.scale == "log":
        raise DataError(
            f"{rows[0].where}: the chance level of {metric} is {chance:g}; it is above 0"
        )
    return make_curve(
        1 / places if axis == "loss" else places,
        [[row.value] for row in rows],
        items=[float(row.n or math.nan) for row in rows] if known else None,
        chance=chance,
        shortcut=shortcut,
        shortcut_by=by,
        ceiling=ceilings.pop() if len(ceilings) == 1 else None,
        what=rows[0].what,
        task=task,
        metric=metric,
        axis=axis,
        group=group,
        flops=[float(row.flops or 0) for row in rows],
        sources=[row.where for row in rows],
    )
