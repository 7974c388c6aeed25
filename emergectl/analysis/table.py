"""The tidy table: one measurement a row, from whoever measured it; and the curves in it.

A row says which model (params, tokens, flops, loss, step, seed), which task under which metric and
what that metric is, the value, the number of items and the level of chance. Everything but task and
value may be missing. What cannot be used is left out and counted, by reason, with the first place
where it stood; what contradicts itself is an error, for nobody but its owner can say which of two
values is true; what had to be chosen stands in the notes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from emergectl.analysis.curves import LARGEST, Curve, in_range, make_curve, range_of
from emergectl.analysis.formats.cells import number
from emergectl.errors import DataError, RequestError
from emergectl.store.measurements import MetricFacts
from emergectl.store.rows import Lookup

Axis = Literal["params", "tokens", "flops", "loss", "step"]
AXES: tuple[Axis, ...] = ("params", "tokens", "flops", "loss", "step")
LATE_FIRST = ("step", "tokens")
"""axes along which one model has many measurements, of which other axes take the last"""
FEWEST_NEAR_VALUES = 1e-12
MOST_NAMED = 3

LOSS = MetricFacts("continuous", "down", "loss", likelihood="token")
UNKNOWN = MetricFacts("continuous", "up", "mean")
"""what is taken for a metric that nobody knows"""
UNKNOWN_SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
"""the same, where a person tells the number of items: a share of them"""
Unsure = Literal["", "direction", "all"]


@dataclass(slots=True)  # Frozen, reading would take a fifth longer.
class Row:
    """One measurement, never changed. `where` is `file:line`; `group` keeps curves apart.

    `params` is what stands on the axis, `count` which count that is (`non-embedding`, `total`,
    `named` in the model's name; "" where the table does not say), `total_params` all parameters,
    where both are known. `asked`: how it was asked (shots, filter). `unsure`: what of `what` nobody
    has said. `record`: the fields that the row was read from.
    """

    task: str
    value: float
    metric: str = "value"
    model: str = ""
    group: str = ""
    seed: str = ""
    params: float | None = None
    tokens: float | None = None
    flops: float | None = None
    loss: float | None = None
    step: float | None = None
    n: float | None = None
    chance: float | None = None
    where: str = ""
    what: MetricFacts = UNKNOWN
    unsure: Unsure = ""
    count: str = ""
    total_params: float | None = None
    asked: tuple[tuple[str, str], ...] = ()
    record: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def scale(self, axis: Axis) -> float | None:
        """Its place on an axis; FLOPs are 6 · params · tokens where they are not given."""
        found: float | None = getattr(self, axis)
        if found is None and axis == "flops" and self.params and self.tokens:
            return 6 * self.params * self.tokens
        return found

    @property
    def called(self) -> str:
        """What a person calls its metric: the task alone where the metric has no name."""
        return self.task if self.metric == "value" else self.metric


@dataclass(frozen=True)
class Skipped:
    """Rows left out for one reason: how many, and where the first stood."""

    reason: str
    count: int
    first: str


@dataclass
class Table:
    """Rows, what was left out, and what a reader has to be told (each note once)."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lookup: Lookup | None = None
    """what the metrics are of which rows do not say it themselves"""
    _known: dict[str, MetricFacts | None] = field(default_factory=dict)

    def skip(self, reason: str, where: str) -> None:
        """Count a row that cannot be used."""
        self.left_out[reason] += 1
        self.first_left_out.setdefault(reason, where)

    def note(self, text: str) -> None:
        """Have something told, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def skipped(self) -> list[Skipped]:
        """What was left out, most frequent first."""
        return [Skipped(r, n, self.first_left_out[r]) for r, n in self.left_out.most_common()]

    def what(self, metric: str) -> MetricFacts | None:
        """What a metric is, by its name with and without a filter behind it or a path before it."""
        if metric not in self._known:
            names = (metric, metric.partition(",")[0], metric.rpartition("/")[2])
            facts = (self.lookup(name) for name in dict.fromkeys(names)) if self.lookup else ()
            fallback = LOSS if names[-1] == "loss" else None
            self._known[metric] = next((one for one in facts if one is not None), fallback)
        return self._known[metric]

    def add(
        self,
        fields: Mapping[str, Any],
        where: str,
        *,
        asked: tuple[tuple[str, str], ...] = (),
        record: Mapping[str, Any] | None = None,
        decimal_comma: bool = False,
    ) -> None:
        """Add a row from named texts or numbers; unusable values are skipped and counted.

        Besides the words of a row, fields may hold `what` (its MetricFacts), `higher_is_better` and
        `stderr` (of a share, which tells its items): what a format knows of its metrics. Raises
        DataError for a number that is none, a value outside its metric's range, or a count of items
        that is not positive.
        """
        value = number(fields.get("value"), "value", where, decimal_comma=decimal_comma)
        if value is None or not math.isfinite(value):
            self.skip("value missing or not finite", where)
            return
        numbers = {
            key: cell
            if type(cell) is float
            else number(cell, key, where, decimal_comma=decimal_comma)
            for key in _NUMBERS
            if (cell := fields.get(key)) is not None and cell != ""
        }
        metric = str(fields.get("metric") or "value")
        what, unsure = self._facts(metric, fields)
        check_range(value, what, metric, where)
        n = numbers.get("n")
        if n is None and what.quantity == "share" and (stderr := fields.get("stderr")) is not None:
            n = numbers["n"] = _items_of(value, stderr)
        if n is not None and not n >= 1:
            raise DataError(f"{where}: n is {n:g}; expected a number of items, 1 or more")
        seed = fields.get("seed")
        self.rows.append(
            Row(
                task=str(fields.get("task") or "task"),
                value=value,
                metric=metric,
                model=str(fields.get("model") or ""),
                group=str(fields.get("group") or ""),
                seed="" if seed is None else str(seed),
                where=where,
                what=what,
                unsure=unsure,
                count=str(fields.get("count") or ""),
                asked=asked,
                record=record,
                **numbers,
            )
        )

    def _facts(self, metric: str, fields: Mapping[str, Any]) -> tuple[MetricFacts, Unsure]:
        own = fields.get("what")
        if own is not None:
            return own, ""
        known = self.what(metric)
        if known is None and metric == "value":  # A column of a wide table, called as its metric.
            known = self.what(str(fields.get("task") or ""))
        if known is not None:
            return known, ""
        higher = fields.get("higher_is_better")
        if higher is not None:
            return replace(UNKNOWN, direction="up" if higher else "down"), ""
        return UNKNOWN, "direction" if "higher_is_better" in fields else "all"


def _items_of(value: float, stderr: Any) -> float | None:
    """How many items a share was taken over, by its standard error: p(1 − p)/(n − 1) = stderr²."""
    if not isinstance(stderr, int | float) or not stderr > 0:
        return None
    return float(round(value * (1 - value) / stderr**2 + 1))


_NUMBERS = (*AXES, "n", "chance", "total_params")


def check_range(value: float, what: MetricFacts, metric: str, where: str) -> None:
    """DataError for a value that its metric cannot have; percent are asked about."""
    if abs(value) > LARGEST or (what.scale == "log" and value <= 0):
        raise DataError(f"{where}: {metric} is {value:g}; that is no measurement")
    if not in_range(value, what):
        percent = (what.least, what.most) == (0, 1) and 1 < value <= 100
        hint = " (are these percent? then --scale value=0.01)" if percent else ""
        raise DataError(f"{where}: {metric} is {value:g}; it lies {range_of(what)}{hint}")


def with_defaults(
    table: Table, *, n: float | None, chance: Mapping[str, float], lower: Sequence[str] = ()
) -> Table:
    """The table with items, chance levels and directions filled in where rows do not say.

    chance: by `task/metric`, `task` or `metric`; "" for all metrics that rise (of a loss or a
    perplexity blind guessing has a level of its own). lower: metrics (or `task/metric`, `task`)
    that fall when a model gets better. Of a metric that nobody knows it is taken that it rises and,
    where a number of items is told, that it is a share of them; both are noted. Raises RequestError
    for a name that no row has, DataError for a share of items outside 0 to 1.
    """
    for option, names in (("--chance", chance), ("--lower", lower)):
        _check_names(option, [name for name in names if name], table.rows)
    if n is not None and table.rows and all(row.n is not None for row in table.rows):
        table.note(f"--n {n:g} says nothing new: every row tells its number of items")
    rows = [_filled(_settled(row, n, lower), n, chance) for row in table.rows]
    for row in rows:
        if row.unsure and row.what.quantity == "share":
            check_range(row.value, row.what, row.called, row.where)
    _note_unknown(table, rows)
    return replace(table, rows=rows)


def _names(row: Row) -> tuple[str, str, str]:
    return f"{row.task}/{row.metric}", row.task, row.metric


def _check_names(option: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    known = {name for row in rows for name in _names(row)} if names else set()
    for name in names:
        if name not in known:
            there = listed(sorted({row.called for row in rows}))
            raise RequestError(
                f"{option} {name}: no task or metric of that name; there are {there}"
            )


def _settled(row: Row, n: float | None, lower: Sequence[str]) -> Row:
    """The row with what a person says of its metric."""
    if any(name in lower for name in _names(row)):
        return replace(row, what=replace(row.what, direction="down"), unsure="")
    if row.unsure == "all" and (n is not None or row.n is not None):
        return replace(row, what=UNKNOWN_SHARE)
    return row


def _filled(row: Row, n: float | None, chance: Mapping[str, float]) -> Row:
    level = _look_up(chance, row) if chance and row.chance is None else row.chance
    n = n if row.n is None else row.n
    return row if (n, level) == (row.n, row.chance) else replace(row, n=n, chance=level)


def _look_up(chance: Mapping[str, float], row: Row) -> float | None:
    for key in _names(row):
        if key in chance:
            return chance[key]
    return None if row.what.direction == "down" else chance.get("")


def _note_unknown(table: Table, rows: Sequence[Row]) -> None:
    """Say once which metrics nobody knows, and ask about those that look like percent."""
    unknown = dict.fromkeys(row.called for row in rows if row.unsure)
    if unknown:
        names = listed(unknown)
        table.note(
            f"direction of {names} is not known: taken as rising; say --lower "
            f"{names if len(unknown) == 1 else 'NAME'} where it falls"
        )
    most: dict[str, float] = {}
    for row in rows:
        if row.unsure and row.what.quantity != "share":
            beyond = row.value if 0 <= row.value <= 100 else math.inf
            most[row.called] = max(most.get(row.called, 0.0), beyond)
    percent = [name for name, value in most.items() if 1 < value <= 100]
    if percent:
        table.note(
            f"{listed(percent)}: values from 0 to {max(most[p] for p in percent):g}; are these "
            "percent? then --scale value=0.01"
        )


def listed(names: Iterable[str], most: int = MOST_NAMED) -> str:
    """Names as a list for people: the first few, and how many more."""
    names = list(names)
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def told_apart(table: Table) -> Table:
    """The table with what was asked in several ways kept apart by name.

    Where a task's metric has several filters, the filter stands behind the metric
    (`exact_match,strict-match`); several numbers of shots, versions or prompts stand in the group.
    What does not say how it was asked stays by itself.
    """
    ways: dict[tuple[str, str, str], set[str]] = {}
    for task, metric, asked in {(row.task, row.metric, row.asked) for row in table.rows}:
        for key, value in asked:
            ways.setdefault((task, metric, key), set()).add(value)
    several = {name: values for name, values in ways.items() if len(values) > 1}
    if not several:
        return table
    rows = []
    for row in table.rows:
        metric, groups = row.metric, [row.group] if row.group else []
        for key, value in row.asked:
            if (row.task, row.metric, key) not in several:
                continue
            if key == "filter":
                metric += "" if value == "none" else f",{value}"
            else:
                groups.append(f"{value}-shot" if key == "shots" else f"{key} {value}")
        rows.append(replace(row, metric=metric, group="/".join(groups)))
    for key in dict.fromkeys(key for _, _, key in several):
        tasks = {task for task, _, other in several if other == key}
        values = sorted(
            {v for (_, _, other), found in several.items() if other == key for v in found}
        )
        table.note(
            f"{listed(sorted(tasks))}: asked with several {_PLURALS.get(key, key + 's')} "
            f"({listed(values, 5)}); judged apart"
        )
    return replace(table, rows=rows)


_PLURALS = {"shots": "numbers of shots"}


def choose_axis(table: Table) -> Axis:
    """The axis along which models differ: parameters first, then FLOPs, steps, tokens, loss.

    The first with three different values, as `curves_of` would take them; where none has, with two,
    then with one. Raises RequestError where there is no scale at all.
    """
    order: tuple[Axis, ...] = ("params", "flops", "step", "tokens", "loss")
    latest = _latest(table.rows)
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


def count_shown(rows: Iterable[Row]) -> str:
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
    DataError. Loss as an axis runs downwards: the scale is its inverse.
    """
    series: dict[tuple[str, str, str], list[Row]] = {}
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
    curves = []
    together: dict[float, set[str]] = {}
    for (group, task, metric), rows in sorted(series.items(), key=_as_people_count):
        kept = rows if axis in LATE_FIRST else _latest(rows)
        kept = _without_doubles(table, kept, axis)
        for row in kept:
            together.setdefault(float(row.scale(axis) or 0), set()).add(f"{group}\0{row.model}")
        curves.append(_curve(kept, axis, group, task, metric))
    _note_together(table, axis, together)
    return curves


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
            f"{count} scales have several models, whose mean is judged, such as "
            f"{listed(shared[first])} at {axis} {first[0]:.4g}; --group keeps families apart, "
            "--where keeps one"
        )


