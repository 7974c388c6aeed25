"""Several feeds as one: rows drawn by weight, in an order that needs no memory.

The stream is laid out in blocks of 1,024 rows. In each block every feed has the same exact share,
rounded from its weight, and its rows stand in an order shuffled by (seed, block); so which feed a
row comes from, and how many of that feed's rows came before it, are both plain arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emergectl.data.batches import IGNORED, Batch
from emergectl.data.candidates import CandidateRow
from emergectl.data.feeds import Feed
from emergectl.data.order import derive, permute

_BLOCK_ROWS = 1024
_FILL = {"labels": IGNORED}


class MixedFeed(Feed):
    """Rows of several feeds in proportion to weights.

    An epoch has as many rows as all feeds together; a feed with more than its share of weight is
    then seen more than once, always whole before again. Held-out rows are all feeds' in turn.
    """

    def __init__(self, feeds: Sequence[Feed], weights: Sequence[float], *, seed: int) -> None:
        self._feeds = list(feeds)
        self._seed = seed
        self.rows = sum(feed.rows for feed in feeds)
        self.held_out_rows = sum(feed.held_out_rows for feed in feeds)
        self.unfit = sum(feed.unfit for feed in feeds)
        self.candidates = feeds[0].candidates
        self.seq_len = max(feed.seq_len for feed in feeds)
        self.ragged = any(feed.ragged for feed in feeds)
        quotas = _quotas(weights)
        self._quotas = np.array(quotas)
        self._feed_of = np.repeat(np.arange(len(quotas)), quotas)
        self._rank_of = np.concatenate([np.arange(quota) for quota in quotas])
        named = " ".join(f"{f.fingerprint}*{q}" for f, q in zip(feeds, quotas, strict=True))
        self.fingerprint = hashlib.sha256(named.encode()).hexdigest()[:32]

    def mean_over_rows(self, of: Callable[[NDArray[np.int64]], NDArray[Any]]) -> float:
        """See `Feed.mean_over_rows`; of the rows as they are drawn."""
        means = [feed.mean_over_rows(of) for feed in self._feeds]
        return float(np.average(means, weights=self._quotas))

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:
        """Rows of the feeds that own the draws, each in its place."""
        owners, inner = self._resolve(draws)
        parts = []
        for number in np.unique(owners):
            places = np.flatnonzero(owners == number)
            parts.append((places, self._feeds[number].take(inner[places], width)))
        return _interleave(parts, len(draws), width)

    def width(self, draws: NDArray[np.int64]) -> int:
        """The widest that any of the feeds needs for its rows."""
        owners, inner = self._resolve(draws)
        return max(self._feeds[n].width(inner[owners == n]) for n in np.unique(owners))

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the feeds laid end to end."""
        parts = []
        offset = 0
        for feed in self._feeds:
            first = max(start - offset, 0)
            last = min(stop - offset, feed.held_out_rows)
            if first < last:
                places = np.arange(first, last) + offset - start
                parts.append((places, feed.held_out_batch(first, last)))
            offset += feed.held_out_rows
        width = max(part["input_ids"].shape[1] for _, part in parts)
        return _interleave(parts, min(stop, self.held_out_rows) - start, width)

    def candidate_rows(self) -> list[CandidateRow]:
        """See `Feed.candidate_rows`."""
        return [row for feed in self._feeds for row in feed.candidate_rows()]

    def _resolve(self, draws: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each draw the feed it comes from, and the draw it is within that feed."""
        blocks, places = np.divmod(draws, _BLOCK_ROWS)
        slots = np.empty_like(places)
        for block in np.unique(blocks):
            inside = blocks == block
            slots[inside] = permute(
                places[inside], _BLOCK_ROWS, derive(self._seed, int(block), 0x313D)
            )
        owners = self._feed_of[slots]
        return owners, blocks * self._quotas[owners] + self._rank_of[slots]


def _quotas(weights: Sequence[float]) -> list[int]:
    """Whole rows of a block for each weight: largest remainders, and at least one."""
    shares = np.array(weights, float) / sum(weights) * _BLOCK_ROWS
    quotas = np.maximum(1, np.floor(shares).astype(int))
    while quotas.sum() < _BLOCK_ROWS:
        quotas[np.argmax(shares - quotas)] += 1
    while quotas.sum() > _BLOCK_ROWS:
        quotas[np.argmax(quotas - shares)] -= 1
    return [int(quota) for quota in quotas]


def _interleave(parts: list[tuple[NDArray[np.int64], Batch]], rows: int, width: int) -> Batch:
    """One batch out of parts and the places of their rows; shorter rows are padded."""
    mixed: Batch = {}
    for places, part in parts:
        for name, tensor in part.items():
            # Tensors of whole numbers run along the sequence; class targets keep their shape.
            along = tensor.ndim == 2 and not tensor.is_floating_point()
            if name not in mixed:
                shape = (rows, width) if along else (rows, *tensor.shape[1:])
                mixed[name] = torch.full(shape, _FILL.get(name, 0), dtype=tensor.dtype)
            if along:
                mixed[name][places, : tensor.shape[1]] = tensor
            else:
                mixed[name][places] = tensor
    return mixed
