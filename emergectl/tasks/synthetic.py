"""Tasks whose items are made from random numbers: endless or finite, with held-out items for ever.

An item's question alone decides whether it may be trained on: one in ten, by a hash of its id, is
held out, whatever the seed, the run or the number of examples. So nothing has to be remembered,
no list of test items has to be carried along, and a model trained by one run is asked honestly by
any other. Items come in blocks, each from random numbers of its own, a function of (seed, block):
a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from emergectl.errors import RequestError
from emergectl.store.measurements import Fact
from emergectl.tasks.task import Item, Split, TextTask

if TYPE_CHECKING:
    import numpy as np

BLOCK_ITEMS = 64
# Streams of random numbers, kept apart by the second word of the Philox key.
TRAIN_STREAM = 1
HELD_OUT_STREAM = 2
_HELD_OUT_SHARE = 10  # one in so many
_BARREN_DRAWS = 5_000  # without one usable item: then there are none


class MadeTask(TextTask):
    """A text task that makes its items; a subclass defines `make`."""

    examples: Annotated[int, Field(ge=1)] | None = None
    """distinct items to train on; null: ever new ones"""
    test_items: Annotated[int, Field(ge=1)] = 1000
    """distinct held-out items; fewer where there are no more"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """A knob `x` with its `min_x` goes from one to the other."""
        for name in type(self).model_fields:
            low, high = getattr(self, name), getattr(self, name.removeprefix("min_"), None)
            if name.startswith("min_") and low is not None and high is not None and low > high:
                raise ValueError(f"`{name}` is larger than `{name.removeprefix('min_')}`")
        return self

    def make(self, rng: np.random.Generator, count: int) -> Iterable[Item]:
        """`count` independent items, to train on or not; their ids say what is asked."""
        raise NotImplementedError

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:
        """The items of a split: the distinct ones asked for, or endlessly many to train on.

        Raises RequestError where there are fewer than `examples`, or none to hold out.
        """
        if split == "test":
            return self._distinct(split, seed, self.test_items)
        if self.examples is not None:
            return self._distinct(split, seed, self.examples)
        return self._stream(seed)

    def check_examples(self) -> None:
        """Raise RequestError where there are fewer than `examples` items to train on.

        All of them are drawn only where more than two of the first 4 √examples come again. Of n
        different items, m draws repeat m² / 2n in the mean (the birthday problem): eight where
        there are too few, so that these are missed once in a hundred times at the most.
        """
        if self.examples is None:
            return
        look = 4 * math.isqrt(self.examples)
        if len({item.id for item in itertools.islice(self._stream(0), look)}) < look - 2:
            for _ in self._distinct("train", 0, self.examples):
                pass

    def _stream(self, seed: int) -> Iterator[Item]:
        blocks = (self.block("train", seed=seed, number=number) for number in itertools.count())
        return itertools.chain.from_iterable(blocks)

    def block(self, split: Split, *, seed: int, number: int) -> list[Item]:
        """BLOCK_ITEMS independent items of a split; the same for the same seed and number."""
        rng = random_block(seed, TRAIN_STREAM if split == "train" else HELD_OUT_STREAM, number)
        found: list[Item] = []
        drawn = 0
        while len(found) < BLOCK_ITEMS:
            chunk = BLOCK_ITEMS if split == "train" else BLOCK_ITEMS * _HELD_OUT_SHARE
            found += [
                item
                for item in self.make(rng, chunk)
                if self.is_held_out(item.id) == (split == "test")
            ]
            drawn += chunk
            if not found and drawn > _BARREN_DRAWS:
                raise RequestError(f"task `{self.name}` has too few questions for a {split} split")
        return found[:BLOCK_ITEMS]

    def is_held_out(self, item_id: str) -> bool:
        """Whether items of that id are for testing alone."""
        digest = hashlib.blake2b(f"{self.name}\0{item_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") % _HELD_OUT_SHARE == 0

    def _distinct(self, split: Split, seed: int, count: int) -> Iterator[Item]:
        seen: set[str] = set()
        in_vain = 0
        for number in itertools.count():
            for item in self.block(split, seed=seed, number=number):
                if item.id in seen:
                    in_vain += 1
                    continue
                in_vain = 0
                seen.add(item.id)
                yield item
                if len(seen) == count:
                    return
            # Of n equally likely items one is missed 8 n times in a row with probability e⁻⁸.
            if in_vain > 8 * (len(seen) + BLOCK_ITEMS):
                if split == "train":
                    raise RequestError(
                        f"task `{self.name}` has {len(seen)} different items to train on, not "
                        f"`examples: {count}`: ask for fewer, or make it larger"
                    )
                return


def work(*, operations: int, steps: int, memory: int) -> dict[str, Fact]:
    """The least work of an item, as facts."""
    return {"operations": operations, "steps": steps, "memory": memory}


def span(low: int | None, high: int) -> range:
    """The values of a knob that goes from `low` (None: `high` alone) to `high`."""
    return range(high if low is None else low, high + 1)


def random_block(seed: int, stream: int, block: int) -> np.random.Generator:
    """Random numbers of one block of a stream, without having made those before it."""
    import numpy as np

    bits = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    return np.random.Generator(bits.advance(block * 2**64))
