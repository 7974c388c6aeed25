"""measurements.jsonl: every measured value of a run, typed, from whoever measured it.

One road: the training loop, `eval`, lm-evaluation-harness and whatever comes later write a
`Measurement` where they measure, and everything that reads values (tables of sweeps, analysis,
reports, `runs`) reads them here, through `rows_of_run`. A row says itself what its metric is
(`MetricFacts`), so that nobody guesses that later from a name or a range.

The file is only ever appended to, by a single write under a lock of its own, since `eval` may
measure a run that is still being trained. Measured again, a value stands twice, and the last one
counts. A run that goes on from a checkpoint takes out what its loop measured after it
(`forget_after`); what others measured of later snapshots stays.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from emergectl.errors import DataError
from emergectl.store.atomic import disk_full_named, json_safe, write_all, write_bytes
from emergectl.store.metrics_log import end_of_whole_lines, read_metrics

FILE = "measurements.jsonl"

Kind = Literal["discontinuous", "continuous"]
Direction = Literal["up", "down"]
Scale = Literal["linear", "log"]
Quantity = Literal["share", "mean", "ratio", "area", "loss"]
Likelihood = Literal["token", "item", "byte"]
Source = Literal["loop", "eval", "harness", "probe", "audit"]
Fact = str | int | float | bool


@dataclass(frozen=True)
class MetricFacts:
    """What a metric is, whatever is measured with it; said once, where the metric is registered.

    `kind`: `discontinuous` judges an item right or wrong, `continuous` moves a little at a time.
    `direction`: whether `up` or `down` is better. `scale`: `log` for what spans orders of
    magnitude (perplexity). `quantity`: a `share` of items that are right (its noise is binomial), a
    `mean` of one number an item, a `ratio` of sums or another function of all items, an `area`
    under a curve, or a `loss` (nats; a code length). `least`, `most`: its range, where it has one.
    `likelihood`: where it tells the likelihood of the right answers (a loss, a log-probability; a
    perplexity, in logs), per what: token, item (a whole answer) or byte; None for anything else.
    """

    kind: Kind
    direction: Direction
    quantity: Quantity
    scale: Scale = "linear"
    least: float | None = None
    most: float | None = None
    likelihood: Likelihood | None = None


@dataclass(frozen=True)
class Measurement:
    """One value of one metric of one task at one step of a run.

    `low`, `high`: its 95% interval, None where there is none. `n`: how many it is of, counted in
    `unit`s. `chance`: what blind guessing gets; `shortcut`: what the best way around the ability
    scores on these very items, and `shortcut_by` what that way is; `ceiling`: the best that can be
    reached; each where known. `group`: the fact and its value, where only such items are
    meant. `asked`: how it was asked, as far as that tells two askings apart (shots, filter).
    `items`: a fingerprint of the items, so that the same items are known again under another name.
    """

    task: str
    metric: str
    value: float
    what: MetricFacts
    source: Source
    step: int | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = "item"
    chance: float | None = None
    shortcut: float | None = None
    shortcut_by: str | None = None
    ceiling: float | None = None
    group: tuple[str, Fact] | None = None
    asked: Mapping[str, Fact] = field(default_factory=dict)
    items: str | None = None

    @property
    def name(self) -> str:
        """What metrics.jsonl and a person call it: `task/metric`."""
        return f"{self.task}/{self.metric}"

    @property
    def floor(self) -> tuple[float, str] | None:
        """The best that needs no ability and what that is: `chance`, or the shortcut where that is
        better; None where neither is known."""
        if self.shortcut is not None:
            ahead = 1.0 if self.chance is None else self.shortcut - self.chance
            if ahead and self.chance is not None and self.what.direction == "down":
                ahead = -ahead
            if ahead > 0:
                return self.shortcut, self.shortcut_by or "a shortcut"
        return None if self.chance is None else (self.chance, "chance")

    @cached_property
    def outputs(self) -> tuple[object, ...]:
        """What it was computed from: metrics of equal `outputs` are of the same outputs."""
        of = self.items or self.task
        return (of, self.step, self.source, self.group, *sorted(self.asked.items()))

    def to_json(self) -> dict[str, Any]:
        """The measurement as a flat object; what is not known is left out."""
        flat = {name: getattr(self, name) for name in _OWN} | vars(self.what)
        if self.group is not None:
            flat["group"] = dict([self.group])
        flat["asked"] = dict(self.asked)
        return {name: value for name, value in flat.items() if value not in (None, {})}


_OWN = dict.fromkeys(one.name for one in fields(Measurement) if one.name != "what")
_FACTS = {one.name: None if one.default is MISSING else one.default for one in fields(MetricFacts)}

_KNOWN = {*_OWN, *_FACTS}


@cache
def _facts(*values: Any) -> MetricFacts:
    """The same facts once, however many measurements have them."""
    if None in values[:3]:
        raise ValueError(f"without {', '.join(list(_FACTS)[:3])}")
    return MetricFacts(*values)


def measurement_from_json(values: Mapping[str, Any], where: str) -> Measurement:
    """The inverse of `Measurement.to_json`; DataError beginning with `where` if it is none."""
    try:
        own = {name: value for name, value in values.items() if name in _OWN}
        if unknown := values.keys() - _KNOWN:
            raise DataError(f"{where}: a measurement has no field {min(unknown)!r}")
        if "group" in own:
            ((fact, value),) = own["group"].items()
            own["group"] = (fact, value)
        what = _facts(*map(values.get, _FACTS, _FACTS.values()))
        own["value"] = float(own["value"])
        return Measurement(**own, what=what)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{where}: not a measurement ({error!r})") from None


def append_measurements(run: Path, rows: Sequence[Measurement]) -> None:
    """Add measurements to a run directory, as a whole and on the disk when this returns.

    Raises DiskFullError, with the file as it was before, where there is no room.
    """
    if not rows:
        return
    content = _as_lines(row.to_json() for row in rows)
    path = run / FILE
    with _locked(path) as descriptor:
        size = end_of_whole_lines(descriptor)
        try:
            with disk_full_named(path, len(content)):
                os.ftruncate(descriptor, size)  # a torn tail of somebody who was killed
                write_all(descriptor, content)
                os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise


def forget_after(run: Path, step: int, *, sources: Sequence[Source] = ("loop", "probe")) -> None:
    """Take out what `sources` measured after `step`: a run goes on from there and measures anew."""
    path = run / FILE
    if not path.exists():
        return
    with _locked(path):
        kept = [
            values
            for values in read_metrics(path)
            if values.get("source") not in sources or (values.get("step") or 0) <= step
        ]
        write_bytes(path, _as_lines(kept))


def _as_lines(objects: Iterable[Mapping[str, Any]]) -> bytes:
    lines = (json.dumps(json_safe(o), ensure_ascii=False, allow_nan=False) for o in objects)
    return "".join(f"{line}\n" for line in lines).encode()


def read_measurements(run: Path) -> list[Measurement]:
    """The measurements of a run directory, each once (the last one counts), in the file's order.

    None where nothing was measured. A torn last line is passed over; DataError (`file:line:
    reason`) for a whole line that is no measurement.
    """
    path = run / FILE
    found: dict[tuple[object, ...], Measurement] = {}
    for number, values in enumerate(read_metrics(path), start=1):
        one = measurement_from_json(values, f"{path}:{number}")
        found[(one.task, one.metric, *one.outputs)] = one
    return list(found.values())


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, opened for appending and locked; whoever replaced it meanwhile is waited for."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with disk_full_named(path, None):
            descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                yield descriptor
                return
        finally:
            os.close(descriptor)