def _as_people_count(named: tuple[tuple[str, str, str], Any]) -> list[Any]:
    """Names in order, numbers in them by their size: 5 before 20."""
    parts = re.split(r"(\d+)", "\0".join(named[0]))
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _time(row: Row) -> float:
    """When in training; what does not say it is of the end."""
    return row.step if row.step is not None else row.tokens if row.tokens is not None else math.inf


def _latest(rows: Sequence[Row]) -> list[Row]:
    """Each model and seed at its last step (most tokens)."""
    last: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = (row.model, row.params, row.seed)
        last[key] = max(_time(row), last.get(key, -math.inf))
    return [row for row in rows if _time(row) == last[(row.model, row.params, row.seed)]]


def _without_doubles(table: Table, rows: list[Row], axis: Axis) -> list[Row]:
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row.scale(axis), row.model, row.seed)
        other = seen.get(key)
        if other is None:
            seen[key] = row
        elif math.isclose(other.value, row.value, rel_tol=FEWEST_NEAR_VALUES, abs_tol=0.0):
            table.skip("the same measurement again", row.where)
        else:
            raise DataError(
                f"{row.where}: {row.task}/{row.metric} is {row.value:g} and was {other.value:g} at "
                f"{other.where}, for one {axis}, model and seed; {_difference(row, other)}"
            )
    return list(seen.values())


