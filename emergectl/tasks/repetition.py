"""In-context repetition: write a text again that has just been read.

The text is random letters, so that nothing but the context tells what comes: the ability of
`copying` (which is learnt densely, from bare tokens) as a question that any model can be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from emergectl.tasks.synthetic import MadeTask, span, work
from emergectl.tasks.task import Item

if TYPE_CHECKING:
    import numpy as np

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Repetition(MadeTask):
    """Write random letters again, once or several times."""

    name: ClassVar[str] = "repetition"
    least_work: ClassVar[str] = (
        "one look-up for each letter written, none of which needs another; memory: the letters"
    )

    length: Annotated[int, Field(ge=1, le=256)] = 8
    """letters to repeat"""
    min_length: Annotated[int, Field(ge=1, le=256)] | None = None
    """fewest letters; null: always `length`"""
    times: Annotated[int, Field(ge=1, le=16)] = 1
    """how often they are to be written"""
    letters: Annotated[int, Field(ge=2, le=26)] = 26
    """distinct letters"""

    @property
    def alphabet(self) -> str:
        """The letters, and the colon after them."""
        return _LETTERS[: self.letters] + ":"

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all texts of a possible length."""
        lengths = span(self.min_length, self.length)
        return {"exact_match": 1 / sum(self.letters**length for length in lengths)}

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random texts, evenly of every length."""
        lengths = rng.integers(self.min_length or self.length, self.length + 1, size=count)
        places = rng.integers(0, self.letters, size=(count, self.length)).tolist()
        for row, length in zip(places, lengths.tolist(), strict=True):
            text = "".join([_LETTERS[place] for place in row[:length]])
            written = length * self.times
            yield Item(
                id=f"{text} {self.times}",
                prompt=f"{text}:",
                target=text * self.times,
                facts={"length": length, **work(operations=written, steps=1, memory=length)},
            )
