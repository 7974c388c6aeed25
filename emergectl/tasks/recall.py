"""Associative recall: which value was this key given?

A list of keys with values, then one of the keys again (Ba et al. 2016; as a test of attention
against recurrence, Arora et al. 2023). All keys of a list differ; values may come twice. Each key
and each value is one word, and one token of the task's own tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.tasks.shortcuts import most_frequent
from emergectl.tasks.synthetic import MadeTask, work
from emergectl.tasks.task import Answering, Item, Template

if TYPE_CHECKING:
    import numpy as np


class Recall(MadeTask):
    """Name the value that stood beside a key."""

    name: ClassVar[str] = "recall"
    template: ClassVar[Template] = Template(before_answer=" ")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = "one look-up among the pairs; memory: all of them"

    pairs: Annotated[int, Field(ge=1, le=512)] = 8
    """pairs of key and value in a list"""
    min_pairs: Annotated[int, Field(ge=1, le=512)] | None = None
    """fewest pairs; null: always `pairs`"""
    keys: Annotated[int, Field(ge=1, le=1024)] = 64
    """distinct keys"""
    values: Annotated[int, Field(ge=2, le=1024)] = 64
    """distinct values"""

    @model_validator(mode="after")
    def _enough_keys(self) -> Self:
        if self.keys < self.pairs:
            raise ValueError(f"{self.pairs} `pairs` need as many `keys`, not {self.keys}")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Keys, values, and the mark before the question."""
        keys = [f"k{number}" for number in range(self.keys)]
        return (*keys, *(f"v{number}" for number in range(self.values)), "?")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all values."""
        return {"exact_match": 1 / self.values}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming a listed value, whatever key it stands beside."""
        return {
            "naming the most frequent listed value": lambda item: most_frequent(_listed(item)),
            "naming any listed value": _listed,
            "naming the first listed value": lambda item: _listed(item)[:1],
            "naming the last listed value": lambda item: _listed(item)[-1:],
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Lists of random pairs, evenly of every length, asked for any of their keys."""
        sizes = rng.integers(self.min_pairs or self.pairs, self.pairs + 1, size=count).tolist()
        keys = rng.random((count, self.keys)).argsort(axis=1)[:, : self.pairs].tolist()
        values = rng.integers(0, self.values, size=(count, self.pairs)).tolist()
        asked = rng.random(count).tolist()
        for size, row, given, share in zip(sizes, keys, values, asked, strict=True):
            pairs = list(zip(row[:size], given, strict=False))
            place = int(share * size)
            key, value = pairs[place]
            told = " ".join(f"k{k} v{v}" for k, v in pairs)
            yield Item(
                id=f"{told} ? k{key}",
                prompt=f"{told} ? k{key}",
                target=f"v{value}",
                facts={
                    "pairs": size,
                    "distance": size - place,
                    **work(operations=1, steps=1, memory=size),
                },
            )


def _listed(item: Item) -> list[str]:
    """The values of a list, in order: every second word before the question."""
    return item.prompt.split()[1:-2:2]
