"""Held-out evaluation: every row of a feed scored once, and measured.

Ranks share the rows; what is kept comes back in row order on every rank, so that all of them take
the same decisions from the same numbers. What scales with devices is handed in (`gather`,
`autocast`), so that this serves the training loop and `eval` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel

from emergectl.data.candidates import MOST_COST
from emergectl.data.feeds import Feed
from emergectl.evaluation.columns import Columns, Rows, columns_of_rows
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.evaluation.results import Measured, measure_columns
from emergectl.inference.capabilities import find_ways
from emergectl.inference.encoding import Pair
from emergectl.inference.scorer import score_pairs
from emergectl.runtime.place import Place
from emergectl.store.measurements import Measurement, Source
from emergectl.tasks.learning.materials import HeldOutSet
from emergectl.tasks.objectives.objective import Objective
from emergectl.tasks.shortcuts import MOST_FREQUENT, Bounds


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

    Where the set has candidates also `candidates` [rows, candidates], their log-probabilities, and
    `right` [rows], which of them is right (-1: none). `goes_on` must give the same answer on every
    rank. The model's training mode is put back.
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
        among = _among_candidates(model, held_out, place, goes_on) if held_out.candidates else {}
        if among is None:
            return None
    finally:
        model.train(was_training)
    everywhere = sorted(
        (part for rank_parts in place.gather(parts) for part in rank_parts), key=lambda p: p[0]
    )
    names = everywhere[0][1]
    return among | {name: np.concatenate([part[name] for _, part in everywhere]) for name in names}


def _among_candidates(
    model: PreTrainedModel, held_out: HeldOutSet, place: Place, goes_on: Callable[[], bool]
) -> dict[str, np.ndarray] | None:
    """How likely each candidate is behind each row's prompt, which is run once for all of them."""
    rows = held_out.feed.candidate_rows()[: held_out.rows]
    reads = model.config.is_encoder_decoder  # a prompt that is closed, as in training
    closing = (model.config.eos_token_id,) if reads else ()
    asked = [tuple(Pair(row.context + closing, ids) for ids in row.answers) for row in rows]
    ways = None if reads else place.gather(find_ways(model))[0]
    logprobs = score_pairs(model, ways, asked, place=place, goes_on=goes_on)
    if logprobs is None:
        return None
    return {
        "candidates": logprobs.reshape(len(rows), -1),
        "right": np.array([row.right for row in rows], np.int64),
    }


def _score(
    model: PreTrainedModel, objective: Objective, feed: Feed, start: int, stop: int, place: Place
) -> dict[str, np.ndarray]:
    batch = feed.held_out_batch(start, stop)
    on_device = {name: tensor.to(place.device) for name, tensor in batch.items()}
    with torch.no_grad(), place.autocast():
        kept = objective.score(model, on_device)
    return {name: tensor.numpy() for name, tensor in kept.items()}


def affordable(
    model: PreTrainedModel, sets: Sequence[HeldOutSet], *, say: Callable[[str], None]
) -> tuple[HeldOutSet, ...]:
    """The sets, without candidates where the model would have to read a prompt anew for each of
    more than `MOST_COST` of them; that is said."""
    if not any(len(one.candidates) > MOST_COST for one in sets):
        return tuple(sets)
    was_training = model.training
    model.eval()
    shares = model.config.is_encoder_decoder or find_ways(model).trees
    model.train(was_training)
    if shares:
        return tuple(sets)
    say(
        f"{model.config.model_type} reads a prompt anew for each candidate: more than "
        f"{MOST_COST:g} are not asked, so there are no metrics of them"
    )
    return tuple(replace(one, asks_candidates=len(one.candidates) <= MOST_COST) for one in sets)


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
        bounds=bounds_of_rows(held_out, columns),
    )
    return measure_columns(columns, held_out_metrics(), of)


def bounds_of_rows(held_out: HeldOutSet, columns: Columns) -> Bounds:
    """What held-out rows come to without the ability: by their task, where they are one's."""
    return bounds_of_classes(columns) if held_out.task is None else held_out.bounds


def bounds_of_classes(columns: Columns) -> Bounds:
    """What answering every row alike gets, where they have classes, candidates, or sets of labels;
    for other rows nothing is known."""
    if columns.labels is not None:
        _, times = np.unique(columns.labels.true, axis=0, return_counts=True)
        rows = len(columns.labels.true)
    elif columns.choices is not None:
        times, rows = columns.choices.right.sum(axis=0), len(columns.choices.right)
    else:
        return Bounds()
    return Bounds({"accuracy": {MOST_FREQUENT: float(times.max()) / rows}})


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
