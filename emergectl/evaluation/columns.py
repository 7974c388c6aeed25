"""What is known of a set of items, column by column: what every metric is a function of.

The same columns are made of item records (`columns_of_records`) and of what the training loop keeps
of held-out rows (`columns_of_rows`), so that a metric is written once and means the same in both.
A table holds the items that have it, in their order, and is made when a metric first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emergectl.evaluation.classes import Classes, Labels, Mask, softmax
from emergectl.evaluation.intervals import Array
from emergectl.evaluation.records import ItemRecord
from emergectl.inference.requests import Scored

Rows = Mapping[str, NDArray[Any]]
"""what `Objective.score` keeps of held-out rows: name → [rows, …]"""


@dataclass(frozen=True)
class Losses:
    """What an item loses, in nats, and what that is of: its tokens, or 1."""

    nll: Array  # [items]
    weight: Array  # [items]


@dataclass(frozen=True)
class Answers:
    """The right answer of each item as a text to be written."""

    logprob: Array  # [items], nats, summed over its tokens
    tokens: Array  # [items]
    bytes: Array | None = None  # [items], UTF-8; NaN: their tokens do not carry their text
    right_tokens: Array | None = None
    """[items], those that greedy prediction gets right, given the ones before"""


@dataclass(frozen=True)
class Choices:
    """The choices of each item, padded to the item that has most."""

    scores: Array  # [items, most], log-probabilities up to a constant of the item; -inf: no choice
    right: Mask  # [items, most]
    counts: NDArray[np.int64]  # [items], choices that there are
    bytes: Array | None = None  # [items, most]; NaN: its tokens do not carry its text
    names: tuple[str, ...] | None = None
    """of the choices, where all items have the same ones; then in this order everywhere"""
    first: NDArray[np.int64] | None = None
    """[items, most], the place that a choice had in its item, where that is another"""

    @property
    def likeliest(self) -> NDArray[np.int64]:
        """The likeliest choice of each item; of equal ones that which came first in its item."""
        if self.first is None:
            return self.scores.argmax(axis=1)
        is_best = self.scores == self.scores.max(axis=1, keepdims=True)
        return np.where(is_best, self.first, self.scores.shape[1]).argmin(axis=1)

    @property
    def likeliest_per_byte(self) -> NDArray[np.int64]:
        """The choice that is likeliest by the byte."""
        assert self.bytes is not None
        return (self.scores / np.maximum(self.bytes, 1)).argmax(axis=1)

    @property
    def of_known_bytes(self) -> Choices | None:
        """The items whose choices all have bytes."""
        if self.bytes is None:
            return None
        kept = np.asarray(~np.isnan(self.bytes).any(axis=1))
        return _kept(self, kept) if kept.any() else None

    def is_right(self, chosen: NDArray[np.int64]) -> Mask:
        """Whether a chosen one is among the right ones: [items]."""
        return np.asarray(self.right[np.arange(len(chosen)), chosen])

    @property
    def chance(self) -> float:
        """The share of right answers of somebody who guesses blindly."""
        return float((self.right.sum(axis=1) / self.counts).mean())

    @cached_property
    def probabilities(self) -> Array:
        """Probabilities of the choices, as shares of what they have together."""
        return softmax(self.scores)


@dataclass(frozen=True)
class Samples:
    """How many of an item's samples were right; `until`: whether the last pass that was wanted
    ended the drawing, None where their number was fixed beforehand."""

    right: int
    count: int
    until: bool | None


class Columns:
    """The tables of some items, each made by the function of its name when it is first asked for.

    None, or empty, is a table that these items do not have. `records` are the items themselves,
    where there are records of them.
    """

    def __init__(
        self, tables: Mapping[str, Callable[[], Any]], records: Sequence[ItemRecord] = ()
    ) -> None:
        self.records = records
        self._tables = tables

    def _made(self, name: str, without: Any = None) -> Any:
        return self._tables[name]() if name in self._tables else without

    @cached_property
    def losses(self) -> Losses | None:
        """What the items lose."""
        found: Losses | None = self._made("losses")
        return found

    @cached_property
    def answers(self) -> Answers | None:
        """Right answers that are texts: a target, or the only right choice."""
        found: Answers | None = self._made("answers")
        return found

    @cached_property
    def answered_right(self) -> Mask | None:
        """Whether items whose answers are to be written were answered right: [items]."""
        found: Mask | None = self._made("answered_right")
        return found

    @cached_property
    def choices(self) -> Choices | None:
        """Items with choices."""
        found: Choices | None = self._made("choices")
        return found

    @cached_property
    def one_right(self) -> Choices | None:
        """Items with choices of which exactly one is right."""
        if self.choices is None:
            return None
        kept = self.choices.right.sum(axis=1) == 1
        if not kept.any():
            return None
        return self.choices if kept.all() else _kept(self.choices, kept)

    @cached_property
    def classes(self) -> Classes | None:
        """Items with one right choice each, all among the same choices."""
        choices = self.one_right
        if choices is None or choices.names is None or len(choices.names) < 2:
            return None
        return Classes(choices.right.argmax(axis=1), choices.likeliest, choices.scores)

    @cached_property
    def labels(self) -> Labels | None:
        """Items that may bear any number of labels."""
        found: Labels | None = self._made("labels")
        return found

    @cached_property
    def ranked(self) -> list[list[float]]:
        """What candidates are worth in the order that the model puts them in, item by item."""
        found: list[list[float]] = self._made("ranked", [])
        return found

    @cached_property
    def texts(self) -> list[tuple[str, list[str]]]:
        """What was written and the right texts, item by item."""
        found: list[tuple[str, list[str]]] = self._made("texts", [])
        return found

    @cached_property
    def samples(self) -> list[Samples]:
        """Items of which several texts were sampled."""
        found: list[Samples] = self._made("samples", [])
        return found

    def grades(self, name: str) -> list[float]:
        """What the task grades written answers by, of the items that have it."""
        return [record.extra[name] for record in self.records if name in record.extra]


def columns_of_rows(rows: Rows, *, bytes_per_token: float | None = None, unfit: int = 0) -> Columns:
    """Columns of held-out rows, as `Objective.score` keeps them.

    `bytes_per_token`: UTF-8 bytes of a target token in the mean, where that is known. `unfit`: rows
    beside these whose answers are too long to be asked for, which makes them wrong.
    """
    nll = rows["nll"].astype(float)
    if "logits" not in rows:
        tokens = rows["targets"].astype(float)
        right = rows["correct"].astype(float) if "correct" in rows else None
        size = None if bytes_per_token is None else tokens * bytes_per_token
        tables: dict[str, Callable[[], Any]] = {
            "losses": lambda: Losses(nll, tokens),
            "answers": lambda: Answers(-nll, tokens, size, right),
        }
        if right is not None:
            answered = np.concatenate([right == tokens, np.zeros(unfit, bool)])
            tables["answered_right"] = lambda: answered
        if "candidates" in rows:
            tables["choices"] = lambda: _of_classes(rows["candidates"], rows["right"])
        return Columns(tables)
    losses = Losses(nll, np.ones(len(nll)))
    logits, labels = rows["logits"].astype(float), rows["labels"]
    if labels.ndim == 2:
        return Columns({"losses": lambda: losses, "labels": lambda: Labels(logits, labels > 0)})
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return Columns({"losses": lambda: losses, "choices": lambda: _of_classes(logits, labels)})


def _of_classes(scores: Array, right: NDArray[Any]) -> Choices:
    """Choices that are the same for all items: scores [items, choices], and the right one of each
    (none where that is no index of them)."""
    classes = scores.shape[1]
    return Choices(
        scores=scores,
        right=right.astype(int)[:, None] == np.arange(classes),
        counts=np.full(len(right), classes),
        names=tuple(map(str, range(classes))),
    )


def columns_of_records(
    records: Sequence[ItemRecord], *, bytes_per_token: float | None = None
) -> Columns:
    """Columns of the records of items that were asked, none of them skipped.

    `bytes_per_token`: of held-out text, whose rows do not say how many bytes they are.
    """
    labelled = [record for record in records if record.chosen is not None]
    chosen = [r for r in records if r.choice_scores and r.chosen is None]
    tables: dict[str, Callable[[], Any]] = {
        "losses": lambda: _losses(records),
        "answers": lambda: _answers(records, bytes_per_token),
        "answered_right": lambda: _answered_right(records),
        "choices": lambda: _choices(chosen) if chosen else None,
        "labels": lambda: _labels(labelled) if labelled else None,
        "ranked": lambda: _ranked(records),
        "texts": lambda: _texts(records),
        "samples": lambda: _samples(records),
    }
    return Columns(tables, records)


def _losses(records: Sequence[ItemRecord]) -> Losses | None:
    found: list[tuple[float, float]] = []
    for record in records:
        scores = np.array([scored.logprob for scored in record.choice_scores])
        if record.target_score is not None and _is_written(record):
            found.append((-record.target_score.logprob, float(record.target_score.tokens)))
        elif record.chosen is not None:
            borne = np.isin(np.arange(len(scores)), record.right)
            found.append((float(-np.where(borne, scores, _log_not(scores)).mean()), 1.0))
        elif len(scores) and len(record.right) == 1:
            together = np.logaddexp.reduce(scores)
            found.append((float(together - scores[record.right[0]]), 1.0))
    return Losses(*np.array(found).T) if found else None


def _is_written(record: ItemRecord) -> bool:
    """Whether an item's answer is a text to be written; held-out answers may have candidates
    besides, whose scores decide nothing of that."""
    return not record.choice_scores or "right_tokens" in record.extra


def _answers(records: Sequence[ItemRecord], bytes_per_token: float | None) -> Answers | None:
    found: list[tuple[float, int, float, float]] = []
    for record in records:
        scored = record.target_score
        if scored is None and record.chosen is None and len(record.right) == 1:
            scored = record.choice_scores[record.right[0]] if record.choice_scores else None
        if scored is not None:
            right = float(record.extra.get("right_tokens", np.nan))
            found.append((scored.logprob, scored.tokens, _bytes_of(scored), right))
    if not found:
        return None
    logprob, tokens, size, right_tokens = np.array(found, float).T
    if bytes_per_token is not None:
        size = tokens * bytes_per_token
    counted = not np.isnan(right_tokens).any()
    return Answers(logprob, tokens, size if size.any() else None, right_tokens if counted else None)


def _bytes_of(scored: Scored) -> float:
    return np.nan if scored.bytes is None else scored.bytes


def _answered_right(records: Sequence[ItemRecord]) -> Mask | None:
    found = [
        record.correct for record in records if record.correct is not None and _is_written(record)
    ]
    return np.array(found, bool) if found else None


def _choices(records: Sequence[ItemRecord]) -> Choices:
    most = max(len(record.choices) for record in records)
    names = _common_names(records)
    scores = np.full((len(records), most), -np.inf)
    right = np.zeros((len(records), most), bool)
    size = np.zeros((len(records), most))
    first = np.zeros((len(records), most), np.int64)
    for row, record in enumerate(records):
        count = len(record.choices)
        here = [names.index(name) for name in record.choices] if names else slice(count)
        scores[row, here] = [scored.logprob for scored in record.choice_scores]
        size[row, here] = [_bytes_of(scored) for scored in record.choice_scores]
        right[row, here] = np.isin(np.arange(count), record.right)
        first[row, here] = np.arange(count)
    counts = np.array([len(record.choices) for record in records])
    return Choices(scores, right, counts, size if size.any() else None, names, first)


def _common_names(records: Sequence[ItemRecord]) -> tuple[str, ...] | None:
    names = records[0].choices
    same = set(names)
    if len(same) < len(names) or any(
        len(record.choices) != len(names) or set(record.choices) != same for record in records
    ):
        return None
    return names


def _kept(choices: Choices, kept: Mask) -> Choices:
    return replace(
        choices,
        scores=choices.scores[kept],
        right=choices.right[kept],
        counts=choices.counts[kept],
        bytes=None if choices.bytes is None else choices.bytes[kept],
        first=None if choices.first is None else choices.first[kept],
    )


def _labels(records: Sequence[ItemRecord]) -> Labels:
    scores = np.array([[one.logprob for one in record.choice_scores] for record in records])
    true = np.array([np.isin(np.arange(scores.shape[1]), record.right) for record in records])
    return Labels(scores - _log_not(scores), true)


def _log_not(logprobs: Array) -> Array:
    """log(1 - p) from log p."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.expm1(logprobs)))


def _ranked(records: Sequence[ItemRecord]) -> list[list[float]]:
    ranked = []
    for record in records:
        is_ranked = isinstance(record.prediction, list | tuple) and record.chosen is None
        if not is_ranked or not record.right:
            continue
        worth = record.worth or [float(i in record.right) for i in range(len(record.choices))]
        gains = [worth[place] for place in record.prediction]
        if any(gain > 0 for gain in gains):
            ranked.append(gains)
    return ranked


def _texts(records: Sequence[ItemRecord]) -> list[tuple[str, list[str]]]:
    found = []
    for record in records:
        own = [] if record.target is None else [record.target]
        if record.written and (references := [*own, *record.references]):
            answer = record.prediction
            found.append((answer if isinstance(answer, str) else record.written[0], references))
    return found


def _samples(records: Sequence[ItemRecord]) -> list[Samples]:
    found = []
    for record in records:
        extra = record.extra
        if "passes" in extra:
            found.append(Samples(extra["passes"], extra["samples"], extra["reached"]))
        elif "samples_right" in extra:
            found.append(Samples(extra["samples_right"], len(record.written), None))
    return found
