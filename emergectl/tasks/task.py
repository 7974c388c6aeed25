"""What a task offers: parameters that pydantic checks, a chance level, items from a seed.

A module of this folder adds a task by defining one class that fits `SequenceTask`;
`emergectl.tasks.catalog` finds it by its `name`. Modules here are imported to check parameters
alone, so numpy is imported where items are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SequenceBatch:
    """Token sequences and where they are scored.

    `tokens`: int64 [count, length]; `scored`: bool [count, length], true where a token has a
    known right answer given those before it.
    """

    tokens: np.ndarray
    scored: np.ndarray


class SequenceTask(Protocol):
    """An ability asked of token sequences as they stand, made anew for every step."""

    name: ClassVar[str]
    vocab_size: int
    length: int

    @property
    def chance(self) -> float:
        """Accuracy of blind guessing."""

    def sequences(self, rng: np.random.Generator, count: int) -> SequenceBatch:
        """`count` independent sequences; the same generator state gives the same sequences."""
