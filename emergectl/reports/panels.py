"""What of a run's records is drawn, and in which panels: one for the losses, one for rates.

Metrics that are rates (every value from 0 to 1) share a panel, so that one sees which comes first;
others share one by the last part of their names. All panels share the step axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emergectl.analysis.metric_names import RESTATED_LOSS
from emergectl.errors import RequestError
from emergectl.reports.ability import Ability, find_ability

CURVES_IN_A_PANEL = 6


@dataclass(frozen=True)
class Curve:
    """One metric over the steps at which it was measured."""

    name: str
    label: str
    steps: list[float]
    values: list[float]
    chance: float | None = None

    @cached_property
    def is_rate(self) -> bool:
        """Whether every value lies between 0 and 1."""
        return all(0 <= v <= 1 for v in self.values if math.isfinite(v))

    @cached_property
    def ability(self) -> Ability:
        """What the rule of `ability.py` says."""
        return find_ability(self.steps, self.values, chance=self.chance)

    @property
    def appears_at(self) -> int | None:
        """The step at which the ability appears: None if never, from the start, or no rate."""
        return self.ability.step if self.is_rate and self.ability.kind == "appears" else None


@dataclass(frozen=True)
class Panels:
    """What is to be drawn: loss curves (training first), then groups of other metrics."""

    losses: list[Curve]
    groups: list[list[Curve]]
    log_steps: bool

    @property
    def step_range(self) -> tuple[float, float]:
        """The first and the last step of all curves."""
        curves = itertools.chain(self.losses, *self.groups)
        steps = [step for curve in curves for step in curve.steps]
        return min(steps), max(steps)


def arrange(
    records: Iterable[Mapping[str, Any]],
    *,
    chance: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Panels:
    """Sort the metrics of the records (lines of metrics.jsonl, in their order) into panels.

    `chance` gives the level of guessing and `labels` what to call it, by metric name; `metrics`
    picks what to draw beside the losses, in this order (default: everything but what restates the
    loss). Raises RequestError where there is nothing to draw.
    """
    curves = collect(records, chance=chance or {}, labels=labels or {})
    losses = [c for c in curves.values() if _last_part(c.name) == "loss"]
    losses.sort(key=lambda curve: curve.name != "loss")
    if metrics is None:
        left_out = ("loss", *RESTATED_LOSS)
        others = [c for c in curves.values() if _last_part(c.name) not in left_out]
    else:
        missing = [name for name in metrics if name not in curves]
        if missing:
            raise RequestError(f"no metric {missing[0]!r}; there are {', '.join(curves) or 'none'}")
        others = [curves[name] for name in metrics]
    if not losses and not others:
        raise RequestError("nothing to draw: the records hold neither a loss nor an evaluation")
    groups: dict[str, list[Curve]] = {}
    for curve in others:
        groups.setdefault("rates" if curve.is_rate else _last_part(curve.name), []).append(curve)
    panels = [
        group[start : start + CURVES_IN_A_PANEL]
        for group in groups.values()
        for start in range(0, len(group), CURVES_IN_A_PANEL)
    ]
    return Panels(losses, panels, choose_log_steps(losses, others))


def collect(
    records: Iterable[Mapping[str, Any]],
    *,
    chance: Mapping[str, float],
    labels: Mapping[str, str],
) -> dict[str, Curve]:
    """The loss and every evaluated metric of the records, by name, in order of appearance."""
    curves: dict[str, Curve] = {}
    for record in records:
        for name, value in record.items():
            evaluated = name == "loss" or "/" in name
            if not evaluated or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name not in curves:
                label = one_line(labels.get(name, name))
                curves[name] = Curve(name, label, [], [], chance.get(name))
            curves[name].steps.append(float(record["step"]))
            curves[name].values.append(float(value))
    return curves


def choose_log_steps(losses: Sequence[Curve], others: Sequence[Curve]) -> bool:
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
    evaluated = sorted({step for c in curves if c.name != "loss" for step in c.steps})
    return len(evaluated) >= 6 and evaluated[len(evaluated) // 2] < last / 10


def smoothed(values: Sequence[float], *, log: bool) -> list[float]:
    """A moving mean, centred so that it does not lag; NaN stays where it was.

    The window is a fiftieth of the curve; for a logarithmic axis (`log`) it grows in proportion to
    the place on it. Towards both ends it shrinks, evenly on both sides.
    """
    smooth = []
    for i, value in enumerate(values):
        half = min(i, len(values) - 1 - i, i // 20 if log else len(values) // 100)
        finite = [v for v in values[i - half : i + half + 1] if math.isfinite(v)]
        smooth.append(sum(finite) / len(finite) if math.isfinite(value) else math.nan)
    return smooth


def one_line(text: str) -> str:
    """`text` as one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _last_part(name: str) -> str:
    return name.rsplit("/", 1)[-1]
