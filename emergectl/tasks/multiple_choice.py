"""Questions with options of their own: reading comprehension, science exams, cloze tests.

A model is asked for the likelihood of each option. With {choices} in the prompt the options stand
there under letters, and the letter is what a model is to write, as the field's exams are put;
without, the option's own text is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from emergectl.data.sources import Converter, SourceRow, as_name, as_text
from emergectl.tasks.file_task import FileTask
from emergectl.tasks.shortcuts import LONGEST, SHORTEST
from emergectl.tasks.task import Answering, Ask, Item

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class MultipleChoice(FileTask):
    """Which of a question's own options is right."""

    name: ClassVar[str] = "multiple_choice"
    ask: ClassVar[Ask] = "choice"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "logprob", "brier", "margin", "ece")

    prompt: str = "{question}\n{choices}\nAnswer:"
    """the question; {choices} is the options under letters, which are then what is asked for"""
    choice_columns: list[str] = []  # noqa: RUF012 — pydantic copies it
    """the columns that hold an option each, where no single column holds a list of them"""
    answer_is: Literal["text", "letter", "index", "index from 1"] = "text"
    """what the column `answer` holds"""

    @property
    def made(self) -> tuple[str, ...]:
        """{choices} is filled in from the options."""
        return ("choices",)

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, the options and the right answer."""
        options: dict[str, Converter] = dict.fromkeys(self.choice_columns, as_text)
        return {**super().roles, **(options or {"choices": as_options}), "answer": as_name}

    @property
    def chance(self) -> Mapping[str, float]:
        """The mean over the test items of one in the number of options."""
        if not self.names_rows:
            return {}
        shares = [1 / len(item.choices) for item in self.read.test]
        return {"accuracy": sum(shares) / len(shares)} if shares else {}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """By the length of the options themselves, where their letters are asked for."""
        if "{choices}" not in self.prompt:
            return {}
        return {
            LONGEST: lambda item: _letters_by_length(item, max),
            SHORTEST: lambda item: _letters_by_length(item, min),
        }

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: every option is a choice."""
        if self.choice_columns:
            options = [row.values[column] for column in self.choice_columns]
        else:
            options = row.values["choices"]
        right = self._right(row.values["answer"], options)
        listed = "\n".join(f"{letter}. {o}" for letter, o in zip(LETTERS, options, strict=False))
        by_letter = "{choices}" in self.prompt
        yield Item(
            "",
            self.rendered(row, choices=listed),
            choices=tuple(LETTERS[: len(options)]) if by_letter else tuple(options),
            right=(right,),
            facts={"options": len(options)},
        )

    def _right(self, answer: str, options: list[str]) -> int:
        """The index of the right option. Raises ValueError where there is none such."""
        if self.answer_is == "text":
            index = options.index(answer) if answer in options else -1
        elif self.answer_is == "letter":
            index = LETTERS.find(answer.strip("() .").upper()) if answer.strip("() .") else -1
        else:
            first = 1 if self.answer_is == "index from 1" else 0
            index = int(answer) - first if answer.lstrip("-").isdigit() else -1
        if not 0 <= index < len(options):
            raise ValueError(
                f"the answer {answer!r} is none of the {len(options)} options as "
                f"`answer_is: {self.answer_is}`"
            )
        return index


def _letters_by_length(item: Item, which: Callable[[Iterable[int]], int]) -> list[str]:
    """The letters of the longest or shortest options, as they are listed in the prompt."""
    texts = f"\n{item.prompt}".rpartition("\nA. ")[2]
    lengths = {}
    for letter, following in zip(item.choices, (*item.choices[1:], None), strict=True):
        end = "\n" if following is None else f"\n{following}. "
        text, _, texts = texts.partition(end)
        lengths[letter] = len(text)
    wanted = which(lengths.values())
    return [letter for letter, length in lengths.items() if length == wanted]


def as_options(value: Any) -> list[str]:
    """A list of options, or an object that holds one under `text` (as ARC does)."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list):
        raise ValueError("expected a list of options")
    options = [as_name(option) for option in value]
    if not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"{len(options)} options; there must be 2 to {len(LETTERS)}")
    return options
