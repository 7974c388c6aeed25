"""Breaks over one run's steps: which ability or probe moves first, and by how much the next lags.

A grokking run fits its training set and generalises much later: two breaks in one run, and the lag
between them is the finding. Positions are those of `breaks`, over steps; since an interval of
snapshots is all that is known of a rise between two of them, so is the lag's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emergectl.analysis.breaks import Break, Interval
from emergectl.analysis.curves import Curve
from emergectl.analysis.verdict import Finding


@dataclass(frozen=True)
class Lag:
    """How much later `second` breaks than `first`: in steps and as a ratio, 95% intervals.

    `p_first`: the probability that `first` is indeed first.
    """

    first: Curve
    second: Curve
    steps: Interval
    ratio: Interval
    p_first: float

    @property
    def sentence(self) -> str:
        """For a person: who moves first, and by how much."""
        s = self.steps
        if self.p_first < 0.95:
            return f"{self.first.name} and {self.second.name}: which is first is not shown"
        return (
            f"{self.second.name} follows {self.first.name} after {s.value:,.0f} steps "
            f"({s.low:,.0f} to {s.high:,.0f})"
        )


def order_of_breaks(findings: Sequence[Finding], *, alpha: float = 0.05) -> list[Finding]:
    """The findings with a break (adjusted p ≤ alpha), earliest first."""
    broken = [f for f in findings if f.break_ is not None and f.q_break <= alpha]
    return sorted(broken, key=lambda f: _position(f))


def lag(first: Finding, second: Finding, rng: np.random.Generator) -> Lag:
    """The lag from one break to another; turned about where the second is the earlier.

    Raises ValueError where a finding has no break to place, or the axes differ.
    """
    if first.break_ is None or second.break_ is None:
        missing = first if first.break_ is None else second
        raise ValueError(f"{missing.curve.name} has no break: {missing.reason}")
    if first.curve.axis != second.curve.axis:
        raise ValueError(f"one is over {first.curve.axis}, the other over {second.curve.axis}")
    if _position(second) < _position(first):
        first, second = second, first
    a, b = (_places(f.break_, rng) for f in (first, second))
    low, middle, high = np.quantile(b - a, [0.025, 0.5, 0.975])
    less, half, more = np.quantile(b / a, [0.025, 0.5, 0.975])
    return Lag(
        first=first.curve,
        second=second.curve,
        steps=Interval(float(middle), float(low), float(high)),
        ratio=Interval(float(half), float(less), float(more)),
        p_first=float((b > a).mean()),
    )


def lags(
    findings: Sequence[Finding], rng: np.random.Generator, *, alpha: float = 0.05
) -> list[Lag]:
    """The lag from each break to the next."""
    order = order_of_breaks(findings, alpha=alpha)
    return [lag(order[i], order[i + 1], rng) for i in range(len(order) - 1)]


def _position(finding: Finding) -> float:
    return finding.break_.position.value if finding.break_ else np.inf


def _places(break_: Break | None, rng: np.random.Generator) -> np.ndarray:
    assert break_ is not None
    return 10 ** rng.permutation(break_.log_positions)
