"""Feeds of rows: classification of texts and pairs, and prompts with answers.

A batch is as wide as the longest row of the whole global batch of its step, rounded up to a
multiple of 8, so that every slice of the batch agrees and padding stays small.

Rows with a class come in batches of about one length: what POOL_BATCHES batches of the shuffled
order hold is sorted by width, cut, and the batches are shuffled. Which rows make a batch remains a
function of (seed, step), and an epoch holds each row once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emergectl.data.batches import IGNORED, Batch
from emergectl.data.candidates import CandidateRow, Candidates
from emergectl.data.feeds import Feed, shuffled_rows
from emergectl.data.order import derive, permute
from emergectl.data.rows import PackedRows

_WIDTH_STEP = 8
POOL_BATCHES = 16
"""batches that trade rows; of banking77 in batches of 32, 70% is padding with 1 and 32% with 16,
and training takes half the time"""

_POOL_KEY = 0xB0C5


class RowsFeed(Feed):
    """Rows with a target for each: int64 classes [rows], float32 [rows, classes], or None.

    With targets: input_ids, attention_mask [batch, width], labels [batch] or [batch, classes], and
    token_type_ids where `token_types`. Without (prompts and answers): labels [batch, width] hold
    the next token where it belongs to the answer or ends it.
    """

    ragged = True

    def __init__(
        self,
        packed: PackedRows,
        *,
        seq_len: int,
        seed: int,
        pad_id: int,
        targets: NDArray[Any] | None = None,
        chosen: NDArray[np.int64] | None = None,
        token_types: bool = False,
        unfit: int = 0,
        candidates: Candidates | None = None,
    ) -> None:
        self._packed = packed
        self._chosen = np.arange(len(packed)) if chosen is None else chosen
        self._targets = targets
        self._pad_id = pad_id
        self._seed = seed
        self._token_types = token_types
        self._lengths = np.diff(packed.offsets) - (targets is None)
        self.rows = self.held_out_rows = len(self._chosen)
        self.unfit = unfit
        self._candidates = candidates
        self.candidates = () if candidates is None else candidates.names
        self.seq_len = seq_len
        self.fingerprint = packed.fingerprint
        self._pool: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    def mean_over_rows(self, of: Callable[[NDArray[np.int64]], NDArray[Any]]) -> float:
        """See `Feed.mean_over_rows`."""
        return float(of(np.minimum(self._lengths[self._chosen], self.seq_len)).mean())

    def batch(self, step: int, batch_size: int, first: int, last: int) -> Batch:
        """Rows [first, last) of the global batch of `step`, see `Feed.batch`."""
        if self._targets is None:
            return super().batch(step, batch_size, first, last)
        start, stop = _pool_around(step, batch_size, self.rows)
        if self._pool is None or self._pool[0] != (start, batch_size):
            self._pool = (start, batch_size), self._pooled(start, stop, batch_size)
        draws = self._pool[1][step - start]
        return self.take(draws[first:last], self.width(draws))

    def _pooled(self, start: int, stop: int, batch_size: int) -> NDArray[np.int64]:
        """The draws of steps [start, stop), rows of one width together: [steps, batch_size]."""
        draws = np.arange(start * batch_size, stop * batch_size)
        widths = -(-self._lengths[self._drawn(draws)] // _WIDTH_STEP)
        sorted_draws = draws[np.argsort(widths, kind="stable")].reshape(stop - start, batch_size)
        order = np.arange(stop - start)
        return sorted_draws[permute(order, stop - start, derive(self._seed, start, _POOL_KEY))]

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:
        """The rows drawn, padded to `width`."""
        return self.collate(self._drawn(draws), width)

    def width(self, draws: NDArray[np.int64]) -> int:
        """The longest row drawn, rounded up to a multiple of 8, at most seq_len."""
        return self._width(self._drawn(draws))

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Rows [start, stop) in the order of the data."""
        rows = self._chosen[start:stop]
        return self.collate(rows, self._width(rows))

    def candidate_rows(self) -> list[CandidateRow]:
        """See `Feed.candidate_rows`."""
        some = self._candidates
        if some is None:
            return []
        rows = self._chosen.tolist()
        return [some.row(self._packed, row, seq_len=self.seq_len) for row in rows]

    def _drawn(self, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._chosen[shuffled_rows(draws, self.rows, self._seed)]

    def _width(self, rows: NDArray[np.int64]) -> int:
        longest = int(self._lengths[rows].max(initial=1))
        return min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, self.seq_len)

    def collate(self, rows: NDArray[np.int64], width: int) -> Batch:
        """These rows of the packed ones, in this order, padded to `width`."""
        packed = self._packed
        columns = np.arange(width)
        inside = columns < self._lengths[rows, None]
        places = np.where(inside, packed.offsets[rows, None] + columns, 0)
        inputs = np.where(inside, packed.tokens[places], self._pad_id).astype(np.int64)
        batch = {
            "input_ids": torch.from_numpy(inputs),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)),
        }
        borders = packed.borders[rows, None]
        if self._token_types:
            batch["token_type_ids"] = torch.from_numpy((inside & (columns >= borders)) * 1)
        if self._targets is not None:
            batch["labels"] = torch.from_numpy(self._targets[rows])
        else:
            predicts = inside & (columns + 1 >= borders)
            following = packed.tokens[np.where(predicts, places + 1, 0)].astype(np.int64)
            batch["labels"] = torch.from_numpy(np.where(predicts, following, IGNORED))
        return batch


def _pool_around(step: int, batch_size: int, rows: int) -> tuple[int, int]:
    """The steps [start, stop) whose batches trade rows with that of `step`.

    They begin in one epoch of `rows` rows, so that so many steps as an epoch has hold all of it.
    """
    epoch = step * batch_size // rows
    begin, end = (-(-number * rows // batch_size) for number in (epoch, epoch + 1))
    start = step - (step - begin) % POOL_BATCHES
    return start, min(start + POOL_BATCHES, end)
