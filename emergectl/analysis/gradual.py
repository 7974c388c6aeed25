"""The gradual curves that are asked what comes next: lines, power laws, rises of every width.

A curve is floor + height · rise. Rises are of four kinds (`breaks.SHAPES`), of every width and at
every place, also beyond what is asked for; power laws to a ceiling and growing ones; and lines. One
that has not passed yet is *gradual*, at least as wide as the convention of sharpness; narrower ones
are in the family where they lie below the last rung.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.breaks import SHAPES
from emergectl.analysis.curves import Floats

WIDTHS, PER_WIDTH = 12, 24
"""so many widths; positions are apart by such a part of each"""
NARROW = (0.1, 0.25, 0.5)
"""shares of the convention: widths of rises that have passed"""
APPROACH, GROWTH, LINE = range(len(SHAPES), len(SHAPES) + 3)
"""kinds beside those of `SHAPES`"""
SLOWEST = 5.0
"""the slowest power law is tenfold in so many times all decades, seen and asked for"""
PARTS = 3
"""a cell is cut in so many, each way"""


@dataclass(frozen=True)
class Cells:
    """Rises, each the middle of a cell: kind, position, width, the cell's extent in positions and
    in (log) widths, and its share of its kind: [cells] each."""

    kind: Floats
    position: Floats
    width: Floats
    length: Floats
    ratio: Floats
    share: Floats

    def rises(self, t: Floats, start: float, end: float) -> Floats:
        """What has risen at places t [points]: [cells, points]. Growth and line reach 1 at `end`;
        line and power law to a ceiling begin at `start`."""
        rises = np.empty((len(self.kind), len(t)))
        for kind in range(LINE + 1):
            mine = self.kind == kind
            width = self.width[mine, None]
            if kind < len(SHAPES):
                rises[mine] = SHAPES[kind]((t - self.position[mine, None]) / width)
            elif kind == APPROACH:
                rises[mine] = -np.expm1(-np.log(10) * (t - start) / width)
            elif kind == GROWTH:
                rises[mine] = 10 ** ((t - end) / width)
            else:
                rises[mine] = (t - start) / (end - start)
        return rises

    def take(self, index: NDArray[np.int64]) -> Cells:
        """Some of the cells."""
        return Cells(*(getattr(self, f.name)[index] for f in fields(self)))

    def cut(self) -> Cells:
        """Each in `PARTS` by `PARTS`."""
        steps = (np.arange(PARTS) - (PARTS - 1) / 2) / PARTS
        along, across = (np.tile(v.ravel(), len(self.kind)) for v in np.meshgrid(steps, steps))
        old = self.take(np.repeat(np.arange(len(self.kind)), PARTS**2))
        return Cells(
            old.kind,
            old.position + along * old.length,
            old.width * np.exp(across * old.ratio),
            old.length / PARTS,
            old.ratio / PARTS,
            old.share / PARTS**2,
        )


def gradual_curves(start: float, last: float, end: float, gradual: float) -> Cells:
    """All of them over rungs from `start` to `last` and on to `end`; `gradual`: the least width of
    a rise that is yet to pass. All in one unit."""
    span = end - start
    # The least width is an end of the family, beyond which no cell may reach.
    edges = np.geomspace(gradual, 4 * max(span, gradual), WIDTHS)
    ratio = float(np.log(edges[1] / edges[0]))
    middles = edges[:-1] * np.exp(ratio / 2)
    slow = np.geomspace(gradual / 2, max(SLOWEST * span, gradual), 3 * WIDTHS)
    ends = start - span / 2, end + span / 2
    rises = [_rises(*ends, gradual, 0.0), *(_rises(*ends, width, ratio) for width in middles)]
    for share in NARROW:
        width = share * gradual
        rises.append(_rises(start, max(start, last - width / 2), width, np.log(2)))
    powers = np.stack([0 * slow, slow, 0 * slow, np.full_like(slow, np.log(slow[1] / slow[0]))])
    line = np.array([[0.0], [1.0], [0.0], [0.0]])
    kinds = [*([np.hstack(rises)] * len(SHAPES)), powers, powers, line]
    each = np.hstack(kinds)
    counts = [own.shape[1] for own in kinds]
    kind = np.repeat(np.arange(len(kinds), dtype=float), counts)
    position, width, length, ratio = each
    return Cells(kind, position, width, length, ratio, np.repeat(1 / np.array(counts), counts))


def _rises(low: float, high: float, width: float, ratio: float) -> Floats:
    """One width at places from low to high: (position, width, length, ratio) [4, cells]."""
    count = int(np.ceil((high - low) / width * PER_WIDTH)) + 1
    position = np.linspace(low, high, count)
    length = (high - low) / max(count - 1, 1)
    return np.stack([position, *(np.full(count, each) for each in (width, length, ratio))])
