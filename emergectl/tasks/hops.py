"""k-hop reasoning: follow stated facts from one to the next.

Each fact leads from one entity to another; all together they form one ring in random order, so that
every number of hops short of the whole ring leads to an entity of its own, and no part of the
facts gives the answer away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.tasks.synthetic import MadeTask, work
from emergectl.tasks.task import Answering, Item, Template

if TYPE_CHECKING:
    import numpy as np

_NAMES = "abcdefghijklmnopqrstuvwxyz"


class Hops(MadeTask):
    """Say where so many hops from an entity lead."""

    name: ClassVar[str] = "hops"
    template: ClassVar[Template] = Template(before_answer=" ")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "one look-up for each hop, each needing the one before; memory: all the facts"
    )

    hops: Annotated[int, Field(ge=1, le=25)] = 2
    """facts to follow"""
    min_hops: Annotated[int, Field(ge=1, le=25)] | None = None
    """fewest hops; null: always `hops`"""
    entities: Annotated[int, Field(ge=2, le=26)] = 8
    """entities, each with a fact of its own"""

    @model_validator(mode="after")
    def _ring_is_long_enough(self) -> Self:
        if self.hops >= self.entities:
            raise ValueError(f"{self.hops} `hops` need more `entities` than {self.entities}")
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names, numbers of hops, and signs."""
        return (*_NAMES[: self.entities], *(str(n) for n in range(1, self.entities)), ">", ",", "+")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among the entities."""
        return {"exact_match": 1 / self.entities}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """No number of hops short of the ring leads back to where it began."""
        names = _NAMES[: self.entities]
        return {
            "naming any entity but the one asked about": lambda item: [
                name for name in names if name != item.prompt.split()[-4]
            ],
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random rings, their facts in random order, evenly of every number of hops."""
        hops = rng.integers(self.min_hops or self.hops, self.hops + 1, size=count).tolist()
        rings = rng.random((count, self.entities)).argsort(axis=1).tolist()
        orders = rng.random((count, self.entities)).argsort(axis=1).tolist()
        for far, ring, order in zip(hops, rings, orders, strict=True):
            names = [_NAMES[number] for number in ring]
            facts = " , ".join(f"{names[i - 1]} > {names[i]}" for i in order)
            question = f"{facts} , {names[0]} + {far} >"
            yield Item(
                id=question,
                prompt=question,
                target=names[far],
                facts={"hops": far, **work(operations=far, steps=far, memory=self.entities)},
            )
