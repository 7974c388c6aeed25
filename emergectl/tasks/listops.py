"""ListOps: nested operations on lists of digits (Nangia & Bowman 2018, arXiv:1804.06028).

[MAX 2 9 [MIN 4 7 ] 0 ] is 9. The operations are theirs: MAX, MIN, MED (the median, rounded down)
and SM (the sum modulo 10), of two to `arguments` arguments, each a digit or, with probability ¼,
another list. Two things are ours, so that complexity is a knob: an item is nested exactly `depth`
deep, and has at most `longest` words. Each operation, digit and bracket is one word.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from emergectl.tasks.shortcuts import most_frequent
from emergectl.tasks.synthetic import MadeTask, work
from emergectl.tasks.task import Answering, Item, Template

if TYPE_CHECKING:
    import numpy as np

_NESTS = 0.25
_OPERATIONS: dict[str, Callable[[list[int]], int]] = {
    "MAX": max,
    "MIN": min,
    "MED": lambda values: int(statistics.median(values)),
    "SM": lambda values: sum(values) % 10,
}
_NAMES = tuple(_OPERATIONS)
_WORDS_OF_A_LIST = 4  # at least: [MAX 1 2 ], of which one number may be another list

Expression = int | tuple[str, list[Any]]
"""a digit, or an operation and its arguments"""


class ListOps(MadeTask):
    """Work out nested operations on digits."""

    name: ClassVar[str] = "listops"
    template: ClassVar[Template] = Template(before_answer=" ")
    ends: ClassVar[bool] = False
    least_work: ClassVar[str] = (
        "arguments − 1 operations for each list, a chain as long as they are nested; memory: one "
        "value for each list that is open, but all its digits in a median"
    )

    depth: Annotated[int, Field(ge=1, le=20)] = 3
    """lists within lists"""
    min_depth: Annotated[int, Field(ge=1, le=20)] | None = None
    """fewest lists within lists; null: always `depth`"""
    arguments: Annotated[int, Field(ge=2, le=16)] = 5
    """arguments of a list at most"""
    longest: Annotated[int, Field(ge=4, le=4096)] = 64
    """words in an item at most"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        # Below twice the shortest item of that depth too few would fit to be found by trying.
        if self.longest < 2 * self.depth * _WORDS_OF_A_LIST:
            raise ValueError(
                f"`longest` has to be at least {2 * self.depth * _WORDS_OF_A_LIST} words for a "
                f"`depth` of {self.depth}"
            )
        return self

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Operations, digits, the closing bracket and the sign."""
        return (*(f"[{name}" for name in _NAMES), *"0123456789", "]", "=")

    @property
    def chance(self) -> Mapping[str, float]:
        """Guessing evenly among the digits."""
        return {"exact_match": 0.1}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Naming a digit that is shown, whatever the operations."""
        return {
            "naming the largest digit shown": lambda item: [max(_digits(item))],
            "naming the smallest digit shown": lambda item: [min(_digits(item))],
            "naming the most frequent digit shown": lambda item: most_frequent(_digits(item)),
        }

    def make(self, rng: np.random.Generator, count: int) -> Iterator[Item]:
        """Random trees, evenly of every depth."""
        depths = rng.integers(self.min_depth or self.depth, self.depth + 1, size=count).tolist()
        dice = _Dice(rng)
        for depth in depths:
            words: list[str] = []
            while not words or len(words) > self.longest:
                tree = _tree(dice, depth, self.arguments)
                words = list(_words(tree))
            yield _item(tree, words, depth)


def _digits(item: Item) -> list[str]:
    return [word for word in item.prompt.split() if word.isdigit()]


class _Dice:
    """Random numbers one at a time, drawn a thousand at once: forty times as fast."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left: list[float] = []

    def below(self, end: int) -> int:
        """A whole number in [0, end)."""
        return int(self.share() * end)

    def share(self) -> float:
        """A number in [0, 1)."""
        if not self._left:
            self._left = self._rng.random(1000).tolist()
        return self._left.pop()


def _tree(dice: _Dice, depth: int, arguments: int) -> tuple[str, list[Any]]:
    """A list nested exactly `depth` deep: one argument, any, goes all the way down."""
    count = 2 + dice.below(arguments - 1)
    deep = dice.below(count) if depth > 1 else -1
    values: list[Expression] = []
    for place in range(count):
        if place == deep:
            values.append(_tree(dice, depth - 1, arguments))
        elif depth > 1 and dice.share() < _NESTS:
            values.append(_tree(dice, 1 + dice.below(depth - 1), arguments))
        else:
            values.append(dice.below(10))
    return _NAMES[dice.below(len(_NAMES))], values


def _words(tree: Expression) -> Iterator[str]:
    if isinstance(tree, int):
        yield str(tree)
        return
    yield f"[{tree[0]}"
    for value in tree[1]:
        yield from _words(value)
    yield "]"


def _value(tree: Expression) -> int:
    if isinstance(tree, int):
        return tree
    return _OPERATIONS[tree[0]]([_value(value) for value in tree[1]])


def _held(tree: Expression) -> int:
    """Values held at once when read in order."""
    if isinstance(tree, int):
        return 1
    most = 1
    for place, value in enumerate(tree[1]):
        before = place if tree[0] == "MED" else min(place, 1)
        most = max(most, before + _held(value))
    return most


def _item(tree: tuple[str, list[Any]], words: list[str], depth: int) -> Item:
    question = " ".join(words)
    lists = words.count("]")
    digits = len(words) - 2 * lists
    return Item(
        id=question,
        prompt=f"{question} =",
        target=str(_value(tree)),
        facts={
            "depth": depth,
            "lists": lists,
            "length": len(words),
            **work(operations=digits - 1, steps=depth, memory=_held(tree)),
        },
    )
