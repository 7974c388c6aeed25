"""Items as a classification, and what follows from it under any weighting of the items.

F1 and Matthews' coefficient need of a confusion matrix no more than its diagonal and its margins,
so three numbers a class and item are kept where the whole matrix would be its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emergectl.evaluation.estimates import Measure
from emergectl.evaluation.intervals import Array, area_interval

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Classes:
    """Of each item its true and its predicted class, and the score of every class."""

    true: NDArray[np.int64]  # [items]
    predicted: NDArray[np.int64]  # [items]
    scores: Array  # [items, classes], log-probabilities up to a constant of the item

    def counts(self) -> tuple[Array, NDArray[np.int64]]:
        """Hits, predictions and labels, class by class, of each pair of a true and a predicted
        class that there is, and how many items are such: [pairs, 3 · classes], [pairs]."""
        classes = self.scores.shape[1]
        pairs, times = np.unique(self.true * classes + self.predicted, return_counts=True)
        one_hot = np.eye(classes)
        chosen, true = one_hot[pairs % classes], one_hot[pairs // classes]
        return np.concatenate([chosen * true, chosen, true], axis=1), times

    def sides(self) -> tuple[Array, Mask]:
        """Scores and whether they are of the true class: of the second one where there are two,
        else of each against the others; both [items, sides]."""
        if self.scores.shape[1] == 2:
            with np.errstate(invalid="ignore"):
                ahead = np.nan_to_num(self.scores[:, 1] - self.scores[:, 0], nan=0.0)
            return ahead[:, None], (self.true == 1)[:, None]
        return softmax(self.scores), self.true[:, None] == np.arange(self.scores.shape[1])


@dataclass(frozen=True)
class Labels:
    """Items that may bear any number of labels, none among them."""

    scores: Array  # [items, labels], log-odds
    true: Mask  # [items, labels]

    @property
    def predicted_right(self) -> Mask:
        """Whether a label is predicted where it is borne, and not where it is not."""
        return np.asarray((self.scores > 0) == self.true)

    def counts(self) -> Array:
        """Of each item its hits, predictions and labels, label by label: [items, 3 · labels]."""
        chosen = self.scores > 0
        return np.concatenate([chosen & self.true, chosen, self.true], axis=1).astype(float)


def softmax(scores: Array) -> Array:
    """Shares of exp(scores) in each row's sum; -inf where there is no such choice."""
    highest = scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shifted = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def f1_of_counts(sums: Array) -> Array:
    """F1 from summed `counts` [draws, 3 · classes] → [draws]: of the second class of two, else the
    unweighted mean over the classes that occur, as label or as prediction."""
    scores, occurs = _f1_each(sums)
    if scores.shape[1] == 2:
        return np.asarray(scores[:, 1])
    return np.asarray(scores.sum(axis=1) / occurs.sum(axis=1))


def f1_of_labels(sums: Array) -> Array:
    """The unweighted mean of the labels' F1, from summed `counts` [draws, 3 · labels] → [draws]; 0
    for a label that is neither borne nor predicted."""
    return np.asarray(_f1_each(sums)[0].mean(axis=1))


def _f1_each(sums: Array) -> tuple[Array, Mask]:
    hits, chosen, true = _thirds(sums)
    occurs = chosen + true > 0
    return np.where(occurs, 2 * hits / np.where(occurs, chosen + true, 1), 0.0), occurs


def mcc_of_counts(sums: Array) -> Array:
    """Matthews' coefficient for any number of classes (Gorodkin 2004), from summed `counts`
    [draws, 3 · classes] → [draws]; 0 where one class is all there is on either side."""
    hits, chosen, true = _thirds(sums)
    total = true.sum(axis=1)
    above = hits.sum(axis=1) * total - (chosen * true).sum(axis=1)
    spread = (total**2 - (chosen**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    below = np.sqrt(np.maximum(spread, 0.0))
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def mean_roc_area(scores: Array, positive: Mask) -> Measure | None:
    """The unweighted mean of the areas under the ROC curves of each column, chance 0.5.

    scores, positive: [items, sides]. None where there is no side, or one whose items are all alike.
    """
    if not positive.shape[1] or not (positive.any(axis=0) & ~positive.all(axis=0)).all():
        return None
    found = [roc_area(*pair) for pair in zip(scores.T, positive.T, strict=True)]
    area = float(np.mean([area for area, _ in found]))
    parts = np.mean([parts for _, parts in found], axis=0)
    bounds = area_interval(area, float((parts**2).sum()))
    return Measure(area, len(scores), chance=0.5, exact=bounds)


def roc_area(scores: Array, positive: Mask) -> tuple[float, Array]:
    """The area under a ROC curve, ties counted half, and the part of each item in its error
    [items], whose squares sum to its variance (DeLong et al. 1988).

    An item's part is how far it is from the mean of its side in the share of the other side that
    it is rightly ordered with, by the number of items on its side.
    """
    values, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights=positive, minlength=len(values))
    no = np.bincount(place, weights=~positive, minlength=len(values))
    below = (np.cumsum(no) - no / 2) / no.sum()  # of a positive item at this value
    above = (yes.sum() - np.cumsum(yes) + yes / 2) / yes.sum()  # of a negative one
    area = float((yes * below).sum() / yes.sum())
    own, side = (
        np.where(positive, below[place], above[place]),
        np.where(positive, yes.sum(), no.sum()),
    )
    return area, (own - area) / side


def _thirds(sums: Array) -> tuple[Array, Array, Array]:
    count = sums.shape[1] // 3
    return sums[:, :count], sums[:, count : 2 * count], sums[:, 2 * count :]
