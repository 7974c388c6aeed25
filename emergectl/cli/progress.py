"""What a display says, apart from where it says it: speed, time left, small charts, short numbers.

Time left is reckoned from the last minute, not from the beginning: the first step compiles and
warms caches, and a neighbour on the machine may come or go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

WINDOW_SECONDS = 60.0
BLOCKS = "▁▂▃▄▅▆▇█"


def format_duration(seconds: float) -> str:
    """`0:07`, `12:30`, `3:05:00`, `2d 3:05`."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24}:{minute:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_count(number: float) -> str:
    """Three digits and a letter: `812`, `27.6k`, `124M`, `1.56T`; exact below a thousand."""
    if not math.isfinite(number):
        return str(number)
    for power, letter in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        scaled = number / 10**power
        if abs(scaled) >= 0.9995:
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f}{letter}"
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.1f}"


def format_value(value: float) -> str:
    """A measured number, short and of steady width: `3.214`, `0.051`, `1.2e-05`, `nan`."""
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.1e}"
    return f"{value:.3f}"


class Pace:
    """Steps a second over the last minute.

    The first record only starts the clock, so the first step's compilation is never counted.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def add(self, seconds: float, step: float) -> None:
        """The run stood at `step` at the (monotonic) time `seconds`."""
        points = self._points
        # Two points a second suffice, however fast the steps are; the newest is always kept.
        if len(points) >= 2 and seconds - points[-2][0] < 0.5:
            points.pop()
        points.append((seconds, step))
        while len(points) > 2 and seconds - points[0][0] > WINDOW_SECONDS:
            points.popleft()

    def seconds_to(self, step: float, *, now: float) -> float | None:
        """Seconds from `now` until `step` is reached; None while the speed is not known."""
        if len(self._points) < 2:
            return None
        (first_seconds, first_step), (last_seconds, last_step) = self._points[0], self._points[-1]
        if last_step <= first_step:
            return None
        seconds_per_step = (last_seconds - first_seconds) / (last_step - first_step)
        return max(0.0, (step - last_step) * seconds_per_step - (now - last_seconds))


class History:
    """The course of one metric over the steps, in bounded memory.

    Each point is the mean of `_each` measurements. When there are too many points, neighbours are
    merged and `_each` doubles, so that old and new stay equally fine.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._points: list[tuple[float, float]] = []
        self._each = 1
        self._pending: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        """`value` was measured at `step`; what is not finite cannot be drawn and is left out."""
        if not math.isfinite(value):
            return
        self._pending.append((step, value))
        if len(self._pending) < self._each:
            return
        self._points.append(_mean_point(self._pending))
        self._pending = []
        if len(self._points) >= self._capacity:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_mean_point(pair) for pair in pairs]
            self._each *= 2

    def sparkline(self, width: int, *, first_step: float, last_step: float, as_rate: bool) -> str:
        """`width` blocks, each an equal share of the steps from `first_step` to `last_step`.

        A share without a measurement repeats the one before it, so that metrics measured at
        different steps stand below one another in time. `as_rate` draws on a scale of 0 to 1;
        otherwise the scale is from the lowest to the highest value.
        """
        columns = self._columns(width, first_step, last_step)
        known = [c for c in columns if c is not None]
        if not known:
            return ""
        low, high = (0.0, 1.0) if as_rate else (min(known), max(known))
        span, top = (high - low) or 1.0, len(BLOCKS) - 1
        return "".join(
            " " if c is None else BLOCKS[round(top * min(1, max(0, (c - low) / span)))]
            for c in columns
        )

    def is_rate(self) -> bool:
        """Whether every value lies between 0 and 1, so that 0 to 1 is the scale to draw on."""
        return all(0 <= value <= 1 for _, value in self._points)

    def _columns(self, width: int, first_step: float, last_step: float) -> list[float | None]:
        shares: list[list[float]] = [[] for _ in range(width)]
        steps_per_column = max(last_step - first_step, 1) / width
        for step, value in [*self._points, *self._pending]:
            column = math.ceil((step - first_step) / steps_per_column) - 1
            shares[min(width - 1, max(0, column))].append(value)
        columns: list[float | None] = []
        for share in shares:
            before = columns[-1] if columns else None
            columns.append(sum(share) / len(share) if share else before)
        return columns


def _mean_point(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    steps, values = zip(*points, strict=True)
    return sum(steps) / len(points), sum(values) / len(points)
