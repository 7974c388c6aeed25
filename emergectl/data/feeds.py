"""Feeds: batches by random access, a pure function of (seed, step).

Training asks for rows [first, last) of the global batch of a step and always gets the same values,
however the batch is cut over ranks and micro-batches and whatever was asked before; so there is no
state to save, and a resumed run goes on with exactly the data it would have seen. Every epoch has
an order of its own; a batch may reach from one epoch into the next.

Labels stand at the position whose output predicts them (already shifted for causal models), and
are -100 where nothing is predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from emergectl.data.batches import IGNORED, Batch
from emergectl.data.order import derive, permute
from emergectl.data.packing import PackedTokens
from emergectl.errors import DataError

if TYPE_CHECKING:
    from emergectl.data.candidates import CandidateRow


class Feed(ABC):
    """Rows for training (`batch`) and for evaluation (`held_out_batch`).

    `rows` is the number of rows in an epoch of training, `held_out_rows` the number that holds
    every item once for evaluation; `fingerprint` names the content; `seq_len` bounds the width,
    and is the width unless the feed is `ragged`.
    """

    rows: int
    held_out_rows: int
    seq_len: int
    fingerprint: str
    ragged = False
    unfit = 0
    """held-out rows beside these whose answers do not fit: none of them is ever right"""
    candidates: tuple[str, ...] = ()
    """the texts one of which is the answer to a held-out row, where they are few"""

    def batch(self, step: int, batch_size: int, first: int, last: int) -> Batch:
        """Rows [first, last) of the global batch of `step` (from 0), which has `batch_size` rows.

        Tensors are [last - first, width]; the width is that of the global batch.
        """
        draws = np.arange(step * batch_size, (step + 1) * batch_size)
        return self.take(draws[first:last], self.width(draws) if self.ragged else self.seq_len)

    def mean_over_rows(self, of: Callable[[NDArray[np.int64]], NDArray[Any]]) -> float:
        """The mean over an epoch's rows of a function of their own lengths, in input tokens without
        padding."""
        return float(of(np.array([self.seq_len])).mean())

    @abstractmethod
    def take(self, draws: NDArray[np.int64], width: int) -> Batch:
        """The rows drawn at places `draws` of the endless shuffled stream, padded to `width`."""

    @abstractmethod
    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Rows [start, stop) of held_out_rows, in order, without chance (masks are fixed)."""

    def candidate_rows(self) -> list[CandidateRow]:
        """Each held-out row with its `candidates`, in order."""
        return []

    def width(self, draws: NDArray[np.int64]) -> int:  # noqa: ARG002 — rows of one width
        """How wide a batch with these draws has to be."""
        return self.seq_len


def row_lengths(batch: Batch) -> NDArray[np.int64]:
    """Input tokens of each row of a batch, padding left out: [rows]."""
    mask = batch.get("attention_mask")
    if mask is None:
        rows, width = batch["input_ids"].shape
        return np.full(rows, width)
    return np.asarray(mask.sum(-1).numpy())


class Windows:
    """Windows of `length` tokens in a row of tokens, every `stride`, shuffled anew each epoch.

    Each epoch begins at an offset of its own, so that the borders of the windows move.
    """

    def __init__(self, tokens: NDArray[Any], *, length: int, stride: int, seed: int) -> None:
        if len(tokens) < length:
            raise DataError(
                f"the training text has only {len(tokens)} tokens, a sequence needs {length}: "
                "give more text or a smaller `data.seq_len`"
            )
        self.rows = windows_in_epoch(len(tokens), length=length, stride=stride)
        self._slack = len(tokens) - length - (self.rows - 1) * stride
        self._stride = stride
        self._seed = seed
        self._view = np.lib.stride_tricks.sliding_window_view(tokens, length)

    def at(self, draws: NDArray[np.int64]) -> NDArray[Any]:
        """The windows at places `draws` of the endless stream: [len(draws), length]."""
        starts = shuffled_rows(draws, self.rows, self._seed) * self._stride
        epochs, which = np.unique(draws // self.rows, return_inverse=True)
        starts += np.array([self._offset(int(epoch)) for epoch in epochs], np.int64)[which]
        return self._view[starts]

    def _offset(self, epoch: int) -> int:
        return derive(self._seed, epoch, 1) % min(self._stride, self._slack + 1)


def windows_in_epoch(tokens: int, *, length: int, stride: int) -> int:
    """How many windows an epoch has: one fewer than fit, which leaves room for its offset."""
    return max(1, (tokens - length) // stride)


def shuffled_rows(draws: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.int64]:
    """Which row each place of the endless stream holds: every epoch is a shuffle of its own."""
    epochs, places = np.divmod(draws, rows)
    if (epochs == epochs[:1]).all():
        return permute(places, rows, _epoch_key(seed, int(epochs[0]))) if len(draws) else places
    found = np.empty_like(places)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        found[inside] = permute(places[inside], rows, _epoch_key(seed, int(epoch)))
    return found


@lru_cache(maxsize=64)
def _epoch_key(seed: int, epoch: int) -> int:
    return derive(seed, epoch)


class LanguageFeed(Feed):
    """Causal language modelling: input_ids and labels, both int64 [batch, seq_len].

    Text shorter than a sequence can be held out, but not trained on (DataError).
    """

    def __init__(self, packed: PackedTokens, *, seq_len: int, seed: int) -> None:
        targets = len(packed.tokens) - 1
        if targets < 1:
            raise DataError("the text has fewer than two tokens: there is nothing to predict")
        self._tokens = packed.tokens
        self._seed = seed
        self.seq_len = seq_len
        self.fingerprint = packed.fingerprint
        self.rows = windows_in_epoch(len(packed.tokens), length=seq_len + 1, stride=seq_len)
        self.held_out_rows = -(-targets // seq_len)

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self._tokens, length=self.seq_len + 1, stride=self.seq_len, seed=self._seed)

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:  # noqa: ARG002
        """Windows of seq_len + 1 tokens, as inputs and the tokens after them."""
        windows = self._windows.at(draws)
        return {
            "input_ids": torch.from_numpy(windows[:, :-1].astype(np.int64)),
            "labels": torch.from_numpy(windows[:, 1:].astype(np.int64)),
        }

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Windows end to end; each token but the very first is a target exactly once."""
        stop = min(stop, self.held_out_rows)
        tokens = self._tokens[start * self.seq_len : stop * self.seq_len + 1].astype(np.int64)
        shape = (stop - start, self.seq_len)
        inputs = np.zeros(shape[0] * shape[1], np.int64)
        labels = np.full(shape[0] * shape[1], IGNORED, np.int64)
        inputs[: len(tokens) - 1] = tokens[:-1]
        labels[: len(tokens) - 1] = tokens[1:]
        return {
            "input_ids": torch.from_numpy(inputs.reshape(shape)),
            "labels": torch.from_numpy(labels.reshape(shape)),
        }
