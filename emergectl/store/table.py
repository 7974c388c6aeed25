"""Many runs as one table: listed, filtered, sorted, in well under a second for a thousand.

A row costs three small reads (run.json, status.json, the end of metrics.jsonl). The experiment is
parsed only where a filter, a sort or an export asks for one of its keys.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from emergectl.errors import DataError, RequestError
from emergectl.store.locate import list_runs, name_in_id
from emergectl.store.measurements import FILE as MEASUREMENTS
from emergectl.store.metrics_log import parse_line
from emergectl.store.run import read_facts
from emergectl.store.status import STATES, parse_timestamp, read_status, utc_now

RUN_COLUMNS = ("id", "name", "stage", "status", "step", "loss", "seconds", "created", "reason")
TAIL_BYTES = 16384
MEASURED_BYTES = 4096

_FILTER = re.compile(r"(?P<key>[^=<>!]+?)\s*(?P<op><=|>=|!=|==?|<|>)\s*(?P<value>.*)", re.DOTALL)
_AGO = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class RunRow:
    """One run as a row: `row["step"]` by column, metric or dotted experiment key."""

    path: Path
    id: str
    name: str
    stage: str | None
    status: str
    step: int
    seconds: float
    created: str
    """UTC, ISO 8601"""
    reason: str | None
    seed: int | None
    host: str | None
    parent: str | None
    sweep: str | None
    """name of the sweep that the run is a trial of"""
    trial: str | None
    """hash of the trial's experiment, where it is one"""

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric that stands in the end of the log, and of what was
        measured besides, by `task/metric`."""
        measured = [
            (f"{one['task']}/{one['metric']}", one["value"]) for one in last_measured(self.path)
        ]
        return last_values(self.path / "metrics.jsonl") | dict(reversed(measured))

    @cached_property
    def measured(self) -> str | None:
        """What was measured last, in words: a share of items that are right, else a loss, else
        whatever stands first."""
        last: list[dict[str, Any]] = []
        for one in last_measured(self.path):
            if last and one.get("step") != last[0].get("step"):
                break
            last.append(one)
        order = {"share": 0, "loss": 2}
        first = min(last, key=lambda one: order.get(str(one.get("quantity")), 1), default=None)
        return None if first is None else _in_words(first)

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment, flattened: `optimizer.lr` → 0.001; empty where it cannot be read."""
        return flatten(read_experiment(self.path))

    @property
    def loss(self) -> float | None:
        """The latest training loss."""
        return last_value(self.path / "metrics.jsonl", "loss")

    def knows(self, key: str) -> bool:
        """Whether `self[key]` means anything for this run."""
        return key in KEYS or key in self.metrics or key in self.experiment

    def __getitem__(self, key: str) -> Any:
        if key in KEYS or key == "measured":
            return str(self.path) if key == "path" else getattr(self, key)
        return self.metrics[key] if key in self.metrics else self.experiment.get(key)


def _in_words(one: dict[str, Any]) -> str:
    value, low, high = one["value"], one.get("low"), one.get("high")
    told = f"{value:.4g}" if isinstance(value, int | float) else str(value)
    bounds = "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
    return f"{one['task']}/{one['metric']} {told}{bounds}"


KEYS = (*RUN_COLUMNS, "seed", "host", "parent", "sweep", "trial", "path")
"""the columns a row always has; besides them its metrics and its experiment's keys"""


def list_rows(
    root: Path, *, where: Sequence[str] = (), sort: str = "-created", limit: int | None = None
) -> list[RunRow]:
    """The runs of a runs directory that pass every filter, sorted, at most `limit` of them.

    where: `status=failed,preempted`, `name=add*`, `since=2d`, `until=2026-11-01`, `step>=1000`,
    `loss<2.5`, `optimizer.lr=0.001`. sort: a key, with `-` before it from high to low; runs that
    lack it come last. Raises RequestError for a filter or key that cannot be.
    """
    rows = [read_row(path) for path in list_runs(root, half_made=True)]
    filters = [_Filter.parse(text) for text in where]
    for condition in sorted(filters, key=lambda f: f.key not in (*KEYS, *_TIMES)):  # Cheap first.
        condition.check(rows)
        rows = [row for row in rows if condition(row)]
    return _sorted(rows, sort)[:limit]


