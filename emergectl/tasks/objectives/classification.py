"""Classification of texts: one of two classes, one of several, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from emergectl.config.schema import ObjectiveSpec
from emergectl.data.batches import Batch
from emergectl.errors import ExperimentError
from emergectl.tasks.objectives.objective import Objective

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class _Classification(Objective):
    learners = ("causal", "masked")
    head = "classify"

    class_weights: tuple[float, ...] | None = None

    @classmethod
    def make(
        cls,
        spec: ObjectiveSpec,
        *,
        labels: Sequence[Any] = (),
        class_counts: Sequence[int] = (),
        counts_correct: bool = False,  # noqa: ARG003
    ) -> Self:
        """See `Objective.make`. Raises ExperimentError where weights and classes do not fit."""
        return cls(
            labels=tuple(labels),
            label_smoothing=spec.label_smoothing,
            class_weights=_class_weights(spec, class_counts),
        )

    def loss_sum(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Sum of the items' losses: scalar."""
        import torch

        from emergectl.models.forward import classification_logits
        from emergectl.models.losses import classification_loss

        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, device=batch["labels"].device)
        return classification_loss(
            classification_logits(model, batch),
            batch["labels"],
            kind=self.data,  # type: ignore[arg-type]
            class_weights=weights,
            label_smoothing=self.label_smoothing,
        )[0]

    def target_weight(self, batch: Batch) -> float:
        """The items of a batch, each as much as its class weighs."""
        labels = batch["labels"]
        if self.data == "multilabel" or self.class_weights is None:
            return float(len(labels))
        return float(sum(self.class_weights[int(label)] for label in labels.tolist()))

    def score(self, model: PreTrainedModel, batch: Batch) -> dict[str, torch.Tensor]:
        """Of each item `logits` [rows, outputs], `labels` ([rows], or [rows, classes] for
        multilabel) and the unweighted `nll` [rows]."""
        import torch
        from torch.nn import functional as F

        from emergectl.models.forward import classification_logits

        with torch.no_grad():
            logits = classification_logits(model, batch).double()
        labels = batch["labels"]
        if self.data == "multiclass":
            nll = F.cross_entropy(logits, labels, reduction="none")
        else:
            targets = labels.double().reshape(logits.shape)
            nll = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
        return {"logits": logits.cpu(), "labels": labels.cpu(), "nll": nll.cpu()}


class Binary(_Classification):
    """One of two classes: one logit, for the second."""

    name = "binary"
    data = "binary"


class Multiclass(_Classification):
    """One of several classes."""

    name = "multiclass"
    data = "multiclass"


class Multilabel(_Classification):
    """Any number of the classes, each with a logit of its own."""

    name = "multilabel"
    data = "multilabel"


def _class_weights(spec: ObjectiveSpec, counts: Sequence[int]) -> tuple[float, ...] | None:
    given = spec.class_weights
    if given is None:
        return None
    if given == "balanced":
        if 0 in counts:
            raise ExperimentError("objective.class_weights", "a class has no training rows")
        return tuple(sum(counts) / (len(counts) * count) for count in counts)
    if len(given) != len(counts):
        raise ExperimentError(
            "objective.class_weights", f"{len(given)} weights for {len(counts)} classes"
        )
    return tuple(given)
