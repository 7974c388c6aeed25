"""The values of a swept field: lists, ranges such as `0..7`, evenly or logarithmically spaced ones.

What a grid needs is a list, so ranges become lists here, at once, with numbers rounded to six
digits: a trial is known by the hash of its numbers, and 0.0009999999999999998 would be another
trial than 0.001. What a search needs is an interval, which stays one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_VALUES = 10_000
DIGITS = 6

_RANGE = re.compile(r"(-?[0-9]{1,12})\.\.(-?[0-9]{1,12})")
_FORMS = "a list, a range `0..7`, or {log: [LOW, HIGH], points: N}"


@dataclass(frozen=True)
class SearchRange:
    """The numbers that a search may draw: low to high, both included."""

    low: float
    high: float
    log: bool
    whole: bool


def expand_values(written: Any) -> list[Any]:
    """A field's values as a list: from a list, `0..7`, or `{log|linear: [low, high], points: n}`.

    `whole: true` rounds spaced values to whole numbers. Raises ValueError saying what is wrong.
    """
    if isinstance(written, list):
        if not written:
            raise ValueError("an empty list: no trial would be left")
        return written
    if isinstance(written, str) and (ends := _RANGE.fullmatch(written)):
        return _whole_range(int(ends[1]), int(ends[2]))
    if isinstance(written, Mapping):
        points = written.get("points")
        if not isinstance(points, int) or isinstance(points, bool) or points < 1:
            raise ValueError("a spaced range needs `points: N`, how many values it has")
        interval = read_interval({k: v for k, v in written.items() if k != "points"})
        return _spaced(interval, points)
    raise ValueError(f"expected {_FORMS}")


def read_interval(written: Any) -> list[Any] | SearchRange:
    """What a search may draw from: a list of choices, or the interval that is written.

    Intervals are `0..7` (whole numbers) and `{log|linear: [low, high]}` with `whole: true` for
    whole numbers. Raises ValueError saying what is wrong.
    """
    if isinstance(written, list):
        return expand_values(written)
    if isinstance(written, str) and (ends := _RANGE.fullmatch(written)):
        low, high = int(ends[1]), int(ends[2])
        _check_ends(low, high, log=False)
        return SearchRange(low, high, log=False, whole=True)
    if not isinstance(written, Mapping):
        raise ValueError("expected a list of choices, a range `8..64`, or {log: [LOW, HIGH]}")
    kinds = [kind for kind in ("log", "linear") if kind in written]
    unknown = [key for key in written if key not in ("log", "linear", "whole")]
    if len(kinds) != 1 or unknown:
        odd = f"; `{unknown[0]}` is unknown" if unknown else ""
        raise ValueError(f"expected one of `log: [LOW, HIGH]` and `linear: [LOW, HIGH]`{odd}")
    pair = written[kinds[0]]
    if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))):
        raise ValueError(f"`{kinds[0]}` wants two numbers: [LOW, HIGH]")
    if not isinstance(written.get("whole", False), bool):
        raise ValueError("`whole` is true or false")
    low, high = pair
    _check_ends(low, high, log=kinds[0] == "log")
    return SearchRange(low, high, log=kinds[0] == "log", whole=written.get("whole", False))


def check_space(written: Any) -> Any:
    """What is written, if a search can draw from it; ValueError otherwise."""
    read_interval(written)
    return written


def _whole_range(first: int, last: int) -> list[Any]:
    _check_ends(first, last, log=False)
    if last - first >= MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    return list(range(first, last + 1))


def _spaced(interval: list[Any] | SearchRange, points: int) -> list[Any]:
    assert isinstance(interval, SearchRange)
    if points > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    low, high = interval.low, interval.high
    shares = [i / (points - 1) for i in range(points)] if points > 1 else [0.0]
    if interval.log:
        values = [math.exp((1 - s) * math.log(low) + s * math.log(high)) for s in shares]
    else:
        values = [(1 - s) * low + s * high for s in shares]
    if interval.whole:
        return list(dict.fromkeys(round(value) for value in values))
    return [float(f"{value:.{DIGITS}g}") for value in values]


def _check_ends(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"runs from {low} to {high}: the lower end comes first")
    if log and low <= 0:
        raise ValueError("a log range needs ends above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
