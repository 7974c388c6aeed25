"""The few answers that a training set knows, as candidates behind every held-out prompt.

Where a model learns to write one of a few answers, how likely each of them is says more than the
one that it writes: how well they are ranked (ROC AUC), and whether its confidence is deserved. The
candidates are the answers of the rows to learn from, so that held-out rows decide nothing; a
held-out answer that is none of them is a row that no candidate is right for. Each has the tokens
that it has behind the row's prompt (`emergectl.data.join`), and the end of the text after them, as
in training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import FileSource
from emergectl.data.cache import cached, entry_key
from emergectl.data.join import Ids, Joiner
from emergectl.data.packing import FORMAT_VERSION, source_content
from emergectl.data.readers import Tally
from emergectl.data.rows import PackedRows, RowShape
from emergectl.data.sources import iter_rows
from emergectl.data.tokenizers import end_of_document, tokenizer_hash_source

MOST_ANSWERS = 20
"""distinct answers of a training set that are few"""
OFTEN = 5
"""rows that an answer has to have, in the mean over them"""
MOST_COST = 4.0
"""tokens run for the candidates of some rows at most, by those run for the rows alone"""

_LOOKED_AT = 2000
_CHUNK_ROWS = 1024
_NONE = -1


class CandidateRow(NamedTuple):
    """A held-out prompt, the candidates behind it, and which of them is right (-1: none)."""

    context: Ids
    answers: tuple[Ids, ...]
    right: int


@dataclass(frozen=True)
class Candidates:
    """Candidates behind the prompts of a packed source.

    `tails`: their tokens, end included, in as many ways as they have behind some prompt; `which`
    [rows] the way behind each; `right` [rows] the index of the right one, -1 where none is.
    """

    names: tuple[str, ...]
    tails: tuple[tuple[Ids, ...], ...]
    which: NDArray[np.int64]
    right: NDArray[np.int64]

    def row(self, packed: PackedRows, row: int, *, seq_len: int) -> CandidateRow:
        """A packed row with its candidates. The prompt gives way, to the longest of them."""
        answers = self.tails[self.which[row]]
        start = int(packed.offsets[row])
        prompt = packed.tokens[start : start + int(packed.borders[row])].tolist()
        room = seq_len + 1 - max(map(len, answers))
        return CandidateRow(tuple(prompt[-room:]), answers, int(self.right[row]))

    def cost(self, packed: PackedRows, rows: NDArray[np.int64]) -> float:
        """Tokens run for the candidates of these rows, by those run for the rows alone. A prompt
        is run once, and of the last token of an answer nothing follows."""
        added = np.array([sum(len(ids) - 1 for ids in tails) for tails in self.tails])
        alone = (np.diff(packed.offsets)[rows] - 1).sum()
        return float((packed.borders[rows] + added[self.which[rows]]).sum() / max(alone, 1))


def few_answers(
    sources: Sequence[tuple[FileSource, str]],
    packs: Sequence[PackedRows],
    chosen: Sequence[NDArray[np.int64]],
    shape: RowShape,
    *,
    cache: Path,
) -> set[str]:
    """The distinct answers of some rows of packed sources, given with their keys; none where these
    are not few, or not often there."""
    found: set[str] = set()
    for (source, key), packed, rows in zip(sources, packs, chosen, strict=True):
        if not _may_be_few(packed, rows):
            return set()
        answers, codes = _answers(source, shape, key=key, cache=cache)
        if not answers:
            return set()
        found |= {answers[code] for code in np.unique(codes[rows])}
    is_few = 2 <= len(found) <= MOST_ANSWERS
    return found if is_few and sum(map(len, chosen)) >= OFTEN * len(found) else set()


def candidates_behind(
    source: FileSource,
    tokenizer: PreTrainedTokenizerFast,
    shape: RowShape,
    names: tuple[str, ...],
    *,
    key: str,
    cache: Path,
) -> Candidates:
    """The candidates `names` behind every prompt of a source, from the cache if they were there."""
    content = source_content(source, key=key, cache=cache)
    name = entry_key(
        "candidates",
        FORMAT_VERSION,
        content,
        source.columns,
        tokenizer_hash_source(tokenizer),
        [shape.prompt, shape.answer, shape.apart],
        names,
    )

    def make(folder: Path) -> dict[str, Any]:
        joiner, closing = Joiner(tokenizer), end_of_document(tokenizer)
        alone = tuple(joiner.ids(names)) if shape.apart else None
        numbers: dict[tuple[Ids, ...], int] = {}
        which, right = [], []
        for prompts, answers in _texts(source, shape, key=key, cache=cache):
            if alone is None:
                some = [tails for _, tails in joiner.join(prompts, [names] * len(prompts))]
            else:
                some = [alone] * len(prompts)
            which += [numbers.setdefault(tails, len(numbers)) for tails in some]
            right += [names.index(text) if text in names else _NONE for text in answers]
        np.save(folder / "which.npy", np.array(which, np.int64))
        np.save(folder / "right.npy", np.array(right, np.int64))
        return {"tails": [[[*ids, closing] for ids in tails] for tails in numbers]}

    folder, facts = cached(cache, name, make)
    return Candidates(
        names=names,
        tails=tuple(tuple(tuple(ids) for ids in tails) for tails in facts["tails"]),
        which=np.load(folder / "which.npy"),
        right=np.load(folder / "right.npy"),
    )


def why_not(
    candidates: Candidates, tokenizer: PreTrainedTokenizerFast, *, seq_len: int
) -> str | None:
    """Why the tokens of candidates do not stand for them; None where they do."""
    joiner = Joiner(tokenizer)
    for tails in candidates.tails:
        first: dict[Ids, str] = {}
        for text, ids in zip(candidates.names, tails, strict=True):
            if joiner.knows_nothing_of(text, ids[:-1]):
                return f"the tokenizer knows no character of {text!r}"
            if first.setdefault(ids, text) != text:
                return f"the tokenizer has the same for {first[ids]!r} and {text!r}"
            if len(ids) > seq_len:
                return f"{text!r} is longer than {seq_len:,} tokens"
    return None


def _may_be_few(packed: PackedRows, rows: NDArray[np.int64]) -> bool:
    """A quick look at the answers' tokens; behind some prompts an answer may have others."""
    some = rows[:_LOOKED_AT]
    starts = packed.offsets[some] + packed.borders[some]
    ends = packed.offsets[some + 1]
    tails = {packed.tokens[a:b].tobytes() for a, b in zip(starts, ends, strict=True)}
    return len(tails) <= 4 * MOST_ANSWERS


