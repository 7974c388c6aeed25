"""How much of a text its tokens cannot say: characters that are unknown to the vocabulary.

Counted by characters, not by tokens, since one token may stand for many of them, and characters
may be dropped without any. White space, control characters and accents that a tokenizer
leaves out (as BERT's does) are not counted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from emergectl.data.tokenizers import (
    span_backend,
    splits_anywhere,
    text_encoder,
    unknown_id,
    writes_bytes,
)

_CHARACTERS_COMPARED = 20_000
_NOT_COUNTED = ("Cc", "Cf", "Mn")


@dataclass
class Unknown:
    """Characters that were counted, and those among them that the vocabulary lacks."""

    characters: int = 0
    unknown: int = 0

    @property
    def share(self) -> float:
        """Of all characters, 0 … 1."""
        return self.unknown / self.characters if self.characters else 0.0

    def add(self, characters: int, unknown: int) -> None:
        """Count some more."""
        self.characters += characters
        self.unknown += unknown


class UnknownCounter:
    """Counts of characters that a tokenizer does not know."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._id = unknown_id(tokenizer)
        self._says_all = writes_bytes(tokenizer)
        self._one_by_one = splits_anywhere(tokenizer)
        self._tokenizer = tokenizer
        self._encode = text_encoder(tokenizer)
        self._spans = None if self._says_all or self._one_by_one else span_backend(tokenizer)

    def in_texts(self, texts: Sequence[str]) -> Unknown:
        """Of some texts, together."""
        return self.among(texts, [] if self._says_all else self._encode(list(texts)))

    def among(self, texts: Sequence[str], ids: Iterable[np.ndarray]) -> Unknown:
        """Of some texts whose tokens are known already."""
        found = Unknown(sum(map(len, texts)))
        if self._says_all:
            return found
        if self._one_by_one:
            found.unknown = sum(int((some == self._id).sum()) for some in ids)
            return found
        assert self._spans is not None
        suspects = [
            text
            for text, some in zip(texts, ids, strict=True)
            if self._id is None or (some == self._id).any()
        ]
        encodings = self._spans.encode_batch(suspects, add_special_tokens=False)
        for text, encoding in zip(suspects, encodings, strict=True):
            found.unknown += self._count(text, encoding.ids, encoding.offsets)
        return found

    def _count(self, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> int:
        lost = np.ones(len(text), bool)
        for token, (start, stop) in zip(ids, spans, strict=True):
            if token != self._id:
                lost[start:stop] = False
        return sum(
            not text[at].isspace() and unicodedata.category(text[at]) not in _NOT_COUNTED
            for at in np.flatnonzero(lost)
        )


def carries(tokenizer: PreTrainedTokenizerFast, text: str) -> bool:
    """Whether the beginning of a text can be had back from its tokens.

    Not where letters lose their case or their accents, or white space is lost, as with BERT's.
    """
    part = text[:_CHARACTERS_COMPARED]
    ids = text_encoder(tokenizer)([part])[0].tolist()
    back = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return back.strip() == part.strip()
