"""What would settle an undetermined verdict, and what would overturn any other, in a sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from emergectl.analysis.ratio import FEWEST_RUNGS

if TYPE_CHECKING:
    from emergectl.analysis.verdict import Evidence

MOST_FACTOR = 100
"""more data than this many times what there is settles nothing that anybody will wait for"""

OVERTURNED_BY = {
    "emergent": "a smooth curve through further scales near the break, or scales before it that "
    "prove to be above chance",
    "smooth": "scales in between that are at chance on one side and at full height on the other",
    "flat": "a larger scale above chance, or a continuous metric of the same outputs that rises",
    "undetermined": "",
}


def overturning(verdict: str) -> str:
    """What would overturn a verdict."""
    return OVERTURNED_BY[verdict]


def settling(e: Evidence, *, alpha: float) -> str:
    """What would most likely settle an undetermined verdict."""
    curve = e.curve
    if len(curve.x) < FEWEST_RUNGS:
        return f"{FEWEST_RUNGS - len(curve.x)} more scales at least, better 8 in all"
    if e.reason or e.break_ is None:
        return "another metric of the same outputs, one that varies"
    if curve.chance is None and e.p_smooth <= alpha:
        return "the chance level (--chance)"
    if e.p_smooth <= alpha and (e.before == 0 or e.p_chance > alpha):
        smallest = curve.x[0]
        if e.before < 2:
            return f"smaller scales than {_short(smallest)}, two or three"
        return f"{_more(curve.is_binomial)} at the {e.before} scales before the break"
    low, high = e.break_.position.low, e.break_.position.high
    between = f"scales between {_short(low)} and {_short(high)}"
    if e.p_rise > alpha:
        return f"larger scales than {_short(curve.x[-1])}, or {_more(curve.is_binomial)}"
    if e.statistic > 0 and e.critical / e.statistic <= MOST_FACTOR:
        factor = max(2, math.ceil(1.5 * e.critical / e.statistic))
        return f"about {factor} times as many {_unit(curve.is_binomial)}, or {between}"
    return f"{_more(curve.is_binomial)}, or {between}"


def _more(binomial: bool) -> str:
    return f"more {_unit(binomial)}"


def _unit(binomial: bool) -> str:
    return "items" if binomial else "seeds"


def _short(scale: float) -> str:
    return f"{scale:.3g}"
