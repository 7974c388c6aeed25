"""Sorting: write numbers in ascending order.

The numbers of an item all differ. Each is one word, and one token of the task's own tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import comb, factorial
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.tasks.synthetic import MadeTask, span, work
from emergectl.tasks.task import Answering, Item, Template

if TYPE_CHECKING:
    import numpy as np


class Sorting(MadeTask):
    """Write numbers in ascending order."""

    name: ClassVar[str] = "sorting"
    template: ClassVar[Template] = Template(before_answer=" ")
    least_work: ClassVar[str] = (
        "log₂ n! comparisons, in a chain of log₂ n where they are made side by side; memory: the "
        "numbers"
    )

    length: Annotated[int, Field(ge=1, le=256)] = 6
    """numbers to sort"""
    min_length: Annotated[int, Field(ge=1, le=256)] | None = None
    """fewest numbers; null: always `length`"""
    numbers: Annotated[int, Field(ge=2, le=1024)] = 100
    """numbers there are: 0 … numbers − 1"""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.numbers < self.length:
            raise ValueError(f"{self.length} different numbers need as many `numbers`")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The numbers and the sign."""
        return (*(str(number) for number in range(self.numbers)), "=")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all ascending rows of a possible length."""
        lengths = span(self.min_length, self.length)
        return {"exact_match": 1 / sum(comb(self.numbers, length) for length in lengths)}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Writing the numbers without sorting them."""
        return {
            "copying the numbers as they stand": lambda item: [item.prompt.removesuffix(" =")],
            "writing the numbers backwards": lambda item: [
                " ".join(item.prompt.removesuffix(" =").split()[::-1])
            ],
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random rows, evenly of every length."""
        lengths = rng.integers(self.min_length or self.length, self.length + 1, size=count)
        rows = rng.random((count, self.numbers)).argsort(axis=1)[:, : self.length].tolist()
        for row, length in zip(rows, lengths.tolist(), strict=True):
            question = " ".join(map(str, row[:length]))
            comparisons = (factorial(length) - 1).bit_length()
            yield Item(
                id=question,
                prompt=f"{question} =",
                target=" ".join(map(str, sorted(row[:length]))),
                facts={
                    "length": length,
                    "inversions": _inversions(row[:length]),
                    **work(operations=comparisons, steps=(length - 1).bit_length(), memory=length),
                },
            )


def _inversions(row: list[int]) -> int:
    """Pairs that stand the wrong way round."""
    return sum(a > b for place, a in enumerate(row) for b in row[place + 1 :])
