"""What of a run is drawn, and in which panels: one for the losses, one for rates.

The training loss comes from the log of training, everything else from what was measured. Metrics
that run from 0 to 1 and rise share a panel, so that one sees which comes first; others share one by
metric. All panels share the step axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emergectl.analysis.metric_order import is_loss, restates_loss
from emergectl.errors import RequestError
from emergectl.reports.appearance import Appearance, find_appearance
from emergectl.store.measurements import Measurement, MetricFacts

CURVES_IN_A_PANEL = 6


TRAINING_LOSS = "loss"
TRAINING_LOSS_FACTS = MetricFacts("continuous", "down", "loss", likelihood="token")


@dataclass(frozen=True)
class StepCurve:
    """One metric over the steps at which it was measured.

    `name` is `task/metric` and, where it was asked in more than one way, how; `task` is without the
    metric, and empty for the training loss.
    """

    name: str
    label: str
    task: str
    metric: str
    what: MetricFacts
    steps: list[float]
    values: list[float]
    chance: float | None = None
    floor: tuple[float, str] | None = None
    """the best that needs no ability, and what that is"""

    @property
    def shortcut(self) -> tuple[float, str] | None:
        """What a shortcut scores and which that is, where it is better than guessing."""
        return self.floor if self.floor is not None and self.floor[1] != "chance" else None

    @property
    def is_training(self) -> bool:
        """Whether it is the loss of every training step."""
        return not self.task

    @property
    def is_rate(self) -> bool:
        """Whether the metric runs from 0 to 1 and rises when a model gets better."""
        what = self.what
        return (what.least, what.most, what.direction) == (0, 1, "up")

    @cached_property
    def appearance(self) -> Appearance:
        """What the rule of `appearance.py` says."""
        floor = None if self.floor is None else self.floor[0]
        return find_appearance(self.steps, self.values, chance=floor)

    @property
    def appears_at(self) -> int | None:
        """The step at which the ability appears: None if never, from the start, or no rate."""
        appears = self.is_rate and self.appearance.kind == "appears"
        return self.appearance.step if appears else None


@dataclass(frozen=True)
class Panels:
    """What is to be drawn: loss curves (training first), then groups of other metrics."""

    losses: list[StepCurve]
    groups: list[list[StepCurve]]
    log_steps: bool

    @property
    def step_range(self) -> tuple[float, float]:
        """The first and the last step of all curves."""
        curves = itertools.chain(self.losses, *self.groups)
        steps = [step for curve in curves for step in curve.steps]
        return min(steps), max(steps)


def arrange(
    records: Iterable[Mapping[str, Any]],
    measured: Iterable[Measurement] = (),
    *,
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Panels:
    """Sort the training loss of the records (lines of metrics.jsonl) and what was measured.

    `labels` says what to call a metric, by `task/metric`; `metrics` picks what to draw beside the
    losses, in this order (default: everything but what restates a loss). Raises RequestError where
    there is nothing to draw.
    """
    curves = collect(records, measured, labels=labels or {})
    losses, others = [], []
    for curve in curves.values():
        if not is_loss(curve.what):
            others.append(curve)
        elif not _restates(curve, curves.values()):
            losses.append(curve)
    losses.sort(key=lambda curve: not curve.is_training)
    if metrics is not None:
        missing = [name for name in metrics if name not in curves]
        if missing:
            raise RequestError(f"no metric {missing[0]!r}; there are {', '.join(curves) or 'none'}")
        others = [curves[name] for name in metrics]
    if not losses and not others:
        raise RequestError("nothing to draw: neither a loss nor an evaluation is there")
    groups: dict[str, list[StepCurve]] = {}
    for curve in others:
        groups.setdefault("" if curve.is_rate else curve.metric, []).append(curve)
    panels = [
        group[start : start + CURVES_IN_A_PANEL]
        for group in groups.values()
        for start in range(0, len(group), CURVES_IN_A_PANEL)
    ]
    return Panels(losses, panels, choose_log_steps(losses, others))


def collect(
    records: Iterable[Mapping[str, Any]],
    measured: Iterable[Measurement],
    *,
    labels: Mapping[str, str],
) -> dict[str, StepCurve]:
    """The training loss and every metric of whole tasks, by name, in order of appearance."""
    training = StepCurve(
        TRAINING_LOSS, TRAINING_LOSS, "", TRAINING_LOSS, TRAINING_LOSS_FACTS, [], []
    )
    for record in records:
        loss = record.get(TRAINING_LOSS)
        if isinstance(loss, int | float) and not isinstance(loss, bool):
            training.steps.append(float(record["step"]))
            training.values.append(float(loss))
    curves = {TRAINING_LOSS: training} if training.steps else {}
    for one in measured:
        if one.step is None or one.group is not None:
            continue
        asked = ", ".join(f"{key} {value}" for key, value in sorted(one.asked.items()))
        asked = f" ({asked})" if asked else ""
        name = f"{one.task}/{one.metric}{asked}"
        if name not in curves:
            label = printable_line(labels.get(name, name))
            task = f"{one.task}{asked}"
            curves[name] = StepCurve(
                name, label, task, one.metric, one.what, [], [], one.chance, one.floor
            )
        curves[name].steps.append(float(one.step))
        curves[name].values.append(one.value)
    return curves


def _restates(curve: StepCurve, curves: Iterable[StepCurve]) -> bool:
    """Whether a loss tells another of the same task again, as a perplexity does."""
    facts = {c.metric: c.what for c in curves if c.task == curve.task}
    return restates_loss(curve.metric, facts)


def choose_log_steps(losses: Sequence[StepCurve], others: Sequence[StepCurve]) -> bool:
    """Whether the step axis should be logarithmic.

    Linear, unless what is to be seen would be squeezed against its left end: an ability that
    appears within the first tenth of the run, or, where none appears, evaluations half of which
    lie within the first tenth (log-spaced ones do).
    """
    curves = [*losses, *others]
    last = max((max(c.steps) for c in curves), default=0.0)
    appearing = [c.appears_at for c in others if c.appears_at is not None]
    if appearing:
        return min(appearing) < last / 10
    evaluated = sorted({step for c in curves if not c.is_training for step in c.steps})
    return len(evaluated) >= 6 and evaluated[len(evaluated) // 2] < last / 10


def smoothed(values: Sequence[float], *, log: bool) -> list[float]:
    """A moving mean, centred so that it does not lag; NaN stays where it was.

    The window is a fiftieth of the curve; for a logarithmic axis (`log`) it grows in proportion to
    the position on it. Towards both ends it shrinks, evenly on both sides.
    """
    smooth = []
    for i, value in enumerate(values):
        half = min(i, len(values) - 1 - i, i // 20 if log else len(values) // 100)
        finite = [v for v in values[i - half : i + half + 1] if math.isfinite(v)]
        smooth.append(sum(finite) / len(finite) if math.isfinite(value) else math.nan)
    return smooth


def printable_line(text: str) -> str:
    """`text` as one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
