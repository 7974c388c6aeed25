"""Rows for classification and answers: each source packed, labelled, split and fed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import CLASSIFICATION, DataSpec, FileSource
from emergectl.data.candidates import (
    MOST_COST,
    Candidates,
    candidates_behind,
    few_answers,
    why_not,
)
from emergectl.data.job import DataJob, ExperimentData, NamedSource
from emergectl.data.labels import class_names, class_targets, count_classes, head_notes, in_order
from emergectl.data.notes import source_notes
from emergectl.data.order import permute
from emergectl.data.readers import Tally
from emergectl.data.row_feeds import RowsFeed
from emergectl.data.rows import UNFIT, UNKNOWN, WHOLE, PackedRows, frames_texts, pack_rows
from emergectl.data.sources import note_bad_row
from emergectl.data.tokenizers import end_of_document, ensure_pad
from emergectl.errors import DataError

_SPLIT_KEY = 0x5EED


@dataclass(frozen=True)
class PackedPart:
    """Some rows of a packed source (`chosen`, in order), with the target of every packed row."""

    source: FileSource
    packed: PackedRows
    chosen: NDArray[np.int64]
    targets: NDArray[Any] | None
    unlabelled: Tally
    cut: int = 0
    """how many of `chosen` lack a part of their text or prompt"""
    left_out: int = 0
    """rows that are not among `chosen` since they are too long"""
    unfit: int = 0
    """those of them whose answers count as wrong"""
    unknown: int = 0
    """rows that are not among `chosen` since no character of their answers is known"""
    candidates: Candidates | None = None
    """what may be answered to its rows, where that is little"""


def row_data(job: DataJob, tokenizer: PreTrainedTokenizerFast) -> ExperimentData:
    """The feeds of a classifier, or of a causal model that learns answers."""
    classifies = job.objective in CLASSIFICATION
    if classifies and not frames_texts(tokenizer):
        ensure_pad(tokenizer)  # such models answer at the last token that is not pad
    packs = [_packed(job, source, key, tokenizer) for source, key in job.train]
    names, notes = None, list[str]()
    if classifies:
        given = job.experiment.objective.labels
        binary = job.objective == "binary"
        names = class_names(packs, given, binary=binary, head=job.head)
        notes = head_notes(job.head, names, binary=binary)
    train = [_part(job, s, p, names) for (s, _), p in zip(job.train, packs, strict=True)]
    held_out = [
        _part(job, source, _packed(job, source, key, tokenizer), names)
        for source, key in job.validation
    ]
    if job.splits:
        splits = [split_rows(part.chosen, job.experiment.data) for part in train]
        held_out = [replace(p, chosen=s[1]) for p, s in zip(train, splits, strict=True)]
        train = [replace(p, chosen=s[0]) for p, s in zip(train, splits, strict=True)]
    test = [
        _part(job, source, _packed(job, source, key, tokenizer), names) for source, key in job.test
    ]
    policy, seq_len = job.experiment.data.too_long, job.experiment.data.row_tokens
    train, held_out, test = (
        [_fitting(part, policy, seq_len) for part in parts] for parts in (train, held_out, test)
    )

    if job.objective == "answer":
        few = _few_names(job, train)
        held_out, more = _with_candidates(job, held_out, job.held_out_sources, few, tokenizer)
        test, others = _with_candidates(job, test, job.test, few, tokenizer)
        notes += dict.fromkeys([*more, *others])

    train_feed = job.mixed([_feed(job, part, tokenizer) for part in train], job.train)
    assert train_feed is not None
    counts = None if names is None else _class_counts(train, names)
    read = _report(train)
    held, asked_once = _report(held_out), _report(test)
    return ExperimentData(
        train=train_feed,
        validation=job.mixed(
            [_feed(job, part, tokenizer) for part in held_out], job.held_out_sources
        ),
        test=job.mixed([_feed(job, part, tokenizer) for part in test], job.test),
        tokenizer=tokenizer,
        labels=names,
        class_counts=counts,
        report={
            "train": read,
            "validation": held,
            "test": asked_once,
            "warnings": [
                *notes,
                *source_notes([*read, *held, *asked_once]),
                *_row_notes("to learn from", train, job.experiment.data),
                *_row_notes("held out", held_out, job.experiment.data),
                *_row_notes("to test on", test, job.experiment.data),
                *([] if names is None else _class_warnings(names, train, held_out)),
            ],
        },
    )


def split_rows(
    rows: NDArray[np.int64], spec: DataSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows to hold out, each in order, at least one on either side.

    The random choice does not depend on the experiment's seed, so that runs with different seeds
    are judged on the same rows. DataError where there is only one row.
    """
    count = len(rows)
    if count < 2:
        raise DataError(f"{count} row cannot be split: give `data.validation`")
    held_out = min(count - 1, max(1, round(count * spec.validation_fraction)))
    if spec.validation_from == "end":
        return rows[: count - held_out], rows[count - held_out :]
    taken = permute(np.arange(count), count, _SPLIT_KEY) >= count - held_out
    return rows[~taken], rows[taken]


