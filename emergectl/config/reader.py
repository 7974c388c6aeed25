"""YAML in, plain data and line numbers out.

YAML 1.2's core schema on PyYAML's parser. PyYAML's own loader reads `1e-4` as text, `no` as False
and `010` as 8, and keeps the last of two equal keys; here `1e-4` is a number, `no` is text, `010`
is ten, and two equal keys are an error that names both lines. The loader is also what makes PyYAML
dangerous: this one builds nothing but text, numbers, true, false, null, lists and mappings, refuses
every tag, and bounds size, depth and the growth of aliases, so that no file can cost more than a
moment. It reads parser events rather than PyYAML's nodes because those are built by recursion in
C, which a million brackets overflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emergectl.errors import RequestError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000  # after aliases are expanded

Key = str | int
Location = int | str  # a line of the file, or an override in words
Scalar = str | int | float | bool | None

# libyaml is in every wheel of PyYAML; the other parser gives the same events, more slowly.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CONSTANTS: dict[str, bool | None] = {"": None, "~": None}
_CONSTANTS |= dict.fromkeys(("null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True)
_CONSTANTS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INDEX = re.compile("[0-9]{1,9}")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# What YAML 1.2 allows in a file, less the C1 bytes that a terminal would obey.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True)
class Node:
    """A value and what stands inside it; each key and each item knows its place."""

    value: Scalar | dict[str, tuple[Location, Node]] | list[tuple[Location, Node]]
    size: int = 1  # nodes in it, aliases expanded

    @property
    def plain(self) -> Any:
        """The value as Python knows it."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, (_, node) in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for _, node in self.value]
        return self.value


@dataclass(frozen=True)
class Document:
    """A YAML file that has been read: plain data that can say where each part came from."""

    name: str
    root: Node

    @property
    def data(self) -> Any:
        """The whole document as plain data, made anew at each call."""
        return self.root.plain

    def line_of(self, path: Sequence[Key]) -> int | None:
        """The line of a key path, or of its nearest ancestor; None if an override set it."""
        place = self.place_of(path)
        return place if isinstance(place, int) else None

    def where(self, path: Sequence[Key]) -> str:
        """`FILE:LINE` of a key path, or the override that set it."""
        place = self.place_of(path)
        return f"{self.name}:{place}" if isinstance(place, int) else place

    def written(self, path: Sequence[Key]) -> str:
        """The dotted key path as the file has it: no number for one source without a list."""
        names: list[str] = []
        node: Node | None = self.root
        for key in path:
            child = child_of(node, key) if node else None
            if not child or child[1] is not node:
                names.append(printable(str(key)))
            node = child[1] if child else None
        return ".".join(names)

    def place_of(self, path: Sequence[Key]) -> Location:
        """The line of a key path, or of its nearest ancestor, or the override that set it."""
        place: Location = 1
        node = self.root
        for key in path:
            child = child_of(node, key)
            if child is None:
                break
            place, node = child
        return place


def child_of(node: Node, key: Key) -> tuple[Location, Node] | None:
    """The entry of a mapping or list; index 0 of a mapping is the mapping: one stands for a list.

    Indexes may be given as text, as they are in `data.train.0.path`.
    """
    value = node.value
    if isinstance(value, dict):
        entry = value.get(str(key))
        if entry is None and str(key) == "0" and value:
            return next(iter(value.values()))[0], node
        return entry
    if isinstance(value, list) and (number := as_index(key)) is not None and number < len(value):
        return value[number]
    return None


def as_index(key: Key) -> int | None:
    """The number of an item that a key stands for, if it does."""
    return int(key) if _INDEX.fullmatch(str(key)) else None


def printable(text: str) -> str:
    """The text on one line, with whatever a terminal would obey written as an escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def read_yaml(path: Path) -> Document:
    """Read a YAML file.

    Raises RequestError `FILE:LINE: reason` for anything that is not one document of plain UTF-8
    YAML of at most 1 MB.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml(raw, name=str(path))


def parse_yaml(raw: bytes | str, *, name: str) -> Document:
    """Read YAML from memory; `name` stands for the file in errors. Raises as `read_yaml` does."""
    if len(raw) > MAX_BYTES:
        raise RequestError(f"{name}: larger than 1 MB, which no experiment is")
    text = raw if isinstance(raw, str) else _decoded(raw, name)
    if forbidden := _FORBIDDEN.search(text):
        line = text.count("\n", 0, forbidden.start()) + 1
        raise RequestError(f"{name}:{line}: the character U+{ord(forbidden[0]):04X} is not text")
    try:
        return Document(name, _Builder(name, yaml.parse(text, Loader=_LOADER)).document())
    except yaml.MarkedYAMLError as error:
        line = _line_of_error(error, text)
        raise RequestError(f"{name}:{line}: {_syntax_reason(error, text, line)}") from None
    except yaml.YAMLError as error:
        raise RequestError(f"{name}: not YAML: {' '.join(str(error).split())}") from None


