"""Text in, text out: translation, summaries, writing, and what is said next in a dialogue.

The same question may have several right texts: in a test split they are the references of one
item. Causal models learn and answer in a template, encoder–decoder models read the prompt and
write the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from emergectl.data.sources import Converter, SourceRow, as_field, as_text
from emergectl.tasks.question_answering import WrittenAnswers, as_answers
from emergectl.tasks.shortcuts import COPYING
from emergectl.tasks.task import Answering, Item


class TextToText(WrittenAnswers):
    """One text for another: translation, simplification, summary."""

    name: ClassVar[str] = "text_to_text"
    metrics: ClassVar[tuple[str, ...]] = (
        "exact_match", "bleu", "chrf", "logprob", "logprob_per_token", "logprob_per_byte",
    )  # fmt: skip

    prompt: str = "{source}\n=>"
    """the question; {…} is any role or column"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `target`: one right text or several."""
        return {**super().roles, "target": as_answers}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """The source as it stands, without what the prompt puts around it."""
        before, source, after = self.prompt.partition("{source}")
        if not source or "{" in before + after:
            return {}
        return {COPYING: lambda item: [item.prompt.removeprefix(before).removesuffix(after)]}

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """One item: the first right text is the target."""
        target, *others = row.values["target"]
        yield Item("", self.rendered(row), target=target, references=tuple(others))


class FreeGeneration(TextToText):
    """Going on from a prompt; there is no one right text, only what somebody wrote there."""

    name: ClassVar[str] = "generation"
    metrics: ClassVar[tuple[str, ...]] = ("chrf", "bleu", "logprob_per_token", "logprob_per_byte")

    prompt: str = "{text}"
    """what is to be gone on from; {…} is any role or column"""

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `target`: a text, or a list of its lines."""
        return {**super().roles, "target": lambda value: [as_text(value)]}


class Dialogue(WrittenAnswers):
    """What a speaker says next, given all that was said: an item for each of their turns."""

    name: ClassVar[str] = "dialogue"
    metrics: ClassVar[tuple[str, ...]] = (
        "bleu", "chrf", "logprob", "logprob_per_token", "logprob_per_byte",
    )  # fmt: skip

    prompt: str = "{turns}\n{speaker}:"
    """the question; {turns} is what was said so far, {speaker} who speaks next"""
    speaker: str = "role"
    """the key of a turn that says who speaks"""
    said: str = "content"
    """the key of a turn that says what"""
    answers: list[str] = ["assistant"]  # noqa: RUF012 — pydantic copies it
    """the speakers whose turns are asked for"""
    speakers: dict[str, str] = {"user": "User", "assistant": "Assistant", "system": "System"}  # noqa: RUF012
    """speaker → what the prompt calls them"""

    @property
    def made(self) -> tuple[str, ...]:
        """{turns} and {speaker} are filled in for each turn."""
        return ("turns", "speaker")

    @property
    def roles(self) -> dict[str, Converter]:
        """The prompt's columns, and `turns`: a list of objects."""
        return {**super().roles, "turns": self._as_turns}

    def key_of(self, row: SourceRow) -> str:
        """A whole dialogue belongs to one split."""
        return "\n".join(f"{who}: {what}" for who, what in row.values["turns"])

    def items_of(self, row: SourceRow) -> Iterator[Item]:
        """An item for each turn of those who answer, after the first turn."""
        said: list[str] = []
        for number, (who, what) in enumerate(row.values["turns"]):
            name = self.speakers.get(who, who)
            if who in self.answers and said:
                before = "\n".join(said)
                prompt = self.rendered(row, turns=before, speaker=name)
                yield Item("", prompt, target=what, facts={"turn": number})
            said.append(f"{name}: {what}")

    def _as_turns(self, value: Any) -> list[tuple[str, str]]:
        if not isinstance(value, list) or not value:
            raise ValueError("expected a list of turns")
        for number, turn in enumerate(value):
            if not isinstance(turn, dict) or not {self.speaker, self.said} <= set(turn):
                raise ValueError(f"turn {number}: expected `{self.speaker}` and `{self.said}`")
        return [(as_field(turn[self.speaker]), as_text(turn[self.said])) for turn in value]
