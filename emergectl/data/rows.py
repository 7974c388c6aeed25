"""Rows packed on disk: a text or a pair with its label, or a prompt with its answer.

Each row becomes a stretch of tokens in one memory-mapped file, already framed and cut to the
sequence length. Beside it stand where it begins, where its second part begins (the second text, or
the answer), and the code of its label. Labels are kept by name, with the place of the first row
that bears each, so that one packing serves whatever list of classes an experiment uses, and a
label that is not in the list can still be pointed at.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import FileSource
from emergectl.data.cache import cached, entry_key
from emergectl.data.join import Joiner
from emergectl.data.packing import FORMAT_VERSION, ReadProgress, source_bytes, source_content
from emergectl.data.readers import Tally
from emergectl.data.runaway_regexes import panics_told
from emergectl.data.sources import (
    Converter,
    SourceRow,
    as_field,
    as_label,
    as_labels,
    as_text,
    iter_rows,
)
from emergectl.data.templates import render, template_fields
from emergectl.data.tokenizers import (
    Tokens,
    end_of_document,
    text_backend,
    tokenizer_hash_source,
)
from emergectl.data.unknown import Unknown, UnknownCounter

_CHUNK_ROWS = 1024
_TRUNCATE = "longest_first"

WHOLE, CUT, UNFIT, UNKNOWN = 0, 1, 2, 3

Encoded = tuple[list[int], int]
"""The ids of a row, and the index in them at which its second part begins (their number: none)."""


Texts = list[tuple[str, str | None]]
EncodeRows = Callable[[Texts], list[tuple[Encoded, int]]]


@dataclass(frozen=True)
class RowShape:
    """What a row is made of; `prompt` and `answer` are templates, empty for classification.

    `apart`: an answer begins a text of its own, as for an encoder–decoder.
    """

    kind: Literal["classify", "answer"]
    pair: bool = False
    multilabel: bool = False
    prompt: str = ""
    answer: str = ""
    apart: bool = False

    def roles(self) -> dict[str, Converter]:
        """The roles that a row has to fill, and how each is checked."""
        if self.kind == "answer":
            fields = template_fields(self.prompt, key="objective.prompt")
            fields += template_fields(self.answer, key="objective.answer")
            return dict.fromkeys(fields, as_field)
        roles: dict[str, Converter] = {"text": as_text}
        if self.pair:
            roles["text_pair"] = as_text
        roles["label"] = as_labels if self.multilabel else as_label
        return roles

    def texts(self, row: SourceRow) -> tuple[str, str | None]:
        """The first and the second text of a row."""
        if self.kind == "answer":
            return render(self.prompt, row.values), render(self.answer, row.values)
        return row.values["text"], row.values.get("text_pair")


@dataclass(frozen=True)
class PackedRows:
    """Rows as tokens (memory maps, or any arrays).

    `offsets` [rows + 1] says where rows begin, `borders` [rows] where in a row its second part
    does, `codes` [rows] which entry of `labels` it bears: (the names, file:line of the first).
    `cuts` [rows] says what the sequence length left of each: WHOLE, CUT (of its text or prompt a
    part), UNFIT (its answer alone is too long), UNKNOWN (no character of its answer is in the
    vocabulary); the last two have no tokens. `first_cut` is the file:line of the first that is CUT
    or UNFIT. `unknown` counts the characters of all texts.
    """

    tokens: Tokens
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    borders: np.ndarray[Any, np.dtype[np.int64]]
    codes: np.ndarray[Any, np.dtype[np.int64]]
    labels: list[tuple[list[str], str]]
    fingerprint: str
    cuts: np.ndarray[Any, np.dtype[np.int8]]
    unknown: Unknown = field(default_factory=Unknown)
    first_cut: str = ""
    skipped: int = 0
    first_skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1


def pack_rows(
    source: FileSource,
    tokenizer: PreTrainedTokenizerFast,
    shape: RowShape,
    *,
    seq_len: int,
    key: str,
    cache: Path,
    progress: ReadProgress | None = None,
) -> PackedRows:
    """The packed rows of a source, from the cache if they were packed before.

    Raises DataError (`file:line: reason`) and ExperimentError as `sources` does.
    """
    name = entry_key(
        "rows",
        FORMAT_VERSION,
        source_content(source, key=key, cache=cache),
        source.columns,
        tokenizer_hash_source(tokenizer),
        [
            shape.kind,
            shape.pair,
            shape.multilabel,
            shape.prompt,
            shape.answer,
            shape.apart,
            seq_len,
        ],
    )

    def make(folder: Path) -> dict[str, Any]:
        tally = Tally()
        rows = iter_rows(source, roles=shape.roles(), key=key, cache=cache, tally=tally)
        total = source_bytes(source, key=key, cache=cache)

        def report() -> None:
            if progress is not None:
                progress(source.path or source.hub or "", tally.bytes_read, total)

        encode, counter = row_encoder(tokenizer, shape, seq_len), UnknownCounter(tokenizer)
        facts = _pack(rows, shape, encode, counter, folder, report)
        return facts | {"skipped": tally.skipped, "first_skipped": tally.first_skipped}

    folder, facts = cached(cache, name, make)
    offsets = np.asarray(np.load(folder / "offsets.npy", mmap_mode="r"))
    tokens: Tokens = np.zeros(0, np.uint32)  # an empty file cannot be mapped
    if offsets[-1]:
        tokens = np.asarray(np.memmap(folder / "tokens.bin", np.uint32, "r"))
    return PackedRows(
        tokens=tokens,
        offsets=offsets,
        borders=np.asarray(np.load(folder / "borders.npy", mmap_mode="r")),
        codes=np.asarray(np.load(folder / "codes.npy", mmap_mode="r")),
        labels=[(names, where) for names, where in facts["labels"]],
        fingerprint=name,
        cuts=np.asarray(np.load(folder / "cuts.npy", mmap_mode="r")),
        unknown=Unknown(*facts["unknown"]),
        first_cut=facts["first_cut"],
        skipped=facts["skipped"],
        first_skipped=tuple(facts["first_skipped"]),
    )


def rows_in_memory(encoded: list[Encoded], *, fingerprint: str) -> PackedRows:
    """Packed rows out of ids and borders that stand already, such as a task's items."""
    lengths = [len(ids) for ids, _ in encoded]
    flat = itertools.chain.from_iterable(ids for ids, _ in encoded)
    return PackedRows(
        tokens=np.fromiter(flat, np.uint32, count=sum(lengths)),
        offsets=np.cumsum([0, *lengths]),
        borders=np.array([border for _, border in encoded], np.int64),
        codes=np.zeros(len(encoded), np.int64),
        labels=[],
        fingerprint=fingerprint,
        cuts=np.full(len(encoded), WHOLE, np.int8),
    )


