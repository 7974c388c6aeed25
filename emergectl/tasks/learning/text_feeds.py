"""Items of text tasks as batches: a question, its answer, and the loss on the answer alone.

A finite task's items stand in memory as packed rows and are shuffled anew every epoch; an endless
one's are made for the step that needs them, from (seed, place in the stream). Texts become tokens
as for the scorer and the generator (`emergectl.data.join`), a blank before the answer belonging to
it. So the metrics of the training loop and those of `eval` are of the same tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from emergectl.data.batches import Batch
from emergectl.data.feeds import Feed
from emergectl.data.join import Joiner
from emergectl.data.row_feeds import RowsFeed
from emergectl.data.rows import Encoded, rows_in_memory
from emergectl.data.tokenizers import end_of_document, tokenizer_hash_source
from emergectl.data.unknown import Unknown, UnknownCounter
from emergectl.errors import RequestError
from emergectl.tasks.learning.feeds import ROWS_PER_EPOCH
from emergectl.tasks.synthetic import BLOCK_ITEMS, MadeTask
from emergectl.tasks.task import (
    Item,
    ItemKey,
    Split,
    TextTask,
    answer_of,
    key_of,
    parted,
    put,
)

HELD_OUT_SEED = 0
"""held-out items are the same whatever the run's seed"""
_CACHED_BLOCKS = 256
_SAMPLED_BLOCKS = 64
_READ_AT_ONCE = 1024

_Fact = TypeVar("_Fact")
EncodeItems = Callable[[Sequence[Item]], list[Encoded]]


@dataclass(frozen=True)
class TaskRows:
    """The rows of one split of a task, as tokens, and which tokenizer made them.

    `encoded` are all rows of a finite split; of an endless one, those that were looked at to know
    how long they are, and `blocks` gives the others.
    """

    task: TextTask
    label: str
    """what the task is called in metrics and messages"""
    split: Split
    tokenizer: PreTrainedTokenizerFast
    encoded: list[Encoded]
    unknown: Unknown
    """the characters of all of them, and those that the tokenizer does not know"""
    without_answer: int = 0
    """items that are not among them, since no character of their answers is known"""
    blocks: Callable[[int], list[Encoded]] | None = None
    items: tuple[Item, ...] = ()
    """of held-out rows: what each of them asks"""
    keys: tuple[ItemKey, ...] = ()
    """of held-out rows: their items, as they are known again"""
    carried: tuple[bool, ...] = ()
    """of held-out rows: whether the tokens of the answer carry its text"""

    def fitting(self, facts: Sequence[_Fact], seq_len: int) -> tuple[_Fact, ...]:
        """Of facts of each held-out row, those of the rows that a feed of so many tokens takes."""
        rows = zip(facts, self.encoded, strict=True)
        return tuple(fact for fact, (ids, _) in rows if len(ids) <= seq_len + 1)

    @property
    def longest(self) -> int:
        """Input tokens of the longest row (its last token is only predicted)."""
        return max(len(ids) for ids, _ in self.encoded) - 1


def train_rows(
    task: TextTask, tokenizer: PreTrainedTokenizerFast, *, seed: int, apart: bool
) -> TaskRows:
    """What a task gives to train on, `apart` as for `item_encoder`. RequestError where there is
    nothing."""
    encode = item_encoder(task, tokenizer, apart=apart)
    if isinstance(task, MadeTask) and task.examples is None:

        def block(number: int) -> list[Encoded]:
            return encode(task.block("train", seed=seed, number=number))

        sample = [row for number in range(_SAMPLED_BLOCKS) for row in block(number)]
        items = (
            item
            for number in range(_SAMPLED_BLOCKS)
            for item in task.block("train", seed=seed, number=number)
        )
        unknown = UnknownCounter(tokenizer).in_texts([_text(task, item) for item in items])
        return TaskRows(task, task.name, "train", tokenizer, sample, unknown, blocks=block)
    items_once = task.items("train", seed=seed)
    return _all_rows(task, task.name, "train", items_once, tokenizer, encode)


def test_rows(
    task: TextTask, tokenizer: PreTrainedTokenizerFast, *, label: str, apart: bool
) -> TaskRows:
    """The held-out items of a task, whoever asks, `apart` as for `item_encoder`. RequestError where
    there are none."""
    items = task.items("test", seed=HELD_OUT_SEED)
    encode = item_encoder(task, tokenizer, apart=apart)
    return _all_rows(task, label, "test", items, tokenizer, encode)


def rows_feed(rows: TaskRows, *, seed: int, seq_len: int, refuse: bool = False) -> tuple[Feed, int]:
    """A feed of rows, and how many were left out since they are longer than `seq_len` tokens.

    Raises RequestError where none is left, where the rows are endless and too long, and with
    `refuse` where any is too long.
    """
    fitting = [row for row in rows.encoded if len(row[0]) <= seq_len + 1]
    left_out = len(rows.encoded) - len(fitting)
    if not fitting or (left_out and (refuse or rows.blocks is not None)):
        raise RequestError(_too_long(rows.task, seq_len, rows.longest))
    if rows.blocks is not None:
        return EndlessFeed(rows, seq_len=seq_len, seed=seed), 0
    packed = rows_in_memory(fitting, fingerprint=_content_hash(fitting))
    feed = RowsFeed(packed, seq_len=seq_len, seed=seed, pad_id=_pad_id(rows.tokenizer))
    return feed, left_out


