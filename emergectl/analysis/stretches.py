"""Long series in stretches: thousands of steps of one run are judged as means over a few dozen.

Neighbouring steps of one run are hardly new evidence: their noise hangs together, and the items are
the same. So a series of more scales than `MOST_SCALES` is cut into that many stretches of equal
length on the log axis, and each run's measurements within one become one, of as many items as one
of them was of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emergectl.analysis.table import Axis, TableRow

MOST_SCALES = 60


def in_stretches(rows: Sequence[TableRow], axis: Axis) -> list[TableRow]:
    """The rows of one ability along training, with at most `MOST_SCALES` different scales.

    Unchanged where there are no more. Each stretch lies at the geometric mean of its scales.
    """
    scales = np.array([float(row.scale(axis) or math.nan) for row in rows])
    if len(np.unique(scales)) <= MOST_SCALES:
        return list(rows)
    log = np.log10(scales)
    share = (log - log.min()) / float(np.ptp(log))
    stretch = np.minimum((share * MOST_SCALES).astype(int), MOST_SCALES - 1)
    middle = np.bincount(stretch, log) / np.maximum(np.bincount(stretch), 1)
    runs: dict[tuple[int, str, str], list[TableRow]] = {}
    for row, number in zip(rows, stretch.tolist(), strict=True):
        runs.setdefault((number, row.model, row.seed), []).append(row)
    return [_mean(own, axis, 10 ** float(middle[number])) for (number, _, _), own in runs.items()]


def _mean(rows: Sequence[TableRow], axis: Axis, scale: float) -> TableRow:
    items = [row.n for row in rows if row.n is not None]
    flops = [row.flops for row in rows if row.flops]
    values = np.array([row.value for row in rows])
    if rows[0].what.scale == "log":
        value = float(10 ** np.log10(values).mean())
    else:
        value = float(values.mean())
    mean = replace(
        rows[-1],
        value=value,
        n=float(np.mean(items)) if len(items) == len(rows) else None,
        flops=10 ** float(np.log10(flops).mean()) if len(flops) == len(rows) else None,
    )
    return replace(mean, **{axis: scale})  # type: ignore[arg-type]