def _packed(
    job: DataJob, source: FileSource, key: str, tokenizer: PreTrainedTokenizerFast
) -> PackedRows:
    return pack_rows(
        source,
        tokenizer,
        job.shape(source),
        seq_len=job.experiment.data.row_tokens,
        key=key,
        cache=job.cache,
        progress=job.progress,
    )


def _part(
    job: DataJob, source: FileSource, packed: PackedRows, names: list[str] | None
) -> PackedPart:
    """All rows of a source whose label is one of the classes; others are bad rows."""
    everything = np.arange(len(packed))
    unlabelled = Tally()
    if names is None:
        return PackedPart(source, packed, everything, None, unlabelled)
    multilabel = job.objective == "multilabel"
    targets, known, problems = class_targets(packed, names, multilabel=multilabel)
    for problem in problems:
        note_bad_row(source.bad_rows, problem, unlabelled)
    unlabelled.skipped = int((~known).sum())  # rows, where the problems were labels
    return PackedPart(source, packed, everything[known], targets, unlabelled)


def _fitting(part: PackedPart, policy: str, seq_len: int) -> PackedPart:
    """The rows that are to be used, of which some may be longer than `seq_len` tokens.

    DataError where the policy refuses these, and where none is left.
    """
    unknown = int((part.packed.cuts[part.chosen] == UNKNOWN).sum())
    if unknown:
        part = replace(
            part, chosen=part.chosen[part.packed.cuts[part.chosen] != UNKNOWN], unknown=unknown
        )
    cuts = part.packed.cuts[part.chosen]
    if not len(cuts):
        raise DataError(
            f"{part.source.path or part.source.hub}: the tokenizer knows no character of any answer"
        )
    too_long = int((cuts != WHOLE).sum())
    if not too_long:
        return part
    if policy == "refuse":
        raise DataError(
            f"{part.packed.first_cut}: longer than {seq_len} tokens, as are {too_long} of "
            f"{len(cuts)} rows: raise `data.seq_len`, or see `data.too_long`"
        )
    fits = cuts == WHOLE if policy == "skip" else cuts != UNFIT
    if not fits.any():
        raise DataError(
            f"{part.source.path or part.source.hub}: no row fits into {seq_len} tokens: raise "
            "`data.seq_len`"
        )
    left_out = int((~fits).sum())
    return replace(
        part,
        chosen=part.chosen[fits],
        cut=too_long - left_out,
        left_out=left_out,
        unfit=0 if policy == "skip" else left_out,
    )


def _few_names(job: DataJob, train: list[PackedPart]) -> tuple[str, ...]:
    """The answers to learn, in order, where they are few."""
    shapes = {job.shape(part.source) for part in train}
    packs, chosen = [part.packed for part in train], [part.chosen for part in train]
    found = few_answers(job.train, packs, chosen, shapes.pop(), cache=job.cache)
    return tuple(in_order(found))


