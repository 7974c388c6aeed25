"""Did the metric make the rise sharp? The third claim of a verdict.

Exact match of L tokens is p^L where p is the chance of one right token: a gradual p gives a curve
that stays at zero for long and then rises (Schaeffer et al. 2023). So a sharp rise of a
discontinuous metric is an ability's own only if a continuous metric of the same outputs is shown to
rise sharply too, by the same test; it is the metric's if the continuous one is shown to rise
gradually; and where neither is shown, that is what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from emergectl.analysis.curves import Curve
from emergectl.analysis.evidence import Evidence
from emergectl.analysis.metric_order import rank
from emergectl.analysis.numbers import p_equals


@dataclass(frozen=True)
class MetricClaim:
    """Whether the continuous metric `partner` of the same outputs rises sharply too.

    `holds`: shown to (True), shown not to (False), neither (None). `p`: of its rise being as long
    as the convention or longer (None without a partner). `partner` is empty where none was
    measured, or the metric is itself continuous (then it holds by itself). `p_gradual`: of its rise
    being narrow, where it is shown not to be.
    """

    holds: bool | None
    partner: str
    p: float | None
    sentence: str
    p_gradual: float | None = None


def beside(curve: Curve, same_outputs: Iterable[Curve]) -> Curve | None:
    """The continuous metric of the same outputs to set beside a discontinuous one, the first by
    `rank`; None without."""
    if curve.what.kind != "discontinuous":
        return None
    found = [other for other in same_outputs if other.what.kind == "continuous"]
    return min(found, key=lambda other: rank(other.metric, other.what), default=None)


def claim_of_metric(e: Evidence, same: Sequence[Evidence], alpha: float) -> MetricClaim:
    """The claim of one curve, from the evidence of all metrics of its outputs."""
    if e.curve.what.kind == "continuous":
        return MetricClaim(True, "", None, "the metric is itself continuous")
    partner = beside(e.curve, [other.curve for other in same])
    if partner is None:
        return MetricClaim(None, "", None, "no continuous metric of the same outputs was measured")
    other = next(each for each in same if each.curve is partner)
    name = partner.metric
    if other.reason:
        return MetricClaim(None, name, 1.0, f"its continuous metric {name}: {other.reason}")
    if other.p_sharp <= alpha:
        said = f"{name}, continuous, rises as sharply ({p_equals(other.p_sharp)})"
        return MetricClaim(True, name, other.p_sharp, said)
    if other.p_gradual <= alpha:
        said = (
            f"{name} of the same outputs, continuous, rises gradually ({p_equals(other.p_gradual)})"
        )
        return MetricClaim(False, name, other.p_sharp, said, other.p_gradual)
    said = f"whether {name}, continuous, rises as sharply is not shown ({p_equals(other.p_sharp)})"
    return MetricClaim(None, name, other.p_sharp, said)
