"""Held-out evaluation: every item of a feed scored once, into records.

Ranks share the rows; the records come back in row order on every rank, so that all of them take
the same decisions from the same numbers. What scales with devices is handed in (`gather`,
`autocast`), so that this serves the training loop and `eval` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from emergectl.data.feeds import Feed
from emergectl.evaluation.held_out_metrics import Records, metrics_of
from emergectl.runtime.place import Place
from emergectl.tasks.learning.materials import HeldOut
from emergectl.tasks.objectives.objective import Objective


def score_rows(
    model: PreTrainedModel,
    objective: Objective,
    held_out: HeldOut,
    *,
    place: Place,
    batch_size: int,
    goes_on: Callable[[], bool] = lambda: True,
) -> Records | None:
    """Records of all rows, in order; None where `goes_on` says no between two batches.

    `goes_on` must give the same answer on every rank. The model's training mode is put back.
    """
    was_training = model.training
    model.eval()
    parts: list[tuple[int, dict[str, np.ndarray]]] = []
    try:
        # Every rank takes each world-th batch; all of them ask `goes_on` equally often.
        for group in range(0, held_out.rows, batch_size * place.world):
            if not goes_on():
                return None
            start = group + place.rank * batch_size
            stop = min(start + batch_size, held_out.rows)
            if start < stop:
                parts.append((start, _score(model, objective, held_out.feed, start, stop, place)))
    finally:
        model.train(was_training)
    everywhere = sorted(
        (part for rank_parts in place.gather(parts) for part in rank_parts), key=lambda p: p[0]
    )
    names = everywhere[0][1]
    return {name: np.concatenate([part[name] for _, part in everywhere]) for name in names}


def _score(
    model: PreTrainedModel, objective: Objective, feed: Feed, start: int, stop: int, place: Place
) -> dict[str, np.ndarray]:
    batch = feed.held_out_batch(start, stop)
    on_device = {name: tensor.to(place.device) for name, tensor in batch.items()}
    with torch.no_grad(), place.autocast():
        kept = objective.score(model, on_device)
    return {name: tensor.numpy() for name, tensor in kept.items()}


def evaluate_all(
    model: PreTrainedModel,
    objective: Objective,
    sets: Sequence[HeldOut],
    *,
    place: Place,
    batch_size: int,
    goes_on: Callable[[], bool] = lambda: True,
) -> dict[str, float] | None:
    """Every metric of every set, as `set/metric`; None where `goes_on` says no meanwhile.

    Sets that ask the same rows of the same feed are scored once.
    """
    scored: dict[tuple[int, int], Records] = {}
    values: dict[str, float] = {}
    for held_out in sets:
        key = (id(held_out.feed), held_out.rows)
        if key not in scored:
            records = score_rows(
                model,
                held_out.objective or objective,
                held_out,
                place=place,
                batch_size=batch_size,
                goes_on=goes_on,
            )
            if records is None:
                return None
            scored[key] = records
        metrics = metrics_of(scored[key], bytes_per_token=held_out.bytes_per_token)
        values |= {f"{held_out.name}/{name}": value for name, value in metrics.items()}
    return values
