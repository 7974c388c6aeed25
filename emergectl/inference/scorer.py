"""The scorer: log-probabilities of continuations, each shared stretch of tokens run once.

A causal model is asked along trees of tokens (`trees`), where it can (`ways`), with its output
head only where a token is predicted. Of an encoder–decoder the encoder runs once a context, for
all of its continuations. Answers do not depend on what else is in a batch, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from emergectl.inference.batching import run_batches
from emergectl.inference.capabilities import Ways, forest_logits
from emergectl.inference.encoding import Coder, Ids, Pair
from emergectl.inference.prefix_tree import Tree, grow_trees, plant
from emergectl.inference.requests import Question, Scored, TooLong
from emergectl.runtime.place import Place

TREE_TOKENS = 1024
"""a tree takes in further questions up to so many tokens, or twice its context: its attention grows
with their square. Shots of 300 tokens before questions of 30 are scored four times as fast so."""

Asked = tuple[int, tuple[Pair, ...]]
"""the slot of a question's first continuation, and its continuations"""


@dataclass(frozen=True)
class TokenSums:
    """Sums over the tokens of continuations: `slots` name them, `logprobs` in nats, `greedy`."""

    slots: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    greedy: NDArray[np.bool_]


def score_questions(
    model: PreTrainedModel,
    coder: Coder,
    ways: Ways | None,
    questions: Sequence[Question],
    *,
    place: Place,
    budget: int | None = None,
) -> Iterator[tuple[int, tuple[Scored, ...] | TooLong]]:
    """(index of the question, scores of its continuations), each once, as batches are done.

    `ways` is None for an encoder–decoder. `budget`: padded tokens of a batch; None finds it.
    Every rank yields everything.
    """
    coded = coder.pairs(questions)
    slots = np.cumsum([0, *(len(question.continuations) for question in questions)])
    asked: list[Asked] = []
    for index, pairs in enumerate(coded):
        if isinstance(pairs, TooLong):
            yield index, pairs
        else:
            asked.append((int(slots[index]), pairs))
    tally = _Tally(coder, questions, coded, slots)
    yield from tally.without_tokens()
    for found in _run(model, ways, asked, place=place, budget=budget):
        yield from tally.take(found)


def score_texts(
    model: PreTrainedModel, coder: Coder, ways: Ways, texts: Sequence[str], *, place: Place
) -> list[Scored]:
    """Each text as a whole, from its first token on, however long (`Coder.windows`)."""
    windows = [coder.windows(text) for text in texts]
    text_of = np.repeat(np.arange(len(texts)), [len(pairs) for pairs in windows])
    flat = [pair for pairs in windows for pair in pairs]
    asked: list[Asked] = [(slot, (pair,)) for slot, pair in enumerate(flat) if pair.continuation]
    logprobs, greedy = np.zeros(len(texts)), np.ones(len(texts), bool)
    for found in _run(model, ways, asked, place=place, budget=None):
        np.add.at(logprobs, text_of[found.slots], found.logprobs)
        np.logical_and.at(greedy, text_of[found.slots], found.greedy)
    return [
        Scored(
            logprob=float(logprobs[index]),
            tokens=sum(len(pair.continuation) for pair in windows[index]),
            bytes=coder.bytes_of(text, [i for pair in windows[index] for i in pair.continuation]),
            greedy=bool(greedy[index]),
        )
        for index, text in enumerate(texts)
    ]


def score_pairs(
    model: PreTrainedModel,
    ways: Ways | None,
    asked: Sequence[tuple[Pair, ...]],
    *,
    place: Place,
    goes_on: Callable[[], bool],
) -> NDArray[np.float64] | None:
    """The log-probability of every continuation of every question, one after the other, of a model
    that is still being trained; None where `goes_on`, asked after each batch, says no."""
    firsts = np.cumsum([0, *map(len, asked)]).tolist()
    logprobs = np.zeros(firsts.pop())
    numbered = list(zip(firsts, asked, strict=True))
    # What a module keeps of an inference is of no use to the gradients of the next step.
    found_in = _run(model, ways, numbered, place=place, budget=None, guard=torch.no_grad)
    for found in found_in:
        logprobs[found.slots] = found.logprobs
        if not goes_on():
            return None
    return logprobs


def _run(
    model: PreTrainedModel,
    ways: Ways | None,
    asked: Sequence[Asked],
    *,
    place: Place,
    budget: int | None,
    guard: Callable[[], AbstractContextManager[Any]] = torch.inference_mode,
) -> Iterator[TokenSums]:
    if ways is None:

        def ask_decoder(batch: list[Asked]) -> TokenSums:
            with guard(), place.autocast():
                return _ask_decoder(model, batch, place.device)

        units = [(slot, pairs) for slot, pairs in asked if pairs]
        return run_batches(units, ask_decoder, tokens=_decoder_tokens, place=place, budget=budget)

    def ask_forest(trees: list[Tree]) -> TokenSums:
        with guard(), place.autocast():
            return _ask_forest(model, ways, trees, place.device)

    grown = grow_trees(asked, share=ways.trees, most_tokens=TREE_TOKENS)
    return run_batches(grown, ask_forest, tokens=len, place=place, budget=budget)


