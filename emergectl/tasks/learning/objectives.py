"""What is minimised, and what is kept of each held-out item, for every objective.

An `Objective` says which head the model needs, how a batch becomes a sum of losses, what that sum
is divided by, and which numbers of an item suffice to compute every metric later. Labels are
aligned with the logits already (shifted for causal models); -100 carries no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from emergectl.config.schema import CLASSIFICATION, Experiment
from emergectl.errors import ExperimentError
from emergectl.models.build import Head
from emergectl.models.forward import classification_logits, target_logits
from emergectl.models.losses import classification_loss, token_loss
from emergectl.tasks.resolve import Name

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimised: a loss over batches, and how held-out items are scored."""

    name: Name
    head: Head
    labels: tuple[str | int, ...] = ()
    """classification: the labels in class order"""
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    counts_correct: bool = False
    """token objectives: also count the targets that greedy prediction gets right"""

    def loss_sum(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Sum of the losses of a batch: scalar, to be divided by `target_weight`."""
        if self.head != "classify":
            # Few positions of these carry loss: the head need not run on the others.
            sparse = self.name in ("mlm", "answer")
            smoothing = self.label_smoothing
            return token_loss(model, batch, label_smoothing=smoothing, sparse=sparse)[0]
        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, device=batch["labels"].device)
        return classification_loss(
            classification_logits(model, batch),
            batch["labels"],
            kind=self.name,  # type: ignore[arg-type]
            class_weights=weights,
            label_smoothing=self.label_smoothing,
        )[0]

    def target_weight(self, batch: Batch) -> float:
        """What the loss sum of a batch is divided by: its targets, or their class weights."""
        labels = batch["labels"]
        if self.head != "classify":
            return float((labels != -100).sum())
        if self.name == "multilabel" or self.class_weights is None:
            return float(len(labels))
        return float(torch.tensor(self.class_weights)[labels.long()].sum())

    @torch.no_grad()
    def score(self, model: PreTrainedModel, batch: Batch) -> dict[str, torch.Tensor]:
        """What is kept of each item, float64 or int64 tensors on the CPU.

        Token objectives: `nll` [rows] (nats, summed over targets), `targets` [rows], and
        `correct` [rows] where counted. Classification: `logits` [rows, outputs], `labels`
        ([rows], or [rows, classes] for multilabel) and the unweighted `nll` [rows].
        """
        if self.head == "classify":
            return self._score_classes(model, batch)
        logits, labels = target_logits(model, batch)  # [rows, seq, vocab], [rows, seq]
        nll = torch.stack([_row_nll(*pair) for pair in zip(logits, labels, strict=True)])
        kept = {"nll": nll, "targets": (labels != -100).sum(-1)}
        if self.counts_correct:
            hits = (logits.argmax(-1) == labels) & (labels != -100)
            kept["correct"] = hits.sum(-1)
        return {name: tensor.cpu() for name, tensor in kept.items()}

    def _score_classes(self, model: PreTrainedModel, batch: Batch) -> dict[str, torch.Tensor]:
        logits = classification_logits(model, batch).double()
        labels = batch["labels"]
        if self.name == "multiclass":
            nll = F.cross_entropy(logits, labels, reduction="none")
        else:
            targets = labels.double().reshape(logits.shape)
            nll = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
        return {"logits": logits.cpu(), "labels": labels.cpu(), "nll": nll.cpu()}


def _row_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of a row's targets; fp32 a row at a time, so that memory suffices."""
    losses = F.cross_entropy(logits.float(), labels, ignore_index=-100, reduction="none")
    return losses.double().sum()


def make_objective(
    experiment: Experiment,
    name: Name,
    *,
    labels: list[Any] | None = None,
    class_counts: list[int] | None = None,
    is_task: bool = False,
) -> Objective:
    """The objective of an experiment, once its data is known.

    `labels` and `class_counts` are the classes found in the training data and how often each
    stands there. `is_task`: the data comes from a task, so right answers are counted.
    """
    heads: dict[str, Head] = {"mlm": "masked", "clm": "causal", "answer": "causal"}
    return Objective(
        name=name,
        head=heads.get(name, "classify"),
        labels=tuple(labels or ()),
        class_weights=_class_weights(experiment, name, class_counts),
        label_smoothing=experiment.objective.label_smoothing,
        counts_correct=is_task or name == "answer",
    )


def _class_weights(
    experiment: Experiment, name: Name, class_counts: list[int] | None
) -> tuple[float, ...] | None:
    given = experiment.objective.class_weights
    if given is None or name not in CLASSIFICATION:
        return None
    counts = class_counts or []
    if given == "balanced":
        if 0 in counts:
            raise ExperimentError("objective.class_weights", "a class has no training rows")
        return tuple(sum(counts) / (len(counts) * count) for count in counts)
    if len(given) != len(counts):
        raise ExperimentError(
            "objective.class_weights", f"{len(given)} weights for {len(counts)} classes"
        )
    return tuple(given)
