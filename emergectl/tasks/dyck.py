"""Dyck languages: close what is open, in the right order.

A prefix of a well-formed word over several kinds of brackets; the answer is the shortest text that
completes it. The prefix holds `pairs` brackets that are closed already, and `depth` that are not:
of all such prefixes each shape is as likely as any other, and so is each kind of bracket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from math import comb
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from emergectl.tasks.synthetic import MadeTask, span, work
from emergectl.tasks.task import Answering, Item

if TYPE_CHECKING:
    import numpy as np

_BRACKETS = ("()", "[]", "{}", "<>")


class Dyck(MadeTask):
    """Close all brackets that are open."""

    name: ClassVar[str] = "dyck"
    least_work: ClassVar[str] = (
        "one push or pop for each bracket, in order; memory: a stack as deep as they are nested"
    )

    depth: Annotated[int, Field(ge=1, le=128)] = 4
    """brackets left to close"""
    min_depth: Annotated[int, Field(ge=1, le=128)] | None = None
    """fewest brackets to close; null: always `depth`"""
    pairs: Annotated[int, Field(ge=0, le=128)] = 6
    """brackets in the question that are closed already"""
    kinds: Annotated[int, Field(ge=1, le=4)] = 2
    """kinds of brackets, of () [] {} <>"""

    @property
    def alphabet(self) -> str:
        """Brackets and the colon."""
        return "".join(_BRACKETS[: self.kinds]) + ":"

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among all rows of closing brackets of a possible length."""
        depths = span(self.min_depth, self.depth)
        return {"exact_match": 1 / sum(self.kinds**depth for depth in depths)}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Closing brackets of one kind, as many as there may be at most."""
        closing = {pair[0]: pair[1] for pair in _BRACKETS}

        def last_opened(item: Item) -> list[str]:
            opened = [bracket for bracket in item.prompt if bracket in closing]
            return [closing[opened[-1]] * self.depth]

        return {"closing only the kind that was opened last": last_opened}

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random prefixes, evenly of every depth left."""
        depths = rng.integers(self.min_depth or self.depth, self.depth + 1, size=count).tolist()
        longest = 2 * self.pairs + self.depth
        chances = rng.random((count, longest)).tolist()
        kinds = rng.integers(0, self.kinds, size=(count, longest)).tolist()
        for depth, row, brackets in zip(depths, chances, kinds, strict=True):
            yield self._item(depth, row, brackets)

    def _item(self, depth: int, chances: list[float], kinds: list[int]) -> Item:
        text: list[str] = []
        stack: list[str] = []  # what closes the open ones
        nesting = 0
        opening, closing = self.pairs + depth, self.pairs
        while opening or closing:
            place = len(text)
            if chances[place] < _share_that_opens(opening, closing, len(stack)):
                opening -= 1
                bracket = _BRACKETS[kinds[place]]
                text.append(bracket[0])
                stack.append(bracket[1])
                nesting = max(nesting, len(stack))
            else:
                closing -= 1
                text.append(stack.pop())
        question = "".join(text)
        return Item(
            id=question,
            prompt=f"{question}:",
            target="".join(reversed(stack)),
            facts={
                "depth": depth,
                "nesting": nesting,
                "length": len(text),
                **work(operations=len(text) + depth, steps=len(text) + depth, memory=nesting),
            },
        )


@cache
def _share_that_opens(opening: int, closing: int, height: int) -> float:
    """Of all ways to go on, with so many brackets to open and to close, the share that opens."""
    if opening == 0:
        return 0.0
    return _ways(opening - 1, closing, height + 1) / _ways(opening, closing, height)


def _ways(opening: int, closing: int, height: int) -> int:
    """Paths of so many steps up and down that never fall below 0 (by reflection)."""
    steps = opening + closing
    below = comb(steps, closing - height - 1) if closing > height else 0
    return comb(steps, closing) - below
