"""Metrics of held-out rows, against scikit-learn on the same rows and against sums by hand; the
same of the rows as item records."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from emergectl.evaluation.classes import softmax as our_softmax
from emergectl.evaluation.columns import Columns, Rows, columns_of_records, columns_of_rows
from emergectl.evaluation.held_out import bounds_of_classes
from emergectl.evaluation.held_out_records import records_of_rows
from emergectl.evaluation.item_files import read_items, write_items
from emergectl.evaluation.metrics import held_out_metrics
from emergectl.tasks.shortcuts import MOST_FREQUENT

RNG = np.random.default_rng(3)
ITEMS = 200


def values(columns: Columns) -> dict[str, float]:
    measures = {metric.name: metric.measure(columns) for metric in held_out_metrics()}
    return {name: found.value for name, found in measures.items() if found is not None}


def kept(rows: Rows, folder: Path, labels: list[str | int]) -> Columns:
    """The columns of the rows once they have been on disk, as records."""
    write_items(folder / "items.jsonl", records_of_rows(rows, "set", labels=labels))
    return columns_of_records(list(read_items(folder / "items.jsonl")))


def classified(labels: np.ndarray, outputs: int) -> dict[str, np.ndarray]:
    logits = RNG.normal(size=(ITEMS, outputs))
    rows = np.arange(ITEMS)
    if outputs == 1:
        logits[:, 0] += labels
    elif labels.ndim == 1:
        logits[rows, labels] += 1.0
    else:
        logits += labels
    return {"logits": logits, "labels": labels, "nll": nll_of(logits, labels)}


def nll_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By the books: cross-entropy, of single decisions where there is one output or several labels
    (then the mean over them)."""
    if logits.shape[1] > 1 and labels.ndim == 1:
        return -np.log(softmax(logits, axis=1)[np.arange(len(labels)), labels])
    yes = labels.reshape(logits.shape)
    given = expit(logits)
    return -np.log(np.where(yes > 0, given, 1 - given)).mean(axis=1)