def row_texts(source: FileSource, shape: RowShape, *, key: str, cache: Path) -> Iterator[str]:
    """The texts of a source's rows, for training a tokenizer."""
    for row in iter_rows(source, roles=shape.roles(), key=key, cache=cache, tally=Tally()):
        yield from (text for text in shape.texts(row) if text is not None)


def row_encoder(tokenizer: PreTrainedTokenizerFast, shape: RowShape, seq_len: int) -> EncodeRows:
    """A function from texts to encoded rows, each with what was left of it (WHOLE, CUT, UNFIT).

    Answers: prompt, answer, eos, joined as `data.join` says, at most seq_len + 1 ids (the last is
    only predicted); of a prompt that is too long the beginning goes, and an answer that is too
    long is not encoded at all. Classification with a
    tokenizer that has [CLS] and [SEP]: framed as its own template says; else text, eos (, text,
    eos), the longer text cut first.
    """
    if shape.kind == "classify" and frames_texts(tokenizer):
        return _framing_encoder(text_backend(tokenizer), seq_len)
    joiner = Joiner(tokenizer)
    closing = [end_of_document(tokenizer)]
    if shape.kind == "answer":
        return _answer_encoder(joiner, closing, seq_len, apart=shape.apart)
    opening = list(joiner.opening)

    def plain(texts: Texts) -> list[tuple[Encoded, int]]:
        firsts = joiner.ids([first for first, _ in texts])
        seconds = joiner.ids([second or "" for _, second in texts])
        return [
            _join_texts(opening, list(a), list(b) if shape.pair else None, closing, seq_len)
            for a, b in zip(firsts, seconds, strict=True)
        ]

    return plain


def _answer_encoder(joiner: Joiner, closing: list[int], seq_len: int, *, apart: bool) -> EncodeRows:
    def encode(texts: Texts) -> list[tuple[Encoded, int]]:
        prompts, answers = [first for first, _ in texts], [second or "" for _, second in texts]
        if apart:
            pairs = list(zip(joiner.ids(prompts), joiner.ids(answers), strict=True))
        else:
            joined = joiner.join(prompts, [[answer] for answer in answers])
            pairs = [(head, tail) for head, (tail,) in joined]
        return [
            (([], 0), UNKNOWN)
            if joiner.knows_nothing_of(answer, tail)
            else _join_answer(list(joiner.framed(head)), [*tail, *closing], seq_len)
            for answer, (head, tail) in zip(answers, pairs, strict=True)
        ]

    return encode


