"""Questions answered in the model's own words: from a passage, or by thinking.

Models write freely and the answer is taken from what they wrote; what counts as the same answer is
the official script's (`emergectl.tasks.answers`) or equality of numbers. Beside the yes or no of
exact match, the likelihood of the target and the shared share of words (`f1`) are kept.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from emergectl.data.sources import Converter, SourceRow, as_field
from emergectl.tasks import answers
from emergectl.tasks.file_task import FileTask
from emergectl.tasks.task import Ask, Item


class WrittenAnswers(FileTask):
    """What the kinds share whose answers are written: when writing ends."""

    ask: ClassVar[Ask] = "generate"

    stop_at: list[str] = ["\n"]  # noqa: RUF012 — pydantic copies it
    """strings that end the writing"""
    tokens: Annotated[int, Field(gt=0)] = 64
    """tokens of writing at most"""

    @property
    def stop(self) -> tuple[str, ...]:  # type: ignore[override]
        """Strings that end free writing."""
        return tuple(self.stop_at)

    @property
    def max_tokens(self) -> int:  # type: ignore[override]
        """Tokens of free writing at most."""
        return self.tokens


class ExtractiveQA(WrittenAnswers):
    """The answer to a question is a stretch of the passage (SQuAD, CMRC 2018, DRCD)."""

    name: ClassVar[str] = "extractive_qa"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "f1", "logprob", "logprob_per_token")

    prompt: str = "{context}\nQuestion: {question}\nAnswer:"
    """the question; {…} is any role or column"""
    script: Literal["auto", "squad", "cmrc"] = "auto"
    """whose script says what is the same; auto: cmrc where a reference holds Chinese"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `answers`: one or several texts."""
        return {**super().roles, "answers": as_answers}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: the first answer is the target, the others are references."""
        target, *others = row.values["answers"]
        yield Item("", self.rendered(row), target=target, references=tuple(others))

    def is_right(self, item: Item, prediction: str) -> bool:
        """Exact match with any reference, as the script compares."""
        normal = answers.cmrc_normal if self._is_cmrc(item) else answers.squad_normal
        return normal(prediction) in [normal(answer) for answer in _answers_of(item)]

    def grades(self, item: Item, prediction: str) -> Mapping[str, float]:
        """`f1` with the best reference, as the script counts."""
        f1 = answers.cmrc_f1 if self._is_cmrc(item) else answers.squad_f1
        return {"f1": max(f1(prediction, answer) for answer in _answers_of(item))}

    def _is_cmrc(self, item: Item) -> bool:
        if self.script != "auto":
            return self.script == "cmrc"
        return any("\u4e00" <= c <= "\u9fff" for answer in _answers_of(item) for c in answer)


class GenerativeQA(WrittenAnswers):
    """The answer is at the end of what a model writes (GSM8K), or all of it."""

    name: ClassVar[str] = "generative_qa"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "logprob", "logprob_per_token")

    prompt: str = "Question: {question}\nAnswer:"
    """the question; {…} is any role or column"""
    answer_after: str = ""
    """the answer is what follows the last of these marks (GSM8K: ####), to the line's end; empty:
    it is the whole text"""
    same: Literal["text", "number", "squad", "cmrc"] = "text"
    """when two answers are the same: as they stand, as numbers (`$1,200.00` and `1200`, `3/4` and
    `0.75`, `50%` and `0.5`), or by the normal form of a script"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `answers`: one or several texts, worked out where wished."""
        return {**super().roles, "answers": as_answers}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: the first answer, with the way to it, is the target."""
        target, *others = row.values["answers"]
        if self.answer_after and self.answer_after not in target:
            raise ValueError(f"the answer holds no {self.answer_after!r}")
        if self.same == "number" and answers.last_number(self.extract(target)) is None:
            raise ValueError(f"the answer {self.extract(target)!r} is not a number")
        yield Item("", self.rendered(row), target=target, references=tuple(others))

    def extract(self, text: str) -> str:
        """What follows the last mark, to the end of its line."""
        if not self.answer_after:
            return text.strip()
        before, mark, after = text.rpartition(self.answer_after)
        # Without the mark a model has not answered, but a number at the end is what it meant.
        found = after if mark else before or text
        return found.strip().partition("\n")[0].strip() if mark else found.strip()

    def is_right(self, item: Item, prediction: str) -> bool:
        """Whether an extracted answer is the same as that of any reference."""
        given = self._normal(prediction)
        return given is not None and given in [
            self._normal(self.extract(answer)) for answer in _answers_of(item)
        ]

    def _normal(self, answer: str) -> str | None:
        if self.same == "number":
            return answers.last_number(answer)
        if self.same == "text":
            return unicodedata.normalize("NFC", answer).strip()
        normal = answers.squad_normal if self.same == "squad" else answers.cmrc_normal
        return normal(answer)


def as_answers(value: Any) -> list[str]:
    """One text or number, a list of them, or an object that holds it under `text` (hub SQuAD)."""
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    if not isinstance(value, list):
        value = [value]
    if not value:
        raise ValueError("there is no answer")
    return list(dict.fromkeys(as_field(answer) for answer in value))


def _answers_of(item: Item) -> list[str]:
    return [answer for answer in (item.target, *item.references) if answer is not None]