def _with_candidates(
    job: DataJob,
    parts: list[PackedPart],
    sources: list[NamedSource],
    names: tuple[str, ...],
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[list[PackedPart], list[str]]:
    """The parts of what is held out with their candidates, and what a person is to know of them.

    None of the parts has any where that would cost too much, or the tokens would not tell.
    """
    if not names or not parts:
        return parts, []
    found, costs = [], []
    few = f"the {len(names)} answers ({', '.join(map(repr, names))})"
    for part, (source, key) in zip(parts, sources, strict=True):
        some = candidates_behind(
            source, tokenizer, job.shape(source), names, key=key, cache=job.cache
        )
        reason = why_not(some, tokenizer, seq_len=job.experiment.data.row_tokens)
        if reason is not None:
            return parts, [f"{few} are no candidates for what is held out: {reason}"]
        costs.append(some.cost(part.packed, part.chosen))
        found.append(replace(part, candidates=some))
    if max(costs) > MOST_COST:
        return parts, [
            f"{few} are no candidates for what is held out: that would take {max(costs):.2g} times "
            f"the evaluation, and at most {MOST_COST:g} times are spent on it"
        ]
    notes = [
        f"{few} are candidates for each prompt that is held out: accuracy, f1, mcc, roc_auc, brier "
        "and ece are of their log-probabilities"
    ]
    rows = sum(len(part.chosen) for part in found)
    others = sum(int((p.candidates.right[p.chosen] < 0).sum()) for p in found if p.candidates)
    if others:
        notes.append(
            f"{sources[0][0].path or sources[0][0].hub}: {others:,} of {rows:,} held-out answers "
            "are none of the candidates: no candidate is right there"
        )
    return found, notes


def _row_notes(where: str, parts: list[PackedPart], spec: DataSpec) -> Iterator[str]:
    """What a person is to know of rows that the sequence length or the vocabulary leaves out."""
    for part in parts:
        rows = len(part.chosen) + part.left_out + part.unknown
        source, tokens = part.source.path or part.source.hub, f"{spec.row_tokens:,} tokens"
        answers = part.targets is None
        if part.cut:
            lost = "prompts lose their beginning" if answers else "texts are cut"
            yield f"{source}: {part.cut:,} of {rows:,} {lost} to fit into {tokens} ({where})"
        if part.unknown:
            yield (
                f"{source}: of {part.unknown:,} of {rows:,} answers the tokenizer knows no "
                f"character: they are left out ({where})"
            )
        if part.unfit:
            counts = "not learnt" if where == "to learn from" else "counted as wrong"
            yield (
                f"{source}: {part.unfit:,} of {rows:,} answers are longer than {tokens} and "
                f"{counts} ({where})"
            )
        elif part.left_out:
            yield (
                f"{source}: {part.left_out:,} of {rows:,} rows are longer than {tokens} and left "
                f"out ({where})"
            )


def _feed(job: DataJob, part: PackedPart, tokenizer: PreTrainedTokenizerFast) -> RowsFeed:
    pad_id = tokenizer.pad_token_id
    return RowsFeed(
        part.packed,
        seq_len=job.experiment.data.row_tokens,
        seed=job.experiment.seed,
        # Without a pad token any id fills up: the attention mask and the labels tell it apart.
        pad_id=end_of_document(tokenizer) if pad_id is None else pad_id,
        targets=part.targets,
        chosen=part.chosen,
        token_types=job.shape(part.source).pair and frames_texts(tokenizer),
        unfit=part.unfit,
        candidates=part.candidates,
    )


def _class_counts(parts: list[PackedPart], names: list[str]) -> list[int]:
    counts = np.zeros(len(names), np.int64)
    for part in parts:
        assert part.targets is not None
        counts += count_classes(part.targets[part.chosen], len(names))
    return counts.tolist()


def _class_warnings(
    names: list[str], train: list[PackedPart], held_out: list[PackedPart]
) -> list[str]:
    """Classes missing on one side, as happens to sorted data that is split at the end."""
    warnings = []
    for where, parts in (("to learn from", train), ("held out", held_out)):
        missing = [n for n, c in zip(names, _class_counts(parts, names), strict=True) if not c]
        if missing and parts:
            warnings.append(
                f"{len(missing)} of {len(names)} classes have no row {where} (such as "
                f"{missing[0]}): is the data sorted by label? then `validation_from: random`"
            )
    return warnings


def _report(parts: list[PackedPart]) -> list[dict[str, Any]]:
    return [
        {
            "source": part.source.path or part.source.hub,
            "rows": len(part.chosen),
            "tokens": int(np.diff(part.packed.offsets)[part.chosen].sum()),
            "cut": part.cut,
            "left_out": part.left_out + part.unknown,
            "unknown": part.packed.unknown.share,
            "fingerprint": part.packed.fingerprint,
            "skipped": part.packed.skipped + part.unlabelled.skipped,
            "first_skipped": [*part.packed.first_skipped, *part.unlabelled.first_skipped],
        }
        for part in parts
    ]
