"""What building an experiment's data starts from and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from emergectl.config.schema import DataSource, Experiment, FileSource
from emergectl.data.feeds import Feed
from emergectl.data.labels import HeadLabels
from emergectl.data.mixing import MixedFeed
from emergectl.data.packing import ReadProgress
from emergectl.data.rows import RowShape
from emergectl.errors import ExperimentError

NamedSource = tuple[FileSource, str]
"""A source and its place in the experiment (`data.train.0`)."""


@dataclass(frozen=True)
class ExperimentData:
    """Feeds and what is to be known of them.

    `labels` and `class_counts` (of the rows to learn from) belong to classification.
    `validation_bytes_per_token` is the UTF-8 bytes of held-out text for each held-out target (bits
    per byte = loss / ln 2 / this), for causal language modelling; `test_bytes_per_token` that of
    the test data. `report` goes into run.json as it stands: sources with rows, tokens, skipped rows
    and fingerprints, and warnings.
    """

    train: Feed
    validation: Feed | None
    tokenizer: PreTrainedTokenizerFast
    labels: list[str] | None = None
    class_counts: list[int] | None = None
    validation_bytes_per_token: float | None = None
    test: Feed | None = None
    test_bytes_per_token: float | None = None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataJob:
    """An experiment's data section with everything that is decided about it."""

    experiment: Experiment
    objective: str
    cache: Path
    progress: ReadProgress | None
    apart: bool = False
    """whether an answer begins a text of its own, as for an encoder–decoder"""
    head: HeadLabels | None = None
    """the classes of the model to start from, where it is a classifier"""

    @property
    def train(self) -> list[NamedSource]:
        """The sources to learn from."""
        return _file_sources(self.experiment.data.train, "data.train", split="train")

    @property
    def validation(self) -> list[NamedSource]:
        """The sources given to be held out."""
        return _file_sources(self.experiment.data.validation, "data.validation", split="validation")

    @property
    def test(self) -> list[NamedSource]:
        """The sources that are asked once, at the end."""
        return _file_sources(self.experiment.data.test, "data.test", split="test")

    @property
    def splits(self) -> bool:
        """Whether the held-out data comes out of the training sources."""
        data = self.experiment.data
        return not data.validation and data.validation_fraction > 0

    @property
    def held_out_sources(self) -> list[NamedSource]:
        """The sources that the held-out data comes from, one way or the other."""
        return self.validation or (self.train if self.splits else [])

    def shape(self, source: FileSource) -> RowShape:
        """What a row of a source is made of."""
        spec = self.experiment.objective
        if self.objective == "answer":
            return RowShape(
                "answer", prompt=spec.prompt or "", answer=spec.answer or "", apart=self.apart
            )
        return RowShape(
            "classify",
            pair="text_pair" in source.columns,
            multilabel=self.objective == "multilabel",
        )

    def mixed(self, feeds: Sequence[Feed], sources: list[NamedSource]) -> Feed | None:
        """One feed out of one for each source; None out of none."""
        if len(feeds) < 2:
            return feeds[0] if feeds else None
        weights = [source.weight for source, _ in sources]
        return MixedFeed(feeds, weights, seed=self.experiment.seed)


def _file_sources(sources: list[DataSource], key: str, *, split: str) -> list[NamedSource]:
    """Sources with their places; a hub data set without a split gets the one that fits."""
    named = []
    for number, source in enumerate(sources):
        if not isinstance(source, FileSource):
            raise ExperimentError(f"{key}.{number}", "expected files or a hub data set, not a task")
        if source.hub is not None and source.split is None:
            source = source.model_copy(update={"split": split})
        named.append((source, f"{key}.{number}"))
    return named
