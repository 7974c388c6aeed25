"""What an objective is: which models learn by it, from which data, with which loss.

An objective is a class in a module of its own, with class attributes for what has to be known
before any data is read, and three methods: how a batch becomes a sum of losses, what that sum is
divided by, and which numbers of an item suffice to compute every metric later. Labels are aligned
with the logits already (shifted for causal models); -100 carries no loss.

Its modules import torch inside functions: `validate` asks what an objective is, and has no time
for torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from emergectl.config.schema import CLASSIFICATION, ObjectiveSpec
from emergectl.data.batches import IGNORED, Batch
from emergectl.models.families import Architecture

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DataShape = Literal["clm", "mlm", "answer", "binary", "multiclass", "multilabel"]
"""what a batch holds, by the objective that first asked for it: running text with next tokens, or
with masked ones; prompts with answers; texts with one of two classes, of several, or any of them"""


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What is minimised: a loss over batches, and how held-out items are scored."""

    name: ClassVar[str]
    """what an experiment calls it"""
    learners: ClassVar[tuple[Architecture, ...]]
    """the kinds of models that can learn by it"""
    head: ClassVar[Literal["causal", "masked", "classify"]]
    """what the model answers with; an encoder–decoder writes where a causal model would"""
    data: ClassVar[DataShape]
    """what its batches hold"""

    labels: tuple[str | int, ...] = ()
    """classification: the labels in class order"""
    label_smoothing: float = 0.0

    @classmethod
    def make(
        cls,
        spec: ObjectiveSpec,
        *,
        labels: Sequence[Any] = (),
        class_counts: Sequence[int] = (),  # noqa: ARG003
        counts_correct: bool = False,  # noqa: ARG003
    ) -> Self:
        """The objective of an experiment, once its data is known.

        `labels` and `class_counts` are the classes found in the training data and how often each
        stands there. `counts_correct`: the data has right answers, to be counted.
        """
        return cls(labels=tuple(labels), label_smoothing=spec.label_smoothing)

    @abstractmethod
    def loss_sum(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Sum of the losses of a batch: scalar, to be divided by `target_weight`."""

    @abstractmethod
    def target_weight(self, batch: Batch) -> float:
        """What the loss sum of a batch is divided by: its targets, or their class weights."""

    @abstractmethod
    def score(self, model: PreTrainedModel, batch: Batch) -> dict[str, torch.Tensor]:
        """What is kept of each item, float64 or int64 tensors on the CPU, without gradients."""

    @classmethod
    def classifies(cls) -> bool:
        """Whether its batches are texts with classes."""
        return cls.data in CLASSIFICATION


@dataclass(frozen=True, kw_only=True)
class TokenObjective(Objective):
    """The cross-entropy of target tokens, averaged over all of them."""

    sparse: ClassVar[bool] = False
    """few positions carry loss: the head need not run on the others"""

    counts_correct: bool = False
    """also count the targets that greedy prediction gets right"""

    @classmethod
    def make(
        cls,
        spec: ObjectiveSpec,
        *,
        labels: Sequence[Any] = (),  # noqa: ARG003
        class_counts: Sequence[int] = (),  # noqa: ARG003
        counts_correct: bool = False,
    ) -> Self:
        """See `Objective.make`."""
        counts = counts_correct or cls.data == "answer"
        return cls(label_smoothing=spec.label_smoothing, counts_correct=counts)

    @property
    def is_cross_entropy(self) -> bool:
        """Whether its loss is the plain one, so that others may compute it in their own way."""
        return type(self).loss_sum is TokenObjective.loss_sum

    def loss_sum(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Sum of the losses of a batch's targets: scalar."""
        from emergectl.models.losses import token_loss

        smoothing = self.label_smoothing
        return token_loss(model, batch, label_smoothing=smoothing, sparse=self.sparse)[0]

    def target_weight(self, batch: Batch) -> float:
        """The targets of a batch."""
        return float((batch["labels"] != IGNORED).sum())

    def score(self, model: PreTrainedModel, batch: Batch) -> dict[str, torch.Tensor]:
        """Of each row `nll` [rows] (nats, summed over targets), `targets` [rows], and `correct`
        [rows] where counted."""
        import torch

        from emergectl.models.forward import target_logits

        with torch.no_grad():
            logits, labels = target_logits(model, batch)  # [rows, seq, vocab], [rows, seq]
            nll = torch.stack([_row_nll(*pair) for pair in zip(logits, labels, strict=True)])
            kept = {"nll": nll, "targets": (labels != IGNORED).sum(-1)}
            if self.counts_correct:
                hits = (logits.argmax(-1) == labels) & (labels != IGNORED)
                kept["correct"] = hits.sum(-1)
        return {name: tensor.cpu() for name, tensor in kept.items()}


def _row_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of a row's targets; fp32 a row at a time, so that memory suffices."""
    from torch.nn import functional as F

    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
    return losses.double().sum()
