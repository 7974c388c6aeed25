"""From an experiment's data section to feeds: the one call that training makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import Experiment, FileSource, Source
from emergectl.data.feeds import Feed, LanguageFeed
from emergectl.data.files import cache_root
from emergectl.data.mixing import MixedFeed
from emergectl.data.packing import PackedTokens, Progress, pack_text
from emergectl.data.readers import Tally
from emergectl.data.sources import iter_pieces
from emergectl.data.splits import split_text
from emergectl.data.tokenizers import build_tokenizer, load_tokenizer
from emergectl.errors import ExperimentError


@dataclass(frozen=True)
class ExperimentData:
    """Feeds and what is to be known of them.

    `validation_bytes_per_token` is the UTF-8 bytes of held-out text for each held-out target
    token (bits per byte = loss / ln 2 / this); None where nothing is held out or rows are
    classified. `report` goes into run.json as it stands.
    """

    train: Feed
    validation: Feed | None
    tokenizer: PreTrainedTokenizerFast
    labels: list[str] | None
    class_counts: list[int] | None
    validation_bytes_per_token: float | None
    report: dict[str, Any]


def build_data(
    experiment: Experiment,
    *,
    objective: str | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> ExperimentData:
    """Read, tokenise and pack an experiment's data.

    `objective` is the one that holds where the experiment leaves it open (default clm).
    `tokenizer` is one that stands already, such as a run's or that of the model to start from;
    without it the experiment's is built or loaded. Raises DataError, ExperimentError and
    RequestError for what cannot be read.
    """
    cache = cache or cache_root()
    objective = objective or experiment.objective.name or "clm"
    train = _file_sources(experiment.data.train, "data.train")
    held_out = _file_sources(experiment.data.validation, "data.validation")
    if tokenizer is None:
        tokenizer = make_tokenizer(experiment, for_mlm=objective == "mlm", cache=cache)
    return _language_data(experiment, train, held_out, tokenizer, cache, progress)


def make_tokenizer(
    experiment: Experiment, *, for_mlm: bool, cache: Path
) -> PreTrainedTokenizerFast:
    """The tokenizer an experiment asks for: loaded, or built on the text of all training sources."""
    spec = experiment.tokenizer
    if spec.from_ is not None:
        return load_tokenizer(spec.from_)
    return build_tokenizer(spec, _training_texts(experiment, cache), for_mlm=for_mlm)


def _training_texts(experiment: Experiment, cache: Path) -> Iterator[str]:
    for source, key in _file_sources(experiment.data.train, "data.train"):
        pieces = iter_pieces(
            source, key=key, cache=cache, tally=Tally(), next_border=lambda _, start: start
        )
        yield from (piece.text for piece in pieces)


def _file_sources(sources: list[Source], key: str) -> list[tuple[FileSource, str]]:
    named = [(source, f"{key}.{number}") for number, source in enumerate(sources)]
    for source, place in named:
        if not isinstance(source, FileSource):
            raise ExperimentError(place, "a task's items cannot be mixed with files here")
    return named  # type: ignore[return-value]


def _language_data(
    experiment: Experiment,
    train: list[tuple[FileSource, str]],
    held_out: list[tuple[FileSource, str]],
    tokenizer: PreTrainedTokenizerFast,
    cache: Path,
    progress: Progress | None,
) -> ExperimentData:
    spec = experiment.data
    splits = bool(spec.validation_fraction) and not held_out
    packed: list[PackedTokens] = []
    kept: list[PackedTokens] = []
    for source, key in train:
        if splits:
            inner, outer = split_text(
                source, spec, tokenizer, key=key, cache=cache, progress=progress
            )
            packed.append(inner)
            kept.append(outer)
        else:
            packed.append(pack_text(source, tokenizer, key=key, cache=cache, progress=progress))
    for source, key in held_out:
        kept.append(pack_text(source, tokenizer, key=key, cache=cache, progress=progress))

    def feed(parts: list[PackedTokens], sources: list[tuple[FileSource, str]]) -> Feed:
        feeds = [LanguageFeed(p, seq_len=spec.seq_len, seed=experiment.seed) for p in parts]
        weights = [source.weight for source, _ in sources]
        return feeds[0] if len(feeds) == 1 else MixedFeed(feeds, weights, seed=experiment.seed)

    validation = feed(kept, held_out or train) if kept else None
    targets = sum(len(part.tokens) - 1 for part in kept)
    return ExperimentData(
        train=feed(packed, train),
        validation=validation,
        tokenizer=tokenizer,
        labels=None,
        class_counts=None,
        validation_bytes_per_token=(
            sum(part.text_bytes for part in kept) / targets if kept else None
        ),
        report={},
    )
