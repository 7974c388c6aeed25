"""Pieces of work through a model: sorted by length, within a budget of tokens, shared by ranks.

Largest first, so that memory runs out at once or not at all; a batch that does not fit is halved,
and so is every later one. Each rank takes every world-th batch, and after each round all ranks
hold the results of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from emergectl.errors import EmergectlError
from emergectl.models.memory import is_out_of_memory
from emergectl.runtime.place import Place

CPU_TOKENS = 1024
"""a batch on a CPU: fastest while the activations stay in its cache"""

CUDA_TOKENS = 65_536
"""a batch on a GPU to begin with"""

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def batches_by_tokens(
    units: Sequence[Unit], tokens: Callable[[Unit], int], budget: int
) -> list[list[Unit]]:
    """Units, largest first, in batches whose padded size stays within the budget; one at least."""
    batches: list[list[Unit]] = []
    for unit in sorted(units, key=tokens, reverse=True):
        if not batches or (len(batches[-1]) + 1) * tokens(batches[-1][0]) > budget:
            batches.append([])
        batches[-1].append(unit)
    return batches


def run_batches(
    units: Sequence[Unit],
    run: Callable[[list[Unit]], Result],
    *,
    tokens: Callable[[Unit], int],
    place: Place,
    budget: int | None = None,
) -> Iterator[Result]:
    """The results of all batches, on every rank, as they come.

    Raises EmergectlError where memory does not suffice for a single unit.
    """
    if budget is None:
        budget = CUDA_TOKENS if place.device.type == "cuda" else CPU_TOKENS
    batches = batches_by_tokens(units, tokens, budget)
    fitting: list[int] = []  # sizes (padded tokens) that memory has refused, halved
    for first in range(0, len(batches), place.world):
        mine = batches[first + place.rank : first + place.rank + 1]
        results = [result for batch in mine for result in _halving(batch, run, tokens, fitting)]
        for rank_results in place.gather(results):
            yield from rank_results


def _halving(
    batch: list[Unit],
    run: Callable[[list[Unit]], Result],
    tokens: Callable[[Unit], int],
    fitting: list[int],
) -> list[Result]:
    """The results of a batch, in as many parts as memory needs."""
    size = len(batch) * max(map(tokens, batch))
    if len(batch) == 1 or not fitting or size <= fitting[-1]:
        try:
            return [run(batch)]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise EmergectlError(
                    f"memory does not suffice for one item of {tokens(batch[0]):,} tokens: "
                    "take a smaller model, fewer shots, or a machine with more memory"
                ) from error
        fitting.append(size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    half = len(batch) // 2
    parts: Any = (batch[:half], batch[half:])
    return [result for part in parts for result in _halving(part, run, tokens, fitting)]