def _ask_forest(
    model: PreTrainedModel, ways: Ways, trees: Sequence[Tree], device: torch.device
) -> TokenSums:
    forest = plant(trees).to(device)
    # Continuations of a context predict their first tokens at one and the same place.
    places, which = torch.unique(
        forest.rows * forest.tokens.shape[1] + forest.nodes, return_inverse=True
    )
    logits = forest_logits(model, forest, places, ways)
    logprobs = logits[which, forest.wanted] - logits.logsumexp(-1)[which]
    greedy = logits.argmax(-1)[which] == forest.wanted
    return _summed(forest.slots, logprobs, greedy)


def _ask_decoder(model: PreTrainedModel, batch: Sequence[Asked], device: torch.device) -> TokenSums:
    """Score continuations by the decoder, each context encoded once."""
    contexts = [torch.tensor(pairs[0].context, device=device) for _, pairs in batch]
    inputs = pad_sequence(contexts, batch_first=True)
    mask = pad_sequence([torch.ones_like(ids) for ids in contexts], batch_first=True)
    encoded = model.get_encoder()(input_ids=inputs, attention_mask=mask)
    repeats = torch.tensor([len(pairs) for _, pairs in batch], device=device)
    encoded.last_hidden_state = encoded.last_hidden_state.repeat_interleave(repeats, 0)

    wanted, slots = _decoder_targets(batch)
    targets = pad_sequence([torch.tensor(ids, device=device) for ids in wanted], True, -100)
    start = model.config.decoder_start_token_id
    shifted = torch.cat([torch.full_like(targets[:, :1], start), targets[:, :-1]], 1)
    logits = model(
        encoder_outputs=encoded,
        attention_mask=mask.repeat_interleave(repeats, 0),
        decoder_input_ids=shifted.clamp(min=0),
        use_cache=False,
    ).logits
    is_target = targets != -100
    logits, targets = logits[is_target].float(), targets[is_target]
    logprobs = logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)
    return _summed(slots, logprobs, logits.argmax(-1) == targets)


def _decoder_targets(
    batch: Sequence[Asked],
) -> tuple[list[Ids], NDArray[np.int64]]:
    """What the decoder is to write, a row a continuation, and the slot of every token."""
    wanted = [pair.continuation for _, pairs in batch for pair in pairs]
    numbers = [slot + i for slot, pairs in batch for i in range(len(pairs))]
    return wanted, np.repeat(np.array(numbers, np.int64), [len(ids) for ids in wanted])


def _decoder_tokens(unit: Asked) -> int:
    """Encoder and decoder tokens of a question."""
    pairs = unit[1]
    return len(pairs[0].context) + len(pairs) * max(len(pair.continuation) for pair in pairs)


def _summed(slots: NDArray[np.int64], logprobs: torch.Tensor, greedy: torch.Tensor) -> TokenSums:
    """Tokens' values summed over each slot, in fp64."""
    unique, which = np.unique(slots, return_inverse=True)
    sums = np.bincount(which, weights=logprobs.double().cpu().numpy())
    misses = np.bincount(which, weights=~greedy.cpu().numpy())
    return TokenSums(unique, sums.astype(np.float64), misses == 0)


class _Tally:
    """What is found of the continuations of each question, until all of it is."""

    def __init__(
        self,
        coder: Coder,
        questions: Sequence[Question],
        coded: Sequence[tuple[Pair, ...] | TooLong],
        slots: NDArray[np.int64],
    ) -> None:
        self._coder = coder
        self._questions = questions
        self._coded = coded
        self._slots = slots
        self._question_of = np.repeat(np.arange(len(questions)), np.diff(slots))
        self._logprobs = np.zeros(slots[-1])
        self._greedy = np.ones(slots[-1], bool)
        self._left = [
            0 if isinstance(pairs, TooLong) else sum(1 for pair in pairs if pair.continuation)
            for pairs in coded
        ]

    def without_tokens(self) -> Iterator[tuple[int, tuple[Scored, ...]]]:
        """Questions of which nothing has to be run: their continuations have no tokens."""
        for index, (left, pairs) in enumerate(zip(self._left, self._coded, strict=True)):
            if not left and not isinstance(pairs, TooLong):
                yield index, self._scores(index)

    def take(self, found: TokenSums) -> Iterator[tuple[int, tuple[Scored, ...]]]:
        """Note what a batch found; the questions that are complete with it."""
        self._logprobs[found.slots] = found.logprobs
        self._greedy[found.slots] = found.greedy
        for index in self._question_of[found.slots].tolist():
            self._left[index] -= 1
            if not self._left[index]:
                yield index, self._scores(index)

    def _scores(self, index: int) -> tuple[Scored, ...]:
        pairs = self._coded[index]
        assert not isinstance(pairs, TooLong)
        first = int(self._slots[index])
        return tuple(
            Scored(
                logprob=float(self._logprobs[first + i]),
                tokens=len(pair.continuation),
                bytes=self._coder.bytes_of(text, pair.continuation),
                greedy=bool(self._greedy[first + i]),
            )
            for i, (text, pair) in enumerate(
                zip(self._questions[index].continuations, pairs, strict=True)
            )
        )
