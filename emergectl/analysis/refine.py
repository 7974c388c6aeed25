"""The smooth family's grid, made finer where a curve needs it.

With thousands of items a rung a coarse grid misses the best smooth curve by many times the noise,
and what it misses would be taken for evidence of a break. So the best member of each kind is found
by zooming in, and boxes of nodes are laid about it, each half the size of the last: wherever within
them the best fit of a bootstrap sample lies, a node is near, as near as it is far from the middle.
"""

from __future__ import annotations

import numpy as np

from emergectl.analysis.curve_families import (
    SMOOTH_DECADES,
    SMOOTH_KINDS,
    SMOOTH_POSITIONS,
    SMOOTH_WIDTHS,
    WIDEST,
    Grid,
    explained,
    project,
    smooth_grid,
    smooth_rise,
)
from emergectl.analysis.curves import Floats

ZOOMS, BOXES, TICKS = 10, 7, np.linspace(-1, 1, 7)
SHRINK = 0.45
_ACROSS, _ALONG = (axis.ravel() for axis in np.meshgrid(TICKS, TICKS, indexing="ij"))


def refined_smooth_grid(
    log_x: Floats, y: Floats, weights: Floats, *, smooth_decades: float = SMOOTH_DECADES
) -> Grid:
    """The smooth family, finer about the best fits of y [rungs] under weights [rungs]."""
    coarse = smooth_grid(log_x, smooth_decades=smooth_decades)
    gained = explained(project(coarse, weights), y)
    per_kind = SMOOTH_WIDTHS * SMOOTH_POSITIONS
    shapes, positions, widths = [], [], []
    for kind in range(SMOOTH_KINDS):
        node = kind * per_kind + int(gained[kind * per_kind : (kind + 1) * per_kind].argmax())
        middle = _zoom(kind, log_x, y, weights, coarse, node, smooth_decades)
        for level in range(BOXES):
            position, width = _box(log_x, *middle, smooth_decades, 0.5**level)
            shapes.append(smooth_rise(kind, log_x, position, width))
            positions.append(position)
            widths.append(width)
    return Grid(
        shapes=np.concatenate([coarse.shapes, *shapes]),
        position=np.concatenate([coarse.position, *positions]),
        width=np.concatenate([coarse.width, *widths]),
        regular=coarse.regular,
    )


def _zoom(
    kind: int,
    log_x: Floats,
    y: Floats,
    weights: Floats,
    coarse: Grid,
    node: int,
    smooth_decades: float,
) -> tuple[float, float]:
    """(position, width) of the best member of a kind near a node of the coarse grid."""
    at, wide = float(coarse.position[node]), float(coarse.width[node])
    size = 1.0
    for _ in range(ZOOMS):
        position, width = _box(log_x, at, wide, smooth_decades, size)
        shapes = smooth_rise(kind, log_x, position, width)
        box = Grid(shapes, position, width, regular=(1, 1, len(position)))
        best = int(explained(project(box, weights), y).argmax())
        at, wide = float(position[best]), float(width[best])
        size *= SHRINK
    return at, wide


def _box(
    log_x: Floats, position: float, width: float, smooth_decades: float, size: float
) -> tuple[Floats, Floats]:
    """(positions, widths) [nodes] about a middle; size 1 reaches the coarse grid's neighbours."""
    span = float(log_x[-1] - log_x[0])
    widest = WIDEST * max(span, smooth_decades)
    ratio = np.log(widest / smooth_decades) / (SMOOTH_WIDTHS - 1)
    widths = np.clip(width * np.exp(size * ratio * _ACROSS), smooth_decades, widest)
    step = (span + 2 * width) / (SMOOTH_POSITIONS - 1)
    positions = position + size * step * _ALONG
    return np.clip(positions, log_x[0] - 1.5 * widths, log_x[-1] + 1.5 * widths), widths
