"""Frozen dataclasses to plain data (what JSON can say) and back, checked field by field.

A field's key is its name without a closing underscore (`break_` → `break`); fields marked
`INTERNAL` are left out, and come back as their defaults. Numbers that are not finite are None.
"""

from __future__ import annotations

import dataclasses
import math
import types
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from emergectl.errors import DataError

INTERNAL = {"internal": True}
"""metadata of a field that is for computing with and is not written"""

T = TypeVar("T")


def as_plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, numbers that are not finite as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: as_plain(getattr(value, name)) for name, key in _written(type(value))}
    if isinstance(value, dict):
        return {key: as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def from_plain(kind: type[T], data: Any, where: str) -> T:
    """The inverse of `as_plain` for a dataclass; DataError, naming the field, for anything else."""
    found: T = _read(kind, data, where)
    return found


@cache
def _written(kind: type) -> tuple[tuple[str, str], ...]:
    """(name, key) of the fields that are written."""
    return tuple(
        (field.name, field.name.rstrip("_"))
        for field in dataclasses.fields(kind)
        if not field.metadata.get("internal")
    )


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, data, where)
    if origin in (Union, types.UnionType):
        if data is None and types.NoneType in arguments:
            return None
        return _read(next(a for a in arguments if a is not types.NoneType), data, where)
    if origin is Literal:
        if data not in arguments:
            raise DataError(f"{where}: {data!r}; expected one of {', '.join(map(str, arguments))}")
        return data
    if origin is tuple:
        _check(isinstance(data, list), where, "a list", data)
        if arguments[-1] is ...:
            return tuple(_read(arguments[0], each, f"{where}.{i}") for i, each in enumerate(data))
        _check(len(data) == len(arguments), where, f"{len(arguments)} values", data)
        pairs = zip(arguments, data, strict=True)
        return tuple(_read(each, value, f"{where}.{i}") for i, (each, value) in enumerate(pairs))
    if origin is dict:
        _check(isinstance(data, dict), where, "an object", data)
        return {key: _read(arguments[1], each, f"{where}.{key}") for key, each in data.items()}
    if kind is float:
        _check(
            isinstance(data, int | float) and not isinstance(data, bool), where, "a number", data
        )
        return float(data)
    exact = isinstance(data, kind) and (kind is bool or not isinstance(data, bool))
    _check(exact, where, {int: "a whole number", str: "a text"}.get(kind, kind.__name__), data)
    return data


def _read_fields(kind: Any, data: Any, where: str) -> Any:
    _check(isinstance(data, dict), where, "an object", data)
    keys = {key: name for name, key in _written(kind)}
    for key in data:
        if key not in keys:
            raise DataError(f"{where}: no field {key!r}; there are {', '.join(keys)}")
    missing = next((key for key in keys if key not in data), None)
    if missing is not None:
        raise DataError(f"{where}: {missing} is missing")
    hints = _hints(kind)
    return kind(**{n: _read(hints[n], data[key], f"{where}.{key}") for key, n in keys.items()})


def _check(holds: bool, where: str, expected: str, data: Any) -> None:
    if not holds:
        raise DataError(f"{where}: {str(data)[:60]!r}; expected {expected}")
