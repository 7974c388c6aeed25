"""Metrics of item records, against scikit-learn, sacrebleu and sums by hand on the same items."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sacrebleu import corpus_bleu, corpus_chrf
from scipy.special import softmax
from sklearn import metrics as sk

from emergectl.errors import RequestError
from emergectl.evaluation.columns import columns_of_records
from emergectl.evaluation.estimates import Measure
from emergectl.evaluation.estimates import interval as interval_of
from emergectl.evaluation.intervals import wilson
from emergectl.evaluation.metrics import find_metric, metric_names
from emergectl.evaluation.ranking import random_reciprocal_rank
from emergectl.evaluation.records import ItemRecord
from emergectl.evaluation.results import summarize
from emergectl.evaluation.text_overlap import edits_between, text_tokens
from emergectl.inference.requests import Scored

RNG = np.random.default_rng(5)
ITEMS = 150


def record(**fields: object) -> ItemRecord:
    base = {"task": "t", "item": "i", "facts": {}, "prompt_hash": "", "shots": 0}
    return ItemRecord(**(base | fields))  # type: ignore[arg-type]


def chosen(scores: list[float], right: int, names: tuple[str, ...] | None = None) -> ItemRecord:
    names = names or tuple(f"c{i}" for i in range(len(scores)))
    best = int(np.argmax(scores))
    return record(
        choices=names,
        right=(right,),
        choice_scores=tuple(
            Scored(score, 1, len(name), False) for score, name in zip(scores, names, strict=True)
        ),
        prediction=names[best],
        correct=best == right,
    )


def classified(
    classes: int, *, ties: bool = False
) -> tuple[list[ItemRecord], np.ndarray, np.ndarray]:
    """Records, labels [items], scores [items, classes].

    With `ties` scores are whole eighths: what is equal is equal to the last bit, on any machine.
    Without, none are near enough for the last bit to decide.
    """
    labels = RNG.integers(0, classes, ITEMS)
    scores = RNG.normal(size=(ITEMS, classes))
    if ties:
        scores = np.round(scores * 8) / 8
    scores[np.arange(ITEMS), labels] += 0.75
    records = [chosen(list(row), int(label)) for row, label in zip(scores, labels, strict=True)]
    return records, labels, scores


def measure(name: str, records: list[ItemRecord]) -> Measure:
    found = find_metric(name).measure(columns_of_records(records))
    assert found is not None
    return found


def interval(name: str, records: list[ItemRecord]) -> tuple[float | None, float | None]:
    return interval_of(find_metric(name).facts, measure(name, records))


def value(name: str, records: list[ItemRecord]) -> float:
    return measure(name, records).value


@pytest.mark.parametrize(("classes", "ties"), [(2, True), (2, False), (4, False)])
def test_classification_is_scored_as_scikit_learn_does(classes: int, ties: bool) -> None:
    records, labels, scores = classified(classes, ties=ties)
    given = softmax(scores, axis=1)
    predicted = [int(str(one.prediction).removeprefix("c")) for one in records]
    average = "binary" if classes == 2 else "macro"
    area = (
        sk.roc_auc_score(labels, scores[:, 1] - scores[:, 0])  # exact, as probabilities are not
        if classes == 2
        else sk.roc_auc_score(labels, given, multi_class="ovr")
    )
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "f1": sk.f1_score(labels, predicted, average=average),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "roc_auc": area,
        "brier": sk.brier_score_loss(
            labels, given, labels=list(range(classes)), scale_by_half=False
        ),
    }
    assert {name: value(name, records) for name in expected} == pytest.approx(expected)


def test_choices_in_another_order_are_the_same_classes() -> None:
    records, _, _ = classified(3)
    turned = []
    for one in records:
        order = RNG.permutation(3)
        turned.append(
            record(
                choices=tuple(one.choices[i] for i in order),
                right=(int(np.flatnonzero(order == one.right[0])[0]),),
                choice_scores=tuple(one.choice_scores[i] for i in order),
                prediction=one.prediction,
                correct=one.correct,
            )
        )
    turned[0] = records[0]  # the first one names the classes in order
    for name in ("f1", "mcc", "roc_auc", "brier", "margin", "ece"):
        assert value(name, turned) == pytest.approx(value(name, records))


def test_a_drawn_class_that_is_missing_leaves_no_trace_in_the_interval_of_roc_auc() -> None:
    records = [chosen([0.0, 1.0], 1), *(chosen([float(i), 0.0], 0) for i in range(9))]
    assert value("roc_auc", records) == 1.0
    assert interval("roc_auc", records) == (1.0, 1.0)
    assert find_metric("roc_auc").measure(columns_of_records(records[1:])) is None


def test_chance_of_choices_follows_from_the_items() -> None:
    records = [chosen([0.0, 1.0], 0), chosen([0.0, 1.0, 2.0, 3.0], 3)]
    assert measure("accuracy", records).chance == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert measure("brier", records).chance == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert interval("accuracy", records) == pytest.approx(wilson(1, 2))


def test_a_long_choice_may_win_by_the_byte() -> None:
    one = chosen([-3.0, -4.0], 1, ("ab", "abcdefgh"))
    assert value("accuracy", [one]) == 0.0
    assert value("accuracy_per_byte", [one]) == 1.0


def test_the_margin_is_between_the_right_and_the_best_wrong_choice() -> None:
    shares = np.log([0.5, 0.3, 0.2])
    assert value("margin", [chosen(list(shares), 0)]) == pytest.approx(0.2)
    assert value("margin", [chosen(list(shares), 2)]) == pytest.approx(-0.3)


def test_calibration_error_is_that_of_the_bins_by_hand() -> None:
    # Confidence 0.9, three of four right; confidence 0.6, one of two right.
    sure, unsure = list(np.log([0.9, 0.1])), list(np.log([0.6, 0.4]))
    records = [chosen(sure, right) for right in (0, 0, 0, 1)]
    records += [chosen(unsure, right) for right in (0, 1)]
    expected = 4 / 6 * abs(0.75 - 0.9) + 2 / 6 * abs(0.5 - 0.6)
    assert value("ece", records) == pytest.approx(expected)


def ranked(
    order: list[int], relevant: tuple[int, ...], worth: tuple[float, ...] = ()
) -> ItemRecord:
    size = len(order)
    scores = [0.0] * size
    for place, candidate in enumerate(order):
        scores[candidate] = -float(place)
    return record(
        choices=tuple(map(str, range(size))),
        right=relevant,
        worth=worth,
        choice_scores=tuple(Scored(score, 1, 1, False) for score in scores),
        prediction=order,
        correct=order[0] in relevant,
    )


@pytest.mark.parametrize("k", [1, 3, 8])
def test_ndcg_is_that_of_scikit_learn(k: int) -> None:
    records, gains, scores = [], [], []
    for _ in range(40):
        worth = RNG.integers(0, 4, 8).astype(float)
        worth[0] = max(worth[0], 1.0)
        order = [int(i) for i in RNG.permutation(8)]
        right = tuple(int(i) for i in np.flatnonzero(worth))
        records.append(ranked(order, right, tuple(worth)))
        gains.append(worth)
        scores.append([-float(order.index(i)) for i in range(8)])
    assert value(f"ndcg@{k}", records) == pytest.approx(sk.ndcg_score(gains, scores, k=k))
    if k == 8:
        assert value("ndcg", records) == pytest.approx(sk.ndcg_score(gains, scores))


def test_mrr_and_recall_count_places() -> None:
    records = [ranked([2, 0, 1, 3], (0,)), ranked([1, 3, 0, 2], (2, 3))]
    assert value("mrr", records) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert value("recall@1", records) == 0.0
    assert value("recall@2", records) == pytest.approx((1 + 1 / 2) / 2)


def test_a_blind_ranking_gets_what_is_told_as_chance() -> None:
    orders = [list(order) for order in itertools.permutations(range(5))]
    records = [ranked(order, (0, 3), (2.0, 0.0, 0.0, 1.0, 0.0)) for order in orders]
    for name in ("mrr", "ndcg", "ndcg@2", "recall@2"):
        assert value(name, records) == pytest.approx(measure(name, records).chance)
    assert random_reciprocal_rank(3, 1) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_pass_at_k_takes_only_items_with_enough_samples() -> None:
    records = [
        record(target="x", written=("x", "y"), extra={"samples_right": 1}),
        record(target="x", written=("y", "y"), extra={"samples_right": 0}),
        record(target="x", written=("x",)),
    ]
    assert value("pass@1", records) == pytest.approx(0.25)
    assert measure("pass@2", records).items == 2
    assert find_metric("pass@3").measure(columns_of_records(records)) is None


def test_likelihoods_are_sums_over_tokens_and_bytes() -> None:
    records = [
        record(target="ab", target_score=Scored(-2.0, 1, 2, True), correct=True),
        record(target="abcdef", target_score=Scored(-5.0, 3, 6, False), correct=False),
    ]
    assert value("logprob", records) == pytest.approx(-3.5)
    assert value("logprob_per_token", records) == pytest.approx(-7 / 4)
    assert value("logprob_per_byte", records) == pytest.approx(-7 / 8)
    assert value("exact_match", records) == 0.5


def test_no_figure_per_byte_is_of_answers_that_tokens_do_not_carry() -> None:
    records = [
        record(target="ab", target_score=Scored(-2.0, 1, 2, True), correct=True),
        record(target="ab尧", target_score=Scored(-9.0, 3, None, False), correct=False),
    ]
    assert value("logprob_per_byte", records) == pytest.approx(-1.0)
    assert value("bits_per_byte", records) == pytest.approx(1 / np.log(2))
    assert measure("logprob_per_byte", records).items == 1
    assert measure("logprob", records).items == 2
    assert find_metric("logprob_per_byte").measure(columns_of_records(records[1:])) is None

    items = [chosen([-1.0, -1.5], 1, ("a", "bb")), chosen([-1.0, -9.0], 0, ("a", "b尧"))]
    items[1] = replace(
        items[1], choice_scores=(Scored(-1.0, 1, 1, True), Scored(-9.0, 2, None, False))
    )
    assert value("accuracy", items) == 0.5
    assert (value("accuracy_per_byte", items), measure("accuracy_per_byte", items).items) == (1, 1)
    for some, count in ((records, 1), (items, 1), (records[:1], 0)):
        asked = {
            "task": "t",
            "model": "m",
            "step": 1,
            "metric_names": ["logprob"],
            "by": [],
            "chance": {},
        }
        result, told = summarize(Path("t"), some, asked, seed=0)
        assert told.get("uncarried", 0) == count
        assert len(result.notes) == (count > 0)


ENGLISH = [
    ("the cat sat on the mat", ["the cat sat on a mat", "a cat was sitting on the mat"]),
    ("there is a dog", ["there is a dog in the garden"]),
    ("he went home early today", ["today he went home early"]),
]
CHINESE = [("今天天气很好", ["今天的天气真好"]), ("我喜欢吃苹果", ["我爱吃苹果", "我喜欢苹果"])]


def written(pairs: list[tuple[str, list[str]]]) -> list[ItemRecord]:
    return [
        record(target=right[0], references=tuple(right[1:]), written=(text,), prediction=text)
        for text, right in pairs
    ]


@pytest.mark.parametrize(("pairs", "tokenize"), [(ENGLISH, "13a"), (CHINESE, "zh")])
def test_overlap_is_that_of_sacrebleu(pairs: list[tuple[str, list[str]]], tokenize: str) -> None:
    texts = [text for text, _ in pairs]
    streams = [[right[i] if i < len(right) else None for _, right in pairs] for i in range(2)]
    bleu = corpus_bleu(texts, streams, tokenize=tokenize).score  # type: ignore[arg-type]
    chrf = corpus_chrf(texts, streams).score  # type: ignore[arg-type]
    records = written(pairs)
    assert value("bleu", records) == pytest.approx(bleu)
    assert value("chrf", records) == pytest.approx(chrf)
    low, high = interval("chrf", records)
    assert low is not None
    assert high is not None
    assert low <= chrf <= high


def test_edits_are_counted_in_words_digits_and_characters() -> None:
    assert text_tokens("Hello, 12 世界!") == ["Hello", ",", "1", "2", "世", "界", "!"]
    assert edits_between("kitten", "sitting") == 3
    assert edits_between("", "abc") == edits_between("abc", "") == 3
    records = [
        record(target="1234", references=("5678",), written=("1244",), prediction="1244"),
        record(target="a big cat", written=("a cat",), prediction="a cat"),
    ]
    assert value("edit_distance", records) == pytest.approx(1.0)


def test_what_a_task_grades_is_its_f1() -> None:
    records = [record(written=("x",), extra={"f1": 0.5}), record(written=("x",), extra={"f1": 1})]
    assert value("f1", records) == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["acuracy", "recall", "recall@0", "recall@x", "accuracy@3", ""])
def test_a_metric_that_is_none_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(RequestError, match=f"no metric `{name}`"):
        find_metric(name)


def test_no_metric_invents_a_value_for_records_that_cannot_give_it() -> None:
    empty = record(target="x")
    for name in metric_names():
        found = find_metric(name.replace("@k", "@2")).measure(columns_of_records([empty]))
        assert found is None, name


def test_every_right_or_wrong_metric_has_a_continuous_one_of_the_same_outputs() -> None:
    kinds = {name: find_metric(name.replace("@k", "@1")).facts.kind for name in metric_names()}
    assert set(kinds.values()) == {"discontinuous", "continuous"}
    for name in ("logprob", "brier", "margin", "edit_distance", "bleu", "mrr"):
        assert kinds[name] == "continuous"
