"""From questions to tokens: a context, a continuation of it, and what fits.

Where the two meet is `emergectl.data.join`'s business, here as in training. Text that spells a
special token is only text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedTokenizerFast

from emergectl.data.join import Ids, Joiner
from emergectl.data.tokenizers import end_of_document
from emergectl.inference.requests import NotCarried, Question, TooLong

_BY_DISTANCE = ("t5", "mt5", "umt5", "longt5", "switch_transformers")
"""families whose attention knows distances, and so no last position"""


@dataclass(frozen=True)
class Pair:
    """A context and one continuation of it, as tokens."""

    context: Ids
    continuation: Ids


class Coder:
    """What turns text into a model's tokens.

    `reach`: positions that the model has, None where there is no limit. With `seq2seq` the context
    goes to an encoder, closed by the end of the text, and a continuation stands alone.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, *, reach: int | None, seq2seq: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.reach = reach
        self.seq2seq = seq2seq
        has_end = tokenizer.eos_token_id is not None or tokenizer.sep_token_id is not None
        self.end = end_of_document(tokenizer) if has_end else None
        self._joiner = Joiner(tokenizer)

    def contexts(self, texts: Sequence[str]) -> list[Ids | TooLong]:
        """Tokens to write on from; too long are those of which nothing can be predicted."""
        found: list[Ids | TooLong] = []
        for ids in self._joiner.ids(texts):
            context = self._framed(ids)
            found.append(self._too_long(len(context)) or context)
        return found

    def pairs(self, questions: Sequence[Question]) -> list[tuple[Pair, ...] | TooLong]:
        """Each question's continuations with their context, or how far one is too long.

        The context's tokens are those that a text is written on from (`contexts`), whatever
        continuation follows.
        """
        found: list[tuple[Pair, ...] | TooLong] = []
        for question, (context, tails) in zip(questions, self._joined(questions), strict=True):
            ending = (self.end,) if question.ends and self.end is not None else ()
            framed = self._framed(context) if tails else ()
            pairs = tuple(Pair(framed, tail + ending) for tail in tails)
            longest = max((self._length(pair) for pair in pairs), default=0)
            found.append(self._not_carried(question, tails) or self._too_long(longest) or pairs)
        return found

    def bytes_of(self, text: str, tokens: Sequence[int]) -> int | None:
        """The UTF-8 bytes of a continuation; None where its tokens do not carry it."""
        return len(text.encode()) if self._joiner.carries(text, tokens) else None

    def windows(self, text: str) -> list[Pair]:
        """A whole text, however long, in windows of the model's reach: every token is predicted
        once, in each window with as much before it as there is room for."""
        ids = self._joiner.ids([text])[0]
        reach = len(ids) if self.reach is None else self.reach
        pairs = [Pair(self._framed(()), ids[:reach])]
        for start in range(reach, len(ids), max(reach, 1)):
            stop = min(start + reach, len(ids))
            pairs.append(Pair(ids[stop - reach - 1 : start], ids[start:stop]))
        return pairs

    def _joined(self, questions: Sequence[Question]) -> Iterator[tuple[Ids, tuple[Ids, ...]]]:
        contexts = [question.context for question in questions]
        if not self.seq2seq:
            answers = [[q.lead + text for text in q.continuations] for q in questions]
            yield from self._joiner.join(contexts, answers)
            return
        # A decoder begins anew: what it writes stands behind nothing.
        written = iter(self._joiner.ids([text for q in questions for text in q.continuations]))
        for question, context in zip(questions, self._joiner.ids(contexts), strict=True):
            yield context, tuple(next(written) for _ in question.continuations)

    def _length(self, pair: Pair) -> int:
        if self.seq2seq:
            return max(len(pair.context), len(pair.continuation))
        return len(pair.context) + len(pair.continuation) - 1  # the last is only predicted

    def _framed(self, ids: Ids) -> Ids:
        """With what the tokenizer puts around a text; an empty context is bos, else the end."""
        if self.seq2seq:
            return (*self._joiner.opening, *ids, *(() if self.end is None else (self.end,)))
        return self._joiner.framed(ids)

    def _not_carried(self, question: Question, tails: Sequence[Ids]) -> NotCarried | None:
        """Why the tokens of continuations do not stand for them; None where they do."""
        first: dict[Ids, str] = {}
        for text, ids in zip(question.continuations, tails, strict=True):
            if self._joiner.knows_nothing_of(text, ids):
                return NotCarried(f"the model's tokenizer knows no character of {text!r}")
            other = first.setdefault(ids, text)
            if other != text:
                return NotCarried(f"the model's tokenizer has the same for {other!r} and {text!r}")
        return None

    def _too_long(self, tokens: int) -> TooLong | None:
        if self.reach is None or tokens <= self.reach:
            return None
        return TooLong(f"{tokens:,} tokens, and the model reaches {self.reach:,}")


def reach_of(config: PretrainedConfig) -> int | None:
    """How many positions a model has; None where it knows only distances (T5) or none at all."""
    if config.model_type in _BY_DISTANCE:
        return None
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
