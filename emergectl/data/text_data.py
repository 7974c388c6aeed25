"""Running text for language modelling: each source packed, split and fed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import DataSpec, FileSource
from emergectl.data.feeds import Feed, LanguageFeed
from emergectl.data.job import DataJob, ExperimentData, NamedSource
from emergectl.data.masked import MaskedFeed
from emergectl.data.notes import source_notes
from emergectl.data.packing import DocumentSplit, PackedTokens, ReadProgress, pack_text
from emergectl.data.tokenizers import token_bytes
from emergectl.errors import DataError


def text_data(job: DataJob, tokenizer: PreTrainedTokenizerFast) -> ExperimentData:
    """The feeds of a causal or masked language model."""
    train: list[PackedTokens] = []
    held_out: list[PackedTokens] = []
    options: dict[str, Any] = {"cache": job.cache, "progress": job.progress}
    for source, key in job.train:
        if job.splits:
            inner, outer = split_text(source, job.experiment.data, tokenizer, key=key, **options)
            train.append(inner)
            held_out.append(outer)
        else:
            train.append(pack_text(source, tokenizer, key=key, **options))
    for source, key in job.validation:
        held_out.append(pack_text(source, tokenizer, key=key, **options))

    test = [pack_text(source, tokenizer, key=key, **options) for source, key in job.test]

    train_feed = job.mixed([_feed(job, packed, tokenizer) for packed in train], job.train)
    assert train_feed is not None
    read, held = _report(job.train, train), _report(job.held_out_sources, held_out)
    asked_once = _report(job.test, test)
    return ExperimentData(
        train=train_feed,
        validation=job.mixed(
            [_feed(job, packed, tokenizer) for packed in held_out], job.held_out_sources
        ),
        tokenizer=tokenizer,
        validation_bytes_per_token=_bytes_per_token(job, held_out),
        test=job.mixed([_feed(job, packed, tokenizer) for packed in test], job.test),
        test_bytes_per_token=_bytes_per_token(job, test),
        report={
            "train": read,
            "validation": held,
            "test": asked_once,
            "warnings": source_notes([*read, *held, *asked_once]),
        },
    )


def _bytes_per_token(job: DataJob, parts: list[PackedTokens]) -> float | None:
    """UTF-8 bytes of a target token in the mean, for causal language modelling; None where tokens
    do not carry the text, so that nobody could have it back from so many bits."""
    if not all(packed.carried for packed in parts):
        return None
    targets = sum(len(packed.tokens) - 1 for packed in parts)
    text_bytes = sum(packed.text_bytes for packed in parts)
    return text_bytes / targets if targets and job.objective == "clm" else None


def split_text(
    source: FileSource,
    spec: DataSpec,
    tokenizer: PreTrainedTokenizerFast,
    *,
    key: str,
    cache: Path,
    progress: ReadProgress | None,
) -> tuple[PackedTokens, PackedTokens]:
    """A training source as packed tokens: (to learn from, held out).

    The end is held out by position in tokens, so one long document can be split too; at random
    whole documents are.
    """
    share = spec.validation_fraction
    options: dict[str, Any] = {"key": key, "cache": cache, "progress": progress}
    if spec.validation_from == "random":
        inner = pack_text(source, tokenizer, held_out=DocumentSplit(share, inside=False), **options)
        outer = pack_text(source, tokenizer, held_out=DocumentSplit(share, inside=True), **options)
        return inner, outer
    whole = pack_text(source, tokenizer, **options)
    count = len(whole.tokens)
    border = int(count * (1 - share))
    if count - border < 2:
        raise DataError(
            f"{source.path or source.hub}: {share:g} of {count} tokens leaves nothing to hold out"
        )
    sizes = token_bytes(tokenizer)
    return whole.part(0, border, sizes), whole.part(border, count, sizes)


def _feed(job: DataJob, packed: PackedTokens, tokenizer: PreTrainedTokenizerFast) -> Feed:
    seq_len, seed = job.experiment.data.row_tokens, job.experiment.seed
    if job.objective == "clm":
        return LanguageFeed(packed, seq_len=seq_len, seed=seed)
    return MaskedFeed(
        packed,
        tokenizer,
        seq_len=seq_len,
        seed=seed,
        mask_probability=job.experiment.objective.mask_probability,
        whole_word=job.experiment.objective.whole_word,
    )


def _report(sources: list[NamedSource], parts: list[PackedTokens]) -> list[dict[str, Any]]:
    return [
        {
            "source": source.path or source.hub,
            "documents": len(packed.ends),
            "tokens": len(packed.tokens),
            "text_bytes": packed.text_bytes,
            "unknown": packed.unknown.share,
            "fingerprint": packed.fingerprint,
            "skipped": packed.skipped,
            "first_skipped": list(packed.first_skipped),
        }
        for (source, _), packed in zip(sources, parts, strict=True)
    ]
