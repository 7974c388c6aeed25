"""In-context copying: a segment of random tokens comes again later in the same sequence.

Nothing but the context tells what follows, so a model can only be right on the later occurrences
if it looks up the earlier one: the ability that induction heads bring (Olsson et al. 2022). The
segment stands `repeats` times in a sequence of `length` tokens, at random places with random
tokens between, so that no fixed distance gives the answer away. Loss and accuracy are taken where
copying can be right: on each later occurrence from its second token on (the first cannot be
foreseen).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emergectl.tasks.task import SequenceBatch

if TYPE_CHECKING:
    import numpy as np

_SIMULATED = 256
_ANY = "naming any token read before"
_MOST_FREQUENT = "naming the token most often read before"


class Copying(BaseModel):
    """Repeat what stood earlier in the context."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: ClassVar[str] = "copying"

    vocab_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    """distinct tokens"""
    segment: Annotated[int, Field(ge=2)] = 16
    """tokens in the repeated segment"""
    repeats: Annotated[int, Field(ge=2)] = 3
    """times the segment stands in a sequence"""
    length: Annotated[int, Field(ge=4)] = 85
    """tokens in a sequence"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.segment * self.repeats > self.length:
            raise ValueError(
                f"`repeats` × `segment` = {self.repeats * self.segment} tokens do not fit into "
                f"`length` = {self.length}"
            )
        return self

    @property
    def chance(self) -> float:
        """Accuracy of guessing blindly among all tokens."""
        return 1.0 / self.vocab_size

    @property
    def shortcuts(self) -> Mapping[str, float]:
        """Naming a token that stood before, wherever: by simulation, to within about .001."""
        import numpy as np

        batch = self.sequences(np.random.default_rng(0), _SIMULATED)
        scores: dict[str, list[float]] = {_ANY: [], _MOST_FREQUENT: []}
        for tokens, scored in zip(batch.tokens, batch.scored, strict=True):
            row, times = tokens.tolist(), Counter[int]()
            for index, token in enumerate(row):
                if scored[index]:
                    most = max(times.values())
                    equal = sum(count == most for count in times.values())
                    scores[_MOST_FREQUENT].append((times[token] == most) / equal)
                    scores[_ANY].append(times[token] / index)
                times[token] += 1
        return {name: sum(each) / len(each) for name, each in scores.items()}

    def sequences(self, rng: np.random.Generator, count: int) -> SequenceBatch:
        """`count` sequences of random tokens in which one segment stands `repeats` times."""
        import numpy as np

        tokens = rng.integers(0, self.vocab_size, size=(count, self.length), dtype=np.int64)
        segments = rng.integers(0, self.vocab_size, size=(count, self.segment), dtype=np.int64)
        starts = self._starts(rng, count)  # [count, repeats]
        rows = np.arange(count)[:, None]
        scored = np.zeros((count, self.length), dtype=bool)
        for occurrence in range(self.repeats):
            columns = starts[:, occurrence, None] + np.arange(self.segment)
            tokens[rows, columns] = segments
            if occurrence > 0:
                scored[rows, columns[:, 1:]] = True
        return SequenceBatch(tokens=tokens, scored=scored)

    def _starts(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Where the occurrences begin: the free tokens fall at random into the gaps."""
        import numpy as np

        free = self.length - self.repeats * self.segment
        cuts = np.sort(rng.integers(0, free + 1, size=(count, self.repeats)), axis=1)
        return cuts + np.arange(self.repeats) * self.segment