def item_encoder(
    task: TextTask, tokenizer: PreTrainedTokenizerFast, *, apart: bool = False
) -> EncodeItems:
    """A function from items to (ids, where the answer begins in them).

    `apart`: for an encoder–decoder, whose answer begins a text of its own.
    """
    joiner = Joiner(tokenizer)
    closing = [end_of_document(tokenizer)] if task.ends else []

    def encoded(items: Sequence[Item]) -> list[Encoded]:
        asked = [parted(put(task.template, item)) for item in items]
        questions = [question for question, _ in asked]
        if apart:
            heads = joiner.ids(questions)
            tails = joiner.ids([answer_of(item) for item in items])
        else:
            answers = [[lead + answer_of(i)] for (_, lead), i in zip(asked, items, strict=True)]
            joined = joiner.join(questions, answers)
            heads, tails = [head for head, _ in joined], [tail for _, (tail,) in joined]
        rows = []
        for head, tail in zip(heads, tails, strict=True):
            first = joiner.framed(head)
            rows.append(([*first, *tail, *closing], len(first)))
        return rows

    return encoded


class EndlessFeed(Feed):
    """Items that are made anew: training never sees one twice but by chance.

    A row depends on the seed and its place in the stream alone. Held-out rows of this feed are the
    first ones of its own stream: they show how well what was trained on is known.
    """

    ragged = True

    def __init__(self, rows: TaskRows, *, seq_len: int, seed: int) -> None:
        assert rows.blocks is not None
        self._rows = rows
        self._blocks = lru_cache(_CACHED_BLOCKS)(rows.blocks)
        self._pad_id = _pad_id(rows.tokenizer)
        self.rows = ROWS_PER_EPOCH
        self.held_out_rows = len(rows.encoded)
        self.seq_len = seq_len
        described = {"task": rows.task.name, "seed": seed, **rows.task.model_dump(mode="json")}
        text = json.dumps(described, sort_keys=True) + tokenizer_hash_source(rows.tokenizer)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def mean_over_rows(self, of: Callable[[NDArray[np.int64]], NDArray[Any]]) -> float:
        """See `Feed.mean_over_rows`; over the rows that were looked at."""
        return float(of(np.array([len(ids) - 1 for ids, _ in self._rows.encoded])).mean())

    def take(self, draws: NDArray[np.int64], width: int) -> Batch:
        """The rows at places `draws` of the endless stream, padded to `width`."""
        return self._collated(self._at(draws), width)

    def width(self, draws: NDArray[np.int64]) -> int:
        """The longest row drawn, rounded up to a multiple of 8, at most seq_len."""
        return self._width(self._at(draws))

    def held_out_batch(self, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the beginning of the stream."""
        rows = self._rows.encoded[start:stop]
        return self._collated(rows, self._width(rows))

    def _at(self, draws: NDArray[np.int64]) -> list[Encoded]:
        places = zip(*(part.tolist() for part in np.divmod(draws, BLOCK_ITEMS)), strict=True)
        return [self._blocks(block)[within] for block, within in places]

    def _width(self, rows: list[Encoded]) -> int:
        longest = max(len(ids) for ids, _ in rows) - 1
        if longest > self.seq_len:
            raise RequestError(_too_long(self._rows.task, self.seq_len, longest))
        return min(-(-longest // 8) * 8, self.seq_len)

    def _collated(self, rows: list[Encoded], width: int) -> Batch:
        packed = rows_in_memory(rows, fingerprint="")
        feed = RowsFeed(packed, seq_len=self.seq_len, seed=0, pad_id=self._pad_id)
        return feed.collate(np.arange(len(rows)), width)


def _all_rows(
    task: TextTask,
    label: str,
    split: Split,
    items: Iterator[Item],
    tokenizer: PreTrainedTokenizerFast,
    encode: EncodeItems,
) -> TaskRows:
    """The rows of items whose answers are known, at least in part."""
    rows: list[Encoded] = []
    asked: list[Item] = []
    keys: list[ItemKey] = []
    carried: list[bool] = []
    unknown, without_answer = Unknown(), 0
    counter, joiner = UnknownCounter(tokenizer), Joiner(tokenizer)
    while some := list(islice(items, _READ_AT_ONCE)):
        counted = counter.in_texts([_text(task, item) for item in some])
        unknown.add(counted.characters, counted.unknown)
        if counted.unknown:
            answers = joiner.ids([answer_of(item) for item in some])
            known = [
                item
                for item, ids in zip(some, answers, strict=True)
                if not joiner.knows_nothing_of(answer_of(item), ids)
            ]
            without_answer += len(some) - len(known)
            some = known
        rows += encode(some)
        if split == "test":
            tails = [ids[border : len(ids) - task.ends] for ids, border in rows[-len(some) :]]
            pairs = zip(some, tails, strict=True)
            carried += [joiner.carries(answer_of(item), ids) for item, ids in pairs]
            keys += [key_of(item, put(task.template, item)) for item in some]
            asked += some
    if not rows:
        raise RequestError(
            f"task `{task.name}` has no items in its {split} split"
            + (" whose answers the tokenizer can write" if without_answer else "")
        )
    return TaskRows(
        task,
        label,
        split,
        tokenizer,
        rows,
        unknown,
        without_answer,
        items=tuple(asked),
        keys=tuple(keys),
        carried=tuple(carried),
    )


def _text(task: TextTask, item: Item) -> str:
    return put(task.template, item) + answer_of(item)


def _too_long(task: TextTask, seq_len: int, longest: int) -> str:
    return f"items of `{task.name}` need {longest} tokens; data.seq_len is {seq_len}: give more"


def _content_hash(rows: list[Encoded]) -> str:
    digest = hashlib.sha256()
    for ids, border in rows:
        digest.update(np.array([len(ids), border, *ids], np.int64).tobytes())
    return digest.hexdigest()


def _pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    pad_id = tokenizer.pad_token_id
    return end_of_document(tokenizer) if pad_id is None else pad_id
