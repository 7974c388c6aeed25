"""Held-out evaluation: every row of a feed scored once, and measured.

Ranks share the rows; what is kept comes back in row order on every rank, so that all of them take
the same decisions from the same numbers. What scales with devices is handed in (`gather`,
`autocast`), so that this serves the training loop and `eval` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from emergectl.data.feeds import Feed
from emergectl.evaluation.columns import Rows, columns_of_rows
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.evaluation.results import Measured, measure_columns
from emergectl.runtime.place import Place
from emergectl.store.measurements import Measurement, Source
from emergectl.tasks.learning.materials import HeldOutSet
from emergectl.tasks.objectives.objective import Objective


def score_rows(
    model: PreTrainedModel,
    objective: Objective,
    held_out: HeldOutSet,
    *,
    place: Place,
    batch_size: int,
    goes_on: Callable[[], bool] = lambda: True,
) -> Rows | None:
    """What is kept of all rows, in order; None where `goes_on` says no between two batches.

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


def measure_rows(
    rows: Rows, held_out: HeldOutSet, *, step: int, source: Source, chance: Mapping[str, float]
) -> list[Measurement]:
    """Every metric of held-out rows. `chance`: `set/metric` → what blind guessing gets."""
    columns = columns_of_rows(rows, bytes_per_token=held_out.bytes_per_token, unfit=held_out.unfit)
    of = Measured(
        task=held_out.name,
        source=source,
        step=step,
        asked={},
        items=held_out.fingerprint,
        chance=chance_of(held_out, chance),
    )
    return measure_columns(columns, held_out_metrics(), of)


def chance_of(held_out: HeldOutSet, chance: Mapping[str, float]) -> dict[str, float]:
    """Metric → chance of one set, from `set/metric` → chance of all of them."""
    named = {tuple(name.rsplit("/", 1)): value for name, value in chance.items()}
    return {metric: value for (name, metric), value in named.items() if name == held_out.name}


def evaluate_all(
    model: PreTrainedModel,
    objective: Objective,
    sets: Sequence[HeldOutSet],
    *,
    step: int,
    place: Place,
    batch_size: int,
    chance: Mapping[str, float],
    goes_on: Callable[[], bool] = lambda: True,
) -> list[Measurement] | None:
    """Every metric of every set at a step of training; None where `goes_on` says no meanwhile.

    Sets that ask the same rows of the same feed are scored once.
    """
    scored: dict[tuple[int, int], Rows] = {}
    measured: list[Measurement] = []
    for held_out in sets:
        key = (id(held_out.feed), held_out.rows)
        if key not in scored:
            rows = score_rows(
                model,
                held_out.objective or objective,
                held_out,
                place=place,
                batch_size=batch_size,
                goes_on=goes_on,
            )
            if rows is None:
                return None
            scored[key] = rows
        measured += measure_rows(scored[key], held_out, step=step, source="loop", chance=chance)
    return measured
