"""Items as a classification, and what follows from it under any weighting of the items.

F1 and Matthews' coefficient need of a confusion matrix no more than its diagonal and its margins,
so three numbers a class and item are kept where the whole matrix would be its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emergectl.evaluation.estimates import Array
from emergectl.evaluation.intervals import Statistic, Weights
from emergectl.evaluation.records import ItemRecord


@dataclass(frozen=True)
class Classes:
    """The classes by name, of each item the true and the predicted one, and each one's share."""

    names: list[str]
    true: NDArray[np.int64]  # [items]
    predicted: NDArray[np.int64]  # [items]
    given: Array  # [items, classes], probabilities

    def counts(self) -> Array:
        """Of each item its hits, predictions and labels, class by class: [items, 3 · classes]."""
        one_hot = np.eye(len(self.names))
        chosen, true = one_hot[self.predicted], one_hot[self.true]
        return np.concatenate([chosen * true, chosen, true], axis=1)


def as_classes(records: Sequence[ItemRecord]) -> Classes | None:
    """Items with one right choice each as a classification; None where their choices differ."""
    if not records:
        return None
    names = list(records[0].choices)
    if len(set(names)) < 2 or any(set(record.choices) != set(names) for record in records):
        return None
    true, predicted, given = [], [], []
    for record in records:
        scores = [scored.logprob for scored in record.choice_scores]
        predicted.append(names.index(record.choices[scores.index(max(scores))]))
        here = dict(zip(record.choices, probabilities(record), strict=True))
        true.append(names.index(record.choices[record.right[0]]))
        given.append([here[name] for name in names])
    return Classes(names, np.array(true), np.array(predicted), np.array(given))


def probabilities(record: ItemRecord) -> Array:
    """Probabilities of the choices, as shares of what they have together: [choices]."""
    scores = np.array([scored.logprob for scored in record.choice_scores])
    shifted = np.exp(scores - scores.max())
    return np.asarray(shifted / shifted.sum(), dtype=float)


def f1_of_counts(sums: Array) -> Array:
    """F1 from summed `counts` [draws, 3 · classes] → [draws]: of the second class of two, else the
    unweighted mean over the classes that occur, as label or as prediction."""
    hits, chosen, true = _thirds(sums)
    occurs = chosen + true > 0
    scores = np.where(occurs, 2 * hits / np.where(occurs, chosen + true, 1), 0.0)
    if scores.shape[1] == 2:
        return np.asarray(scores[:, 1])
    return np.asarray(scores.sum(axis=1) / occurs.sum(axis=1))


def mcc_of_counts(sums: Array) -> Array:
    """Matthews' coefficient for any number of classes (Gorodkin 2004), from summed `counts`
    [draws, 3 · classes] → [draws]; 0 where one class is all there is on either side."""
    hits, chosen, true = _thirds(sums)
    total = true.sum(axis=1)
    above = hits.sum(axis=1) * total - (chosen * true).sum(axis=1)
    spread = (total**2 - (chosen**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    below = np.sqrt(np.maximum(spread, 0.0))
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def roc_area(scores: Array, positive: NDArray[np.bool_]) -> Statistic:
    """The area under a ROC curve as a function of the items' weights, ties counted half; NaN where
    one side has no weight."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)
    is_yes = positive[order]

    def area(weights: Weights) -> Array:
        ordered = weights[:, order]
        yes = np.add.reduceat(ordered * is_yes, starts, axis=1)
        no = np.add.reduceat(ordered * ~is_yes, starts, axis=1)
        below = np.cumsum(no, axis=1) - no / 2
        pairs = yes.sum(axis=1) * no.sum(axis=1)
        won = (yes * below).sum(axis=1)
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1.0), np.nan)

    return area


def _thirds(sums: Array) -> tuple[Array, Array, Array]:
    count = sums.shape[1] // 3
    return sums[:, :count], sums[:, count : 2 * count], sums[:, 2 * count :]
