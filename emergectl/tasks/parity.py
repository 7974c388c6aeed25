"""Parity of bits: of all of them, and of few that the task has to be learnt to look at.

`parity` asks whether the number of ones is odd. `sparse_parity` is the multitask form of Michaud
et al. 2023 (arXiv:2303.13506): a word names one of many subtasks, each of which is the parity of a
small set of bits of its own, and subtask i comes up with probability ∝ i^−(alpha+1). Each subtask
is learnt at once, the rare ones late: so a smooth power law of the mean loss can be made of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.store.measurements import Fact
from emergectl.tasks.synthetic import MadeTask, random_block, work
from emergectl.tasks.task import Answering, Item, Template

if TYPE_CHECKING:
    import numpy as np

_SUBSETS_STREAM = 3


class Parity(MadeTask):
    """Say whether a row of bits holds an odd number of ones."""

    name: ClassVar[str] = "parity"
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "length − 1 exclusive ors; as a tree a chain of log₂ length; memory: one bit, read in order"
    )

    length: Annotated[int, Field(ge=1, le=1024)] = 16
    """bits in a row"""
    min_length: Annotated[int, Field(ge=1, le=1024)] | None = None
    """fewest bits; null: always `length`"""

    @property
    def alphabet(self) -> str:
        """Bits and the sign."""
        return "01="

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing one of two."""
        return {"exact_match": 0.5}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """One bit is the parity of a row of one, and of longer ones half of the time."""
        return {"naming the last bit": lambda item: [item.prompt[-2]]}

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random bits, evenly of every length."""
        lengths = rng.integers(self.min_length or self.length, self.length + 1, size=count)
        rows = rng.integers(0, 2, size=(count, self.length)).tolist()
        for row, length in zip(rows, lengths.tolist(), strict=True):
            bits = row[:length]
            text = "".join(map(str, bits))
            yield Item(
                id=text,
                prompt=f"{text}=",
                target=str(sum(bits) % 2),
                facts={"length": length, "ones": sum(bits), **_xor_work(length)},
            )


class SparseParity(MadeTask):
    """Say the parity of those bits that the named subtask looks at."""

    name: ClassVar[str] = "sparse_parity"
    template: ClassVar[Template] = Template(before_answer=" ")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "subset − 1 exclusive ors of bits that are known by heart; memory: one bit"
    )

    subtasks: Annotated[int, Field(ge=1, le=4096)] = 100
    """subtasks, named t1, t2 … from the most frequent on"""
    bits: Annotated[int, Field(ge=1, le=512)] = 32
    """bits in a row"""
    subset: Annotated[int, Field(ge=1, le=32)] = 3
    """bits that a subtask looks at"""
    alpha: Annotated[float, Field(ge=0, le=10)] = 0.4
    """subtask i comes up with probability proportional to i^−(alpha + 1)"""
    subsets_seed: Annotated[int, Field(ge=0)] = 0
    """of which bits each subtask looks at"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.subset > self.bits:
            raise ValueError(f"a `subset` of {self.subset} does not fit into {self.bits} `bits`")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The subtasks' names, bits and the sign."""
        return (*(f"t{number + 1}" for number in range(self.subtasks)), "0", "1", "=")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing one of two."""
        return {"exact_match": 0.5}

    @cached_property
    def subsets(self) -> list[list[int]]:
        """Which bits (from 0) each subtask looks at, in order."""
        rng = random_block(self.subsets_seed, _SUBSETS_STREAM, 0)
        places = rng.random((self.subtasks, self.bits)).argsort(axis=1)[:, : self.subset]
        return [sorted(row) for row in places.tolist()]

    @cached_property
    def frequencies(self) -> list[float]:
        """How often each subtask comes up."""
        weights = [number ** -(self.alpha + 1) for number in range(1, self.subtasks + 1)]
        return [weight / sum(weights) for weight in weights]

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Subtasks by their frequency, with random bits."""
        numbers = rng.choice(self.subtasks, size=count, p=self.frequencies).tolist()
        rows = rng.integers(0, 2, size=(count, self.bits)).tolist()
        for number, row in zip(numbers, rows, strict=True):
            text = f"t{number + 1} {' '.join(map(str, row))}"
            yield Item(
                id=f"{text} of {self.subsets[number]}",
                prompt=f"{text} =",
                target=str(sum(row[place] for place in self.subsets[number]) % 2),
                facts={
                    "subtask": number + 1,
                    "frequency": self.frequencies[number],
                    **_xor_work(self.subset),
                },
            )


def _xor_work(bits: int) -> dict[str, Fact]:
    return work(operations=bits - 1, steps=(bits - 1).bit_length(), memory=1)
