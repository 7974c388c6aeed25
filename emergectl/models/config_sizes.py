"""Sizes in a config that no machine could hold, found before anything is made of them.

A number of layers of a thousand million keeps Python busy for hours before the first weight, and
the same of labels fills the memory with names. So each size of a config is weighed by the least
that it alone would take: a row of an embedding for every token, a few objects of Python for every
layer or label. What is taken here is less than what any family takes; how much a whole experiment
needs is another question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

LAYER_BYTES = 30_000
"""the modules of a layer of GPT-2 without its weights, measured with tracemalloc"""
LABEL_BYTES = 150
"""a class in `id2label` and `label2id`"""
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "embedding_size")
_LAYERS = re.compile(r"(num_.*layers|n_layers?|num_layers|.*_layers|num_hidden_groups)")
_TABLES = re.compile(r"(vocab_size|type_vocab_size|n_positions|intermediate_size|n_inner|d_ff)")
_COUNTS = re.compile(r"(num_.*|n_.*|.*_(size|dim|heads|experts|embeddings)|d_.*|dim)")
# Layers at which something changes, and reaches: no memory hangs on them.
_NO_SIZE = re.compile(
    r"(max_window_layers|max_position_embeddings|.*_(token_id|step|steps|window))"
)


def too_large(settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first field whose size alone is beyond this machine, and the sentence that says so.

    `settings`: a config as its file has it, sections included. None where all can be held.
    """
    room = machine_bytes()
    for section in _sections(settings):
        width = min([section[name] for name in _WIDTHS if _is_size(section.get(name))] or [1])
        shared = _is_size(section.get("num_hidden_groups"))
        widths_first = sorted(section, key=lambda name: name not in _WIDTHS)
        for name, value in ((name, section[name]) for name in widths_first):
            if not _is_size(value) or _NO_SIZE.fullmatch(name):
                continue
            least = _least_bytes(name, value, width, shared=shared)
            if least > room:
                return name, (
                    f"{value:,} would take at least {_in_words(least)} of memory, and this "
                    f"machine has {_in_words(room)}"
                )
    return None


def beyond_weights(settings: Mapping[str, Any], *, tensors: int, numbers: int) -> str | None:
    """What a config asks for that weights cannot be, being so few: a sentence, or None.

    `tensors` and `numbers` are how many the weights hold. Heads may be missing from weights, but
    every layer has a tensor of its own (unless layers share them), every token of the vocabulary a
    number, and a model as wide as it says a vector of that width.
    """
    for section in (settings, *(s for s in settings.values() if isinstance(s, dict))):
        shared = "num_hidden_groups" in section
        for name in ("num_hidden_layers", "n_layer", "num_layers"):
            value = section.get(name)
            if _is_size(value) and value > tensors and not shared:
                return f"`{name}` is {value:,}, and the weights hold {tensors:,} tensors in all"
        for name in ("vocab_size", *_WIDTHS):
            value = section.get(name)
            if _is_size(value) and value > numbers:
                return f"`{name}` is {value:,}, and the weights hold {numbers:,} numbers in all"
    return None


def machine_bytes() -> int:
    """Bytes of memory that this machine has, swap included."""
    import psutil

    return int(psutil.virtual_memory().total + psutil.swap_memory().total)


def _sections(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    left: list[Any] = [settings]
    while left:
        section = left.pop()
        yield section
        left.extend(value for value in section.values() if isinstance(value, dict))


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _least_bytes(name: str, value: int, width: int, *, shared: bool) -> int:
    """What a size alone takes in fp32, on a model of this width."""
    if name == "num_labels":
        return value * (LABEL_BYTES + 4 * width)
    if _LAYERS.fullmatch(name):
        return 0 if shared and name == "num_hidden_layers" else value * LAYER_BYTES
    if name in _WIDTHS:
        return 4 * value * value if name != "embedding_size" else 4 * value
    if _TABLES.fullmatch(name):
        return 4 * value * width
    return 4 * value if _COUNTS.fullmatch(name) else 0


def _in_words(number: int) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number //= 1000
    return f"{number:,} PB" if number < 10**6 else "a million PB"