def looks_like_sweep(document: Document) -> bool:
    """Whether a YAML file is a sweep rather than an experiment: it names one."""
    return isinstance(document.root.value, dict) and "experiment" in document.root.value


def resolve_plain(text: str) -> Scalar:
    """What an unquoted scalar means: null, a boolean, a number, else the text itself.

    Raises ValueError for a number that is not finite: no experiment has a use for one.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if _FLOAT.fullmatch(text):
        if math.isfinite(number := float(text)):
            return number
        raise ValueError("is too large for a number")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("is not a finite number")
    return text


def _decoded(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{name}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x}): save the file as UTF-8"
        ) from None


def _line_of_error(error: yaml.MarkedYAMLError, text: str) -> int:
    """Where the trouble is; for what is never closed, where it was opened."""
    last = text.rstrip().count("\n")
    mark = error.problem_mark
    if mark is None or (mark.line > last and error.context_mark is not None):
        mark = error.context_mark
    return 1 if mark is None else min(mark.line, last) + 1


def _syntax_reason(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """The parser's reason, with the advice that the usual mistakes call for."""
    reason = f"{error.problem or 'not YAML'}" + (f" ({error.context})" if error.context else "")
    written = (text.splitlines() or [""])[line - 1 : line]
    blanks = written[0][: len(written[0]) - len(written[0].lstrip())] if written else ""
    if "\t" in blanks:
        return "a tab in the indentation; YAML is indented by blanks"
    if "mapping values are not allowed" in reason:
        return f"{reason}; put text that holds `: ` in quotes"
    if "alias" in reason or "cannot start any token" in reason:
        return f"{reason}; put text that begins with a sign in quotes"
    return f"not YAML: {reason}"


class _Builder:
    """Builds nodes from parser events, one document, one pass."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.name = name
        self.events = events
        self.anchors: dict[str, Node | None] = {}  # None while the anchored node is being built

    def document(self) -> Node:
        next(self.events)  # the stream's start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise RequestError(f"{self.name}: empty")
        root = self.node(next(self.events), depth=0)
        next(self.events)  # the document's end
        if not isinstance(event := next(self.events), yaml.StreamEndEvent):
            raise self.error(event, "a second document (`---`); one file is one experiment")
        return root

    def node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if depth >= MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag is not None:
            raise self.error(
                event, f"tags are not read (`{printable(event.tag)}`); put text in quotes"
            )
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self.scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(depth)
        else:
            node = self.mapping(depth)
        if node.size > MAX_NODES:
            raise self.error(event, f"more than {MAX_NODES:,} values, aliases expanded")
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def scalar(self, event: Any) -> Scalar:
        if not event.implicit[0]:  # quoted, or a block of text
            return str(event.value)
        try:
            return resolve_plain(event.value)
        except ValueError as error:
            raise self.error(event, f"`{event.value[:40]}` {error}") from None

    def sequence(self, depth: int) -> Node:
        items: list[tuple[Location, Node]] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append((event.start_mark.line + 1, self.node(event, depth + 1)))
        return Node(items, 1 + sum(node.size for _, node in items))

    def mapping(self, depth: int) -> Node:
        entries: dict[str, tuple[Location, Node]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event)
            line = event.start_mark.line + 1
            if key in entries:
                raise self.error(
                    event, f"the key `{printable(key)}` stands already in line {entries[key][0]}"
                )
            entries[key] = (line, self.node(next(self.events), depth + 1))
        return Node(entries, 1 + sum(node.size for _, node in entries.values()))

    def key(self, event: Any) -> str:
        """A key, always as the text that stands there: `no: 1` has the key "no"."""
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise self.error(event, "a key must be plain text")
        if event.implicit[0] and event.value == "<<":
            raise self.error(event, "merge keys (`<<`) are not read; write the keys out")
        if not event.value:
            raise self.error(event, "an empty key")
        if event.anchor is not None:
            self.anchors[event.anchor] = Node(event.value)
        return str(event.value)

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.error(event, f"`*{event.anchor}` names no anchor; put such text in quotes")
        node = self.anchors[event.anchor]
        if node is None:
            raise self.error(event, f"`*{event.anchor}` stands inside what it names")
        return node

    def error(self, event: Any, reason: str) -> RequestError:
        return RequestError(f"{self.name}:{event.start_mark.line + 1}: {reason}")
