"""A number from a cell, as people write it: `0.25`, `25%`, `0,25`, `1,234,567`, `125M`, `50K`."""

from __future__ import annotations

import re
from typing import Any

from emergectl.errors import DataError

EMPTY = frozenset({"", "none", "null", "na", "n/a", "nan", "-", "--", "–", "—", "?"})
COUNTED = frozenset({"params", "tokens", "flops", "step", "n"})
"""columns of counts, where `125M` means 125 million"""
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_WITH_UNIT = re.compile(r"([-+]?[\d.,]+(?:e[-+]?\d+)?)\s*([kmbgt])", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_POINTS = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?")
_DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)


def number(value: Any, key: str, where: str, *, decimal_comma: bool = False) -> float | None:
    """A number from a cell; None where it is empty. Raises DataError for anything else.

    `25%` is 0.25; in columns of counts `125M` is 125 million. A comma is a decimal one in tables
    that have it (`decimal_comma`) and wherever it cannot separate thousands.
    """
    kind = type(value)
    if kind is float or kind is int:
        return float(value)
    if kind is str and not decimal_comma:
        try:
            return float(value)
        except ValueError:
            pass
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().replace("−", "-").replace("\xa0", " ")
    if text.lower() in EMPTY:
        return None
    found = _read(text, key, decimal_comma)
    if found is None:
        raise DataError(f"{where}: {key} is {text!r}; expected a number")
    return found


def _read(text: str, key: str, decimal_comma: bool) -> float | None:
    if text.endswith("%"):
        share = _plain(text[:-1].rstrip(), decimal_comma)
        return None if share is None else share / 100
    unit = _WITH_UNIT.fullmatch(text)
    if unit is not None and key in COUNTED:
        count = _plain(unit[1], decimal_comma)
        return None if count is None else count * _UNITS[unit[2].lower()]
    return _plain(text, decimal_comma)


def _plain(text: str, decimal_comma: bool) -> float | None:
    if "," in text or text.count(".") > 1 or (decimal_comma and "." in text):
        if not decimal_comma and _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        elif _POINTS.fullmatch(text):
            text = text.replace(".", "").replace(",", ".")
        elif _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def comma_in(cell: str) -> str:
    """What a cell tells of commas: `decimal` for `0,25` and `1.234,5`, `either` for `1,172`,
    `point` for `0.25`, where commas can but separate thousands; "" for anything else."""
    text = cell.strip().removesuffix("%").rstrip()
    if "," in text:
        if _THOUSANDS.fullmatch(text):
            return "either" if text.count(",") == 1 and "." not in text else "point"
        return "decimal" if _DECIMAL_COMMA.fullmatch(text) or _POINTS.fullmatch(text) else ""
    return "point" if _DECIMAL_POINT.fullmatch(text) and not _POINTS.fullmatch(text) else ""
