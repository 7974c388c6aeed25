"""Modular arithmetic: a ∘ b mod n, every pair of residues once, split by a seeded shuffle.

The task of grokking (Power et al. 2022; Nanda et al. 2023): the whole table has n² entries
(n · φ(n) for division), a share of it is learnt, and the rest is asked. The split follows from
`split_seed` alone, so that runs with other seeds are judged on the same pairs, and so that runs
with a larger `train_fraction` know all that runs with a smaller one do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emergectl.tasks.synthetic import work
from emergectl.tasks.task import Answering, Item, Split, Template, TextTask

_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


class Modular(TextTask):
    """Add, subtract, multiply or divide modulo a number."""

    name: ClassVar[str] = "modular"
    template: ClassVar[Template] = Template(before_answer=" ")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "one operation on two residues; by heart it takes a table of modulus² entries instead"
    )

    modulus: Annotated[int, Field(ge=2, le=2000)] = 113
    """numbers are 0 … modulus − 1"""
    operation: Literal["add", "subtract", "multiply", "divide"] = "add"
    """divide: by numbers coprime to the modulus alone, which have an inverse"""
    train_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """share of all pairs to train on; the others are the test set"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """of the shuffle that decides which pairs are trained on"""
    format: Literal["bare", "full"] = "bare"
    """bare: `3 5 =`, three tokens; full: `3 + 5 mod 113 =`, which says what is asked"""

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing among all residues (for division: all that can come out)."""
        return {"exact_match": 1 / self.modulus}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming a number of the question."""
        second = 1 if self.format == "bare" else 2
        return {
            "naming the first number": lambda item: item.prompt.split()[:1],
            "naming the second number": lambda item: item.prompt.split()[second : second + 1],
        }

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The residues and the signs."""
        numbers = [str(number) for number in range(self.modulus)]
        signs = ["="] if self.format == "bare" else [_SIGNS[self.operation], "mod", "="]
        modulus = [str(self.modulus)] if self.format == "full" else []
        return (*numbers, *modulus, *signs)

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:  # noqa: ARG002 — one split
        """The pairs of a split, shuffled once and for all; `seed` changes nothing."""
        import numpy as np

        from emergectl.data.order import derive, permute

        pairs = self._pairs
        shuffled = permute(np.arange(len(pairs)), len(pairs), derive(self.split_seed, 0x6D6F64))
        border = round(self.train_fraction * len(pairs))
        chosen = shuffled[:border] if split == "train" else shuffled[border:]
        return (self._item(*pairs[place]) for place in chosen)

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        divides = self.operation == "divide"
        right = [b for b in range(self.modulus) if not divides or math.gcd(b, self.modulus) == 1]
        return [(a, b) for a in range(self.modulus) for b in right]

    def _item(self, a: int, b: int) -> Item:
        sign = _SIGNS[self.operation]
        bare = self.format == "bare"
        return Item(
            id=f"{a} {sign} {b} mod {self.modulus}",
            prompt=f"{a} {b} =" if bare else f"{a} {sign} {b} mod {self.modulus} =",
            target=str(self._result(a, b)),
            facts={"modulus": self.modulus, **work(operations=1, steps=1, memory=2)},
        )

    def _result(self, a: int, b: int) -> int:
        if self.operation == "add":
            return (a + b) % self.modulus
        if self.operation == "subtract":
            return (a - b) % self.modulus
        if self.operation == "multiply":
            return a * b % self.modulus
        return a * pow(b, -1, self.modulus) % self.modulus
