"""Where a prompt and an answer meet, in tokens: one rule for training, scoring and generation.

Every character of the answer is in a token of its own side, and none of the prompt is. A prompt
has the tokens that it has alone, whatever follows, for those are what a model writes on from. The
answer has the tokens that it has behind the prompt, wherever a token of the whole text begins
exactly at the border: then this is what lm-evaluation-harness scores too. Where a token reaches
over the border (GPT-2 has one token for `=-`, others for two Chinese characters), the answer is
encoded apart from the prompt. Such a model is asked for `-` behind `=`, as it would have to write
it, and not for `=-` in place of the `=` that stands there already.

A blank at a prompt's end is such a place in nearly every tokenizer, since it belongs to the word
behind it. So whoever makes the texts leaves it to the answer (`emergectl.tasks.task.parted`);
here texts are taken as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from emergectl.data.tokenizers import (
    border_finder,
    end_of_document,
    span_backend,
    splits_anywhere,
    text_encoder,
    unknown_id,
    writes_bytes,
)
from emergectl.errors import RequestError

Ids = tuple[int, ...]

_TEXTS_AT_ONCE = 4096
_MOST_OF_A_PROMPT = 100
"""characters at its end that are encoded again with each answer"""

_ANCHORS = ("\ue000", "\n", "a", "=", "0", "。", " ", "\ue000\ue000")
"""what an answer that is encoded apart stands behind, so that it does not read as the beginning of
a text (which many tokenizers mark with a blank); the first one whose tokens end where it does. The
private character leads, since nobody learnt a token that joins it to anything."""


class Joiner:
    """The tokens of prompts and of the answers to them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._encode = text_encoder(tokenizer)
        self._splits_anywhere = splits_anywhere(tokenizer)
        self._unknown = unknown_id(tokenizer)
        self._says_all = writes_bytes(tokenizer)
        self._blank = self.ids([" "])[0]
        self.opening = _opening(tokenizer)
        """what the tokenizer puts before any text by itself"""

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """The tokens of each text by itself, with nothing around them."""
        found: list[Ids] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._encode(list(texts[start : start + _TEXTS_AT_ONCE]))
            found.extend(tuple(ids.tolist()) for ids in encoded)
        return found

    def framed(self, ids: Ids) -> Ids:
        """A prompt's tokens as a causal model reads them: with what the tokenizer puts before a
        text; an empty prompt is bos, else the end of the text before.

        Raises RequestError where there is nothing to begin with.
        """
        if ids or self.opening:
            return (*self.opening, *ids)
        bos = self._tokenizer.bos_token_id
        if bos is not None:
            return (int(bos),)
        try:
            return (end_of_document(self._tokenizer),)
        except RequestError:
            raise RequestError(
                "a model without bos and eos tokens cannot be asked without context"
            ) from None

    def knows_nothing_of(self, answer: str, ids: Ids) -> bool:
        """Whether an answer's tokens say nothing of it: all that is no blank is unknown, or there
        are none."""
        says_nothing = {*self._blank, self._unknown}
        return bool(answer.strip()) and all(token in says_nothing for token in ids)

    def carries(self, answer: str, ids: Sequence[int]) -> bool:
        """Whether an answer can be had back from its tokens, blanks aside: not where characters
        are unknown, lose their case, or are written as others."""
        if self._says_all:
            return True
        if self._unknown is not None and self._unknown in ids:
            return False
        if self._splits_anywhere:
            return True
        back = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return "".join(back.split()) == "".join(answer.split())

    def join(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[tuple[Ids, tuple[Ids, ...]]]:
        """The tokens of each prompt, and of each of its answers behind it; unframed."""
        heads = self.ids(prompts)
        flat = [(p, answer) for p, some in enumerate(answers) for answer in some]
        if self._splits_anywhere:
            tails = self.ids([answer for _, answer in flat])
        else:
            tails = self._behind(*self._shortened(prompts, heads), flat)
        parted = iter(tails)
        return [
            (head, tuple(next(parted) for _ in some))
            for head, some in zip(heads, answers, strict=True)
        ]

    def _shortened(
        self, prompts: Sequence[str], heads: Sequence[Ids]
    ) -> tuple[Sequence[str], Sequence[Ids]]:
        """The ends of long prompts, from where on a text has its own tokens whatever came before,
        and the tokens of these: all that an answer's tokens depend on.

        Four choices behind 100 tokens are encoded in a third of the time so.
        """
        if all(len(prompt) <= _MOST_OF_A_PROMPT for prompt in prompts):
            return prompts, heads
        ends = [prompt[self._cut_at(prompt) :] for prompt in prompts]
        parted = self.ids(ends)
        for number, (head, end) in enumerate(zip(heads, parted, strict=True)):
            if head[len(head) - len(end) :] != end:
                ends[number], parted[number] = prompts[number], head
        return ends, parted

    def _cut_at(self, prompt: str) -> int:
        if self._next_border is None or len(prompt) <= _MOST_OF_A_PROMPT:
            return 0
        return max(0, self._next_border(prompt, len(prompt) - _MOST_OF_A_PROMPT))

    @cached_property
    def _next_border(self) -> Callable[[str, int], int] | None:
        return border_finder(self._tokenizer)

    def _behind(
        self, prompts: Sequence[str], heads: Sequence[Ids], flat: Sequence[tuple[int, str]]
    ) -> list[Ids]:
        """The tokens of answers, each given with the number of its prompt."""
        wholes = self.ids([prompts[number] + answer for number, answer in flat])
        tails: list[Ids] = []
        unclear: list[int] = []
        for place, ((number, _), whole) in enumerate(zip(flat, wholes, strict=True)):
            head = heads[number]
            tails.append(whole[len(head) :])
            # Behind an unknown character one token may stand for that and the answer's first.
            if whole[: len(head)] != head or (head and head[-1] == self._unknown):
                unclear.append(place)
        texts = [prompts[flat[place][0]] + flat[place][1] for place in unclear]
        borders = [len(prompts[flat[place][0]]) for place in unclear]
        apart: list[int] = []
        for place, tail in zip(unclear, self._cut(texts, borders), strict=True):
            if tail is None:
                apart.append(place)
            else:
                tails[place] = tail
        alone = self._apart(flat[place][1] for place in apart)
        for place in apart:
            tails[place] = alone[flat[place][1]]
        return tails

    def _apart(self, answers: Iterable[str]) -> dict[str, Ids]:
        """The tokens of answers as they stand behind something else than their prompts."""
        found: dict[str, Ids] = {}
        left = list(dict.fromkeys(answers))
        for anchor in _ANCHORS:
            if not left:
                return found
            cut = self._cut([anchor + answer for answer in left], [len(anchor)] * len(left))
            found |= {a: ids for a, ids in zip(left, cut, strict=True) if ids is not None}
            left = [answer for answer, ids in zip(left, cut, strict=True) if ids is None]
        return found | dict(zip(left, self.ids(left), strict=True))

    def _cut(self, texts: Sequence[str], borders: Sequence[int]) -> list[Ids | None]:
        """The tokens of each text from a character on; None where one reaches over that border."""
        found: list[Ids | None] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = self._spans.encode_batch(
                list(texts[start : start + _TEXTS_AT_ONCE]), add_special_tokens=False
            )
            some = borders[start : start + _TEXTS_AT_ONCE]
            for encoding, border in zip(encoded, some, strict=True):
                place = _first_behind(encoding.offsets, border)
                found.append(None if place is None else tuple(encoding.ids[place:]))
        return found

    @cached_property
    def _spans(self) -> Tokenizer:
        return span_backend(self._tokenizer)


def _first_behind(spans: Sequence[tuple[int, int]], border: int) -> int | None:
    """The number of tokens before the character `border`; None where one reaches over it."""
    place = sum(stop <= border for _, stop in spans)
    clean = all(stop <= border for _, stop in spans[:place])
    return place if clean and all(start >= border for start, _ in spans[place:]) else None


def _opening(tokenizer: PreTrainedTokenizerFast) -> Ids:
    backend = tokenizer.backend_tokenizer
    bare = backend.encode("a", add_special_tokens=False).ids
    framed = backend.encode("a").ids
    for before in range(len(framed) - len(bare) + 1):
        if framed[before : before + len(bare)] == bare:
            return tuple(framed[:before])
    return ()
