"""Metrics of a held-out set while a model is trained: functions of arrays, no model is touched.

Records are arrays over items, as `Objective.score` keeps them. A metric is one function from
records to a number; `metrics_of` picks those that fit the objective. Discontinuous metrics stand
beside continuous ones of the same outputs. A metric that the records cannot give (ROC AUC of one
class alone) is left out, never invented.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Records = dict[str, NDArray[np.float64 | np.int64]]
Metric = Callable[[Records], float]


def token_loss(records: Records) -> float:
    """Mean negative log-likelihood of a target token, in nats."""
    return float(records["nll"].sum() / records["targets"].sum())


def perplexity(records: Records) -> float:
    """exp of the mean loss; infinite where that overflows."""
    loss = token_loss(records)
    return math.exp(loss) if loss < 700 else math.inf


def token_accuracy(records: Records) -> float:
    """Share of target tokens that greedy prediction gets right, given the tokens before."""
    return float(records["correct"].sum() / records["targets"].sum())


def exact_match(records: Records) -> float:
    """Share of items with every target token right, given the true tokens before it."""
    return float((records["correct"] == records["targets"]).mean())


def item_loss(records: Records) -> float:
    """Mean loss of an item, in nats, classes unweighted."""
    return float(records["nll"].mean())


def probabilities(records: Records) -> NDArray[np.float64]:
    """Class probabilities: [items] of the second class where there is one logit (binary), else
    [items, classes] by softmax."""
    logits = records["logits"].astype(np.float64)
    if logits.shape[1] == 1:
        return _sigmoid(logits[:, 0])
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def predictions(records: Records) -> NDArray[np.int64]:
    """The class of each item: [items]; for multilabel 0 or 1 a label: [items, labels]."""
    logits = records["logits"]
    if records["labels"].ndim == 2 or logits.shape[1] == 1:
        chosen = (logits > 0).astype(np.int64)
        return chosen if records["labels"].ndim == 2 else chosen[:, 0]
    return logits.argmax(axis=1)


def accuracy(records: Records) -> float:
    """Share of items with the right class (multilabel: with all labels right)."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(records["labels"].astype(int), predictions(records)))


def f1(records: Records) -> float:
    """F1 of the second class for binary, else the unweighted mean over classes (macro)."""
    from sklearn.metrics import f1_score

    binary = records["labels"].ndim == 1 and records["logits"].shape[1] == 1
    average = "binary" if binary else "macro"
    labels, chosen = records["labels"].astype(int), predictions(records)
    return float(f1_score(labels, chosen, average=average, zero_division=0))


def mcc(records: Records) -> float:
    """Matthews correlation coefficient over all classes."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(records["labels"].astype(int), predictions(records)))


def roc_auc(records: Records) -> float:
    """Area under the ROC curve; one-vs-rest, unweighted mean over classes, for more than two.

    NaN where a class has no items or no others: then it is not defined.
    """
    from sklearn.metrics import roc_auc_score

    labels, logits = records["labels"].astype(int), records["logits"]
    if labels.ndim == 2:
        present = [c for c in range(labels.shape[1]) if 0 < labels[:, c].mean() < 1]
        areas = [roc_auc_score(labels[:, c], logits[:, c]) for c in present]
        return float(np.mean(areas)) if areas else math.nan
    classes = 2 if logits.shape[1] == 1 else logits.shape[1]
    if len(np.unique(labels)) < classes:
        return math.nan
    if classes == 2:
        score = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return float(roc_auc_score(labels, score))
    return float(roc_auc_score(labels, probabilities(records), multi_class="ovr"))


def metrics_of(
    records: Records, *, bytes_per_token: float | None = None, share: float = 1.0
) -> dict[str, float]:
    """Every metric that fits the records, by name.

    Of tokens: loss and perplexity, and where right answers were counted accuracy and exact match.

    `bytes_per_token`: UTF-8 bytes of a target token in the mean; with it, causal language models
    get `bits_per_byte`, which does not depend on the tokenizer. `share` of all items have records:
    the answers of the others are too long for the model, and so none of them is an exact match.
    """
    if "logits" in records:
        chosen: dict[str, Metric] = {"loss": item_loss, "accuracy": accuracy, "f1": f1}
        if records["labels"].ndim == 1:
            chosen["mcc"] = mcc
        chosen["roc_auc"] = roc_auc
    else:
        chosen = {"loss": token_loss, "perplexity": perplexity}
        if "correct" in records:
            chosen |= {"accuracy": token_accuracy, "exact_match": exact_match}
    values = {name: metric(records) for name, metric in chosen.items()}
    if bytes_per_token is not None and "logits" not in records:
        values["bits_per_byte"] = values["loss"] / math.log(2) / bytes_per_token
    if "exact_match" in values:
        values["exact_match"] *= share
    undefined = [name for name in ("roc_auc",) if math.isnan(values.get(name, 0.0))]
    return {name: value for name, value in values.items() if name not in undefined}


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(
        values >= 0,
        1 / (1 + np.exp(-np.abs(values))),
        np.exp(-np.abs(values)) / (1 + np.exp(-np.abs(values))),
    )
