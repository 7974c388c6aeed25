"""Held-out rows as item records: what the training loop keeps of a row, as `eval` keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from emergectl.evaluation.columns import Rows
from emergectl.evaluation.records import ItemRecord
from emergectl.inference.requests import Scored
from emergectl.tasks.task import ItemKey


def records_of_rows(
    rows: Rows,
    task: str,
    *,
    labels: Sequence[str | int] = (),
    candidates: Sequence[str] = (),
    keys: Sequence[ItemKey] = (),
    carried: Sequence[bool] = (),
    unfit: int = 0,
) -> Iterator[ItemRecord]:
    """A record a row of what is held out as `task`, in order.

    `labels` are the classes as the data calls them, `candidates` the answers that were all asked of
    each row. `keys`: of each row what it asks, where rows
    are items of a task; others are numbered, and have no prompt; `carried`: whether the tokens of
    its answer carry the text. `unfit` rows follow, whose
    answers were too long to be asked for: they are wrong, and have no scores.
    """
    names = tuple(map(str, labels))
    for row in range(len(rows["nll"])):
        key = keys[row] if keys else ItemKey("", str(row), None, (), ())
        if "logits" not in rows:
            found = _answered(rows, row, key, carried=not carried or carried[row])
            if candidates:
                found |= _among(rows["candidates"][row], int(rows["right"][row]), tuple(candidates))
        elif rows["labels"].ndim == 2:
            found = _labelled(rows["logits"][row], rows["labels"][row], names)
        else:
            found = _classified(rows["logits"][row], int(rows["labels"][row]), names)
        yield ItemRecord(
            task=task,
            item=key.item,
            facts={},
            prompt_hash=key.prompt_hash,
            shots=0,
            **found,
        )
    for number in range(unfit):
        name = f"too long {number}"
        yield ItemRecord(task=task, item=name, facts={}, prompt_hash="", shots=0, correct=False)


def _answered(rows: Rows, row: int, key: ItemKey, *, carried: bool) -> dict[str, Any]:
    tokens = int(rows["targets"][row])
    right = int(rows["correct"][row]) if "correct" in rows else None
    text = key.target or (key.choices[key.right[0]] if key.right else "")
    greedy, size = right == tokens, len(text.encode()) if carried else None
    return {
        "target": key.target,
        "choices": key.choices,
        "right": key.right,
        "target_score": Scored(-float(rows["nll"][row]), tokens, size, greedy),
        "correct": None if right is None else greedy,
        "extra": {} if right is None else {"right_tokens": right},
    }


def _among(scores: np.ndarray, right: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Candidates of an answer to be written, beside what is found of itself."""
    likeliest = int(scores.argmax())
    return {
        "choices": names,
        "right": () if right < 0 else (right,),
        "choice_scores": _scored(scores, names, set()),
        "prediction": names[likeliest],
    }


def _classified(logits: np.ndarray, label: int, names: tuple[str, ...]) -> dict[str, Any]:
    scores = logits.astype(float)
    if len(scores) == 1:
        scores = np.array([0.0, scores[0]])
    scores = scores - np.logaddexp.reduce(scores)
    likeliest = int(scores.argmax())
    return {
        "choices": names,
        "right": (label,),
        "choice_scores": _scored(scores, names, {likeliest}),
        "prediction": names[likeliest],
        "correct": likeliest == label,
    }


def _labelled(logits: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    chosen = tuple(int(place) for place in np.flatnonzero(logits > 0))
    right = tuple(int(place) for place in np.flatnonzero(labels))
    scores = -np.logaddexp(0.0, -logits.astype(float))  # of yes
    return {
        "choices": names,
        "right": right,
        "choice_scores": _scored(scores, names, set(chosen)),
        "prediction": [names[place] for place in chosen],
        "correct": chosen == right,
        "chosen": chosen,
    }


def _scored(scores: np.ndarray, names: tuple[str, ...], greedy: set[int]) -> tuple[Scored, ...]:
    return tuple(
        Scored(float(score), 1, len(name.encode()), place in greedy)
        for place, (score, name) in enumerate(zip(scores, names, strict=True))
    )
