"""Numbers as one reads them, the same in figures, on the page and in the terminal."""

from __future__ import annotations

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
NONE = "–"


def short(scale: float) -> str:
    """A scale as one says it: 70M, 1.4B, 3×10²¹."""
    if scale >= 1e15:
        power = math.floor(math.log10(scale) + 1e-9)
        head = f"{scale / 10**power:.2g}"
        return f"{'' if head == '1' else head + '×'}10{str(power).translate(SUPERSCRIPTS)}"
    for unit, name in UNITS:
        if scale >= unit and not (name == "k" and scale < 1e4):
            return f"{scale / unit:.3g}{name}"
    return f"{scale:,.0f}" if scale >= 1000 else f"{scale:.3g}"


def format_number(value: float | None, digits: int = 3) -> str:
    """A number as one reads it; a dash where there is none."""
    if value is None or isinstance(value, str):
        return NONE
    if abs(value) >= 1e5:
        return short(value) if value > 0 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value: two digits, and below a ten-thousandth only that."""
    if value is None:
        return NONE
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def p_equals(value: float | None, letter: str = "p") -> str:
    """`p = 0.02` or `p < 0.0001`; empty where there is none."""
    if value is None or math.isnan(value):
        return ""
    shown = p_value(value)
    return f"{letter} {shown}" if shown.startswith("<") else f"{letter} = {shown}"


def span(low: float, high: float, *, scale: bool = False) -> str:
    """`1.2M to 3M`."""
    show = short if scale else format_number
    return f"{show(low)} to {show(high)}"


def several(count: int, thing: str) -> str:
    """`1 run`, `1,200 runs`; abilities too."""
    if count == 1:
        return f"1 {thing}"
    return f"{count:,} {thing[:-1] + 'ies' if thing.endswith('ty') else thing + 's'}"


def decades_of(width: float, unit: str) -> str:
    """`1 decade of training FLOPs`, `0.31 decades of parameters`."""
    return f"{format_number(width, 2)} {'decade' if width == 1 else 'decades'} of {unit}"
