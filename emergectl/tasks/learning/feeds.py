"""Batches of a task's sequences, in the shape that every feed has (`emergectl.data.feeds.Feed`).

Items are made anew for every step from (seed, step), so training data is endless and a resumed
run sees what an uninterrupted one would have seen. Held-out items come from a stream of their own.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from emergectl.data.batches import Batch
from emergectl.data.feeds import Feed
from emergectl.tasks.synthetic import HELD_OUT_STREAM, TRAIN_STREAM, random_block
from emergectl.tasks.task import SequenceBatch, SequenceTask

_BLOCK_ROWS = 64
ROWS_PER_EPOCH = 100_000
"""what counts as one epoch of endless data"""
DEFAULT_HELD_OUT_ROWS = 1024


class TaskFeed(Feed):
    """A task as training and held-out batches.

    Rows come in blocks of BLOCK_ROWS, each from a generator of its own, so that a row depends on
    the seed and its place in the stream alone. `rows` is what counts as one epoch; the data itself
    never repeats. Held-out rows come from a stream of their own.
    """

    def __init__(self, task: SequenceTask, *, seed: int, held_out: bool = True) -> None:
        self.task = task
        self.seed = seed
        self._evaluated_stream = HELD_OUT_STREAM if held_out else TRAIN_STREAM
        self.rows = ROWS_PER_EPOCH
        self.seq_len = task.length - 1
        self.held_out_rows = DEFAULT_HELD_OUT_ROWS
        self.fingerprint = _fingerprint(task)

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:  # noqa: ARG002 — one width
        """Rows at places `draws` of the endless stream: `input_ids` and `labels`, int64
        [len(draws), length - 1]; labels are shifted already, -100 where nothing is scored."""
        return self._rows(TRAIN_STREAM, draws)

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Held-out rows [start, stop): always the same ones, of a stream of their own.

        With `held_out` false those at the beginning of the training stream instead.
        """
        return self._rows(self._evaluated_stream, np.arange(start, min(stop, self.held_out_rows)))

    def _rows(self, stream: int, places: NDArray[np.int64]) -> Batch:
        blocks, within = np.divmod(places, _BLOCK_ROWS)
        tokens = np.empty((len(places), self.task.length), np.int64)
        scored = np.empty((len(places), self.task.length), bool)
        for block in np.unique(blocks):
            rng = random_block(self.seed, stream, int(block))
            sequences = self.task.sequences(rng, _BLOCK_ROWS)
            here = blocks == block
            tokens[here], scored[here] = (
                sequences.tokens[within[here]],
                sequences.scored[within[here]],
            )
        return _to_batch(SequenceBatch(tokens=tokens, scored=scored))


def _to_batch(sequences: SequenceBatch) -> Batch:
    labels = np.where(sequences.scored[:, 1:], sequences.tokens[:, 1:], -100)
    return {
        "input_ids": torch.from_numpy(np.ascontiguousarray(sequences.tokens[:, :-1])),
        "labels": torch.from_numpy(labels),
    }


def _fingerprint(task: SequenceTask) -> str:
    fields = task.model_dump() if isinstance(task, BaseModel) else vars(task)
    text = json.dumps({"task": task.name, **fields}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
