"""Errors of an experiment in words: one line each, with file, line, key, what was expected.

pydantic reports one error per member of a union, with the member's name in the path
(`evaluation.every.constrained-int`). Here the path is walked along the schema, so that it becomes
the key path that the person wrote, the members' errors become one sentence ("expected a whole
number, `log` or a list"), and an unknown key can be set beside the keys that are known there.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from emergectl.config.parts import Part, field_meanings
from emergectl.config.reader import Document, Key, printable
from emergectl.config.schema import Experiment, FileSource, TaskSource
from emergectl.errors import RequestError

MAX_LINES = 20
_MAX_SHOWN = 60

_SOURCE_TAGS: dict[str, type[Part]] = {"file": FileSource, "task": TaskSource}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of at most {max_length}",
}


def explain(
    error: ValidationError, document: Document, root: type[Part] = Experiment
) -> RequestError:
    """All errors of a validation as one RequestError, one line each, in the order of the file.

    `root` is what the whole document is.
    """
    found: dict[tuple[Key, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(key_path(detail["loc"], root), []).append(detail)
    # A member of a union that fits further in tells more than the members that do not fit at all.
    shallower = {path[:end] for path in found for end in range(len(path))}
    deepest = [path for path in found if path not in shallower]
    deepest.sort(key=lambda path: document.line_of(path) or 0)
    shown = deepest[:MAX_LINES]
    lines = [message_at(document, path, _message(path, found[path], root)) for path in shown]
    if len(deepest) > MAX_LINES:
        lines.append(f"and {len(deepest) - MAX_LINES} more errors")
    return RequestError("\n".join(lines))


def message_at(document: Document, path: Sequence[Key], message: str) -> str:
    """`FILE:LINE: key.path: message`, with the key path as it stands in the file."""
    return ": ".join(filter(None, [document.where(path), document.written(path), message]))


def key_path(location: Sequence[Key], root: type[Part] = Experiment) -> tuple[Key, ...]:
    """pydantic's location without the names of unions' members."""
    path: list[Key] = []
    kinds: set[Any] = {root}
    for step in location:
        if isinstance(step, str):
            if step in _SOURCE_TAGS and kinds >= set(_SOURCE_TAGS.values()):
                kinds = {_SOURCE_TAGS[step]}
                continue
            if dict not in kinds and not (part := _part(kinds)):
                continue
            kinds = set() if dict in kinds else _kinds_of_field(part, step)
        path.append(step)
    return tuple(path)


def known_keys(part: type[Part]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written in YAML, with their fields."""
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _described(part: type[Part], key: str) -> FieldInfo | None:
    """The field behind a key, with its description."""
    for name, field in part.model_fields.items():
        if (field.alias or name) == key:
            field.description = field.description or field_meanings(part).get(name)
            return field
    return None


def _part(kinds: set[Any]) -> type[Part] | None:
    parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Part)]
    return parts[0] if len(parts) == 1 else None


def _kinds_of_field(part: type[Part] | None, key: str) -> set[Any]:
    field = known_keys(part).get(key) if part else None
    return set(_kinds(field.annotation)) if field else set()


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a value may have, looking through unions, lists and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, types.UnionType, list, tuple):
        for member in get_args(annotation):
            yield from _kinds(member)
    else:
        yield origin or annotation


def _field_at(path: Sequence[Key], root: type[Part]) -> tuple[type[Part] | None, FieldInfo | None]:
    """The section that a key path ends in, and the field there, if it is known."""
    part: type[Part] | None = root
    field: FieldInfo | None = None
    kinds: set[Any] = {root}
    for key in path:
        if isinstance(key, int):
            continue
        if kinds >= set(_SOURCE_TAGS.values()):
            kinds = {FileSource}  # an unknown key can only be a file source's
        part = _part(kinds)
        field = _described(part, key) if part else None
        kinds = set(_kinds(field.annotation)) if field else set()
    return part, field


def _message(path: Sequence[Key], details: Sequence[ErrorDetails], root: type[Part]) -> str:
    first = details[0]
    part, field = _field_at(path, root)
    if first["type"] == "extra_forbidden" and part is not None:
        return _unknown_key(str(path[-1]), part, root)
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing" and path and isinstance(path[-1], str):
        return f"missing; {_meaning(field)}"
    expected = list(dict.fromkeys(_expected(detail, field) for detail in details))
    wanted = " or ".join(filter(None, [", ".join(expected[:-1]), expected[-1]]))
    return f"expected {wanted}, got {_shown(first['input'])}{_hint(details)}"


def _unknown_key(key: str, part: type[Part], root: type[Part]) -> str:
    known = list(known_keys(part))
    name, colon, value = key.partition(":")
    if colon and name in known:
        return f"YAML wants a space behind the colon: `{name}: {value}`"
    elsewhere = [path for path in _all_keys(root) if path.split(".")[-1] == key]
    if near := elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.6):
        return f"unknown key; did you mean `{near[0]}`?"
    return f"unknown key; known here: {', '.join(known)}"


def _all_keys(part: type[Part], before: str = "") -> Iterator[str]:
    for key, field in known_keys(part).items():
        yield before + key
        if inner := _part(set(_kinds(field.annotation))):
            yield from _all_keys(inner, f"{before}{key}.")


def _meaning(field: FieldInfo | None) -> str:
    if field is None:
        return "give it"
    if inner := _part(set(_kinds(field.annotation))):
        return f"give it, with its keys {', '.join(known_keys(inner))}"
    return f"give it: {field.description}"


def _expected(detail: ErrorDetails, field: FieldInfo | None) -> str:
    kind, facts = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return str(facts["expected"]).replace("'", "`")
    if kind == "string_pattern_mismatch":
        meaning = f" ({field.description})" if field and field.description else ""
        return f"text that fits {facts['pattern']}{meaning}"
    if kind == "missing":  # an item of a pair
        return "one more item"
    if kind not in _EXPECTED:
        return detail["msg"].lower()
    whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in facts.items()}
    return _EXPECTED[kind].format(**whole)


def _shown(value: Any) -> str:
    """The value as a person would name it, in a few words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = printable(value)
        return f"text `{text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + '…'}`"
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = str(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return text[:_MAX_SHOWN]


def _hint(details: Sequence[ErrorDetails]) -> str:
    """What to write instead, where that can be guessed."""
    value = details[0]["input"]
    kinds = {detail["type"] for detail in details}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
        return f"; write {int(value)}" if kinds & {"int_type", "int_from_float"} else ""
    if not isinstance(value, str):
        return ""
    if "bool_type" in kinds and value.lower() in ("yes", "on", "no", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    choices = [
        choice.strip("'")
        for detail in details
        if detail["type"] == "literal_error"
        for choice in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")
    ]
    near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""
