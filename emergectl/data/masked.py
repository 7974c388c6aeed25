"""Masked language modelling: windows of text in which some tokens are to be guessed.

Of the tokens that are targets 80% become the mask, 10% a random token, 10% stay. Which ones is a
function of (seed, place in the stream, position), so a row is masked anew in each epoch and the
same however the batch is cut. Each row has at least one target. Rows are framed as the tokenizer
frames a text ([CLS] … [SEP]) where it does.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from emergectl.data.batches import IGNORED, Batch
from emergectl.data.feeds import Feed, Windows, windows_in_epoch
from emergectl.data.order import derive, uniform
from emergectl.data.packing import PackedTokens
from emergectl.data.rows import frames_texts
from emergectl.data.tokenizers import token_texts
from emergectl.errors import DataError, ExperimentError

_HELD_OUT_KEY = 0x4E1D
_FIRST_IDEOGRAPH = "\u2e80"


class MaskedFeed(Feed):
    """Masked tokens: input_ids and labels, both int64 [batch, seq_len]; labels -100 off targets."""

    def __init__(
        self,
        packed: PackedTokens,
        tokenizer: PreTrainedTokenizerFast,
        *,
        seq_len: int,
        seed: int,
        mask_probability: float = 0.15,
        whole_word: bool = False,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise ExperimentError(
                "tokenizer", "masked language modelling needs a tokenizer with a mask token"
            )
        if len(packed.tokens) < 2:
            raise DataError("the text has fewer than two tokens: there is nothing to mask")
        framed = frames_texts(tokenizer)
        self._frame = (tokenizer.cls_token_id, tokenizer.sep_token_id) if framed else None
        self._body = seq_len - 2 if framed else seq_len
        if self._body < 1:
            raise ExperimentError("data.seq_len", "leaves no room between [CLS] and [SEP]")
        self._tokens = packed.tokens
        self._seed = seed
        self._probability = mask_probability
        self._mask_id = tokenizer.mask_token_id
        self._special = np.zeros(len(tokenizer), bool)
        self._special[tokenizer.all_special_ids] = True
        self._ordinary = np.flatnonzero(~self._special)
        self._joins = word_joins(tokenizer) if whole_word else None
        self.seq_len = seq_len
        self.fingerprint = packed.fingerprint
        self.rows = windows_in_epoch(len(packed.tokens), length=self._body, stride=self._body)
        self.held_out_rows = math.ceil(len(packed.tokens) / self._body)

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self._tokens, length=self._body, stride=self._body, seed=self._seed)

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:  # noqa: ARG002
        """Windows at the draws, masked by chance that depends on the draw."""
        return self._masked(
            self._windows.at(draws).astype(np.int64), draws, derive(self._seed, 0x3A5C)
        )

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Windows end to end, masked the same way every time.

        The last one reaches back so as to be whole; only what is new in it can be a target.
        """
        stop = min(stop, self.held_out_rows)
        last = max(len(self._tokens) - self._body, 0)
        wanted = np.arange(start, stop) * self._body
        begins = np.minimum(wanted, last)
        windows = [self._tokens[begin : begin + self._body] for begin in begins]
        known = np.arange(len(windows[0])) < (wanted - begins)[:, None]
        bodies = np.stack(windows).astype(np.int64)
        return self._masked(bodies, np.arange(start, stop), _HELD_OUT_KEY, known)

    def _masked(
        self,
        ids: NDArray[np.int64],
        rows: NDArray[np.int64],
        key: int,
        known: NDArray[np.bool_] | None = None,
    ) -> Batch:
        columns = np.arange(ids.shape[1])
        units = columns if self._joins is None else self._words(ids)
        chance = uniform(key, rows[:, None], units)
        closed = self._special[ids] if known is None else self._special[ids] | known
        chance[closed] = 2.0
        smallest = chance.min(axis=1, keepdims=True)
        target = ((chance < self._probability) | (chance == smallest)) & ~closed
        fate = uniform(derive(key, 1), rows[:, None], columns)
        replaced = np.where(fate < 0.8, self._mask_id, ids)
        at_random = fate >= 0.9
        picks = ((fate[at_random] - 0.9) * 10 * len(self._ordinary)).astype(np.int64)
        replaced[at_random] = self._ordinary[np.minimum(picks, len(self._ordinary) - 1)]
        inputs = np.where(target, replaced, ids)
        labels = np.where(target, ids, IGNORED)
        if self._frame is not None:
            inputs = _framed(inputs, *self._frame)
            labels = _framed(labels, IGNORED, IGNORED)
        return {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(labels)}

    def _words(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the word that each token belongs to, row by row."""
        assert self._joins is not None
        begins, ends = self._joins
        goes_on = np.zeros(ids.shape, bool)
        goes_on[:, 1:] = begins[ids[:, 1:]] & ends[ids[:, :-1]]
        return np.cumsum(~goes_on, axis=1)


def word_joins(
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each id whether a token may go on a word before it, and may be gone on from.

    WordPiece marks what goes on with ##. Elsewhere letters and digits that touch are one word, and
    so are the bytes of one character; an ideograph is a word by itself.
    """
    begins = np.zeros(len(tokenizer), bool)
    ends = np.zeros(len(tokenizer), bool)
    texts = token_texts(tokenizer)
    pieces = any(isinstance(text, str) and text.startswith("##") for text in texts.values())
    for number, text in texts.items():
        if not text:
            continue
        if pieces:
            begins[number] = isinstance(text, str) and text.startswith("##")
            ends[number] = True
        elif isinstance(text, str):
            begins[number] = _in_word(text[0])
            ends[number] = _in_word(text[-1])
        else:  # bytes that are no whole characters
            begins[number] = 0x80 <= text[0] < 0xC0
            ends[number] = text[-1] >= 0x80
    return begins, ends


def _in_word(character: str) -> bool:
    return character.isalnum() and character < _FIRST_IDEOGRAPH


def _framed(ids: NDArray[np.int64], first: int, last: int) -> NDArray[np.int64]:
    framed = np.empty((ids.shape[0], ids.shape[1] + 2), np.int64)
    framed[:, 0], framed[:, 1:-1], framed[:, -1] = first, ids, last
    return framed
