"""Key paths that lie inside one another: `optimizer` and `optimizer.lr`.

A value that is a mapping sets a whole section. What else is set inside that section joins it, in
whatever order the file has them; only where both set the very same field does one of them have to
go. What a trial has at a key path is read from its resolved experiment, so that nothing is told of
it but what was run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

ABSENT = object()
"""what stands where nothing is"""


def steps_of(path: str) -> tuple[str, ...]:
    """A key path in steps. One source stands for a list of one, so `data.train.0.x` is
    `data.train.x`."""
    return tuple(step for step in path.split(".") if step != "0")


def contains(outer: str, inner: str) -> bool:
    """Whether a key path is another, or the section that it lies in."""
    steps = steps_of(outer)
    return steps_of(inner)[: len(steps)] == steps


def found_in(value: Any, steps: Sequence[str]) -> Any:
    """What a value has at some steps into it; ABSENT where there is nothing.

    A list of one stands for what it holds, unless a number is asked for.
    """
    for number, step in enumerate(steps):
        if isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else ABSENT
        elif isinstance(value, list) and len(value) == 1:
            return found_in(value[0], steps[number:])
        elif isinstance(value, Mapping):
            value = value.get(step, ABSENT)
        else:
            return ABSENT
    return value


def set_at(point: Mapping[str, Any], path: str) -> Any:
    """What a point (key path → value) sets at a key path, be it inside a section; else ABSENT."""
    found = ABSENT
    for key in outermost_first(point):
        if contains(key, path):
            inside = found_in(point[key], steps_of(path)[len(steps_of(key)) :])
            found = found if inside is ABSENT else inside
    return found


def outermost_first(paths: Mapping[str, Any]) -> list[str]:
    """Key paths in the order in which they are to be set: a section before what lies in it."""
    return sorted(paths, key=lambda path: len(steps_of(path)))


def clashes(axes: Sequence[tuple[str, str, Sequence[Any]]]) -> Iterator[str]:
    """What is set twice by axes that go together, in words: (part of the file, key path, values).

    No values: the part sets something there that cannot be a section.
    """
    for first, second in combinations(axes, 2):
        if steps_of(first[1]) == steps_of(second[1]):
            yield f"`{second[1]}` is set by `{first[0]}` and by `{second[0]}`"
        elif contains(first[1], second[1]):
            yield from _clash(first, second)
        elif contains(second[1], first[1]):
            yield from _clash(second, first)


def _clash(outer: tuple[str, str, Sequence[Any]], inner: tuple[str, str, Any]) -> Iterator[str]:
    rest = steps_of(inner[1])[len(steps_of(outer[1])) :]
    within = f"`{outer[1]}` in `{outer[0]}`, and `{inner[1]}` in `{inner[0]}`"
    for value in outer[2] or [None]:
        if not isinstance(value, Mapping | list):
            yield f"{within}: the first contains the second, and {value!r} leaves no room for it"
            return
        if _reaches(value, rest):
            yield f"{within}: both set `{inner[1]}`: leave it out of one"
            return


def _reaches(value: Any, steps: Sequence[str]) -> bool:
    """Whether a value sets something at some steps into it, or on the way there no section."""
    for number in range(1, len(steps) + 1):
        found = found_in(value, steps[:number])
        if found is ABSENT:
            return False
        if not isinstance(found, Mapping | list):
            return True
    return True


def leaves(path: str, value: Any) -> Iterator[str]:
    """The key paths that a value sets: its own, or those of the section that it is."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(f"{path}.{key}", item)
    else:
        yield path


def resolved_values(plain: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """What a resolved experiment, as plain data, has where a point sets something, leaf by leaf.

    Where resolving has made a file of a name whole, or read it, the name stands as it was written.
    """
    found: dict[str, Any] = {}
    for key in outermost_first(point):
        for path in leaves(key, point[key]):
            written = found_in(point[key], steps_of(path)[len(steps_of(key)) :])
            found[path] = _as_told(written, found_in(plain, steps_of(path)))
    order = [path for key in point for path in found if contains(key, path)]
    return {path: found[path] for path in dict.fromkeys(order)}


def innermost(paths: Iterable[str]) -> list[str]:
    """Key paths without the sections that others of them lie in, each once."""
    kept = list(dict.fromkeys(paths))
    return [p for p in kept if not any(p != other and contains(p, other) for other in kept)]


def _as_told(written: Any, resolved: Any) -> Any:
    if isinstance(resolved, list) and len(resolved) == 1 and not isinstance(written, list):
        resolved = resolved[0]
    if resolved is ABSENT:
        return None
    if isinstance(resolved, Mapping) and not isinstance(written, Mapping):
        return None if written is ABSENT else written  # The short form of a section.
    if isinstance(written, str) and isinstance(resolved, str) and _names_file(written, resolved):
        return written
    return resolved


def _names_file(written: str, resolved: str) -> bool:
    """Whether a text is a file's name that was made whole, or whose file was read."""
    same_end = Path(resolved).is_absolute() and Path(resolved).name == Path(written).name
    return same_end or Path(written).suffix in (".yaml", ".yml", ".json")
