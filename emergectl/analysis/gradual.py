"""The gradual curves that are asked what comes next: lines, power laws, rises of every width.

A curve is floor + height · rise. Rises are of many kinds (`RISES`: symmetric and not, with corners
and without, with heavy tails), of every width and at every place, also beyond what is asked for;
from the smallest scale on, power laws to a ceiling, growing powers, lines, and lines that bend (as
the logarithm of one does). A rise that has not passed yet is *gradual*, at least as wide as the
convention of sharpness; a narrower one is in the family where it lies below the last rung.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from emergectl.analysis.curve_families import (
    GOMPERTZ_WIDTH,
    LOGISTIC_WIDTH,
    gompertz,
    logistic,
)
from emergectl.analysis.curves import Floats

WIDTHS, PER_WIDTH = 12, 20
"""so many widths; positions are apart by such a part of each"""
NARROW = (0.1, 0.25, 0.5)
"""shares of the convention: widths of rises that have passed"""
SLOWEST = 5.0
"""the slowest power law is tenfold in so many times all decades, seen and asked for"""
PARTS = 3
"""a cell is cut in so many, each way"""


def _logistic(z: Floats) -> Floats:
    return logistic(LOGISTIC_WIDTH * z)


def _ramp(z: Floats) -> Floats:
    return np.clip(0.5 + 0.8 * z, 0.0, 1.0)


def _gompertz(z: Floats) -> Floats:
    return gompertz(GOMPERTZ_WIDTH * z - np.log(np.log(2)))


def _arctan(z: Floats) -> Floats:
    return 0.5 + np.arctan(2 * np.tan(0.4 * np.pi) * z) / np.pi


def _threshold(z: Floats) -> Floats:
    """Nothing, then errors that fall as a power of the scale."""
    return -np.expm1(-np.maximum(np.log(9) * z + np.log(2), 0.0))


def _square(z: Floats) -> Floats:
    """Nothing, then ever faster up to the top."""
    return np.clip((np.sqrt(0.9) - np.sqrt(0.1)) * z + np.sqrt(0.5), 0.0, 1.0) ** 2


def _mirrored(rise: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    return lambda z: 1 - rise(-z)


RISES: tuple[Callable[[Floats], Floats], ...] = (
    *(_logistic, _ramp, _arctan),
    *(_gompertz, _mirrored(_gompertz)),
    *(_threshold, _mirrored(_threshold)),
    *(_square, _mirrored(_square)),
)
"""rises of z = (place − position) / width that pass one half at z = 0 and take 1 from 10 to 90
percent"""
APPROACH, GROWTH, BEND, LINE = range(len(RISES), len(RISES) + 4)
"""kinds beside them"""


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
        lines, bent or not, and power laws to a ceiling begin at `start`."""
        rises = np.empty((len(self.kind), len(t)))
        for kind in range(LINE + 1):
            mine = self.kind == kind
            width = self.width[mine, None]
            if kind < len(RISES):
                rises[mine] = RISES[kind]((t - self.position[mine, None]) / width)
            elif kind == APPROACH:
                rises[mine] = -np.expm1(-np.log(10) * (t - start) / width)
            elif kind == GROWTH:
                rises[mine] = 10 ** ((t - end) / width)
            elif kind == BEND:
                rises[mine] = np.log1p((t - start) / width)
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
    passed = [
        _rises(start, max(start, last - share * gradual / 2), share * gradual, np.log(2))
        for share in NARROW
    ]
    powers = np.stack([0 * slow, slow, 0 * slow, np.full_like(slow, np.log(slow[1] / slow[0]))])
    line = np.array([[0.0], [1.0], [0.0], [0.0]])
    # Between two rungs all narrow rises are alike, so that one kind of them is enough.
    wide = [np.hstack(rises)] * (len(RISES) - 1)
    kinds = [np.hstack([*rises, *passed]), *wide, powers, powers, powers, line]
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
