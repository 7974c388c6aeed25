"""`key.path=value` on the command line, put into a document that was read from YAML.

The value is read by the reader of the file itself, so `lr=3e-4` is a number and `seed=no` is text
in both places, and the checks that follow do not know the difference: an error in a value that an
override set names the override where it would name file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emergectl.config.reader import Document, Location, Node, as_index, parse_yaml, printable
from emergectl.errors import RequestError

_MAX_SHOWN = 100


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with each `key.path=value` set in turn; missing mappings are made.

    Items of a list go by number (`data.train.0.path=…`); the number after the last one adds an
    item. Raises RequestError naming the override.
    """
    for text in overrides:
        key_path, value, place = split_override(text)
        document = set_value(document, key_path.split("."), read_value(value, place), place)
    return document


def split_override(text: str) -> tuple[str, str, str]:
    """Key path, value and place (the override, as errors name it) of `key.path=value`."""
    shown = printable(text)
    place = f"override `{shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + '…'}`"
    key_path, equals, value = text.partition("=")
    if not equals or not all(key_path.split(".")):
        raise RequestError(f"{place}: write it as key.path=value, such as optimizer.lr=3e-4")
    return key_path, value, place


def set_value(document: Document, keys: Sequence[str], value: Node, place: str) -> Document:
    """The document with `value` at a key path; errors about it will name `place`."""
    return Document(document.name, _with(document.root, keys, placed(value, place), place))


def read_value(text: str, place: str) -> Node:
    """The value of an override, every part of it placed at the override."""
    if not text.strip():
        return Node(None)
    try:
        return placed(parse_yaml(text, name=place).root, place)
    except RequestError as error:
        raise RequestError(str(error).replace(f"{place}:1: ", f"{place}: ", 1)) from None


def node_of(value: Any) -> Node:
    """Plain data as a node, its parts without a place of their own."""
    if isinstance(value, dict):
        entries = {key: (0, node_of(item)) for key, item in value.items()}
        return Node(dict[str, tuple[Location, Node]](entries))
    return Node([(0, node_of(item)) for item in value] if isinstance(value, list) else value)


def placed(node: Node, place: Location) -> Node:
    """The node, every part of it placed there."""
    if isinstance(node.value, dict):
        return Node({key: (place, placed(n, place)) for key, (_, n) in node.value.items()})
    if isinstance(node.value, list):
        return Node([(place, placed(n, place)) for _, n in node.value])
    return node


def _with(node: Node, keys: Sequence[str], new: Node, place: str) -> Node:
    """The node with `new` at the end of the key path."""
    if not keys:
        return new
    key, rest = keys[0], keys[1:]
    value = node.value
    if isinstance(value, list):
        number = as_index(key)
        if number is None or number > len(value):
            raise RequestError(
                f"{place}: `{key}` is not the number of an item: the list there has {len(value)}, "
                "counted from 0"
            )
        old = value[number][1] if number < len(value) else Node(None)
        return Node([*value[:number], (place, _with(old, rest, new, place)), *value[number + 1 :]])
    if isinstance(value, dict):
        if key == "0" and rest and key not in value:  # one source stands for a list of one
            return _with(node, rest, new, place)
        old = value[key][1] if key in value else Node(None)
        return Node({**value, key: (place, _with(old, rest, new, place))})
    if value is None:
        return _with(Node([] if key == "0" else {}), keys, new, place)
    raise RequestError(f"{place}: there is no `{key}` inside the plain value {value!r}")
