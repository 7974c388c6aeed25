"""What a task is: items with a known right answer, and what analysis needs to judge them.

Two kinds. A `SequenceTask` asks its ability of token sequences as they stand, densely, at every
position that has a right answer. A `TextTask` yields `Item`s: a prompt and its right answer as
text, which any model can be asked. A module of this folder adds a task by defining one class that
is one or the other; `emergectl.tasks.catalog` finds it by its `name`. Modules here are imported to
check parameters alone, so numpy is imported where items are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from emergectl.store.measurements import Fact

if TYPE_CHECKING:
    import numpy as np

Split = Literal["train", "test"]
Ask = Literal["target", "choice", "rank", "generate"]
"""How a model is asked: for the log-likelihood of the target (right where greedy decoding would
write it), of every choice (the likeliest is the prediction), of every candidate (their order is
the prediction), or to write freely."""


@dataclass(frozen=True)
class Item:
    """One question.

    `prompt` is the question as the template's `{prompt}`; `target` what a right model writes;
    `choices` the options or candidates, `right` the indices of the right or relevant ones, and
    `choice_scores` what each is worth where that is graded; `references` further right texts.
    `facts` say what analysis can group by: digits, hops, length, and the least work of an exact
    algorithm (`operations`, `steps`, `memory`). `id` names the item among those of its task; equal
    questions have equal ids.
    """

    id: str
    prompt: str
    target: str | None = None
    choices: tuple[str, ...] = ()
    right: tuple[int, ...] = ()
    choice_scores: tuple[float, ...] = ()
    references: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


Answering = Callable[[Item], Sequence[str]]
"""An item → what is answered to it: one text, or several that are each as likely; none: a guess."""


@dataclass(frozen=True)
class Template:
    """How a question is put before a model: shots, then the question, then what it is to write.

    `question` holds `{prompt}`; the answer follows it, after `before_answer`. Shots are questions
    with their answers, each followed by `between`. `instruction` stands before everything. Blanks
    right before the answer are for the model to write (`parted`).
    """

    question: str = "{prompt}"
    before_answer: str = ""
    between: str = "\n"
    instruction: str = ""


class TextTask(BaseModel):
    """An ability asked in text; a subclass is a task, its fields are the task's parameters."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,  # of all tasks that are listed, few are made
    )

    name: ClassVar[str]
    ask: ClassVar[Ask] = "target"
    template: ClassVar[Template] = Template()
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "logprob", "logprob_per_token")
    """names of `emergectl.evaluation.metrics`, discontinuous ones first"""
    stop: ClassVar[tuple[str, ...]] = ("\n",)
    """strings that end free writing"""
    max_tokens: ClassVar[int] = 64
    """tokens of free writing at most"""
    least_work: ClassVar[str] = ""
    """what an exact algorithm has to do for an item: behind the facts `operations` (in all),
    `steps` (the longest chain in which each needs the one before) and `memory` (values to be held
    at once, beside the text itself); empty where no algorithm is known"""
    ends: ClassVar[bool] = True
    """whether a model learns to end after its answer; not where every answer is one word"""

    called: str | None = None
    """what results call the task; null: its name"""

    @property
    def title(self) -> str:
        """What results call the task, its parameters aside."""
        return self.called or self.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading came upon, a sentence each, for the person who asks: rows that were skipped
        or merged, and how many items are published beside how many there are."""
        return ()

    @property
    def bytes_to_read(self) -> int | None:
        """The size of the files that its items are read from; None where they are not all here."""
        return 0

    @property
    def alphabet(self) -> str | None:
        """Every character that a question or an answer can hold; None: not known beforehand."""
        return None

    @property
    def vocabulary(self) -> tuple[str, ...] | None:
        """The words of all questions and answers where each is to be one token; None: no words.

        A task with a vocabulary separates its words by single blanks, answers included.
        """
        return None

    @property
    def chance(self) -> Mapping[str, float]:
        """Metric → value of blind guessing, for the metrics where that is known."""
        return {}

    @property
    def shortcuts(self) -> Mapping[str, Answering]:
        """Name → how one answers without the ability, beside what holds for every task
        (`emergectl.tasks.shortcuts`). It is named as it reads in `chance is .338 (naming the last
        listed value)`."""
        return {}

    @property
    def ceiling(self) -> Mapping[str, float]:
        """Metric → the best that can be reached, where labels are known to be partly wrong; what
        contradicts itself among the items asked is found without it."""
        return {}

    def items(self, split: Split, *, seed: int) -> Iterator[Item]:
        """The items of a split, in a fixed order.

        The train split may be endless, where the task can make ever new items (`made.MadeTask`);
        the test split ends. No item of one split has the id of an item of the other, whatever the
        seeds.
        """
        raise NotImplementedError

    def extract(self, text: str) -> str:
        """The answer in what a model wrote freely."""
        return text.strip()

    def is_right(self, item: Item, prediction: str) -> bool:
        """Whether an extracted answer is right."""
        return prediction in (item.target, *item.references)

    def grades(self, item: Item, prediction: str) -> Mapping[str, float]:  # noqa: ARG002
        """Metric → worth of an extracted answer, where an official script grades by degrees."""
        return {}


def answer_of(item: Item) -> str:
    """What a right model writes: the target, or the first right choice."""
    if item.target is not None:
        return item.target
    return item.choices[item.right[0]]


def put(template: Template, item: Item, *, shots: Sequence[Item] = ()) -> str:
    """The text before the answer to `item`: instruction, shots with answers, question."""
    parts = [template.instruction]
    for shot in shots:
        parts += [_question(template, shot), answer_of(shot), template.between]
    return "".join([*parts, _question(template, item)])


def parted(context: str) -> tuple[str, str]:
    """What a model reads of the text before an answer, and the blanks that it has to write itself.

    Nearly every tokenizer joins a blank to the word behind it, so that a text which ends in one is
    unlike all that a model has met (lm-evaluation-harness has its `target_delimiter` for the same
    reason). A line end stays with the question.
    """
    read = context.rstrip(" ")
    return read, context[len(read) :]


def _question(template: Template, item: Item) -> str:
    return template.question.replace("{prompt}", item.prompt) + template.before_answer


class ItemKey(NamedTuple):
    """What an item is, as it is put before a model: equal if the same is asked.

    `prompt_hash` is that of the text before the answer (`hash_of_prompt`), `item` the item's id.
    """

    prompt_hash: str
    item: str
    target: str | None
    choices: tuple[str, ...]
    right: tuple[int, ...]


def key_of(item: Item, context: str) -> ItemKey:
    """The key of an item that is asked behind `context`."""
    return ItemKey(hash_of_prompt(context), item.id, item.target, item.choices, item.right)


def hash_of_prompt(text: str) -> str:
    """The first 16 hex digits of the sha256 of the text put before a model."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def fingerprint_of(keys: Iterable[tuple[object, ...]]) -> str:
    """A fingerprint of items in their order, from their keys: 16 hex digits."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(f"{tuple(key)!r}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class SequenceBatch:
    """Token sequences and where they are scored.

    `tokens`: int64 [count, length]; `scored`: bool [count, length], true where a token has a
    known right answer given those before it.
    """

    tokens: np.ndarray
    scored: np.ndarray


class SequenceTask(Protocol):
    """An ability asked of token sequences as they stand, made anew for every step.

    It may have `shortcuts`, name → token accuracy of what needs no ability.
    """

    name: ClassVar[str]
    vocab_size: int
    length: int

    @property
    def chance(self) -> float:
        """Accuracy of blind guessing."""

    def sequences(self, rng: np.random.Generator, count: int) -> SequenceBatch:
        """`count` independent sequences; the same generator state gives the same sequences."""