def _difference(row: Row, other: Row) -> str:
    """What to do about two values of one measurement: the fields in which their records differ."""
    one, two = row.record or {}, other.record or {}
    differ = [
        name
        for name in one
        if name not in _OF_VALUE and not name.startswith(" ") and one[name] != two.get(name)
    ]
    if not differ:
        return "say what tells them apart with --seed or --group, or remove one"
    said = ", ".join(f"{name} ({two.get(name)}, {one[name]})" for name in differ[:MOST_NAMED])
    return (
        f"they differ in {said}: keep one with --where '{differ[0]}={one[differ[0]]}', or tell "
        f"them apart with --seed '{differ[0]}' or --group '{differ[0]}'"
    )


_OF_VALUE = ("value", "n", "chance", "low", "high", "stderr")


def _curve(rows: list[Row], axis: Axis, group: str, task: str, metric: str) -> Curve:
    chances = {row.chance for row in rows}
    if len(chances) > 1:
        at = rows[0].where
        raise DataError(
            f"{at}: {task}/{metric} has more than one chance level: {sorted(map(str, chances))}"
        )
    places = np.array([float(row.scale(axis) or math.nan) for row in rows])
    known = all(row.n is not None for row in rows)
    chance = chances.pop()
    if chance is not None and chance <= 0 and rows[0].what.scale == "log":
        raise DataError(
            f"{rows[0].where}: the chance level of {metric} is {chance:g}; it is above 0"
        )
    return make_curve(
        1 / places if axis == "loss" else places,
        [[row.value] for row in rows],
        items=[float(row.n or math.nan) for row in rows] if known else None,
        chance=chance,
        what=rows[0].what,
        task=task,
        metric=metric,
        axis=axis,
        group=group,
        sources=[row.where for row in rows],
    )
