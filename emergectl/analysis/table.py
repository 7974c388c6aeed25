"""The tidy table: one measurement a row, from whoever measured it; and the curves in it.

A row says which model (params, tokens, flops, loss, step, seed), which task under which metric, the
value, the number of items and the level of chance. Everything but task and value may be missing.
What cannot be used is left out and counted, by reason, with the first place where it stood; what
contradicts itself is an error, for nobody but its owner can say which of two values is true.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from emergectl.analysis.curves import LARGEST, Curve, in_range, make_curve, range_of
from emergectl.errors import DataError, RequestError
from emergectl.store.measurements import MetricFacts

Axis = Literal["params", "tokens", "flops", "loss", "step"]
ParameterCount = Literal["non-embedding", "total", "as given"]
"""which parameters a table counts; `as given` where only who brought it knows"""
AXES: tuple[Axis, ...] = ("params", "tokens", "flops", "loss", "step")
LATE_FIRST = ("step", "tokens")
"""axes along which one model has many measurements, of which other axes take the last"""
FEWEST_NEAR_VALUES = 1e-12


def plain_facts(metric: str) -> MetricFacts:
    """What is taken of a metric that nobody tells of."""
    ending = metric.lower().rsplit("/", 1)[-1]
    if ending in ("value", "acc", "acc_norm", "accuracy", "exact_match", "em"):
        return MetricFacts("discontinuous", "up", "share", least=0, most=1)
    if ending.endswith(("perplexity", "ppl")):
        return MetricFacts("continuous", "down", "loss", scale="log", per="token")
    if ending in ("loss", "nll"):
        return MetricFacts("continuous", "down", "loss", per="token")
    if ending.endswith("_per_byte"):
        down = ending.startswith("bits")
        return MetricFacts("continuous", "down" if down else "up", "loss", per="byte")
    if ending.startswith("logprob"):
        return MetricFacts("continuous", "up", "loss", most=0, per="token")
    if ending == "f1":
        return MetricFacts("discontinuous", "up", "ratio", least=0, most=1)
    if ending in ("brier", "edit_distance", "error"):
        return MetricFacts("continuous", "down", "mean")
    return MetricFacts("continuous", "up", "mean")


@dataclass(frozen=True)
class Row:
    """One measurement. `where` is `file:line`; `group` keeps curves apart (a model family)."""

    task: str
    value: float
    what: MetricFacts
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

    def scale(self, axis: Axis) -> float | None:
        """Its place on an axis; FLOPs are 6 · params · tokens where they are not given."""
        found: float | None = getattr(self, axis)
        if found is None and axis == "flops" and self.params and self.tokens:
            return 6 * self.params * self.tokens
        return found


@dataclass(frozen=True)
class Skipped:
    """Rows left out for one reason: how many, and where the first stood."""

    reason: str
    count: int
    first: str


@dataclass
class Table:
    """Rows, and what was left out."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    lookup: Callable[[str], MetricFacts] = plain_facts
    parameters: ParameterCount = "as given"
    first_left_out: dict[str, str] = field(default_factory=dict)

    def skip(self, reason: str, where: str) -> None:
        """Count a row that cannot be used."""
        self.left_out[reason] += 1
        self.first_left_out.setdefault(reason, where)

    @property
    def skipped(self) -> list[Skipped]:
        """What was left out, most frequent first."""
        return [Skipped(r, n, self.first_left_out[r]) for r, n in self.left_out.most_common()]

    def add(self, fields: Mapping[str, Any], where: str) -> None:
        """Add a row from named texts or numbers; unusable values are skipped and counted.

        Raises DataError for a number that is none, a rate that is out of range, or a count of items
        that is not positive.
        """
        value = number(fields.get("value"), "value", where)
        if value is None or not math.isfinite(value):
            self.skip("value missing or not finite", where)
            return
        numbers = {key: number(fields.get(key), key, where) for key in (*AXES, "n", "chance")}
        n = numbers["n"]
        metric = str(fields.get("metric") or "value")
        what = fields.get("what") or self.lookup(metric)
        if abs(value) > LARGEST or (what.scale == "log" and value <= 0):
            raise DataError(f"{where}: {metric} is {value:g}; that is no measurement")
        if n is not None and not n >= 1:
            raise DataError(f"{where}: n is {n:g}; expected a number of items, 1 or more")
        if not in_range(value, what):
            percent = " (are these percent?)" if what.most == 1 else ""
            raise DataError(f"{where}: {metric} is {value:g}; it lies {range_of(what)}{percent}")
        row = Row(
            task=str(fields.get("task") or "task"),
            value=value,
            what=what,
            metric=metric,
            model=str(fields.get("model") or ""),
            group=str(fields.get("group") or ""),
            seed=str(fields.get("seed") if fields.get("seed") is not None else ""),
            where=where,
            **numbers,
        )
        self.rows.append(row)


def number(value: Any, key: str, where: str) -> float | None:
    """A number from a cell; None where it is empty. Raises DataError for anything else."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if not text or text.lower() in ("none", "null", "na", "n/a", "-"):
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: {key} is {text!r}; expected a number") from None


def with_defaults(table: Table, *, n: float | None, chance: Mapping[str, float]) -> Table:
    """The table with items and chance levels filled in where rows do not say.

    chance: by `task/metric`, `task` or `metric`; "" for all metrics that rise (of a loss or a
    perplexity blind guessing has a level of its own).
    """
    rows = [
        replace(
            row,
            n=row.n if row.n is not None else n,
            chance=row.chance if row.chance is not None else _look_up(chance, row),
        )
        for row in table.rows
    ]
    return replace(table, rows=rows)


def _look_up(chance: Mapping[str, float], row: Row) -> float | None:
    for key in (f"{row.task}/{row.metric}", row.task, row.metric):
        if key in chance:
            return chance[key]
    return None if row.what.direction == "down" else chance.get("")


def choose_axis(table: Table) -> Axis:
    """The axis along which most rows differ: parameters first, then FLOPs, tokens, steps, loss."""
    order: tuple[Axis, ...] = ("params", "flops", "tokens", "step", "loss")
    for axis in order:
        places = {row.scale(axis) for row in table.rows} - {None}
        if len(places) >= 3:
            return axis
    raise RequestError(
        "no scale: none of the columns params, flops, tokens, step, loss has three different "
        "values; name one with --x or map it with --params and the like"
    )


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
    for (group, task, metric), rows in sorted(series.items(), key=_as_people_count):
        kept = rows if axis in LATE_FIRST else _latest(rows)
        curves.append(_curve(_without_doubles(table, kept, axis), axis, group, task, metric))
    return curves


def _as_people_count(named: tuple[tuple[str, str, str], Any]) -> list[Any]:
    """Names in order, numbers in them by their size: 5 before 20."""
    parts = re.split(r"(\d+)", "\0".join(named[0]))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _latest(rows: Iterable[Row]) -> list[Row]:
    """Each model and seed at its last step (most tokens)."""
    last: dict[tuple[Any, ...], float] = {}
    rows = list(rows)
    for row in rows:
        key, time = (row.model, row.params, row.seed), row.step or row.tokens or 0.0
        last[key] = max(time, last.get(key, -math.inf))
    return [
        row
        for row in rows
        if (row.step or row.tokens or 0.0) == last[(row.model, row.params, row.seed)]
    ]


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
                f"{other.where}, for one {axis}, model and seed; say what tells them apart with "
                "--seed or --group, or remove one"
            )
    return list(seen.values())


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
