"""Classes keep the order that their head has, and numbers that of their size."""

import numpy as np
import pytest

from emergectl.data.labels import HeadLabels, class_names, head_notes
from emergectl.data.rows import PackedRows
from emergectl.errors import ExperimentError

THREE = ("neutral", "contradiction", "entailment")
NLI = HeadLabels(3, THREE)
UNNAMED = HeadLabels(3, None)
SPAM = HeadLabels(1, ("spam",))


def packed(*labels: str) -> PackedRows:
    none = np.zeros(0, np.int64)
    return PackedRows(
        tokens=np.zeros(0, np.uint32),
        offsets=np.zeros(1, np.int64),
        borders=none,
        codes=none,
        labels=[([label], "r.jsonl:1") for label in labels],
        fingerprint="",
        cuts=np.zeros(0, np.int8),
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "2", "-1"], ["-1", "2", "9", "10"]),
        (["0.5", "10", "1e1", "-2.25"], ["-2.25", "0.5", "10", "1e1"]),
        (["10", "2", "nan"], ["10", "2", "nan"]),
        (["b10", "b2"], ["b10", "b2"]),
    ],
)
def test_labels_that_are_numbers_stand_by_size(labels: list[str], expected: list[str]) -> None:
    assert class_names([packed(*labels)], None, binary=False) == expected


@pytest.mark.parametrize(
    ("head", "data", "binary", "expected"),
    [
        (NLI, ["contradiction", "entailment", "neutral"], False, [*THREE]),
        (NLI, ["entailment", "neutral"], False, [*THREE]),
        (SPAM, ["spam", "ham"], True, ["ham", "spam"]),
        (SPAM, ["ant", "spam"], True, ["ant", "spam"]),
        (UNNAMED, ["2", "0"], False, ["0", "1", "2"]),
        (UNNAMED, ["c", "a", "b"], False, ["a", "b", "c"]),
    ],
)
def test_the_heads_own_order_stays(
    head: HeadLabels, data: list[str], binary: bool, expected: list[str]
) -> None:
    names = class_names([packed(*data)], None, binary=binary, head=head)
    assert names == expected
    assert bool(head_notes(head, names, binary=binary)) is (head.names is None)


@pytest.mark.parametrize(
    ("head", "data", "given", "binary", "reason"),
    [
        (NLI, ["yes", "no"], None, False, r"3 classes \(neutral, .*\), the data has 2 \(no, yes\)"),
        (NLI, ["neutral", "other"], None, False, "the data has 2 .neutral, other.: name them"),
        (NLI, ["a"], ["a", "b"], False, r"3 classes .*the data has 2 \(a, b\)"),
        (SPAM, ["yes", "no"], None, True, r"1 output \(spam\), the data has 2 \(no, yes\)"),
        (UNNAMED, ["a", "b"], None, False, r"3 classes, the data has 2 \(a, b\)"),
        (NLI, [], ["entailment", "neutral", "contradiction"], False, "in another order: neutral"),
        (SPAM, [], ["spam", "ham"], True, "in another order: spam"),
    ],
)
def test_classes_that_are_not_the_heads_are_refused_with_both(
    head: HeadLabels, data: list[str], given: list[str] | None, binary: bool, reason: str
) -> None:
    with pytest.raises(ExperimentError, match=reason) as wrong:
        class_names([packed(*data)], given, binary=binary, head=head)
    assert wrong.value.key == "objective.labels"


def test_new_names_for_a_heads_classes_are_told() -> None:
    names = class_names([packed()], ["x", "y", "z"], binary=False, head=NLI)
    (note,) = head_notes(NLI, names, binary=False)
    assert note == (
        "the model's head had the classes neutral, contradiction, entailment: now they are x, y, z"
    )