def frames_texts(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the tokenizer puts texts between [CLS] and [SEP] by itself."""
    adds = tokenizer.backend_tokenizer.num_special_tokens_to_add(False)
    return adds > 0 and None not in (tokenizer.cls_token_id, tokenizer.sep_token_id)


def _framing_encoder(backend: Tokenizer, seq_len: int) -> EncodeRows:
    backend.enable_truncation(seq_len, strategy=_TRUNCATE)

    def framed(texts: Texts) -> list[tuple[Encoded, int]]:
        inputs = [first if second is None else (first, second) for first, second in texts]
        rows = []
        with panics_told():
            encodings = backend.encode_batch(inputs)
        for encoding in encodings:
            kinds = encoding.type_ids
            border = kinds.index(1) if 1 in kinds else len(kinds)
            rows.append(((encoding.ids, border), CUT if encoding.overflowing else WHOLE))
        return rows

    return framed


def _join_answer(prompt: list[int], answer: list[int], seq_len: int) -> tuple[Encoded, int]:
    if len(answer) > seq_len:
        return ([], 0), UNFIT
    kept = prompt[-(seq_len + 1 - len(answer)) :]
    return (kept + answer, len(kept)), WHOLE if len(kept) == len(prompt) else CUT


def _join_texts(
    opening: list[int], first: list[int], second: list[int] | None, closing: list[int], seq_len: int
) -> tuple[Encoded, int]:
    ends = len(closing) * (1 if second is None else 2)
    room = max(seq_len - len(opening) - ends, 0)
    if second is None:
        ids = opening + first[:room] + closing
        return (ids, len(ids)), CUT if len(first) > room else WHOLE
    # Longest first: a text gets half the room, and what the other leaves.
    second_room = max(room // 2, room - len(first))
    second_kept = second[:second_room]
    first_kept = first[: room - len(second_kept)]
    head = opening + first_kept + closing
    cut = len(first_kept) + len(second_kept) < len(first) + len(second)
    return (head + second_kept + closing, len(head)), CUT if cut else WHOLE


@dataclass
class _Codes:
    """Labels by their names, numbered as they come up."""

    numbers: dict[str, int] = field(default_factory=dict)
    table: list[tuple[list[str], str]] = field(default_factory=list)

    def of(self, label: str | list[str], where: str) -> int:
        names = [label] if isinstance(label, str) else label
        number = self.numbers.setdefault(json.dumps(names), len(self.table))
        if number == len(self.table):
            self.table.append((names, where))
        return number


def _pack(
    rows: Iterator[SourceRow],
    shape: RowShape,
    encode: EncodeRows,
    counter: UnknownCounter,
    folder: Path,
    report: Callable[[], None],
) -> dict[str, Any]:
    offsets, borders, codes, cuts = array("q", [0]), array("q"), array("q"), array("b")
    labels = _Codes()
    first_cut, unknown = "", Unknown()
    with (folder / "tokens.bin").open("wb", buffering=1 << 20) as out:
        while chunk := list(itertools.islice(rows, _CHUNK_ROWS)):
            texts = [shape.texts(row) for row in chunk]
            some = counter.in_texts([text for both in texts for text in both if text is not None])
            unknown.add(some.characters, some.unknown)
            for row, ((ids, border), cut) in zip(chunk, encode(texts), strict=True):
                out.write(np.array(ids, np.uint32).tobytes())
                offsets.append(offsets[-1] + len(ids))
                borders.append(border)
                codes.append(_label_code(row.values, labels, row.where))
                cuts.append(cut)
                first_cut = first_cut or (row.where if cut in (CUT, UNFIT) else "")
            report()
    for name, numbers in (("offsets", offsets), ("borders", borders), ("codes", codes)):
        np.save(folder / f"{name}.npy", np.frombuffer(numbers, np.int64))
    np.save(folder / "cuts.npy", np.frombuffer(cuts, np.int8))
    counted = [unknown.characters, unknown.unknown]
    return {"labels": labels.table, "first_cut": first_cut, "unknown": counted}


def _label_code(values: Mapping[str, Any], labels: _Codes, where: str) -> int:
    return labels.of(values["label"], where) if "label" in values else 0
