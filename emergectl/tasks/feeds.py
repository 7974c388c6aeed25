"""Batches of a task's sequences, in the shape that every feed has (`emergectl.data.feeds.Feed`).

Items are made anew for every step from (seed, step), so training data is endless and a resumed
run sees what an uninterrupted one would have seen. Held-out items come from a stream of their own.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from pydantic import BaseModel

from emergectl.tasks.task import SequenceBatch, SequenceTask

# Streams of random numbers, kept apart by the second word of the Philox key.
TRAIN_STREAM = 1
HELD_OUT_STREAM = 2
ROWS_PER_EPOCH = 100_000


def generator(seed: int, stream: int, step: int) -> np.random.Generator:
    """A generator that depends on (seed, stream, step) alone."""
    bits = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    return np.random.Generator(bits.advance(step * 2**64))


class TaskFeed:
    """A task as training and held-out batches.

    `rows` is what counts as one epoch; the data itself never repeats.
    """

    def __init__(self, task: SequenceTask, *, seed: int, held_out_rows: int = 1024) -> None:
        self.task = task
        self.seed = seed
        self.rows = ROWS_PER_EPOCH
        self.seq_len = task.length - 1
        self.held_out_rows = held_out_rows
        self.fingerprint = _fingerprint(task)
        self._latest: tuple[tuple[int, int], dict[str, torch.Tensor]] | None = None
        self._held_out: dict[str, torch.Tensor] | None = None

    def batch(self, step: int, batch_size: int, first: int, last: int) -> dict[str, torch.Tensor]:
        """Rows [first, last) of the global batch of `step`.

        `input_ids`, `labels`: int64 [last - first, length - 1]; labels are shifted already and
        -100 where nothing is scored.
        """
        if self._latest is None or self._latest[0] != (step, batch_size):
            rng = generator(self.seed, TRAIN_STREAM, step)
            self._latest = (step, batch_size), _to_batch(self.task.sequences(rng, batch_size))
        return {name: tensor[first:last] for name, tensor in self._latest[1].items()}

    def held_out_batch(self, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Held-out rows [start, stop), always the same ones."""
        if self._held_out is None:
            rng = generator(self.seed, HELD_OUT_STREAM, 0)
            self._held_out = _to_batch(self.task.sequences(rng, self.held_out_rows))
        return {name: tensor[start:stop] for name, tensor in self._held_out.items()}


def _to_batch(sequences: SequenceBatch) -> dict[str, torch.Tensor]:
    labels = np.where(sequences.scored[:, 1:], sequences.tokens[:, 1:], -100)
    return {
        "input_ids": torch.from_numpy(np.ascontiguousarray(sequences.tokens[:, :-1])),
        "labels": torch.from_numpy(labels),
    }


def _fingerprint(task: SequenceTask) -> str:
    fields = task.model_dump() if isinstance(task, BaseModel) else vars(task)
    text = json.dumps({"task": task.name, **fields}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
