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
from emergectl.analysis.verdict import Finding

SHOWN_FIRST = 0.95
"""from this probability on it is said which of two is first"""


@dataclass(frozen=True)
class Lag:
    """How much later the ability `second` breaks than `first`, by their names: on the axis and as a
    ratio, with 95% intervals.

    `p_first`: the probability that `first` is indeed first.
    """

    first: str
    second: str
    lag: Interval
    ratio: Interval
    p_first: float
    sentence: str
    """for a person: who moves first, and by how much"""


def order_of_breaks(findings: Sequence[Finding], *, alpha: float = 0.05) -> list[Finding]:
    """The findings with a break (adjusted p ≤ alpha), earliest first."""
    broken = [f for f in findings if f.break_ is not None and f.q_break <= alpha]
    return sorted(broken, key=lambda f: _position(f))


def lag(first: Finding, second: Finding, rng: np.random.Generator) -> Lag:
    """The lag from one break to another; turned about where the second is the earlier.

    Raises ValueError where a finding has no break, or the axes differ.
    """
    if first.break_ is None or second.break_ is None:
        missing = first if first.break_ is None else second
        raise ValueError(f"{missing.curve.name} has no break: {missing.reason}")
    if first.curve.axis != second.curve.axis:
        raise ValueError(f"one is over {first.curve.axis}, the other over {second.curve.axis}")
    if _position(second) < _position(first):
        first, second = second, first
    a, b = (_positions(f.break_, rng) for f in (first, second))
    low, middle, high = np.quantile(b - a, [0.025, 0.5, 0.975])
    less, half, more = np.quantile(b / a, [0.025, 0.5, 0.975])
    p_first, names = float((b > a).mean()), (first.curve.name, second.curve.name)
    unit = "steps" if first.curve.axis == "step" else first.curve.axis
    return Lag(
        first=names[0],
        second=names[1],
        lag=Interval(float(middle), float(low), float(high)),
        ratio=Interval(float(half), float(less), float(more)),
        p_first=p_first,
        sentence=f"{names[1]} follows {names[0]} after {middle:,.0f} {unit} "
        f"({low:,.0f} to {high:,.0f})"
        if p_first >= SHOWN_FIRST
        else f"{names[0]} and {names[1]}: which is first is not shown",
    )


def lags(
    findings: Sequence[Finding], rng: np.random.Generator, *, alpha: float = 0.05
) -> list[Lag]:
    """The lag from each break to the next."""
    order = order_of_breaks(findings, alpha=alpha)
    return [lag(order[i], order[i + 1], rng) for i in range(len(order) - 1)]


def _position(finding: Finding) -> float:
    return finding.break_.position.value if finding.break_ else np.inf


def _positions(break_: Break | None, rng: np.random.Generator) -> np.ndarray:
    assert break_ is not None
    return 10 ** rng.permutation(break_.log_positions)