def _answers(
    source: FileSource, shape: RowShape, *, key: str, cache: Path
) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct answers of a source, and which each row has; none where they are many."""
    name = entry_key(
        "answers",
        FORMAT_VERSION,
        source_content(source, key=key, cache=cache),
        source.columns,
        [shape.prompt, shape.answer],
    )

    def make(folder: Path) -> dict[str, Any]:
        numbers: dict[str, int] = {}
        codes: list[int] = []
        for _, answers in _texts(source, shape, key=key, cache=cache):
            codes += [numbers.setdefault(text, len(numbers)) for text in answers]
            if len(numbers) > 4 * MOST_ANSWERS:  # those of rows that are held out among them
                numbers, codes = {}, []
                break
        np.save(folder / "codes.npy", np.array(codes, np.int64))
        return {"answers": list(numbers)}

    folder, facts = cached(cache, name, make)
    return facts["answers"], np.load(folder / "codes.npy")


def _texts(
    source: FileSource, shape: RowShape, *, key: str, cache: Path
) -> Iterator[tuple[list[str], list[str]]]:
    """The prompts and the answers of a source, a chunk at a time, row by row as they are packed."""
    rows = iter_rows(source, roles=shape.roles(), key=key, cache=cache, tally=Tally())
    while chunk := [shape.texts(row) for row in itertools.islice(rows, _CHUNK_ROWS)]:
        yield [prompt for prompt, _ in chunk], [answer or "" for _, answer in chunk]
