"""The size ladder: which depth, width and number of heads a size such as `10m` means.

A size counts non-embedding parameters; any will do (`7k`, `42m`, `1.5b`), the rungs are those that
sweeps climb by custom. One written rule serves every family:

1. A layer holds `c · width²` parameters: c = 12 for attention (4) and MLP (8, gated or not), else
   what the family's entry in `models.families` says. So a shape counts `c · layers · width²`;
   biases, norms and heads come on top (a few per cent at the smallest sizes).
2. The wanted aspect ratio width / layers rises slowly with size: 10 · (N / 10,000)^0.19, that is
   10 at 10k, 24 at 1m, 57 at 100m (GPT-2 has 64) and 129 at 7b (Llama 7B has 128).
3. Heads are 8 wide up to 100k, 16 below 3m, 32 below 30m, 64 below 1b, then 128. The width is a
   whole number of heads, an even number from 100m on.
4. Of all shapes of at least 2 layers that count within 8% of the size, the one whose aspect ratio
   is nearest to the wanted one is taken. Below some 4,000 parameters (of T5's layers, 10,000) the
   narrowest shapes leave gaps.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from emergectl.errors import ExperimentError

RUNGS: dict[str, int] = {
    "10k": 10_000,
    "30k": 30_000,
    "100k": 100_000,
    "300k": 300_000,
    "1m": 1_000_000,
    "3m": 3_000_000,
    "10m": 10_000_000,
    "30m": 30_000_000,
    "100m": 100_000_000,
    "300m": 300_000_000,
    "1b": 1_000_000_000,
    "3b": 3_000_000_000,
    "7b": 7_000_000_000,
}
"""rung → non-embedding parameters aimed at"""

_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([kmb])")
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}
DEFAULT_SIZE = "1m"
"""the rung where an experiment names neither size nor shape"""
MOST_PARAMETERS = 10**12

TOLERANCE = 0.08
"""how far `c · layers · width²` may lie from the size, relatively"""

MIN_LAYERS = 2
"""one layer cannot form an induction head, so no rung has fewer than two"""


@dataclass(frozen=True)
class Shape:
    """What a family's config is derived from; `width` is a multiple of `heads`."""

    layers: int
    width: int
    heads: int


def parameters_of(size: str) -> int:
    """The non-embedding parameters that a size aims at: 42,000,000 of `42m`.

    Raises ExperimentError for what is no size, naming the nearest rung.
    """
    written = _SIZE.fullmatch(size.strip().lower())
    parameters = round(float(written[1]) * _UNITS[written[2]]) if written else 0
    if not 0 < parameters <= MOST_PARAMETERS:
        near = difflib.get_close_matches(size.lower(), RUNGS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ExperimentError(
            "model.size",
            f"expected a number of parameters such as 10k, 7.5m or 1b, got {size!r}{hint}",
        )
    return parameters


def shape_of_size(size: str, *, matrices_per_layer: int = 12) -> Shape:
    """The shape of a size.

    `matrices_per_layer` is c of the rule above: square matrices of the model's width in a layer.
    Raises ExperimentError for what is no size, and for one so small that no shape comes near it.
    """
    parameters = parameters_of(size)
    wanted = math.log(aspect_ratio(parameters))
    shapes = list(_shapes_near(parameters, matrices_per_layer))
    if not shapes:
        raise ExperimentError("model.size", _too_small(size, parameters, matrices_per_layer))
    return min(shapes, key=lambda shape: abs(math.log(shape.width / shape.layers) - wanted))


def _too_small(size: str, parameters: int, matrices_per_layer: int) -> str:
    """What to say of a size between the counts of the narrowest shapes."""
    for larger in range(parameters + 1, 100 * parameters + 10_000, 10):
        if any(_shapes_near(larger, matrices_per_layer)):
            return f"no shape counts within 8% of {size}; the next larger size is {larger / 1e3:g}k"
    return f"no shape counts within 8% of {size}"


def aspect_ratio(parameters: int) -> float:
    """The wanted width / layers for a number of non-embedding parameters."""
    return 10 * (parameters / 10_000) ** 0.19


def head_width(parameters: int) -> int:
    """The width of one attention head for a number of non-embedding parameters."""
    for below, width in ((100_001, 8), (3_000_000, 16), (30_000_000, 32), (1_000_000_000, 64)):
        if parameters < below:
            return width
    return 128


def shape_of_width(width: int, *, layers: int) -> Shape:
    """The shape for a width that the experiment gives itself: heads as wide as the rule has them.

    A width that no rule's head divides gets the widest head below that does.
    """
    wanted = head_width(12 * layers * width**2)
    head = max(size for size in range(1, min(wanted, width) + 1) if width % size == 0)
    return Shape(layers=layers, width=width, heads=width // head)


def _shapes_near(parameters: int, matrices_per_layer: int) -> Iterator[Shape]:
    """Every shape whose count lies within the tolerance."""
    head = head_width(parameters)
    step = 2 * head if parameters >= RUNGS["100m"] else head
    widest = math.isqrt(int(parameters * (1 + TOLERANCE)) // (matrices_per_layer * MIN_LAYERS))
    for width in range(step, widest + 1, step):
        per_layer = matrices_per_layer * width**2
        fewest = math.ceil(parameters * (1 - TOLERANCE) / per_layer)
        most = math.floor(parameters * (1 + TOLERANCE) / per_layer)
        for layers in range(max(fewest, MIN_LAYERS), most + 1):
            yield Shape(layers=layers, width=width, heads=width // head)
