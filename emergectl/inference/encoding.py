"""From questions to tokens: where a context ends, where a continuation begins, and what fits.

A continuation is tokenised together with its context and cut off at the context's length, as
lm-evaluation-harness does, because that is how a model met such text in training. Where the
tokens of the whole do not begin with those of the context, white space at the context's end goes
over to the continuation ("A: " + "cat" is "A:" + " cat" to a BPE tokenizer). lm-evaluation-harness
moves it always, and so counts the likelihood of a line end that was part of the question; here
only where the tokens ask for it. Text that spells a special token is only text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedTokenizerFast

from emergectl.data.tokenizers import end_of_document, text_encoder
from emergectl.errors import RequestError
from emergectl.inference.requests import Question, TooLong

Ids = tuple[int, ...]

_TEXTS_AT_ONCE = 4096

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
        self._encode = text_encoder(tokenizer)
        self._opening = _opening(tokenizer)

    def contexts(self, texts: Sequence[str]) -> list[Ids | TooLong]:
        """Tokens to write on from; too long are those of which nothing can be predicted."""
        found: list[Ids | TooLong] = []
        for ids in self._ids(texts):
            context = self._framed(ids)
            found.append(self._too_long(len(context)) or context)
        return found

    def pairs(self, questions: Sequence[Question]) -> list[tuple[Pair, ...] | TooLong]:
        """Each question's continuations with their context, or how far one is too long."""
        contexts = self._ids([question.context for question in questions])
        texts = [
            continuation if self.seq2seq else question.context + continuation
            for question in questions
            for continuation in question.continuations
        ]
        encoded = iter(self._ids(texts))
        found: list[tuple[Pair, ...] | TooLong] = []
        for question, context in zip(questions, contexts, strict=True):
            ending = (self.end,) if question.ends and self.end is not None else ()
            pairs = tuple(
                self._pair(question.context, context, continuation, next(encoded), ending)
                for continuation in question.continuations
            )
            longest = max((self._length(pair) for pair in pairs), default=0)
            found.append(self._too_long(longest) or pairs)
        return found

    def windows(self, text: str) -> list[Pair]:
        """A whole text, however long, in windows of the model's reach: every token is predicted
        once, in each window with as much before it as there is room for."""
        ids = self._ids([text])[0]
        reach = len(ids) if self.reach is None else self.reach
        pairs = [Pair(self._framed(()), ids[:reach])]
        for start in range(reach, len(ids), max(reach, 1)):
            stop = min(start + reach, len(ids))
            pairs.append(Pair(ids[stop - reach - 1 : start], ids[start:stop]))
        return pairs

    def _pair(self, text: str, context: Ids, continuation: str, ids: Ids, ending: Ids) -> Pair:
        """`ids` are of the continuation alone for seq2seq, else of context and continuation."""
        if self.seq2seq:
            return Pair(self._framed(context), ids + ending)
        if ids[: len(context)] == context:
            return Pair(self._framed(context), ids[len(context) :] + ending)
        stripped = self._ids([text.rstrip()])[0]
        rest = ids[len(stripped) :]
        if rest:
            return Pair(self._framed(stripped), rest + ending)
        # One token holds the end of the context and all of the continuation: each by itself.
        return Pair(self._framed(context), self._ids([continuation])[0] + ending)

    def _length(self, pair: Pair) -> int:
        if self.seq2seq:
            return max(len(pair.context), len(pair.continuation))
        return len(pair.context) + len(pair.continuation) - 1  # the last is only predicted

    def _framed(self, ids: Ids) -> Ids:
        """With what the tokenizer puts around a text; an empty context is bos, else the end."""
        if self.seq2seq:
            return (*self._opening, *ids, *(() if self.end is None else (self.end,)))
        if ids or self._opening:
            return (*self._opening, *ids)
        bos = self.tokenizer.bos_token_id
        first = self.end if bos is None else bos
        if first is None:
            raise RequestError("a model without bos and eos tokens cannot be asked without context")
        return (first,)

    def _too_long(self, tokens: int) -> TooLong | None:
        if self.reach is None or tokens <= self.reach:
            return None
        return TooLong(f"{tokens:,} tokens, and the model reaches {self.reach:,}")

    def _ids(self, texts: Sequence[str]) -> list[Ids]:
        found: list[Ids] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._encode(list(texts[start : start + _TEXTS_AT_ONCE]))
            found.extend(tuple(ids.tolist()) for ids in encoded)
        return found


def reach_of(config: PretrainedConfig) -> int | None:
    """How many positions a model has; None where it knows only distances (T5) or none at all."""
    if config.model_type in _BY_DISTANCE:
        return None
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def _opening(tokenizer: PreTrainedTokenizerFast) -> Ids:
    """What the tokenizer puts before any text by itself."""
    backend = tokenizer.backend_tokenizer
    bare = backend.encode("a", add_special_tokens=False).ids
    framed = backend.encode("a").ids
    for before in range(len(framed) - len(bare) + 1):
        if framed[before : before + len(bare)] == bare:
            return tuple(framed[:before])
    return ()
