"""What is asked of a model, whatever model it is: the likelihood of continuations, and writing.

`Model` is the seam between tasks and models: `eval` turns items into questions and answers into
records, and knows no tensors; the scorer and the generator know no tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Scored:
    """What a model thinks of one continuation of a context.

    `logprob`: its log-probability in nats, summed over its tokens; `tokens`, `bytes` (UTF-8) its
    length, None where its tokens do not carry its text, so that nothing can be said per byte;
    `greedy`: whether every token of it is the likeliest one given those before.
    """

    logprob: float
    tokens: int
    bytes: int | None
    greedy: bool


@dataclass(frozen=True)
class Question:
    """A context, and continuations of it whose likelihood is wanted.

    The continuation follows the context's text directly, or behind `lead`: white space that the
    model has to write with every continuation, and that is no part of it (its bytes are not
    counted, and a decoder of its own does not write it). With `ends` the end of the text, as the
    tokenizer marks it, belongs to every continuation: a model that would write on is then not
    `greedy`.
    """

    context: str
    continuations: tuple[str, ...]
    ends: bool = False
    lead: str = ""


@dataclass(frozen=True)
class Writing:
    """A context to go on from.

    Ends before the first of `stop`, or after `max_tokens` (then it is `Cut`, unless the next token
    would have ended it); `samples` texts, greedy where
    `temperature` is 0, else those from number `first` on of all that could be drawn.
    """

    context: str
    stop: tuple[str, ...]
    max_tokens: int
    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    first: int = 0


class Cut(str):
    """A written text that did not end: it ran into the most tokens, or the model's last position.

    It is a text like any other; whoever judges it has to know that more would have come.
    """

    __slots__ = ()


class TooLong(Exception):
    """An item does not fit into the model's context: said with how long it is and what fits."""


class NotCarried(TooLong):
    """An item whose answers a tokenizer cannot write, or not tell apart: said with which."""


class Model(Protocol):
    """What can be asked."""

    @property
    def name(self) -> str:
        """What it is called in results: the run and step, the directory, or the hub name."""

    def score(
        self, questions: Sequence[Question]
    ) -> Iterator[tuple[int, tuple[Scored, ...] | TooLong]]:
        """(index of the question, what its continuations score), each once, in any order."""

    def write(self, writings: Sequence[Writing]) -> Iterator[tuple[int, tuple[str, ...] | TooLong]]:
        """(index of the writing, its samples), each once, in any order; `Cut` where one did not
        end."""
