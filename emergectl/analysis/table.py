"""The tidy table: one measurement a row, from whoever measured it.

A row says which model (params, tokens, flops, loss, step, seed), which task under which metric and
what that metric is, the value, the number of items, and the levels of chance and of a shortcut.
Everything but task and value may be missing. What cannot be used is left out and counted, by
reason, with the first place where it stood; what contradicts itself is an error, for nobody but its
owner can say which of two values is true; what had to be chosen stands in the notes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from emergectl.analysis.curves import LARGEST, in_range, range_of
from emergectl.analysis.formats.cells import number
from emergectl.analysis.formats.records import items_of_share
from emergectl.errors import DataError, RequestError
from emergectl.store.measurements import MetricFacts
from emergectl.store.rows import Lookup

Axis = Literal["params", "tokens", "flops", "loss", "step"]
AXES: tuple[Axis, ...] = ("params", "tokens", "flops", "loss", "step")
MOST_NAMED = 3

LOSS = MetricFacts("continuous", "down", "loss", least=0, likelihood="token")
UNKNOWN = MetricFacts("continuous", "up", "mean")
"""what is taken for a metric that nobody knows"""
UNKNOWN_SHARE = MetricFacts("discontinuous", "up", "share", least=0, most=1)
"""the same, where a person tells the number of items: a share of them"""
Unsure = Literal["", "direction", "all"]
Duplicates = Literal["refuse", "mean", "first", "last"]
"""what is done with different values of one measurement"""


@dataclass(slots=True)  # Frozen, reading would take a fifth longer.
class TableRow:
    """One measurement, never changed. `where` is `file:line`; `group` keeps curves apart.

    `params` is what stands on the axis, `count` which count that is (`non-embedding`, `total`,
    `named` in the model's name; "" where the table does not say), `total_params` all parameters,
    where both are known. `chance` is what guessing gets, `shortcut` what a way around the ability
    does (`shortcut_by` says which; "" where a person told the score alone), `ceiling` the best that
    can be reached.
    `asked`: how it was asked (shots, filter). `unsure`: what of `what` nobody has said. `record`:
    the fields that the row was read from.
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
    shortcut: float | None = None
    shortcut_by: str = ""
    ceiling: float | None = None
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
    """Rows, what was left out, and what a reader is told (each note once)."""

    rows: list[TableRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lookup: Lookup | None = None
    """what the metrics are of which rows do not say it themselves"""
    duplicates: Duplicates = "refuse"
    _known: dict[str, MetricFacts | None] = field(default_factory=dict)
    _guessed: dict[str, MetricFacts | None] = field(default_factory=dict)

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

    def _falling(self, name: str) -> MetricFacts | None:
        """What a name ends in, where that is a metric that falls: `wikitext_perplexity`; noted."""
        if name not in self._guessed:
            words = [word.lower() for word in _WORDS.findall(name)]
            while words and words[-1] in _NO_METRIC:
                words.pop()
            ends = ("_".join(words[start:]) for start in range(len(words)))
            found = next(((end, facts) for end in ends if (facts := self.what(end))), None)
            falls = found is not None and found[1].direction == "down"
            if found is None or not falls or _REVERSED.intersection(words):
                self._guessed[name] = None
            else:
                self._guessed[name] = found[1]
                self.note(f"{name}: taken for {found[0]} by its name, so it falls")
        return self._guessed[name]

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
            n = numbers["n"] = items_of_share(value, stderr)
        if n is not None and not n >= 1:
            raise DataError(f"{where}: n is {n:g}; expected a number of items, 1 or more")
        seed = fields.get("seed")
        self.rows.append(
            TableRow(
                task=str(fields.get("task") or "task"),
                value=value,
                metric=metric,
                model=str(fields.get("model") or ""),
                group=str(fields.get("group") or ""),
                seed="" if seed is None else str(seed),
                shortcut_by=str(fields.get("shortcut_by") or ""),
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
        if "higher_is_better" not in fields:
            called = metric if metric != "value" else str(fields.get("task") or "")
            if (falls := self._falling(called)) is not None:
                return falls, ""
        higher = fields.get("higher_is_better")
        if higher is not None:
            return replace(UNKNOWN, direction="up" if higher else "down"), ""
        return UNKNOWN, "direction" if "higher_is_better" in fields else "all"


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NO_METRIC = (
    "mean",
    "avg",
    "average",
    "corr",
    "val",
    "valid",
    "validation",
    "eval",
    "test",
    "train",
)
"""words that may stand behind the name of a metric"""
_REVERSED = frozenset(
    (
        "neg",
        "negative",
        "inverse",
        "inv",
        "minus",
        "delta",
        "diff",
        "gain",
        "reduction",
        "improvement",
    )
)
"""words that turn a metric's direction, or make another one of it"""
_NUMBERS = (*AXES, "n", "chance", "shortcut", "ceiling", "total_params")


def check_range(value: float, what: MetricFacts, metric: str, where: str) -> None:
    """DataError for a value that its metric cannot have; percent are asked about."""
    if abs(value) > LARGEST or (what.scale == "log" and value <= 0):
        raise DataError(f"{where}: {metric} is {value:g}; that is no measurement")
    if not in_range(value, what):
        percent = (what.least, what.most) == (0, 1) and 1 < value <= 100
        hint = " (are these percent? then --scale value=0.01)" if percent else ""
        raise DataError(f"{where}: {metric} is {value:g}; it lies {range_of(what)}{hint}")


def with_defaults(
    table: Table,
    *,
    n: float | Mapping[str, float] | None,
    chance: Mapping[str, float],
    shortcut: Mapping[str, float] | None = None,
    lower: Sequence[str] = (),
) -> Table:
    """The table with items, chance levels and directions filled in where rows do not say.

    n, chance, shortcut: by `task/metric`, `task` or `metric`; "" for all, of chance for all metrics
    that rise and of a shortcut for all shares of items (of a loss or a perplexity blind guessing
    has a level of its own). lower: metrics (or
    `task/metric`, `task`) that fall when a model gets better. Of a metric that nobody knows it is
    taken that it rises and, where a number of items is told, that it is a share of them; both are
    noted. Raises RequestError for a name that no row has, DataError for a share of items outside 0
    to 1.
    """
    items = n if isinstance(n, Mapping) else {} if n is None else {"": n}
    around = shortcut or {}
    asked = (("--n", items), ("--chance", chance), ("--shortcut", around), ("--lower", lower))
    for option, names in asked:
        _check_names(option, [name for name in names if name], table.rows)
    if items and table.rows and all(row.n is not None for row in table.rows):
        table.note("--n says nothing new: every row tells its number of items")
    rows = [_filled(_settled(row, items, lower), items, chance, around) for row in table.rows]
    for row in rows:
        if row.unsure and row.what.quantity == "share":
            check_range(row.value, row.what, row.called, row.where)
    _note_unknown(table, rows)
    return replace(table, rows=rows)


def names_of(row: TableRow) -> tuple[str, str, str]:
    """The names by which options mean a row, the narrowest first."""
    return f"{row.task}/{row.metric}", row.task, row.metric


def _check_names(option: str, names: Sequence[str], rows: Sequence[TableRow]) -> None:
    known = {name for row in rows for name in names_of(row)} if names else set()
    for name in names:
        if name not in known:
            there = listed(sorted({row.called for row in rows}))
            raise RequestError(
                f"{option} {name}: no task or metric of that name; there are {there}"
            )


def _settled(row: TableRow, n: Mapping[str, float], lower: Sequence[str]) -> TableRow:
    """The row with what a person says of its metric."""
    if any(name in lower for name in names_of(row)):
        return replace(row, what=replace(row.what, direction="down"), unsure="")
    if row.unsure == "all" and (row.n is not None or _look_up(n, row, n.get("")) is not None):
        return replace(row, what=UNKNOWN_SHARE)
    return row


def _filled(
    row: TableRow,
    n: Mapping[str, float],
    chance: Mapping[str, float],
    shortcut: Mapping[str, float],
) -> TableRow:
    items, level, around = row.n, row.chance, row.shortcut
    if n and items is None:
        items = _look_up(n, row, n.get(""))
    if chance and level is None:
        level = _look_up(chance, row, None if row.what.direction == "down" else chance.get(""))
    if shortcut and around is None:
        is_share = row.what.quantity == "share" and row.what.direction == "up"
        around = _look_up(shortcut, row, shortcut.get("") if is_share else None)
    if (items, level, around) == (row.n, row.chance, row.shortcut):
        return row
    return replace(row, n=items, chance=level, shortcut=around)


def _look_up(levels: Mapping[str, float], row: TableRow, otherwise: float | None) -> float | None:
    return next((levels[key] for key in names_of(row) if key in levels), otherwise)


def _note_unknown(table: Table, rows: Sequence[TableRow]) -> None:
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