def without_trials(rows: Sequence[RunRow]) -> tuple[list[RunRow], dict[str, Counter[str]]]:
    """The runs that are no trials of a sweep, and how many trials of each sweep stand how."""
    sweeps: dict[str, Counter[str]] = {}
    for row in rows:
        if row.sweep is not None:
            sweeps.setdefault(row.sweep, Counter())[row.status] += 1
    return [row for row in rows if row.sweep is None], sweeps


def is_filter(text: str) -> bool:
    """Whether a text is a filter, rather than the name of a run."""
    return _FILTER.fullmatch(text) is not None


def read_row(path: Path) -> RunRow:
    """One run directory as a row; what is missing or cannot be read is said in `reason`."""
    trouble = None
    try:
        facts = read_facts(path)
    except RequestError:
        facts, trouble = {}, "killed while it was made, or run.json cannot be read"
    try:
        status = read_status(path)
        state, step, seconds, reason = status.state, status.step, status.seconds, status.reason
    except RequestError:
        state, step, seconds, reason = "failed", 0, 0.0, "status.json is missing"
    created = facts.get("created") or _created_by_id(path.name)
    return RunRow(
        path=path,
        id=facts.get("id", path.name),
        name=facts.get("name") or name_in_id(path.name),
        stage=facts.get("stage"),
        status="failed" if trouble and state != "pending" else state,
        step=step,
        seconds=seconds,
        created=created,
        reason=trouble if trouble and state != "pending" else reason,
        seed=facts.get("seed"),
        host=facts.get("host"),
        parent=facts.get("parent"),
        sweep=facts.get("sweep"),
        trial=facts.get("trial"),
    )


def last_values(path: Path, window_bytes: int = TAIL_BYTES) -> dict[str, Any]:
    """The last value of each metric within the last `window_bytes` of a metrics.jsonl."""
    values: dict[str, Any] = {}
    for line in _last_lines(path, window_bytes):
        with suppress(DataError):  # `runs tail` and `compare` name it; it must not hide a run.
            values |= parse_line(line, str(path))
    return values


def last_value(path: Path, metric: str) -> Any:
    """The last value of one metric in the end of a metrics.jsonl; None where it is not there.

    Some 30 times faster than `last_values`, which decides how long a thousand runs take to list.
    """
    name = json.dumps(metric).encode()
    for line in reversed(_last_lines(path, TAIL_BYTES)):
        if name in line:
            with suppress(DataError):
                record = parse_line(line, str(path))
                if metric in record:
                    return record[metric]
    return None


def last_measured(run: Path) -> Iterator[dict[str, Any]]:
    """The measurements of all items (of no group) in the end of a run's file, the last first, as
    they stand there: `read_measurements` checks them, which takes longer."""
    for line in reversed(_last_lines(run / MEASUREMENTS, MEASURED_BYTES)):
        with suppress(DataError):
            one = parse_line(line, "")
            if "group" not in one and {"task", "metric", "value"} <= one.keys():
                yield one


def _last_lines(path: Path, window_bytes: int) -> list[bytes]:
    """The whole lines within the last `window_bytes` of a file; none where it is missing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - window_bytes))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return lines[1 if start else 0 : -1]  # The first is cut by the window, the last is torn.


def read_experiment(path: Path) -> dict[str, Any]:
    """A run's experiment as plain data; empty where there is none, or none that can be read."""
    from emergectl.config.reader import read_yaml

    try:
        data = read_yaml(path / "experiment.yaml").data
    except RequestError:
        return {}
    return data if isinstance(data, dict) else {}


def flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested data as dotted key → scalar; list indexes are keys, empty parts stand as they are."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list) and any(isinstance(item, (dict, list)) for item in data):
        items = enumerate(data)
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat or ({prefix: data} if prefix else {})


_TIMES = ("since", "until")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class _Filter:
    """One condition on a row: key, comparison, value."""

    key: str
    op: str
    value: str
    number: float | None
    moment: datetime | None

    @classmethod
    def parse(cls, text: str) -> _Filter:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise RequestError(f"filter {text!r}: expected KEY=VALUE, such as status=failed")
        key, op, value = match["key"].strip(), match["op"].replace("==", "="), match["value"]
        if key in _TIMES:
            if op != "=":
                raise RequestError(f"filter {text!r}: write {key}=…, such as {key}=2d")
            return cls(key, op, value, None, _moment(text, value))
        number = _number(value)
        if op in _COMPARE and number is None:
            raise RequestError(f"filter {text!r}: {op} compares numbers, and {value!r} is not one")
        if key == "status" and op in ("=", "!="):
            _check_states(text, value)
        return cls(key, op, value, number, None)

    def check(self, rows: list[RunRow]) -> None:
        """Refuse a key that no run has: it is a slip, and would silently match nothing."""
        if not rows or self.key in (*KEYS, *_TIMES) or any(row.knows(self.key) for row in rows):
            return
        raise _unknown_key("filter", self.key, rows)

    def __call__(self, row: RunRow) -> bool:
        if self.moment is not None:
            created = parse_timestamp(row.created)
            return created is not None and (created >= self.moment) == (self.key == "since")
        found = row[self.key]
        if self.op in _COMPARE:
            number = _number(found)
            return number is not None and _COMPARE[self.op](number, self.number or 0.0)
        equal = self._equals(found)
        return equal if self.op == "=" else not equal

    def _equals(self, found: Any) -> bool:
        if self.number is not None and _number(found) is not None:
            return _number(found) == self.number
        text = "" if found is None else str(found).lower()
        return any(fnmatchcase(text, pattern.strip().lower()) for pattern in self.value.split(","))


def _sorted(rows: list[RunRow], sort: str) -> list[RunRow]:
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    if key not in KEYS and rows and not any(row.knows(key) for row in rows):
        raise _unknown_key("sort", key, rows)
    having = [row for row in rows if not _is_missing(row[key])]
    lacking = [row for row in rows if _is_missing(row[key])]
    numeric = all(_number(row[key]) is not None for row in having)

    def order(row: RunRow) -> tuple[Any, str]:
        return (_number(row[key]) if numeric else str(row[key]), row.id)

    return sorted(having, key=order, reverse=descending) + lacking


def _unknown_key(what: str, key: str, rows: list[RunRow]) -> RequestError:
    known = {*KEYS, *_TIMES} if what == "filter" else {*KEYS}
    known = known.union(*(row.metrics.keys() | row.experiment.keys() for row in rows[:50]))
    near = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"columns are {', '.join(KEYS)}"
    return RequestError(f"{what} {key!r}: no run has it; {hint}")


def _check_states(text: str, value: str) -> None:
    for state in value.split(","):
        if not any(fnmatchcase(known, state.strip().lower()) for known in STATES):
            raise RequestError(f"filter {text!r}: a status is one of {', '.join(STATES)}")


def _moment(text: str, value: str) -> datetime:
    """`2d` ago, or an ISO date or time (local where it names no zone)."""
    if match := _AGO.fullmatch(value):
        return utc_now() - timedelta(seconds=float(match["n"]) * _SECONDS[match["unit"]])
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise RequestError(
            f"filter {text!r}: expected a time ago (30m, 12h, 2d, 1w) or a date (2026-11-23)"
        ) from None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _created_by_id(run_id: str) -> str:
    try:
        moment = datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S")
    except ValueError:
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"
