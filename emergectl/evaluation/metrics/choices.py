"""Metrics of items with choices: answers to choose from, classes, and sets of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emergectl.evaluation.estimates import Measure, mean, of_sums, share
from emergectl.evaluation.metrics.definition import HeldOutKind, Metrics

if TYPE_CHECKING:
    from emergectl.evaluation.columns import Columns

METRICS = Metrics()

CALIBRATION_BINS = 15
_CLASSES: tuple[HeldOutKind, ...] = ("classes", "candidates")
_ALL: tuple[HeldOutKind, ...] = (*_CLASSES, "labels")


@METRICS.metric("discontinuous", "share", least=0.0, most=1.0, held_out=_ALL)
def accuracy(columns: Columns) -> Measure | None:
    """Share of items whose likeliest choice is right; of items with several labels, of those with
    every label right."""
    if columns.labels is not None:
        return share(columns.labels.predicted_right.all(axis=1))
    choices = columns.choices
    if choices is None:
        return None
    return share(choices.is_right(choices.likeliest), chance=choices.chance)


@METRICS.metric("discontinuous", "share", least=0.0, most=1.0)
def accuracy_per_byte(columns: Columns) -> Measure | None:
    """Accuracy with each choice's log-probability divided by its bytes, so that short ones do not
    win for being short; of items all of whose choices the tokens carry."""
    choices = columns.choices and columns.choices.of_known_bytes
    if choices is None:
        return None
    return share(choices.is_right(choices.likeliest_per_byte), chance=choices.chance)


@METRICS.metric("discontinuous", "ratio", least=0.0, most=1.0, held_out=_ALL)
def f1(columns: Columns) -> Measure | None:
    """Of classes: F1 of the second where there are two, else the unweighted mean over them; of
    several labels the mean over these. Of written answers: the mean of what the task grades."""
    from emergectl.evaluation.classes import f1_of_counts, f1_of_labels

    if graded := columns.grades("f1"):
        return mean(graded)
    if columns.labels is not None:
        return of_sums(columns.labels.counts(), f1_of_labels)
    if columns.classes is None:
        return None
    counts, times = columns.classes.counts()
    return of_sums(counts, f1_of_counts, times=times)


@METRICS.metric("discontinuous", "ratio", least=-1.0, most=1.0, held_out=_CLASSES)
def mcc(columns: Columns) -> Measure | None:
    """Matthews' correlation coefficient, for any number of classes."""
    from emergectl.evaluation.classes import mcc_of_counts

    if columns.classes is None:
        return None
    counts, times = columns.classes.counts()
    return of_sums(counts, mcc_of_counts, chance=0.0, times=times)


@METRICS.metric("continuous", "area", least=0.0, most=1.0, held_out=_ALL)
def roc_auc(columns: Columns) -> Measure | None:
    """Area under the ROC curve; the unweighted mean of each class against the others where there
    are more than two, of each label where there are several. Not defined where a class has no
    items; a label that all items bear, or none, is left out."""
    from emergectl.evaluation.classes import mean_roc_area

    if columns.labels is not None:
        labels = columns.labels
        varies = labels.true.any(axis=0) & ~labels.true.all(axis=0)
        return mean_roc_area(labels.scores[:, varies], labels.true[:, varies])
    classes = columns.classes
    return mean_roc_area(*classes.sides()) if classes else None


@METRICS.metric("continuous", "mean", direction="down", least=0.0, most=2.0, held_out=_CLASSES)
def brier(columns: Columns) -> Measure | None:
    """Mean squared distance between the choices' probabilities and the truth, from 0 to 2
    (Brier 1950)."""
    choices = columns.one_right
    if choices is None:
        return None
    distances = ((choices.probabilities - choices.right) ** 2).sum(axis=1)
    return mean(distances, chance=float((1 - 1 / choices.counts).mean()))


@METRICS.metric("continuous", "mean", least=-1.0, most=1.0)
def margin(columns: Columns) -> Measure | None:
    """Mean probability of the right choice less that of the likeliest wrong one."""
    choices = columns.one_right
    if choices is None:
        return None
    given = choices.probabilities
    wrong = (given * ~choices.right).max(axis=1)
    return mean((given * choices.right).sum(axis=1) - wrong, chance=0.0)


@METRICS.metric("continuous", "ratio", direction="down", least=0.0, most=1.0, held_out=_CLASSES)
def ece(columns: Columns) -> Measure | None:
    """Expected calibration error: how far confidence and accuracy are apart, in the mean over
    15 equal bins of confidence, weighted by items (Guo et al. 2017)."""
    import numpy as np

    choices = columns.one_right
    if choices is None:
        return None
    confidence = choices.probabilities.max(axis=1)
    places = np.clip(np.ceil(confidence * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1)
    rows = np.zeros((len(confidence), CALIBRATION_BINS + 1))
    items = np.arange(len(confidence))
    rows[items, places.astype(int)] = choices.is_right(choices.likeliest) - confidence
    rows[:, -1] = 1.0
    return of_sums(rows, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])
