"""The three kinds of vocabulary that are built here: made, and known again in what was loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)

Tokens = np.ndarray[tuple[int], np.dtype[Any]]
_UNK = "<unk>"

# A BPE vocabulary settles long before this much text, and training holds the counts of its words.
BPE_TRAINING_CHARS = 256 * 2**20


_CODE_POINTS = 0x110000


def code_points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


_CHAR_SPLIT = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")


_BYTE_SPLIT = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _specials(names: list[str]) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


def byte_backend(specials: list[str]) -> Tokenizer:
    vocab = {byte_character(byte): byte for byte in range(256)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = _BYTE_SPLIT
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(_specials(specials))
    return backend


def byte_character(byte: int) -> str:
    """The visible character that byte-level vocabularies write for a byte (GPT-2's table)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in visible:
        return chr(byte)
    return chr(0x100 + byte - sum(1 for other in visible if other < byte))


def char_backend(specials: list[str], texts: Iterable[str]) -> Tokenizer:
    seen = np.zeros(_CODE_POINTS, bool)
    for text in texts:
        seen[code_points(text)] = True
    characters = [chr(point) for point in np.flatnonzero(seen)]
    vocab = {token: number for number, token in enumerate([*specials, *characters])}
    backend = Tokenizer(models.WordLevel(vocab=vocab, unk_token=_UNK))
    backend.pre_tokenizer = _CHAR_SPLIT
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(_specials(specials))
    return backend


def bpe_backend(specials: list[str], texts: Iterable[str], vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocab_size, 256 + len(specials)),
        special_tokens=_specials(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_first_chars(texts, BPE_TRAINING_CHARS), trainer)
    return backend


def _first_chars(texts: Iterable[str], budget: int) -> Iterator[str]:
    for text in texts:
        yield text[:budget]
        budget -= len(text)
        if budget <= 0:
            return


def is_byte_layout(layout: dict[str, Any]) -> bool:
    return (
        layout["model"]["type"] == "BPE"
        and not layout["model"]["merges"]
        and layout["normalizer"] is None
        and layout["pre_tokenizer"] == json.loads(_BYTE_SPLIT.__getstate__())
        and all(layout["model"]["vocab"].get(byte_character(b)) == b for b in range(256))
    )


def is_char_layout(layout: dict[str, Any]) -> bool:
    return (
        layout["model"]["type"] == "WordLevel"
        and layout["normalizer"] is None
        and layout["pre_tokenizer"] == json.loads(_CHAR_SPLIT.__getstate__())
    )


def char_table(model: dict[str, Any], dtype: type[np.unsignedinteger[Any]]) -> Tokens:
    table: Tokens = np.full(_CODE_POINTS, model["vocab"][model["unk_token"]], dtype)
    for token, number in model["vocab"].items():
        if len(token) == 1:
            table[ord(token)] = number
    return table
