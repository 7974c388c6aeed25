"""Texts and pairs of texts with a label, or with any number of labels.

A model is asked for the likelihood of each label's words after the text, and the likeliest label
is its prediction: so a language model that never had a classifier's head can be asked, and an
untrained one is at chance. With several labels a text, each label is a question of its own (yes or
no), and the fact `label` says which, since one likelihood cannot rank sets of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import ClassVar

from emergectl.data.sources import Converter, SourceRow, as_label, as_labels
from emergectl.tasks.file_task import FileTask
from emergectl.tasks.task import Answering, Ask, Item

_LISTED = 8


class Classification(FileTask):
    """Which of several labels a text has."""

    name: ClassVar[str] = "classification"
    ask: ClassVar[Ask] = "choice"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy", "f1", "mcc", "logprob", "brier", "margin", "ece",
    )  # fmt: skip

    prompt: str = "{text}\nLabel:"
    """the question; {…} is any role or column"""
    choices: dict[str, str] | list[str] | None = None
    """the labels, or label → the words that a model is to write for it; null: the labels that the
    rows to learn from have (those to test on where there are none)"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `label`."""
        return {**super().roles, "label": as_label}

    @property
    def chance(self) -> Mapping[str, float]:
        """Every label is as likely as any other, where they are known without reading."""
        return {} if self.choices is None else {"accuracy": 1 / len(self.choices), "mcc": 0.0}

    @cached_property
    def words(self) -> dict[str, str]:
        """Label → what a model writes for it, in the order of the choices."""
        if isinstance(self.choices, dict):
            return self.choices
        found = self.choices or self._found_labels()
        return {label: label for label in found}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: every label's words are a choice."""
        right = index_of(row.values["label"], self.words)
        yield Item("", self.rendered(row), choices=tuple(self.words.values()), right=(right,))

    def _found_labels(self) -> list[str]:
        return sorted({row.values["label"] for row in self.rows.train or self.rows.test})


class SentencePairs(Classification):
    """How one text stands to another: inference, paraphrase, similarity."""

    name: ClassVar[str] = "pairs"

    prompt: str = "{text}\n{text_pair}\nLabel:"
    """the question; {…} is any role or column"""


class MultiLabel(FileTask):
    """Which labels a text has: one question (yes or no) for each text and label."""

    name: ClassVar[str] = "multilabel"
    ask: ClassVar[Ask] = "choice"
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy", "f1", "mcc", "roc_auc", "logprob", "brier", "margin", "ece",
    )  # fmt: skip

    prompt: str = "{text}\nIs it {label}?"
    """the question; {label} is the words of the label that is asked for"""
    choices: dict[str, str] | list[str] | None = None
    """the labels, or label → the words that stand for it in the question; null: the labels that
    the rows to learn from have (those to test on where there are none)"""
    no: str = "no"
    """what a model writes where a text does not have the label"""
    yes: str = "yes"
    """what a model writes where it does"""

    @property
    def made(self) -> tuple[str, ...]:
        """{label} is filled in for each question."""
        return ("label",)

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `labels`: a list, or a text with | ; or , between them."""
        return {**super().roles, "labels": as_labels}

    @property
    def chance(self) -> Mapping[str, float]:
        """Yes is as likely as no."""
        return {"accuracy": 0.5, "mcc": 0.0, "roc_auc": 0.5}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Whether most rows to learn from have the label that is asked for."""
        rows = self.rows.train
        if not rows:
            return {}
        times = Counter(label for row in rows for label in set(row.values["labels"]))
        usual = {name: self.yes if times[name] > len(rows) / 2 else self.no for name in self.words}
        return {"answering what is usual of the label": lambda i: [usual[str(i.facts["label"])]]}

    @cached_property
    def words(self) -> dict[str, str]:
        """Label → what stands for it in the question."""
        if isinstance(self.choices, dict):
            return self.choices
        rows = self.rows.train or self.rows.test
        found = self.choices or sorted({label for row in rows for label in row.values["labels"]})
        return {label: label for label in found}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """An item for each label there is."""
        own = {index_of(label, self.words) for label in row.values["labels"]}
        for index, (label, words) in enumerate(self.words.items()):
            yield Item(
                "",
                self.rendered(row, label=words),
                choices=(self.no, self.yes),
                right=(int(index in own),),
                facts={"label": label},
            )


def index_of(label: str, known: Mapping[str, str]) -> int:
    """The index of a label. Raises ValueError for one that is not known."""
    names = list(known)
    if label not in known:
        more = f" … ({len(names)} in all)" if len(names) > _LISTED else ""
        raise ValueError(
            f"the label {label!r} is not among the choices: {', '.join(names[:_LISTED])}{more}"
        )
    return names.index(label)