def calibration(labels: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Brier's score from 0 to 2, and the gap in 15 bins of confidence (Guo et al. 2017)."""
    sure, hit = given.max(axis=1), given.argmax(axis=1) == labels
    bins = np.digitize(sure, np.arange(1, 15) / 15, right=True)
    gaps = [abs((hit[bins == one] - sure[bins == one]).sum()) for one in range(15)]
    brier = sk.brier_score_loss(labels, given, scale_by_half=False)
    return {"brier": brier, "ece": sum(gaps) / len(labels)}


def test_binary_metrics_are_those_of_scikit_learn(tmp_path: Path) -> None:
    labels = RNG.integers(0, 2, ITEMS)
    rows = classified(labels, 1)
    scores = expit(rows["logits"][:, 0])
    chosen = scores > 0.5
    expected = {
        "loss": sk.log_loss(labels, scores),
        "accuracy": sk.accuracy_score(labels, chosen),
        "f1": sk.f1_score(labels, chosen),
        "mcc": sk.matthews_corrcoef(labels, chosen),
        "roc_auc": sk.roc_auc_score(labels, scores),
        **calibration(labels, np.stack([1 - scores, scores], axis=1)),
    }
    assert values(columns_of_rows(rows)) == pytest.approx(expected)
    found = values(kept(rows, tmp_path, ["no", "yes"]))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_multiclass_metrics_are_those_of_scikit_learn(tmp_path: Path) -> None:
    labels = np.arange(ITEMS) % 4
    rows = classified(labels, 4)
    scores = softmax(rows["logits"], axis=1)
    chosen = scores.argmax(axis=1)
    expected = {
        "loss": sk.log_loss(labels, scores),
        "accuracy": sk.accuracy_score(labels, chosen),
        "f1": sk.f1_score(labels, chosen, average="macro"),
        "mcc": sk.matthews_corrcoef(labels, chosen),
        "roc_auc": sk.roc_auc_score(labels, scores, multi_class="ovr"),
        **calibration(labels, scores),
    }
    assert values(columns_of_rows(rows)) == pytest.approx(expected)
    found = values(kept(rows, tmp_path, [3, 5, 7, 9]))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_multilabel_metrics_are_those_of_scikit_learn(tmp_path: Path) -> None:
    labels = RNG.integers(0, 2, (ITEMS, 3)).astype(float)
    labels[:20] = 0.0  # rows without any label are rows like others
    rows = classified(labels, 3)
    rows["logits"][:10] -= 9.0  # of some of them nothing is predicted either
    rows["nll"] = nll_of(rows["logits"], labels)
    chosen = expit(rows["logits"]) > 0.5
    assert not chosen[:10].any()
    expected = {
        "loss": np.mean([sk.log_loss(labels[:, i], expit(rows["logits"][:, i])) for i in range(3)]),
        "accuracy": sk.accuracy_score(labels, chosen),
        "f1": sk.f1_score(labels, chosen, average="macro"),
        "roc_auc": sk.roc_auc_score(labels, rows["logits"]),
    }
    assert values(columns_of_rows(rows)) == pytest.approx(expected)
    assert values(kept(rows, tmp_path, ["a", "b", "c"])) == pytest.approx(expected)
    first = json.loads((tmp_path / "items.jsonl").read_text().splitlines()[0])
    assert first["chosen"] == first["prediction"] == []
    assert first["correct"] is True


def test_what_is_not_defined_is_left_out() -> None:
    one_class = classified(np.ones(ITEMS, int), 1)
    assert "roc_auc" not in values(columns_of_rows(one_class))
    two_of_three = classified(np.arange(ITEMS) % 2, 3)
    assert "roc_auc" not in values(columns_of_rows(two_of_three))


def test_a_label_that_nobody_bears_is_left_out_of_the_area_alone() -> None:
    labels = RNG.integers(0, 2, (ITEMS, 3)).astype(float)
    labels[:, 1] = 0.0
    rows = classified(labels, 3)
    two = [sk.roc_auc_score(labels[:, i], rows["logits"][:, i]) for i in (0, 2)]
    assert values(columns_of_rows(rows))["roc_auc"] == pytest.approx(np.mean(two))


def test_token_metrics_weigh_every_target_alike(tmp_path: Path) -> None:
    rows = {
        "nll": np.array([3.0, 1.0]),
        "targets": np.array([3, 1]),
        "correct": np.array([2, 1]),
    }
    expected = {
        "loss": 1.0,
        "perplexity": math.e,
        "token_accuracy": 0.75,
        "exact_match": 0.5,
    }
    assert values(kept(rows, tmp_path, [])) == pytest.approx(expected)
    bits = {"bits_per_byte": 1 / math.log(2) / 2}
    assert values(columns_of_rows(rows, bytes_per_token=2.0)) == pytest.approx(expected | bits)


def test_a_perplexity_too_large_for_a_float_is_infinite() -> None:
    rows = {"nll": np.array([1e6]), "targets": np.array([1])}
    assert values(columns_of_rows(rows))["perplexity"] == math.inf


def test_a_loss_that_is_no_number_is_told_and_not_left_out() -> None:
    rows = {"nll": np.array([1.0, math.nan]), "targets": np.array([1, 1])}
    assert math.isnan(values(columns_of_rows(rows))["loss"])


def test_extreme_scores_give_probabilities_without_overflow() -> None:
    with np.errstate(over="raise"):
        assert our_softmax(np.array([[1e4, 0.0, -1e4]])).tolist() == [[1.0, 0.0, 0.0]]
        rows = {
            "logits": np.array([[-1e4], [1e4]]),
            "labels": np.array([0, 1]),
            "nll": np.zeros(2),
        }
        assert values(columns_of_rows(rows))["roc_auc"] == 1.0


def test_answering_all_rows_alike_gets_the_share_of_the_largest_class() -> None:
    labels = RNG.choice(3, size=ITEMS, p=[0.2, 0.7, 0.1])
    found = bounds_of_classes(columns_of_rows(classified(labels, 3)))
    accuracy = sk.accuracy_score(labels, np.full(ITEMS, 1))
    assert found.best("accuracy") == (pytest.approx(accuracy), MOST_FREQUENT)
    assert found.best("f1") == found.best("nll") == (None, None)


def test_of_sets_of_labels_the_most_frequent_set_is_answered() -> None:
    labels = (RNG.random((ITEMS, 3)) < [0.8, 0.1, 0.3]).astype(float)
    usual = np.broadcast_to([1.0, 0.0, 0.0], labels.shape)
    found = bounds_of_classes(columns_of_rows(classified(labels, 3)))
    assert found.best("accuracy")[0] == pytest.approx(sk.accuracy_score(labels, usual))


def test_of_texts_to_write_nothing_is_said_without_their_task() -> None:
    rows = {"nll": np.ones(4), "targets": np.ones(4), "correct": np.ones(4)}
    assert bounds_of_classes(columns_of_rows(rows)).best("exact_match") == (None, None)
